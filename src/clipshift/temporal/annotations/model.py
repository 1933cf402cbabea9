"""The annotation of a video, and how its parts are taken from what a file holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipshift.errors import DataError
from clipshift.temporal.segments import Segment


@dataclass(frozen=True)
class Annotation:
    """What is marked in a video.

    Attributes:
        path: The video, as the file names it: a path, or an id; not blank.
        segments: The spans, in the order of the file; none where nothing is marked.
        duration: Seconds; None where the file does not say.
        subset: Part of the data set, such as `training`; None where the file does not say.

    Raises:
        ValueError: There is no path, or the duration is not a finite number of at least 0.
    """

    path: str
    segments: tuple[Segment, ...] = ()
    duration: float | None = None
    subset: str | None = None

    def __post_init__(self) -> None:
        if not self.path.strip():
            raise ValueError("an annotation needs the path of its video")
        if self.duration is not None and not (math.isfinite(self.duration) and self.duration >= 0):
            raise ValueError(f"the duration of a video must be finite and at least 0, got {self.duration}")


class Place:
    """A place in a file, which errors name.

    Args:
        file: The file.
        line: Line, from 1, or the keys that lead to the place in JSON; None: the whole file.
    """

    def __init__(self, file: Path, line: int | str | None = None) -> None:
        self.file, self.line = file, line

    def __str__(self) -> str:
        return str(self.file) if self.line is None else f"{self.file}:{self.line}"

    def at(self, line: int | str) -> Place:
        """Another place in the same file."""
        return Place(self.file, line)

    def error(self, what: str, got: object = None, allowed: str | None = None, remedy: str | None = None) -> DataError:
        """The error for what is wrong here."""
        return DataError(what, where=self, got=got, allowed=allowed, remedy=remedy)

    def number(self, value: object, name: str) -> float:
        """A finite number, from a number or from text.

        Raises:
            DataError: It is none.
        """
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError
            number = float(value)
            if not math.isfinite(number):
                raise ValueError
        except (ValueError, OverflowError):
            raise self.error(f"{name} is not a number.", value, "seconds, such as 12.5") from None
        return number

    def text(self, value: object, name: str) -> str:
        """Text that is not blank, as it is.

        Raises:
            DataError: It is none.
        """
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"{name} is missing or not text.", value)
        return value

    def segment(self, label: object, start: object, end: object, score: object = None) -> Segment:
        """A segment from what a file holds.

        Raises:
            DataError: A part is missing or wrong, or the end lies before the start.
        """
        first, last = self.number(start, "The start"), self.number(end, "The end")
        if last < first:
            raise self.error("A span ends before it starts.", f"{first:g} to {last:g}", "start <= end, in seconds")
        sure = None if score in (None, "") else self.number(score, "The score")
        return Segment(self.text(label, "The label"), first, last, sure)

    def length(self, value: object) -> float | None:
        """The duration of a video; None where there is none.

        Raises:
            DataError: It is not a number of at least 0.
        """
        if value in (None, ""):
            return None
        seconds = self.number(value, "The duration")
        if seconds < 0:
            raise self.error("The duration is below 0.", value)
        return seconds

    def mapping(self, value: object, name: str) -> dict[str, Any]:
        """An object of JSON.

        Raises:
            DataError: It is none.
        """
        if not isinstance(value, dict):
            raise self.error(f"{name} is not an object.", value)
        return value

    def sequence(self, value: object, name: str) -> list[Any]:
        """An array of JSON.

        Raises:
            DataError: It is none.
        """
        if not isinstance(value, list):
            raise self.error(f"{name} is not an array.", value)
        return value


class Gathering:
    """Spans that come one by one, gathered video by video in the order in which the videos first come."""

    def __init__(self) -> None:
        self._segments: dict[str, list[Segment]] = {}
        self._facts: dict[str, tuple[float | None, str | None]] = {}

    def add(self, path: str, segment: Segment | None, duration: float | None, subset: str | None, place: Place) -> None:
        """Adds a span, or (None) a video without one.

        Raises:
            DataError: The video's duration or subset is another one than before.
        """
        before = self._facts.get(path, (None, None))
        for name, old, new in (("duration", before[0], duration), ("subset", before[1], subset)):
            if old is not None and new is not None and old != new:
                raise place.error(f"The video {path!r} has two values of {name}.", f"{old} and {new}")
        self._facts[path] = (
            duration if before[0] is None else before[0],
            subset if before[1] is None else before[1],
        )
        spans = self._segments.setdefault(path, [])
        if segment is not None:
            spans.append(segment)

    def annotations(self) -> list[Annotation]:
        """The videos."""
        return [Annotation(path, tuple(spans), *self._facts[path]) for path, spans in self._segments.items()]


def only(annotations: Iterable[Annotation], place: Place) -> Annotation:
    """The one video of a form that holds one a file.

    Raises:
        DataError: There is another number.
    """
    videos = list(annotations)
    if len(videos) != 1:
        raise place.error("This form holds one video a file.", f"{len(videos)} videos", remedy="write a file for each")
    return videos[0]


def milliseconds(seconds: float, place: Place) -> int:
    """A time for forms that count whole milliseconds from 0.

    Raises:
        DataError: It lies before 0.
    """
    if seconds < 0:
        raise place.error("This form has no times before 0.", seconds)
    return round(seconds * 1000)
