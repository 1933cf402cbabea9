"""What a time line is: the events of a video, and everything that they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipshift._version import __version__
from clipshift.config import EventRules
from clipshift.temporal import FoundEvent, Segment

FORMAT = 1
"""Version of `segments.json`."""


@dataclass(frozen=True)
class Cause:
    """All that decides what a time line says; the same cause has the same events.

    Attributes:
        video: Path, whole, of the file.
        bytes: Its size.
        modified: When it was changed last, nanoseconds since 1970.
        model: `path` and `sha256` of the model, where they are known.
        rate: Frames a second that the network saw.
        window: Whether it answered for a sliding window.
        rules: How probabilities became events.
        classes: K names.
        part: Which part of the video was looked at; None: all of it.
    """

    video: str
    bytes: int
    modified: int
    model: Mapping[str, str]
    rate: float
    window: bool
    rules: EventRules
    classes: tuple[str, ...]
    part: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in `segments.json`."""
        return {
            "video": {"path": self.video, "bytes": self.bytes, "modified": self.modified},
            "model": dict(self.model),
            "rate": self.rate,
            "window": self.window,
            "rules": self.rules.model_dump(mode="json"),
            "classes": list(self.classes),
            **({} if self.part is None else {"part": dict(self.part)}),
        }


@dataclass(frozen=True)
class Timeline:
    """What happens when in a video.

    Attributes:
        video: The video, as it was named.
        folder: Where the files are.
        events: What was found, in the order of time.
        seconds: Length of the video.
        frames: Frames that were decoded.
        notes: What is to be known: damage that was left out, an end that is missing.
        made: Whether this call made it; false for one that was there.
        took: Seconds that it took.
        truth: What is annotated, if it was given; else None.
    """

    video: str
    folder: Path
    events: tuple[FoundEvent, ...]
    seconds: float
    frames: int
    notes: tuple[str, ...] = ()
    made: bool = True
    took: float = 0.0
    truth: tuple[Segment, ...] | None = field(default=None, compare=False)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The events as segments; a score is the mean probability."""
        return tuple(one.segment for one in self.events)


def segments_json(timeline: Timeline, cause: Cause, engine: str) -> dict[str, Any]:
    """`segments.json`: the form of ActivityNet, with everything else beside it."""
    marks = [
        {
            "label": one.last.label,
            "segment": [one.last.start, one.last.end],
            "score": one.last.mean,
            "peak": one.last.peak,
            "id": one.last.id,
            "told": one.told,
            "reason": one.last.reason,
        }
        for one in timeline.events
    ]
    return {
        "format": FORMAT,
        "clipshift": __version__,
        "database": {timeline.video: {"duration": timeline.seconds, "annotations": marks}},
        "cause": cause.to_json(),
        "engine": engine,
        "frames": timeline.frames,
        "notes": list(timeline.notes),
        "took": round(timeline.took, 3),
    }
