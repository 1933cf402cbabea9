"""The measures of an evaluation on long videos, all of them at once: from found and true events to `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipshift.errors import DataError
from clipshift.evaluation.temporal_metrics import (
    ACTIVITYNET_TIOU,
    SEGMENTAL_OVERLAPS,
    THUMOS_TIOU,
    Counts,
    Delay,
    Detection,
    EventErrors,
    MeanAveragePrecision,
    detection_delay,
    edit_score,
    event_errors,
    mean_average_precision,
    segmental_f1,
)
from clipshift.temporal import FoundEvent, Segment

_COUNTED = 0.5
"""tIoU from which an event counts as found, where hits, misses, false events and delays are counted."""


@dataclass(frozen=True)
class FoundVideo:
    """A video: what was found, and what is there.

    Attributes:
        events: What was found.
        truth: What is there, background left out.
        seconds: Length.
    """

    events: tuple[FoundEvent, ...]
    truth: tuple[Segment, ...]
    seconds: float

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What was found, as segments."""
        return tuple(one.segment for one in self.events)


@dataclass(frozen=True)
class ClassEvents:
    """The figures of a class.

    Attributes:
        name: The class.
        events: True events.
        counts: Hits, false events and misses at a tIoU of 0.5.
        ap: Average precision, mean over tIoU 0.5 to 0.95; None without true events.
    """

    name: str
    events: int
    counts: Counts
    ap: float | None


@dataclass(frozen=True)
class EventMetrics:
    """How well events are found.

    Attributes:
        videos: Their number.
        events: True events in them.
        activitynet: mAP over tIoU 0.5 to 0.95.
        thumos: mAP over tIoU 0.3 to 0.7.
        f1: Overlap to the counts of the segmental F1.
        edit: Segmental edit score, in [0, 1].
        errors: Found, false and missed events at a tIoU of 0.5, and the length of all videos.
        delay: How late events are told; None where none was found.
        classes: Class by class, in the order of their names.
    """

    videos: int
    events: int
    activitynet: MeanAveragePrecision
    thumos: MeanAveragePrecision
    f1: dict[float, Counts]
    edit: float
    errors: EventErrors
    delay: Delay | None
    classes: tuple[ClassEvents, ...]

    def lines(self) -> list[str]:
        """The figures as lines for people."""
        hours, counts = self.errors.hours, self.errors.counts
        rows = [
            f"{'videos':12}{self.videos} with {self.events} events, {hours:.2f} h",
            f"{'mAP':12}{_percent(self.activitynet.mean)} over tIoU 0.5:0.95, "
            f"{_percent(self.thumos.mean).strip()} over 0.3:0.7",
            f"{'F1':12}" + ", ".join(f"{_percent(one.f1).strip()} @{round(100 * at)}" for at, one in self.f1.items()),
            f"{'edit score':12}{_percent(self.edit)}",
            f"{'events':12}{counts.hits} found (tIoU 0.5), {counts.misses} missed, {counts.false} false: "
            f"{self.errors.false_per_hour:.1f} an hour",
        ]
        if self.delay is not None:
            rows.append(
                f"{'delay':12}{self.delay.median:.2f} s median, {self.delay.most:.2f} s for 95 % of the found ones"
            )
        rows += ["", f"{'class':28}{'events':>7}{'found':>7}{'false':>7}{'F1@50':>8}{'AP':>8}"]
        for one in self.classes:
            rows.append(
                f"{one.name:28}{one.events:7}{one.counts.hits:7}{one.counts.false:7}"
                f"{_percent(one.counts.f1):>8}{_percent(one.ap):>8}"
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """The figures as they stand in `metrics.json`."""
        return {
            "videos": self.videos,
            "events": self.events,
            "hours": self.errors.hours,
            "map_50_95": self.activitynet.mean,
            "map_30_70": self.thumos.mean,
            "map_by_tiou": {
                f"{at:.2f}": value
                for each in (self.activitynet, self.thumos)
                for at, value in each.by_threshold.items()
            },
            "f1": {f"{round(100 * at)}": one.f1 for at, one in self.f1.items()},
            "edit": self.edit,
            "found": self.errors.counts.hits,
            "missed": self.errors.counts.misses,
            "false": self.errors.counts.false,
            "false_per_hour": self.errors.false_per_hour,
            "delay": None
            if self.delay is None
            else {"median": self.delay.median, "most_95": self.delay.most, "of": self.delay.found},
            "classes": {
                one.name: {
                    "events": one.events,
                    "found": one.counts.hits,
                    "missed": one.counts.misses,
                    "false": one.counts.false,
                    "f1_50": one.counts.f1,
                    "ap_50_95": one.ap,
                }
                for one in self.classes
            },
        }


def measure_events(videos: Mapping[str, FoundVideo], background: Sequence[str] = ("background",)) -> EventMetrics:
    """All measures at once.

    Args:
        videos: By name.
        background: Classes that are no events.

    Raises:
        DataError: No video has a true event, or a video has no length.
    """
    found = {name: [one for one in video.segments if one.label not in background] for name, video in videos.items()}
    truth = {name: [one for one in video.truth if one.label not in background] for name, video in videos.items()}
    lengths = {name: video.seconds for name, video in videos.items()}
    activitynet = mean_average_precision(found, truth, ACTIVITYNET_TIOU)
    told = {name: [Detection(one.segment, one.told) for one in video.events] for name, video in videos.items()}
    labels = sorted({one.label for each in (found, truth) for segments in each.values() for one in segments})
    return EventMetrics(
        videos=len(videos),
        events=sum(map(len, truth.values())),
        activitynet=activitynet,
        thumos=mean_average_precision(found, truth, THUMOS_TIOU),
        f1={overlap: segmental_f1(found, truth, overlap, background=background) for overlap in SEGMENTAL_OVERLAPS},
        edit=edit_score(found, truth, background=background)[0],
        errors=event_errors(found, truth, lengths, _COUNTED),
        delay=_delay(told, truth),
        classes=tuple(_of_class(label, found, truth, lengths, activitynet) for label in labels),
    )


def _of_class(
    label: str,
    found: Mapping[str, Sequence[Segment]],
    truth: Mapping[str, Sequence[Segment]],
    lengths: Mapping[str, float],
    precision: MeanAveragePrecision,
) -> ClassEvents:
    here, there = (
        {name: [one for one in segments if one.label == label] for name, segments in each.items()}
        for each in (found, truth)
    )
    counts = event_errors(here, there, lengths, _COUNTED).counts
    return ClassEvents(label, sum(map(len, there.values())), counts, precision.by_class.get(label))


def _delay(told: Mapping[str, Sequence[Detection]], truth: Mapping[str, Sequence[Segment]]) -> Delay | None:
    try:
        return detection_delay(told, truth, _COUNTED)
    except DataError:  # none was found
        return None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:5.1f}%"
