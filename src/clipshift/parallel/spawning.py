"""Worker processes that do not run the caller's script again, and why one of them ended.

A new process of Python's `spawn` runs the main script first, so that objects defined there can be sent to it. Nothing
that clipshift sends is: its own processes leave the script alone, and a program needs no `if __name__ == "__main__":`.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from multiprocessing import process, spawn
from multiprocessing.connection import Connection, Pipe
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NamedTuple

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}
_OF_ALL = {signal.SIGINT, signal.SIGTERM}
_STARTING = threading.Lock()


class Death(NamedTuple):
    """Why a worker process ended."""

    cause: str
    """For people: a part of a sentence."""
    remedy: str
    clip: str | None = None
    """What it worked on, where that is most likely the reason."""


class Worker(SpawnProcess):
    """A process that leaves the caller's script alone, and tells why it could not begin.

    SIGINT and SIGTERM, which reach every process of a terminal or a job, wait until it calls
    [take_signals][clipshift.parallel.spawning.take_signals]: before that it cannot have said what they mean to it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - a Process's own
        super().__init__(*args, **options)
        self._last_words: Connection | None = None

    def start(self) -> None:
        """Start it."""
        self._last_words, tell = Pipe(duplex=False)
        self._tell: Connection | None = tell
        try:
            with _main_left_alone(), _signals_kept_back():
                super().start()
        finally:
            tell.close()
            self._tell = None

    def last_words(self) -> str | None:
        """The exception that kept it from beginning, if one did."""
        words = self._last_words
        try:
            return words.recv_bytes().decode() if words is not None and words.poll() else None
        except (EOFError, OSError):
            return None

    def close(self) -> None:
        """Give back what it is known by, once it has ended."""
        super().close()
        if self._last_words is not None:
            self._last_words.close()
            self._last_words = None

    def __reduce__(self) -> tuple[Any, ...]:
        # What it works on imports much, and imports may fail: it is opened where that can be told.
        own = {"_last_words", "_tell"}
        state = {name: value for name, value in self.__dict__.items() if name not in own}
        return _begin, (self._tell, bytes(ForkingPickler.dumps(state)))


class WorkerContext(SpawnContext):
    """Python's `spawn` with [Worker][clipshift.parallel.spawning.Worker] as its process."""

    Process = Worker


def worker_context() -> WorkerContext:
    """What starts worker processes, for `DataLoader` and `ProcessPoolExecutor`.

    Ends a process that runs the caller's script again, which other parts of a program may have started: it would start
    processes that do the same.
    """
    end_if_run_again()
    return WorkerContext()


def end_if_run_again() -> None:
    """End this process if it is one that runs its parent's script again before it does its work."""
    if getattr(process.current_process(), "_inheriting", False):
        script = getattr(sys.modules.get("__main__"), "__file__", None) or "the program"
        sys.exit(
            f"error: A process that the program started itself runs {script} again. do: put what the program does "
            'below if __name__ == "__main__":'
        )


def take_signals() -> None:
    """In a worker, when it has said what SIGINT and SIGTERM mean to it: let them come."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OF_ALL)


@contextmanager
def _signals_kept_back() -> Generator[None]:
    """While inside, new processes begin without the signals that reach every process; this one gets them afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(tell: Connection, state: bytes) -> Worker:
    """In the new process: the worker, or the reason why there is none, and the end."""
    try:
        worker = Worker.__new__(Worker)
        worker.__dict__.update(pickle.loads(state))  # noqa: S301 - from the parent
        worker._last_words = worker._tell = None
    except BaseException as error:  # whatever keeps it from beginning
        tell.send_bytes(f"{type(error).__name__}: {error}".encode(errors="replace")[:4000])
        os._exit(1)
    tell.close()
    return worker


@contextmanager
def _main_left_alone() -> Generator[None]:
    """While inside, processes that this thread starts are not told of the main script."""
    usual, here = spawn.get_preparation_data, threading.get_ident()

    def without_main(name: str) -> dict[str, Any]:
        told: dict[str, Any] = usual(name)
        if threading.get_ident() == here:
            told.pop("init_main_from_name", None)
            told.pop("init_main_from_path", None)
        return told

    with _STARTING:
        usual = spawn.get_preparation_data
        spawn.get_preparation_data = without_main
        try:
            yield
        finally:
            spawn.get_preparation_data = usual


