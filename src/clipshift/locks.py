"""One process at a time in a place: a lock of the system, and a note of who holds it.

The lock file holds the system's lock (`flock`, or `msvcrt.locking` on Windows), which ends with its process however
that ends, and a line of JSON: host, process, since when. It is gone when the lock was given back.

Some shared file systems lock on each host by itself, or not at all. There the note counts: its holder touches it every
few seconds, and whoever comes to the note of another host looks whether that still happens.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipshift.errors import UserError

LOCK_FILE = ".lock"
"""Name of the lock file in a folder that is locked as a whole."""

_LOG = logging.getLogger(__name__)
_BEAT = 15.0
"""Seconds after which a holder touches its note again."""
_SILENT = 3 * _BEAT
"""Seconds without a touch after which the holder of another host is taken for dead."""
_POLL = 0.1
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_FAR = 2**30
"""Windows keeps others from reading the byte that is locked: one far behind the note."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    host: str
    pid: int
    since: str
    """Local time with its offset."""
    machine: str
    """Differs between hosts, and between two starts of one."""
    started: str
    """Differs between two processes of one number; empty where the system does not tell."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextmanager
def hold(
    path: Path, *, doing: str, error: type[UserError], where: Path | None = None, wait: bool = False
) -> Generator[None]:
    """Holds a lock; the lock of a process that was killed is taken over.

    Args:
        path: The lock file; its folder is there.
        doing: What the holder does, for the others: "Another process trains in this folder." has "trains in this
            folder".
        error: What is raised.
        where: The place that is locked, for the error; by default the lock file's folder.
        wait: Whether to wait for the other process, which is said once.

    Raises:
        UserError: Of the kind `error`: another process holds the lock and `wait` is false, or the lock file cannot be
            written.
    """
    try:
        descriptor = _take(path, doing, error, where or path.parent, wait)
    except OSError as fault:
        raise error(
            "The folder cannot be locked: its lock file cannot be written.",
            where=path,
            got=fault.strerror or fault,
            remedy="choose a folder that this user may write to",
        ) from fault
    done = threading.Event()
    beats = threading.Thread(target=_beat, args=(descriptor, done), daemon=True)
    beats.start()
    try:
        yield
    finally:
        done.set()
        beats.join()
        _give_back(path, descriptor)


@contextmanager
def hold_folder(folder: Path, *, doing: str, error: type[UserError]) -> Generator[None]:
    """Holds the lock of a whole folder, made if need be; one that is still empty afterwards is removed again.

    Args:
        folder: The folder.
        doing: As for [hold][clipshift.locks.hold].
        error: As for `hold`.

    Raises:
        UserError: As for `hold`.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise error("The folder cannot be made.", where=folder, got=fault.strerror or fault) from fault
    try:
        with hold(folder / LOCK_FILE, doing=doing, error=error):
            yield
    finally:
        if new:
            with suppress(OSError):
                folder.rmdir()


def _take(path: Path, doing: str, error: type[UserError], where: Path, wait: bool) -> int:
    """An open and locked lock file that has this process's note."""
    said = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            other = _try(descriptor, path)
            if other is None:
                _write_note(descriptor, _this_process())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if isinstance(other, _Gone):
            continue
        if not wait:
            raise error(
                f"Another process {doing}.",
                where=where,
                got=other or "a process that has not said its name yet",
                remedy="wait until it is done, or end it; or choose another folder",
            )
        if not said:
            _LOG.warning("Waiting: %s %s.", other or "another process", doing)
            said = True
        time.sleep(_POLL)


class _Gone:
    """The lock file was removed while it was opened: its holder has just given it back."""


def _try(descriptor: int, path: Path) -> Holder | _Gone | str | None:
    """None if the lock is this process's now; else who has it (empty text where it does not say)."""
    locked = _lock(descriptor)
    if locked is False:
        return _read_note(descriptor) or ""
    if not _is_at(path, descriptor):
        return _Gone()
    other = _read_note(descriptor)
    if other is None or not _lives(other, path, locks_work=locked is True):
        return None
    return other


def _lives(other: Holder, path: Path, *, locks_work: bool) -> bool:
    """Whether the holder that a note names is still there, though the system gave the lock to this process."""
    here = _this_process()
    if other.machine == here.machine:
        # The system's lock would have told.
        return not locks_work and _start_of(other.pid) == other.started
    touched = _touched(path)
    if touched is None or _now(path) - touched > _SILENT:
        return False
    _LOG.warning("Looking for %g seconds whether %s is still there.", _SILENT, other)
    end = time.monotonic() + _SILENT
    while time.monotonic() < end:
        time.sleep(_POLL)
        if _touched(path) not in {touched, None}:
            return True
    return False


def _now(path: Path) -> float:
    """The time by the clock of the file system, which may be another host's."""
    mark = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}")
    try:
        mark.touch()
        return mark.stat().st_mtime
    finally:
        mark.unlink(missing_ok=True)


def _touched(path: Path) -> float | None:
    """When the note was last touched; network file systems ask their server anew when a file is opened."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def _beat(descriptor: int, done: threading.Event) -> None:
    while not done.wait(_BEAT):
        with suppress(OSError):
            os.utime(descriptor)


def _give_back(path: Path, descriptor: int) -> None:
    # While the lock is held nobody else can have taken this file. Windows removes no file that is open.
    removable = _is_at(path, descriptor)
    if removable and os.name != "nt":
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
    with suppress(OSError):  # the note does not matter any more; network file systems write it only now
        os.close(descriptor)
    if removable and os.name == "nt":
        with suppress(OSError):
            path.unlink()


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _lock(descriptor: int) -> bool | None:
    """Whether the system gave the lock; None where its file system has none."""
    try:
        if os.name == "nt":
            _lock_on_windows(descriptor)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}:
            return False
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def _lock_on_windows(descriptor: int) -> None:
    import msvcrt

    windows: Any = msvcrt  # unknown to type checkers elsewhere
    os.lseek(descriptor, _FAR, os.SEEK_SET)
    windows.locking(descriptor, windows.LK_NBLCK, 1)


def _write_note(descriptor: int, holder: Holder) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(asdict(holder)).encode() + b"\n")


def _read_note(descriptor: int) -> Holder | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        return Holder(**json.loads(os.read(descriptor, 4096)))
    except (OSError, ValueError, TypeError):
        return None


def _this_process() -> Holder:
    host = platform.node() or "this host"
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    try:
        machine = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        machine = host
    return Holder(host, os.getpid(), since, machine, _start_of(os.getpid()))


def _start_of(pid: int) -> str:
    """When a process was started, in ticks since the host was; empty where there is none, or the system is silent."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
