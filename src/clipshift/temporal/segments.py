"""A span of time with a label, and how two of them compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """Something that lasts from one time to another.

    Attributes:
        label: What it is; not blank.
        start: Seconds.
        end: Seconds, at or after `start`.
        score: How sure a detector is of it, larger being surer; None where people said so.

    Raises:
        ValueError: A time or the score is not a finite number, the end lies before the start, or there is no label.
    """

    label: str
    start: float
    end: float
    score: float | None = None

    def __post_init__(self) -> None:
        if not self.label.strip():
            raise ValueError("a segment needs a label")
        if not (math.isfinite(self.start) and math.isfinite(self.end)):
            raise ValueError(f"the times of a segment must be finite, got {self.start} to {self.end}")
        if self.end < self.start:
            raise ValueError(f"a segment must not end before it starts, got {self.start} to {self.end}")
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"the score of a segment must be finite, got {self.score}")

    @property
    def duration(self) -> float:
        """Seconds from start to end, at least 0."""
        return self.end - self.start


def sort_segments(segments: Iterable[Segment]) -> list[Segment]:
    """Segments by start, then end, then label; those equal in all three with the highest score first."""
    return sorted(
        segments, key=lambda one: (one.start, one.end, one.label, -math.inf if one.score is None else -one.score)
    )


def overlap(first: Segment, second: Segment) -> float:
    """Seconds that two segments share, at least 0; their labels do not count."""
    return max(0.0, min(first.end, second.end) - max(first.start, second.start))


def tiou(first: Segment, second: Segment) -> float:
    """Temporal intersection over union of two segments, in [0, 1]; their labels do not count.

    Two segments of no length have the union 0; their tIoU is 0 by definition, also where they are equal.
    """
    shared = overlap(first, second)
    # The order of the operations is that of the ActivityNet evaluation: a tIoU at a threshold rounds alike.
    union = second.duration + first.duration - shared
    return shared / union if union > 0 else 0.0


def match_segments(predicted: Sequence[Segment], truth: Sequence[Segment], threshold: float) -> list[int | None]:
    """Matches predictions to true segments of one video and one label, as the ActivityNet evaluation does.

    From the highest score down, each prediction takes the free true segment of highest tIoU, if that reaches the
    threshold. Of predictions with the same score the one that starts (then ends) earlier comes first, those without a
    score come last; of true segments with the same tIoU the one that starts earlier is taken. So the order in which
    segments are given decides nothing.

    Args:
        predicted: What was found; labels are not compared.
        truth: What is there.
        threshold: Least tIoU of a match, in (0, 1].

    Returns:
        For each prediction the index of its true segment, or None.
    """
    matches: list[int | None] = [None] * len(predicted)
    free = set(range(len(truth)))
    for number in sorted(range(len(predicted)), key=lambda one: _by_score(predicted[one])):
        chosen = best_match(predicted[number], truth, free, threshold)
        if chosen is not None:
            matches[number] = chosen
            free.discard(chosen)
    return matches


def best_match(prediction: Segment, truth: Sequence[Segment], free: set[int], threshold: float) -> int | None:
    """The index, among those in `free`, of the true segment of highest tIoU at or above the threshold, or None.

    Of equal ones, that which starts, then ends, then stands earlier.
    """
    reached = [(-tiou(prediction, truth[one]), truth[one].start, truth[one].end, one) for one in free]
    reached = [one for one in reached if -one[0] >= threshold]
    return min(reached)[3] if reached else None


def _by_score(segment: Segment) -> tuple[float, float, float]:
    return (math.inf if segment.score is None else -segment.score, segment.start, segment.end)