def memory_kills() -> int:
    """How many processes the kernel has killed for want of memory so far: here, or in this container; 0 where unknown.

    To be asked before and after: a difference is the reason of a SIGKILL.
    """
    counts = []
    for path in (*_own_cgroup("memory.events", "memory.oom_control"), Path("/proc/vmstat")):
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, ValueError):
            continue
        counts += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return sum(counts)


def _own_cgroup(*names: str) -> list[Path]:
    """Files of this process's control groups that may be there, by their places in versions 2 and 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    root, paths = Path("/sys/fs/cgroup"), []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers in {"", "memory"}:
            mounted = root / controllers
            # In a container the group's own name may lie outside of what is mounted.
            folder = mounted / group.lstrip("/")
            paths += [(folder if folder.is_dir() else mounted) / name for name in names]
    return paths


def explain_death(worker: multiprocessing.process.BaseProcess, killed_before: int, *, clip: str | None = None) -> Death:
    """Why a worker ended that should not have.

    Args:
        worker: The process; that it ended is known.
        killed_before: [memory_kills][clipshift.parallel.spawning.memory_kills] when it was started.
        clip: What it worked on.
    """
    worker.join(5)
    code = worker.exitcode
    words = worker.last_words() if isinstance(worker, Worker) else None
    if words is not None:
        return Death(f"it could not begin: {words}", "mend what the exception names")
    if code is None or code >= 0:
        return Death(
            f"it ended by itself with code {code}",
            "its last words are above, if it had any; workers=0 works in the program's own process",
        )
    number = signal.Signals(-code)
    if number == signal.SIGKILL:
        return _killed(killed_before)
    if number == signal.SIGBUS:
        return no_shared_memory(f"{number.name}, which most often means that shared memory is full")
    if number in _CRASHES:
        remedy = "leave that clip out, or write all anew with clipshift repack, which names what it cannot read"
        return Death(f"it crashed ({number.name})", remedy, clip)
    return Death(f"it was ended by {number.name}", "find out who sent the signal, and start again")


def _killed(killed_before: int) -> Death:
    if memory_kills() > killed_before:
        cause = "memory ran out: the kernel killed it (SIGKILL, and its counter of such kills has grown)"
        return Death(cause, "fewer workers or smaller batches, or more memory for the job or container")
    return Death(
        "it was killed (SIGKILL); the kernel counts no kill for want of memory here",
        "if nobody did it by hand, a scheduler or a container's limit may have: ask for more memory, or take fewer "
        "workers or smaller batches",
    )


def no_shared_memory(cause: str) -> Death:
    """What to do where worker processes have no room to hand over what they read.

    Args:
        cause: What was seen.
    """
    try:
        usage = shutil.disk_usage(_SHARED_MEMORY)
        cause += f"; {_SHARED_MEMORY} has {_megabytes(usage.total)}, of which {_megabytes(usage.free)} are free now"
    except OSError:
        pass
    return Death(
        cause,
        f"enlarge {_SHARED_MEMORY} (docker run --shm-size=8g; mount -o remount,size=8G {_SHARED_MEMORY}), or fewer "
        "workers or smaller batches; workers=0 needs none",
    )


def first_dead(
    workers: Sequence[multiprocessing.process.BaseProcess],
) -> multiprocessing.process.BaseProcess | None:
    """The worker that ended by its own; those that were ended by SIGTERM, as the others of a broken pool are, last."""
    ended = [worker for worker in workers if worker.exitcode not in {None, 0}]
    ended.sort(key=lambda worker: worker.exitcode == -signal.SIGTERM)
    return ended[0] if ended else None


def is_no_room(error: BaseException) -> bool:
    """Whether an exception tells that shared memory is full."""
    text = str(error)
    return getattr(error, "errno", None) == errno.ENOSPC or "shared memory" in text or "(shm)" in text


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
