"""Predictions as lines for people and for programs, written while they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

import numpy as np

from clipshift.errors import OutputError
from clipshift.files import open_text, printable, to_json
from clipshift.inference.predictions import UNKNOWN, Embedding, Failure, Prediction

MARKS = (b'"probabilities"', b'"error"', b'"embedding"')
"""What lines of answers hold; a file without is not replaced by answers."""


def write_predictions(
    answers: Iterable[Prediction | Embedding | Failure],
    json_file: str | None,
    *,
    top: int,
    say: Callable[[str], object],
) -> int:
    """Write each answer as it comes.

    Args:
        answers: Predictions or embeddings, and failures.
        json_file: File for one JSON object a line; `-` writes them to standard output instead of text.
        top: Classes that the text shows.
        say: Prints a line of text.

    Returns:
        How many videos failed.

    Raises:
        OutputError: The file or standard output cannot be written.
    """
    failed = 0
    try:
        with _open(json_file) as file:
            for answer in answers:
                failed += isinstance(answer, Failure)
                if file is not None:
                    file.write(_line(answer, file) + "\n")
                    file.flush()
                if json_file != "-":
                    say(as_text(answer, top))
    except OSError as error:  # also of closing the file, which writes what is left
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError.of(error, json_file if json_file not in (None, "-") else "standard output") from error
    return failed


def _open(json_file: str | None) -> AbstractContextManager[TextIO | None]:
    if json_file is None:
        return nullcontext()
    return nullcontext(sys.stdout) if json_file == "-" else open_text(json_file, "w")


def _line(answer: Prediction | Embedding | Failure, file: TextIO) -> str:
    # A standard output that is not UTF-8, as a pipe of Windows, still gets JSON that everybody reads.
    if (file.encoding or "utf-8").lower().replace("-", "") != "utf8":
        return json.dumps(answer.to_json())
    return to_json(answer.to_json())


def as_text(answer: Prediction | Embedding | Failure, top: int) -> str:
    """One line: the path, then the best classes and their probabilities, or why it failed.

    Of an embedding it says how many numbers and how long it is. Where a set of classes was asked for, it stands in
    braces before them; of an unknown video they are the nearest.
    """
    if isinstance(answer, Failure):
        return f"{printable(answer.path)}{_of_track(answer)}: ERROR {answer.error}"
    if isinstance(answer, Embedding):
        return f"{printable(answer.path)}: {len(answer.vector)} numbers, length {np.linalg.norm(answer.vector):.3g}"
    chances = ", ".join(f"{name} {chance:.1%}" for name, chance in answer.top(top))
    asked = "" if answer.coverage is None else f"{{{', '.join(answer.class_set)}}}  "
    if answer.unknown:
        chances = f"{UNKNOWN} (nearest: {chances})"
    return f"{printable(answer.path)}{_of_track(answer)}: {asked}{chances}"


def _of_track(answer: Prediction | Failure) -> str:
    if answer.track is None:
        return ""
    return f" track {printable(answer.track.name)}" + (" (cut at the edge of the picture)" if answer.track.cut else "")
