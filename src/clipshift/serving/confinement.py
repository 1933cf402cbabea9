"""What keeps a process that decodes strangers' files from everything else, on Linux.

Limits of memory, processor time and files (setrlimit), Landlock (Linux 5.13 and newer: no file can be opened but
Python's own, and from version 4 of its interface on no address connected to), and a filter of system calls where the
system has libseccomp. What the kernel does not have is left out and named by `confine`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path

_NO_NEW_PRIVILEGES = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Rights of files that each version of Landlock knows, as a number of bits; newer versions know those of 5."""
_READ_FILE_AND_FOLDER = 0b1100
_TCP_RIGHTS = 0b11
_SCOPES = 0b11
"""Abstract sockets and signals of processes outside."""
_ALLOW, _FAIL_WITH_EPERM = 0x7FFF0000, 0x00050001
_FORBIDDEN_CALLS = (
    "socket",
    "connect",
    "bind",
    "listen",
    "execve",
    "execveat",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "mount",
    "umount2",
    "unshare",
    "setns",
    "bpf",
    "perf_event_open",
    "keyctl",
    "io_uring_setup",
    "userfaultfd",
    "open_by_handle_at",
)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


def confine(memory_bytes: int) -> list[str]:
    """Take from this process what a decoder does not need, for ever.

    Args:
        memory_bytes: Address space that it may have besides what it has now.

    Returns:
        What protects now: `limits`, and of `landlock N` (its version) and `seccomp` those that the system has.
    """
    limit = _address_space() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    protections = ["limits"]
    system = ctypes.CDLL(None, use_errno=True)
    filters = _libseccomp()  # before its file cannot be opened any more
    if system.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return protections
    version = _landlock(system, _own_folders())
    if version:
        protections.append(f"landlock {version}")
    if filters is not None and _seccomp(filters):
        protections.append("seccomp")
    return protections


def allow_processor_seconds(seconds: int) -> None:
    """Let this process be killed (SIGXCPU) when it has used so many more seconds of processor time."""
    limit = ceil(time.process_time()) + seconds
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _own_folders() -> list[Path]:
    """Where Python and its packages lie: what is imported late is read there."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in {Path(sys.prefix), Path(sys.base_prefix) / "lib", package} if folder.is_dir()]


def _landlock(system: ctypes.CDLL, readable: Sequence[Path]) -> int:
    """Leave this thread, and those that it starts, only what it has open, and folders to read; 0 where unknown."""
    version = int(system.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION))
    if version < 1:
        return 0
    rights = (1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1
    wanted = _Ruleset(rights, _TCP_RIGHTS if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = system.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return 0
    try:
        for folder in readable:
            descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            rule = _PathBeneath(_READ_FILE_AND_FOLDER, descriptor)
            failed = system.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
            os.close(descriptor)
            if failed:
                return 0
        return 0 if system.syscall(_RESTRICT_SELF, ruleset, 0) else version
    finally:
        os.close(ruleset)


def _libseccomp() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None


def _seccomp(library: ctypes.CDLL) -> bool:
    """Let system calls fail that reach out of the process."""
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    if not context:
        return False
    try:
        for call in _FORBIDDEN_CALLS:
            number = library.seccomp_syscall_resolve_name(call.encode())
            if number >= 0:
                library.seccomp_rule_add(context, ctypes.c_uint32(_FAIL_WITH_EPERM), number, 0)
        return bool(library.seccomp_load(context) == 0)
    finally:
        library.seccomp_release(context)
