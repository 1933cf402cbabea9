"""How good found segments are: mean average precision, segmental F1, edit score, frame accuracy, false events, delay.

Videos are named, and what was found (`predictions`) and what is there (`truth`) are mappings from a name to segments;
a name that one of them lacks has no segments there. Every figure comes with the counts that it was made from; where
there is nothing to measure, that is an error, never a number that is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipshift.errors import DataError
from clipshift.temporal.segments import Segment, best_match, match_segments, tiou

Segments = Mapping[str, Sequence[Segment]]

ACTIVITYNET_TIOU = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""The thresholds of ActivityNet's challenge (Caba Heilbron et al. 2015): 0.5, 0.55, ..., 0.95."""
THUMOS_TIOU = tuple(np.linspace(0.3, 0.7, 5).tolist())
"""The thresholds that are common for THUMOS14: 0.3, 0.4, ..., 0.7."""
SEGMENTAL_OVERLAPS = (0.1, 0.25, 0.5)
"""The overlaps of the segmental F1 of Lea et al. 2017: F1@10, F1@25, F1@50."""


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Average precision of detection.

    Attributes:
        mean: Mean over thresholds of the mean over classes, in [0, 1].
        by_threshold: Threshold of tIoU to the mean over classes.
        by_class: Class to the mean over thresholds; the classes that have true segments, sorted.
        true_segments: Class to the number of its true segments.
        predictions: Predictions that counted.
        unknown: Predictions that did not, as their class has no true segment in any video.
    """

    mean: float
    by_threshold: dict[float, float]
    by_class: dict[str, float]
    true_segments: dict[str, int]
    predictions: int
    unknown: int


def mean_average_precision(
    predictions: Segments, truth: Segments, thresholds: Sequence[float] = ACTIVITYNET_TIOU
) -> MeanAveragePrecision:
    """Mean average precision over classes and thresholds of tIoU, as ActivityNet's evaluation computes it.

    For each class, predictions of all videos go from the highest score down. One is right when it takes a true segment
    of its video and class: of those not taken yet, the one of highest tIoU, at or above the threshold. So a second
    prediction of the same segment is wrong. AP is the area below the precision made falling (each value the highest
    at its recall or a higher one; Everingham et al. 2010, as of VOC 2010).

    Where the published evaluation leaves the order open, it is set: of predictions with equal scores the one whose
    video's name comes first, then the earlier one; of true segments with equal tIoU the earlier one. Predictions of a
    class without true segments do not count (there is no AP for it), but are counted as `unknown`; those in videos
    without true segments are wrong. A class with true segments and no predictions has the AP 0.

    Args:
        predictions: Found segments; each has a score.
        truth: True segments.
        thresholds: Thresholds of tIoU, in (0, 1].

    Raises:
        DataError: There are no true segments, or a prediction has no score.
        ValueError: A threshold is out of its range, or there is none.
    """
    if not thresholds or not all(0 < one <= 1 for one in thresholds):
        raise ValueError(f"thresholds must be in (0, 1], at least one, got {thresholds}")
    labels = sorted({one.label for segments in truth.values() for one in segments})
    if not labels:
        raise DataError("There are no true segments: average precision measures nothing.", remedy="add annotations")
    for video, segments in predictions.items():
        for one in segments:
            if one.score is None:
                raise DataError("A predicted segment has no score; average precision needs one.", where=video, got=one)
    table = np.array([[_average_precision(label, predictions, truth, one) for one in thresholds] for label in labels])
    total = sum(len(segments) for segments in predictions.values())
    known = sum(one.label in labels for segments in predictions.values() for one in segments)
    return MeanAveragePrecision(
        mean=float(table.mean(axis=0).mean()),
        by_threshold=dict(zip(map(float, thresholds), table.mean(axis=0).tolist(), strict=True)),
        by_class=dict(zip(labels, table.mean(axis=1).tolist(), strict=True)),
        true_segments={label: sum(len(_of(label, segments)) for segments in truth.values()) for label in labels},
        predictions=known,
        unknown=total - known,
    )


def _of(label: str, segments: Sequence[Segment]) -> list[Segment]:
    return [one for one in segments if one.label == label]


def _average_precision(label: str, predictions: Segments, truth: Segments, threshold: float) -> float:
    """AP of one class at one threshold."""
    true = {video: _of(label, segments) for video, segments in truth.items()}
    free = {video: set(range(len(segments))) for video, segments in true.items()}
    ranked = [(video, one) for video, segments in predictions.items() for one in _of(label, segments)]
    ranked.sort(key=lambda pair: (-(pair[1].score or 0.0), pair[0], pair[1].start, pair[1].end))
    right = np.zeros(len(ranked))
    for rank, (video, one) in enumerate(ranked):
        chosen = best_match(one, true.get(video, []), free.get(video, set()), threshold)
        if chosen is not None:
            right[rank] = 1
            free[video].discard(chosen)
    return interpolated_average_precision(right, sum(len(segments) for segments in true.values()))


def interpolated_average_precision(right: np.ndarray, positives: int) -> float:
    """Area below the falling envelope of precision over recall.

    Args:
        right: (predictions,), 1 where the prediction of this rank is right, else 0.
        positives: How many there are to be found, at least 1.

    Returns:
        In [0, 1]; 0 without predictions.
    """
    found = np.cumsum(right)
    recall = np.concatenate([[0.0], found / positives])
    precision = found / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * falling))


@dataclass(frozen=True)
class Counts:
    """Right, wrong and missed segments.

    Attributes:
        hits: Predictions that are right.
        false: Predictions that are wrong.
        misses: True segments that none found.
    """

    hits: int
    false: int
    misses: int

    @property
    def f1(self) -> float | None:
        """2 hits / (2 hits + false + misses), in [0, 1]; None without any segments."""
        everything = 2 * self.hits + self.false + self.misses
        return 2 * self.hits / everything if everything else None

    @property
    def precision(self) -> float | None:
        """Share of the predictions that is right; None without predictions."""
        return self.hits / (self.hits + self.false) if self.hits + self.false else None

    @property
    def recall(self) -> float | None:
        """Share of the true segments that is found; None without true segments."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else None


