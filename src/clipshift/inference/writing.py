"""Predictions as lines for people and for programs, written while they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TextIO

from clipshift.errors import RunError
from clipshift.inference.results import Failure, Prediction


def write_predictions(
    answers: Iterable[Prediction | Failure], json_file: str | None, *, top: int, say: Callable[[str], object]
) -> int:
    """Write each answer as it comes.

    Args:
        answers: Predictions and failures.
        json_file: File for one JSON object a line; `-` writes them to standard output instead of text.
        top: Classes that the text shows.
        say: Prints a line of text.

    Returns:
        How many videos failed.

    Raises:
        RunError: The file cannot be written.
    """
    failed = 0
    with ExitStack() as stack:
        file: TextIO | None = None
        try:
            if json_file == "-":
                file = sys.stdout
            elif json_file is not None:
                file = stack.enter_context(open(json_file, "w", encoding="utf-8"))  # noqa: PTH123
            for answer in answers:
                failed += isinstance(answer, Failure)
                if file is not None:
                    file.write(json.dumps(answer.to_json(), ensure_ascii=False) + "\n")
                    file.flush()
                if json_file != "-":
                    say(as_text(answer, top))
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise RunError("The predictions cannot be written.", where=json_file, got=error.strerror) from error
    return failed


def as_text(answer: Prediction | Failure, top: int) -> str:
    """One line: the path, then the best classes and their probabilities, or why it failed."""
    if isinstance(answer, Failure):
        return f"{answer.path}: ERROR {answer.error}"
    return f"{answer.path}: " + ", ".join(f"{name} {chance:.1%}" for name, chance in answer.top(top))
