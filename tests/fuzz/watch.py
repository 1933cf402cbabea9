"""What a case may cost, and what it may touch: measured and forbidden inside the process that runs it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

MOST_SECONDS = 5.0
"""Of CPU time, for an answer or a refusal."""
MOST_BYTES = 1 << 30
"""By which a process may grow meanwhile."""

_RUNNING = {
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "os.startfile", "pty.spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "pickle.find_class",
    "urllib.Request", "webbrowser.open", "shutil.unpack_archive",
}  # fmt: skip
_CHANGING = {
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.rmtree", "shutil.copyfile", "shutil.move",
}  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ForbiddenError(BaseException):
    """A case did what no reader of files may; no `except Exception` of the product hides it."""


@dataclass
class Watch:
    """What the audit hook of this process allows now.

    Attributes:
        allowed: The only folders in which anything may be written or changed; None allows all.
        seen: What was forbidden and tried all the same.
    """

    allowed: tuple[Path, ...] | None = None
    seen: list[str] = field(default_factory=list)

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        """The audit hook, for `sys.addaudithook`."""
        if self.allowed is None:
            return
        if event in _RUNNING:
            self._forbid(event, arguments)
        elif event in _CHANGING:
            folder = arguments[-1] if isinstance(arguments[-1], int) and arguments[-1] >= 0 else None
            if folder is not None and event in {"os.remove", "os.rmdir", "os.mkdir"}:
                self._check_path(event, Path(f"/proc/self/fd/{folder}").readlink())  # the name is relative to this one
                return
            for argument in arguments[: 2 if event in {"os.rename", "os.link", "shutil.move"} else 1]:
                self._check_path(event, argument)
        elif event == "open" and self._writes(arguments):
            self._check_path(event, arguments[0])

    @staticmethod
    def _writes(arguments: tuple[object, ...]) -> bool:
        _, mode, flags = arguments
        if isinstance(mode, str):
            return any(letter in mode for letter in "wax+")
        return isinstance(flags, int) and bool(flags & _WRITING)

    def _check_path(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # an open file's number
        where = os.path.realpath(os.fsdecode(path))
        if where != os.devnull and not any(Path(where).is_relative_to(folder) for folder in self.allowed or ()):
            self._forbid(event, (where,))

    def _forbid(self, event: str, arguments: tuple[object, ...]) -> None:
        found = f"{event} {repr(arguments)[:200]}"
        self.seen.append(found)
        raise ForbiddenError(found)


WATCH = Watch()


def install() -> None:
    """Add the hook; it stays until the process ends."""
    sys.addaudithook(WATCH.hook)


@contextmanager
def only_in(*folders: Path) -> Iterator[Watch]:
    """While inside, nothing is run, nothing is connected to, and nothing is changed outside of some folders."""
    WATCH.allowed, WATCH.seen = tuple(folder.resolve() for folder in folders), []
    try:
        yield WATCH
    finally:
        WATCH.allowed = None


@dataclass
class Cost:
    """CPU time in seconds, and bytes by which the process grew at most."""

    seconds: float = 0.0
    grown: int = 0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure what happens inside; on systems without /proc memory counts as 0."""
    cost = Cost()
    before = _memory("VmRSS")
    _forget_peak()
    started = time.process_time()
    try:
        yield cost
    finally:
        cost.seconds = time.process_time() - started
        cost.grown = max(0, _memory("VmHWM") - before)


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
