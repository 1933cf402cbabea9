"""The trackers of a training: processes that it starts, tells of its end, and waits for no longer than it was told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from clipshift.errors import TrainingInterrupted, installation
from clipshift.tracking.tracker import FOLDER, LIBRARIES, Ending, Remembered, is_installed

_INTERRUPTED_SECONDS = 10.0
"""The longest wait of a training that was interrupted: a scheduler soon kills it."""


@dataclass
class _Process:
    name: str
    process: subprocess.Popen[bytes]
    said: bool = False
    """Whether the user knows how it ended."""


class Trackers:
    """Starts a process for each tracker, and ends them; a context manager.

    Nothing that happens there raises here or changes what a training computes: it is said in one line.

    Args:
        names: Of `LIBRARIES`; none on the ranks that do not write.
        run: The run folder.
        seconds: The longest wait at the end, for all of them together.
        say: Takes lines for the user.
    """

    def __init__(self, names: Sequence[str], run: Path, seconds: float, say: Callable[[str], None]) -> None:
        self._names, self._run, self._seconds, self._say = tuple(dict.fromkeys(names)), run.absolute(), seconds, say
        self._processes: list[_Process] = []

    def start(self) -> None:
        """Start them; the run folder holds the settings, and no records but those of this training."""
        for name in self._names:
            if not is_installed(name):
                package = LIBRARIES[name] or name
                self._say(f"Not tracked by {name}, which is not installed: {installation(package)}")
                continue
            try:
                self._processes.append(_Process(name, self._begin(name)))
            except (OSError, ValueError) as error:
                self._say(f"Not tracked by {name}: its process cannot be started ({error}).")

    def _begin(self, name: str) -> subprocess.Popen[bytes]:
        folder = self._run / FOLDER
        folder.mkdir(exist_ok=True)
        # The same modules as here, also where a program put their folder into sys.path itself.
        paths = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        command = [sys.executable, "-P", "-m", "clipshift.tracking.following", name, str(self._run), str(self._seconds)]
        with (folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - this Python
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C is for the training, and what the library starts ends with it
            )

    def look(self) -> None:
        """Say which of them ended before their time; to be called now and then."""
        for each in self._processes:
            if not each.said and each.process.poll() is not None:
                self._say_ended(each)

    def finish(self) -> None:
        """Tell them that the training is finished, and its files are there; wait, and say what became of them."""
        self._end("finished", self._seconds)

    def _end(self, ending: Ending, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for each in self._processes:
            pipe = each.process.stdin
            if pipe is not None and not pipe.closed:
                with suppress(OSError):
                    pipe.write(f"{ending}\n".encode())
                with suppress(OSError):
                    pipe.close()
        for each in self._processes:
            with suppress(subprocess.TimeoutExpired):
                each.process.wait(max(deadline - time.monotonic(), 0))
            if not each.said:
                self._say_ended(each, seconds)
            _kill(each.process)
        self._processes.clear()

    def _say_ended(self, each: _Process, seconds: float = 0.0) -> None:
        each.said = True
        name, code = each.name, each.process.poll()
        remembered = Remembered.read(self._run, name)
        if code == 0 and remembered.ended is not None:
            self._say(f"Tracked by {name}: {remembered.where}")
            return
        if code is None:
            cause = f"it did not end within {seconds:g} s (train.track_seconds)"
        elif code < 0:
            cause = f"its process was ended by {signal.Signals(-code).name}"
        else:
            cause = (remembered.error or "").rstrip(".") or f"its process exited with code {code}"
        log = Path(FOLDER) / f"{name}.log"
        self._say(f"Not all tracked by {name}: {cause}. The training is the same without it; more in {log} of the run.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = isinstance(error, TrainingInterrupted | KeyboardInterrupt)
        self._end("interrupted" if interrupted else "failed", min(self._seconds, _INTERRUPTED_SECONDS))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and all that it started; one that even the kernel cannot end is left to itself."""
    if process.poll() is not None:
        return
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
