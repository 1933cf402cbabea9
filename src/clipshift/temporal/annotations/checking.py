"""Looks for spans that cannot be meant so."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from clipshift.temporal.annotations.model import Annotation
from clipshift.temporal.segments import Segment, overlap, sort_segments

FindingKind = Literal["negative", "beyond", "empty", "short", "duplicate", "overlap", "unknown"]

_SLACK = 0.05
"""Seconds that a span may exceed a video: durations are rounded, and those of sound and pictures differ."""
_MILLISECONDS = 20.0
"""A span that ends so many times later than its video is likely given in milliseconds."""


@dataclass(frozen=True)
class SpanFinding:
    """A span that is suspicious.

    Attributes:
        kind: `negative`: starts before 0; `beyond`: ends after the video; `empty`: no length; `short`: shorter than a
            frame step; `duplicate`: there twice; `overlap`: shares time with another label of the video; `unknown`: a
            class that the model does not have.
        path: The video.
        segment: The span.
        text: What is wrong, as a sentence.
    """

    kind: FindingKind
    path: str
    segment: Segment
    text: str


def check_spans(
    annotations: Sequence[Annotation],
    durations: Mapping[str, float] | None = None,
    frame_step: float | None = None,
    *,
    classes: Collection[str] | None = None,
) -> list[SpanFinding]:
    """Looks the spans of videos over.

    Args:
        annotations: The videos.
        durations: Seconds of videos, by path, as measured; else those of the annotations are taken. A video without
            either is not looked at for its end.
        frame_step: Seconds from one frame that a model sees to the next; None: not looked at.
        classes: Names of the known classes; None: not looked at.

    Returns:
        What was found, video by video in the order given, span by span in the order of time.
    """
    findings = []
    for video in annotations:
        duration = (durations or {}).get(video.path, video.duration)
        ordered = sort_segments(video.segments)
        for number, one in enumerate(ordered):
            for kind, text in (
                *_alone(one, duration, frame_step, classes),
                *_beside(one, ordered[:number]),
            ):
                findings.append(SpanFinding(kind, video.path, one, text))
    return findings


def _alone(
    segment: Segment, duration: float | None, frame_step: float | None, classes: Collection[str] | None
) -> Iterator[tuple[FindingKind, str]]:
    if segment.start < 0:
        yield "negative", f"starts at {segment.start:g} s, before the video"
    if duration is not None and segment.end > duration + _SLACK:
        hint = "; are the times in milliseconds?" if segment.end > _MILLISECONDS * duration else ""
        yield "beyond", f"ends at {segment.end:g} s, the video at {duration:g} s{hint}"
    if segment.duration == 0:
        yield "empty", f"has no length at {segment.start:g} s"
    elif frame_step is not None and segment.duration < frame_step:
        yield "short", f"lasts {segment.duration:g} s, less than the {frame_step:g} s from frame to frame"
    if classes is not None and segment.label not in classes:
        yield "unknown", f"has the unknown class {segment.label!r}"


def _beside(segment: Segment, before: Sequence[Segment]) -> Iterator[tuple[FindingKind, str]]:
    """What the spans that start earlier have to do with it; one finding of each kind at most."""
    if any((one.label, one.start, one.end) == (segment.label, segment.start, segment.end) for one in before):
        yield "duplicate", f"is there twice, from {segment.start:g} to {segment.end:g} s"
    other = next((one for one in before if one.label != segment.label and overlap(one, segment) > 0), None)
    if other is not None:
        yield "overlap", f"shares {overlap(other, segment):g} s with {other.label!r}"