def segmental_f1(
    predictions: Segments, truth: Segments, overlap: float, *, background: Sequence[str] = ("background",)
) -> Counts:
    """Counts of the segmental F1 of Lea et al. 2017 (section 4), over all videos.

    In the order of time, each prediction looks at the true segment of its class that it overlaps most (tIoU; of equal
    ones the earlier). It is right where that reaches `overlap` and was not found before; so one true segment that is
    found in two pieces costs one false prediction. Scores do not count.

    Args:
        predictions: Found segments.
        truth: True segments.
        overlap: Least tIoU, in (0, 1]; the paper: 0.1, 0.25 and 0.5.
        background: Classes that are left out.

    Raises:
        DataError: There are neither predictions nor true segments.
    """
    hits = false = misses = 0
    for video in _videos(predictions, truth):
        found, true = (_in_time(one.get(video, ()), background) for one in (predictions, truth))
        taken: set[int] = set()
        for one in found:
            chosen = _most_overlapping(one, true)
            if chosen is not None and chosen not in taken and tiou(one, true[chosen]) >= overlap:
                taken.add(chosen)
        hits += len(taken)
        false += len(found) - len(taken)
        misses += len(true) - len(taken)
    if hits + false + misses == 0:
        raise DataError("There are no segments: F1 measures nothing.", remedy="add annotations")
    return Counts(hits, false, misses)


def _most_overlapping(prediction: Segment, truth: Sequence[Segment]) -> int | None:
    """The index of the true segment of the same label and highest tIoU above 0, of equal ones the first."""
    ratios = [tiou(prediction, one) if one.label == prediction.label else 0.0 for one in truth]
    best = max(ratios, default=0.0)
    return ratios.index(best) if best > 0 else None


def _in_time(segments: Sequence[Segment], background: Sequence[str]) -> list[Segment]:
    return sorted(
        (one for one in segments if one.label not in background), key=lambda one: (one.start, one.end, one.label)
    )


def _videos(predictions: Segments, truth: Segments) -> list[str]:
    return sorted({*predictions, *truth})


def edit_score(
    predictions: Segments, truth: Segments, *, background: Sequence[str] = ("background",)
) -> tuple[float, int]:
    """Segmental edit score (Lea et al. 2016): whether the right things happen in the right order, at any times.

    For each video 1 - d / max(n, m), where d is the Levenshtein distance between the labels of the n found and the m
    true segments in the order of their times; then the mean over the videos. A video without any segment on both sides
    is left out.

    Returns:
        The score in [0, 1], and the number of videos that it is the mean of.

    Raises:
        DataError: No video has a segment.
    """
    scores = []
    for video in _videos(predictions, truth):
        found, true = (_in_time(one.get(video, ()), background) for one in (predictions, truth))
        longest = max(len(found), len(true))
        if longest:
            scores.append(1 - _levenshtein([one.label for one in found], [one.label for one in true]) / longest)
    if not scores:
        raise DataError("There are no segments: the edit score measures nothing.", remedy="add annotations")
    return math.fsum(scores) / len(scores), len(scores)


def _levenshtein(first: Sequence[str], second: Sequence[str]) -> int:
    """Fewest insertions, deletions and replacements that turn one sequence into the other."""
    row = list(range(len(second) + 1))
    for number, one in enumerate(first, start=1):
        before, row[0] = row[0], number
        for place, other in enumerate(second, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (one != other))
    return row[-1]


