"""Trains in child processes that are ended at set places.

`python -m tests.end_to_end.ending FILE` takes a JSON list of trainings.

A training is the words of its command, the number of processes that train together, and where it ends: a place of
`PLACES`, how often that is met before, and the signal; or nothing. One process imports everything once and forks a
child for each, so that an end costs what the training does, and not the imports. How each child ended and what it said
is printed as a JSON list.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

import clipshift.cli
import clipshift.training.run  # with PyTorch, before the first fork
from tests.drawing import draw_nothing
from tests.forking import Ended, exit_code, fork

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


def train_ranks(words: list[str], count: int, end: End | None) -> Ended:
    """Train in several processes together, whose launcher hands SIGTERM on to all, as `torchrun` does.

    The end is at the first rank, which has the launcher stopped and goes on when it was told, too.
    """

    def rank_action(rank: int, port: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
        if rank == 0 and end is not None:
            meet(end.place, end.calls, _stop_the_launcher)
        sys.argv = ["clipshift", *words]
        clipshift.cli.main()

    def launch() -> None:
        ranks: list[int] = []
        port = _unused_port()
        for rank in range(count):
            child = os.fork()
            if child == 0:
                os._exit(exit_code(lambda rank=rank: rank_action(rank, port)))  # type: ignore[misc]
            ranks.append(child)

        def hand_on(number: int, _: FrameType | None) -> None:
            for child in ranks:
                os.kill(child, number)

        signal.signal(signal.SIGTERM, hand_on)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ranks]
        sys.exit(max(codes, key=abs))

    return fork(launch)


def _stop_the_launcher() -> None:
    came = threading.Event()
    before = signal.getsignal(signal.SIGTERM)
    assert callable(before)

    def handle(number: int, frame: FrameType | None) -> None:
        before(number, frame)
        came.set()

    signal.signal(signal.SIGTERM, handle)
    os.kill(os.getppid(), signal.SIGTERM)
    assert came.wait(timeout=1800)


def _unused_port() -> int:
    """A port on which nobody listens, below those that systems give away by themselves."""
    for port in range(20000 + os.getpid() % 10000, 32000):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


if __name__ == "__main__":
    draw_nothing(pytest.MonkeyPatch())
    done = []
    for words, count, end in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        at = None if end is None else End(*end)
        done.append(train(words, at) if count == 1 else train_ranks(words, count, at))
    json.dump(done, sys.stdout)
