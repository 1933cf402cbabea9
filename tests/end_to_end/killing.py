"""Trains in child processes that are killed at set places; run as `python killing.py CLIPS RUN WORKERS PLACE ...`.

Each place is a function of clipshift and how often it is called before the kill: `Trainer._step:5`. One process imports
everything once and forks a child for each kill, so that a kill costs what the training does, and not the imports.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import clipshift.cli
import clipshift.training.run  # with PyTorch, before the first fork

PLACES = {
    "update": ("clipshift.training.loop", "Trainer", "_step"),
    "checkpoint": ("clipshift.training.checkpoint", None, "sha256_of_file"),
    "validation": ("clipshift.training.stages.epochs", None, "keep_if_best"),
    "model": ("clipshift.models.bundle", None, "sync"),
    "record": ("clipshift.training.stages.epochs", None, "_record_epoch"),
}
"""Where a kill may come: in an update, between the files of a checkpoint, before and after a model is kept, ..."""


def kill_at(place: str, calls: int) -> None:
    """Let the process and its workers be killed when a function is called for the `calls`-th time."""
    module, holder, name = PLACES[place]
    target = importlib.import_module(module)
    owner = target if holder is None else getattr(target, holder)
    original: Callable[..., Any] = getattr(owner, name)
    seen = 0

    def counted(*args: Any, **keywords: Any) -> Any:  # noqa: ANN401
        nonlocal seen
        seen += 1
        if seen == calls:
            os.killpg(0, signal.SIGKILL)
        return original(*args, **keywords)

    setattr(owner, name, counted)


def train(words: list[str], kill: tuple[str, int] | None) -> int:
    """Train in a child of its own; the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if kill is not None:
            kill_at(*kill)
        try:
            clipshift.cli.app(words)
        except SystemExit as end:
            os._exit(int(end.code or 0))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def main() -> None:
    """Kill at each place in turn, then train to the end; prints how each child ended, 0 for well."""
    kills, words = sys.argv[1].split(","), sys.argv[2:]
    for kill in kills:
        place, _, rest = kill.partition(":")
        calls, _, workers = rest.partition("/")
        print(train([*words, f"data.workers={workers or 0}"], (place, int(calls))), flush=True)  # noqa: T201
    print(train([*words, "data.workers=0"], None), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
