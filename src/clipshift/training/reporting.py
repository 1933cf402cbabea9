"""What a training says: a live line on a terminal, plain lines elsewhere, and the same in the run's files."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from clipshift.console import stderr_console
from clipshift.errors import RunError
from clipshift.files import append_line, from_json, printable, to_json, write_whole
from clipshift.training.samples import ReadingCost

ACCEPTED_WAITING = 0.05
"""Share of an epoch that may be spent waiting for clips before the log says what would help."""
_QUICK_SECONDS = 0.015  # decoding a clip of eight frames that was repacked
_SECONDS_BETWEEN_LINES = 20.0  # without a terminal


@dataclass
class Meter:
    """Counts clips, and the time that was spent in all and waiting for data, since it was made."""

    started: float
    clips: int = 0
    waited: float = 0.0
    first_wait: float | None = None

    @classmethod
    def start(cls) -> Meter:
        """A meter that starts now."""
        return cls(time.monotonic())

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def clips_per_second(self) -> float:
        """Mean rate."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def waiting(self) -> float:
        """Share of the time, in [0, 1], in which the network waited for clips."""
        return min(self.waited / max(self.seconds, 1e-9), 1.0)

    @property
    def steady_waiting(self) -> float:
        """The same from the second batch on: the first one also waits for the workers to start."""
        first = self.first_wait or 0.0
        return min((self.waited - first) / max(self.seconds - first, 1e-9), 1.0)

    def note_wait(self, seconds: float) -> None:
        """Counts the wait for one batch."""
        self.waited += seconds
        if self.first_wait is None:
            self.first_wait = seconds


class _LogFile(logging.FileHandler):
    """A log that is full loses lines; what matters is written elsewhere, and its errors are said there."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging has it
        """Let a line go that cannot be written; logging itself would print a traceback for each."""

    def close(self) -> None:
        """Close the file; what was not written by then is lost, too."""
        with suppress(OSError):
            super().close()


class Reporter:
    """Speaks for one training run; silent on all ranks but the first."""

    def __init__(self, run: Path, *, speaks: bool) -> None:
        self._speaks = speaks
        self._run = run
        self._console = stderr_console()
        self._live: Progress | None = None
        self._last_line = float("-inf")
        self._log = logging.getLogger("clipshift.training")

    @contextmanager
    def logging_to_file(self) -> Iterator[None]:
        """Also write every line to `train.log` while inside.

        Raises:
            RunError: The file cannot be opened.
        """
        if not self._speaks:
            yield
            return
        path = self._run / "train.log"
        try:
            handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise RunError("A file of the run cannot be written.", where=path, got=error.strerror or error) from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        level = self._log.level
        self._log.addHandler(handler)
        self._log.setLevel(logging.INFO)
        self._log.propagate = False
        try:
            yield
        finally:
            self._log.removeHandler(handler)
            self._log.setLevel(level)
            self._log.propagate = True
            handler.close()

    def say(self, text: str) -> None:
        """One line or more to the user and to `train.log`."""
        if self._speaks:
            self._console.print(printable(text, line_breaks=True))
            self._log.info(text)

    def record(self, values: dict[str, Any]) -> None:
        """One line of `metrics.jsonl`."""
        if self._speaks:
            append_line(self._run / "metrics.jsonl", to_json(values))

    @contextmanager
    def phase(self, title: str, total: int, done: int = 0) -> Iterator[Phase]:
        """Show progress through `total` steps while inside."""
        if not (self._speaks and self._console.is_terminal):
            yield Phase(self, title, total, None, None)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as live:
            yield Phase(self, title, total, live, live.add_task(title, total=total, completed=done, note=""))

    def plain_line(self, text: str, *, always: bool) -> None:
        """A progress line where there is no terminal; not more often than every twenty seconds unless `always`."""
        now = time.monotonic()
        if (
            self._speaks
            and not self._console.is_terminal
            and (always or now - self._last_line > _SECONDS_BETWEEN_LINES)
        ):
            self._last_line = now
            self.say(text)


class Phase:
    """Progress through an epoch's updates or a validation's clips."""

    def __init__(self, reporter: Reporter, title: str, total: int, live: Progress | None, task: TaskID | None) -> None:
        self._reporter, self._title, self._total, self._live, self._task = reporter, title, total, live, task
        self._started, self._first = time.monotonic(), None if task is None else 0

    def advance_to(self, done: int, note: str = "") -> None:
        """Show that `done` of all steps are done."""
        if self._live is not None and self._task is not None:
            self._live.update(self._task, completed=done, note=note)
            return
        if self._first is None:
            self._first = done - 1
        pace = (time.monotonic() - self._started) / max(done - self._first, 1)
        left = duration(pace * (self._total - done))
        text = f"{self._title}  {done}/{self._total}  {note}  ETA {left}"
        self._reporter.plain_line(" ".join(text.split()), always=False)


def truncate_metrics(path: Path, *, update: int, epoch: int) -> None:
    """Remove the lines of `metrics.jsonl` that a killed process wrote after its last checkpoint.

    Args:
        path: The file; may be missing.
        update: Updates done at that checkpoint; later lines go, and so do half-written ones.
        epoch: Epoch of that checkpoint; its validation is still to come.
    """
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        with suppress(ValueError, KeyError, TypeError):  # of a damaged line nothing is known
            values = from_json(line)
            if values["update"] <= update and (values["kind"] == "step" or values["epoch"] < epoch):
                kept.append(line)
    write_whole(path, (f"{line}\n" for line in kept))


def waiting_advice(waiting: float, cost: ReadingCost, *, workers: int, most_workers: int) -> str | None:
    """What would shorten the wait for clips.

    Args:
        waiting: Share of the time, in [0, 1], in which the network waited.
        cost: What a clip takes to read.
        workers: Processes that read for this rank.
        most_workers: How many this machine has cores for, the network's own left out.

    Returns:
        One or two sentences; None where waiting is no matter.
    """
    if waiting <= ACCEPTED_WAITING:
        return None
    total = sum(cost)
    helps = []
    if workers < most_workers:
        helps.append(f"data.workers={most_workers} (now {workers})")
    if cost.decoding > total / 2 and cost.decoding > _QUICK_SECONDS:
        helps.append("`clipshift repack DATA --to FOLDER` or `clipshift frames`, once: files that are quick to decode")
    if not helps:
        helps.append("more cores: reading is as cheap as it gets, and all of them are in use")
    return (
        f"The network waited for clips {waiting:.0%} of the time. Reading one takes {1000 * total:.0f} ms of a core, "
        f"{1000 * cost.decoding:.0f} of them for decoding. What helps: {'; '.join(helps)}."
    )


def duration(seconds: float) -> str:
    """`75.2` as `1m15s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def peak_memory(device: torch.device) -> str:
    """Largest memory used so far, of the GPU or of this process."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB GPU"
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return f"{kilobytes / 2**20:.1f} GiB"