def frame_accuracy(predicted: np.ndarray | Sequence[str], true: np.ndarray | Sequence[str]) -> tuple[float, int]:
    """Share of frames with the right label.

    Args:
        predicted: (frames,), a label each.
        true: (frames,), a label each.

    Returns:
        The share in [0, 1], and the number of frames.

    Raises:
        DataError: There are no frames.
        ValueError: The numbers of frames differ.
    """
    first, second = np.asarray(predicted), np.asarray(true)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"both must have the shape (frames,), got {first.shape} and {second.shape}")
    if not first.size:
        raise DataError("There are no frames: accuracy measures nothing.")
    return float(np.mean(first == second)), first.size


def frame_labels(segments: Sequence[Segment], times: Sequence[float], background: str = "background") -> list[str]:
    """The label at each time: that of the segment in which it lies, start included and end not.

    Where segments overlap, that of the highest score, those without one last, then of the latest start; where there
    is none, `background`.
    """
    ranked = sorted(segments, key=lambda one: (-math.inf if one.score is None else one.score, one.start, one.label))
    labels = [background] * len(times)
    for segment in ranked:  # later ones write over earlier ones
        for place, time in enumerate(times):
            if segment.start <= time < segment.end:
                labels[place] = segment.label
    return labels


@dataclass(frozen=True)
class EventErrors:
    """False and missed events.

    Attributes:
        counts: Hits, false events and misses.
        hours: Length of all videos.
    """

    counts: Counts
    hours: float

    @property
    def false_per_hour(self) -> float:
        """False events an hour of video."""
        return self.counts.false / self.hours


def event_errors(
    predictions: Segments, truth: Segments, durations: Mapping[str, float], threshold: float = 0.5
) -> EventErrors:
    """Counts events found, events that are none and events missed; each class for itself, matched as for AP.

    Args:
        predictions: Found segments.
        truth: True segments.
        durations: Seconds of every video, those in which nothing happens and nothing was found, too.
        threshold: Least tIoU of an event and what finds it, in (0, 1].

    Raises:
        DataError: The duration of a video is missing or not above 0, or there are no videos.
    """
    videos = sorted({*_videos(predictions, truth), *durations})
    if not videos:
        raise DataError("There are no videos: false events an hour measure nothing.")
    seconds = []
    for video in videos:
        duration = durations.get(video)
        if duration is None or not (math.isfinite(duration) and duration > 0):
            raise DataError(
                "False events an hour need the duration of every video.", where=video, got=duration, allowed="above 0 s"
            )
        seconds.append(duration)
    found = true = hits = 0
    for video in videos:
        predicted, there = predictions.get(video, ()), truth.get(video, ())
        found, true = found + len(predicted), true + len(there)
        for label in sorted({one.label for one in there}):
            matches = match_segments(_of(label, predicted), _of(label, there), threshold)
            hits += sum(one is not None for one in matches)
    return EventErrors(Counts(hits, found - hits, true - hits), math.fsum(seconds) / 3600)


@dataclass(frozen=True)
class Detection:
    """A found segment and the time at which the detector first told of it (`Event.time` of the kind `new`)."""

    segment: Segment
    time: float


@dataclass(frozen=True)
class Delay:
    """How late events are told.

    Attributes:
        median: Seconds from the true start to the message; half of the found events are told at most so late.
        most: The same for 95 % of them.
        found: Events that were found, so measured.
        events: True events; those that were not found have no delay.
    """

    median: float
    most: float
    found: int
    events: int


def detection_delay(detections: Mapping[str, Sequence[Detection]], truth: Segments, threshold: float = 0.5) -> Delay:
    """Time from the true start of an event to the first message about it, over the events that are found.

    Median and 95 % are values that occurred (the smallest that so large a share does not exceed). A message before the
    true start has a delay below 0.

    Args:
        detections: What was found, and when it was told.
        truth: True segments.
        threshold: Least tIoU of an event and what finds it, in (0, 1].

    Raises:
        DataError: No event was found.
    """
    delays = []
    for video in sorted(truth):
        for label in sorted({one.label for one in truth[video]}):
            there = _of(label, truth[video])
            found = [one for one in detections.get(video, ()) if one.segment.label == label]
            matches = match_segments([one.segment for one in found], there, threshold)
            pairs = zip(found, matches, strict=True)
            delays += [one.time - there[match].start for one, match in pairs if match is not None]
    events = sum(len(segments) for segments in truth.values())
    if not delays:
        raise DataError(
            f"None of {events} events was found: there is no delay to measure.", remedy="lower the threshold of tIoU"
        )
    median, most = np.quantile(delays, [0.5, 0.95], method="inverted_cdf").tolist()
    return Delay(median, most, len(delays), events)
