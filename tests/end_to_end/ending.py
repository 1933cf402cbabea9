"""Trains in child processes that are ended at set places.

`python -m tests.end_to_end.ending FILE` takes a JSON list of trainings.

A training is the words of its command and where it ends: a place of `PLACES`, how often that is met before, and the
signal; or nothing. One process imports everything once and forks a child for each, so that an end costs what the
training does, and not the imports. How each child ended and what it said is printed as a JSON list.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import clipshift.cli
import clipshift.training.run  # with PyTorch, before the first fork
from tests.forking import Ended, fork

PLACES = {
    "update": ("clipshift.training.loop", "Trainer", "_step"),
    "checkpoint": ("clipshift.training.checkpoint", None, "sha256_of_file"),
    "validation": ("clipshift.training.stages.epochs", None, "keep_if_best"),
    "model": ("clipshift.models.bundle", None, "sync"),
    "record": ("clipshift.training.stages.epochs", None, "_record_epoch"),
}
"""Where an end may come: in an update, between the files of a checkpoint, before and after a model is kept, ..."""


class End(NamedTuple):
    """Where a training ends: when a place is met for the `calls`-th time, all its processes get a signal."""

    place: str
    calls: int
    signal: int


def meet(place: str, calls: int, action: Callable[[], object]) -> None:
    """Let something be done when a place is met for the `calls`-th time, before what is done there."""
    module, holder, name = PLACES[place]
    target = importlib.import_module(module)
    owner = target if holder is None else getattr(target, holder)
    original: Callable[..., Any] = getattr(owner, name)
    seen = 0

    def counted(*args: Any, **keywords: Any) -> Any:  # noqa: ANN401
        nonlocal seen
        seen += 1
        if seen == calls:
            action()
        return original(*args, **keywords)

    setattr(owner, name, counted)


def train(words: list[str], end: End | None) -> Ended:
    """Train in a child of its own."""

    def action() -> None:
        if end is not None:
            # The workers, too, as from a terminal, a scheduler, or the kernel that is out of memory.
            meet(end.place, end.calls, lambda: os.killpg(0, end.signal))
        sys.argv = ["clipshift", *words]
        clipshift.cli.main()

    return fork(action)


def train_and_stop_the_launcher() -> None:
    """Under `torchrun`: at the second update the first rank has the launcher stopped, which tells all ranks."""
    came = threading.Event()

    def stop() -> None:
        before = signal.getsignal(signal.SIGTERM)
        assert callable(before)

        def handle(number: int, frame: FrameType | None) -> None:
            before(number, frame)
            came.set()

        signal.signal(signal.SIGTERM, handle)
        os.kill(os.getppid(), signal.SIGTERM)
        assert came.wait(timeout=1800)

    if os.environ["RANK"] == "0":
        meet("update", 2, stop)
    clipshift.cli.main()


if __name__ == "__main__":
    if "RANK" in os.environ:
        train_and_stop_the_launcher()
    else:
        wanted = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        json.dump([train(words, None if end is None else End(*end)) for words, end in wanted], sys.stdout)
