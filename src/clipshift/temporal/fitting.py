"""Event rules fitted to validation data, class by class, by a small search that gives the same result every time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clipshift.config.event_rules import EventRule, EventRules
from clipshift.temporal.events import find_segments
from clipshift.temporal.segments import Segment, match_segments, tiou

Measure = Literal["f1", "false_events"]

_ENTER = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_LEAVE = (1.0, 0.8, 0.6)
"""As shares of `enter`."""
_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0)
_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class ScoredVideo:
    """A validation video: what a model said about it and what is there.

    Attributes:
        times: float64 (observations,), seconds, not falling.
        probabilities: (observations, classes), in [0, 1].
        truth: The true segments.
        duration: Seconds, at or after the last observation.
    """

    times: np.ndarray
    probabilities: np.ndarray
    truth: tuple[Segment, ...]
    duration: float


@dataclass(frozen=True)
class ClassFit:
    """What fitting found for a class.

    Attributes:
        events: True events in the validation videos.
        hits: Of them, those that are found, by a prediction of a tIoU at the threshold.
        false_events: Predictions that found none.
        hours: Length of the validation videos.
        reason: Why the class keeps the rule that it had; None where it was fitted.
    """

    events: int
    hits: int
    false_events: int
    hours: float
    reason: str | None = None

    @property
    def f1(self) -> float:
        """2 hits / (events + predictions), in [0, 1]; 0 where there are neither."""
        everything = self.events + self.hits + self.false_events
        return 2 * self.hits / everything if everything else 0.0

    @property
    def recall(self) -> float:
        """Share of the events that is found; 0 where there are none."""
        return self.hits / self.events if self.events else 0.0

    @property
    def false_per_hour(self) -> float:
        """False events an hour."""
        return self.false_events / self.hours


@dataclass(frozen=True)
class FittedRules:
    """Fitted rules, and for each class but the background what they reach on the data that they were fitted to."""

    rules: EventRules
    classes: dict[str, ClassFit]


def fit_rules(
    videos: Sequence[ScoredVideo],
    classes: Sequence[str],
    *,
    measure: Measure = "f1",
    threshold: float = 0.5,
    recall: float = 0.8,
    least_events: int = 5,
    base: EventRules | None = None,
    lags: Sequence[float] = (),
) -> FittedRules:
    """Fits a rule to each class, and the lag of all.

    The lag comes first: of `lags` and that of `base` the one at which most events are found by the rules of `base`; of
    equal ones, the one at which what is found overlaps the events most, then the one tried first.

    The search starts from the rule of `base` and goes twice through `enter` with `leave`, `smoothing`, `shortest` and
    `merge_gap`, each time over a fixed set of values with the others as they are. A value is taken only where it is
    better than the best so far: of equal ones the rule at hand stays, then the one tried first (from low to high, of
    `leave` from high to low). `cooldown` and `update_every` stay.

    Args:
        videos: Validation videos.
        classes: Names of the classes, in the order of the probabilities.
        measure: `f1`: the highest F1. `false_events`: the fewest false events that leave at least the share `recall`
            of the events found; where no rule finds that many, the one that finds most.
        threshold: Least tIoU of a prediction and the event that it finds.
        recall: For `false_events`, in (0, 1].
        least_events: A class with fewer true events keeps the rule of `base`, and the reason is said.
        base: Where to start; by default the default rules.
        lags: Seconds that are tried as `lag`, besides that of `base`.

    Returns:
        The rules and what they reach. That is measured on the same videos, so it is better than on new ones.

    Raises:
        ValueError: There are no videos, they have no length, or a number is out of its range.
    """
    if not videos or not all(math.isfinite(video.duration) and video.duration > 0 for video in videos):
        raise ValueError("fitting needs videos, each of a duration above 0")
    if not (0 < threshold <= 1 and 0 < recall <= 1 and least_events >= 1):
        raise ValueError("threshold and recall must be in (0, 1], least_events at least 1")
    if not all(math.isfinite(lag) and lag >= 0 for lag in lags):
        raise ValueError(f"lags must be at least 0, got {lags}")
    base = _with_lag(base or EventRules(), videos, classes, threshold, lags)
    rules, fits = dict(base.classes), {}
    for index, name in enumerate(classes):
        if name in base.background:
            continue
        task = _Task(tuple(videos), name, index, base, measure, threshold, recall)
        events = sum(one.label == name for video in videos for one in video.truth)
        if events < least_events:
            reason = f"{events} events in the validation videos, fewer than {least_events}: its rule stays"
            fits[name] = task.measured(base.of(name), reason)
            continue
        rules[name] = _search(task)
        fits[name] = task.measured(rules[name])
    return FittedRules(base.model_copy(update={"classes": rules}), fits)


def _with_lag(
    base: EventRules, videos: Sequence[ScoredVideo], classes: Sequence[str], threshold: float, lags: Sequence[float]
) -> EventRules:
    """The rules with the lag at which they find most."""

    def value(rules: EventRules) -> tuple[float, float]:
        hits = found = events = 0
        overlaps = 0.0
        for video in videos:
            segments = find_segments(video.times, video.probabilities, rules, classes, end=video.duration)
            found, events = found + len(segments), events + len(video.truth)
            for label in sorted({one.label for one in video.truth}):
                here, there = ([one for one in each if one.label == label] for each in (segments, video.truth))
                hits += sum(one is not None for one in match_segments(here, there, threshold))
                overlaps += sum(max((tiou(one, other) for other in here), default=0.0) for one in there)
        return 2 * hits / max(found + events, 1), overlaps

    best, reached = base, value(base) if lags else (0.0, 0.0)
    for lag in lags:
        candidate = base.model_copy(update={"lag": float(lag)})
        now = value(candidate)
        if now > reached:
            best, reached = candidate, now
    return best


@dataclass(frozen=True, eq=False)
class _Task:
    videos: tuple[ScoredVideo, ...]
    label: str
    index: int
    base: EventRules
    measure: Measure
    threshold: float
    recall: float

    def measured(self, rule: EventRule, reason: str | None = None) -> ClassFit:
        """What a rule finds of the class in all videos."""
        rules = self.base.model_copy(update={"default": rule, "classes": {}, "background": ()})
        events = hits = predictions = 0
        for video in self.videos:
            scores = np.asarray(video.probabilities)[:, self.index : self.index + 1]
            found = find_segments(video.times, scores, rules, [self.label], end=video.duration)
            truth = [one for one in video.truth if one.label == self.label]
            hits += sum(one is not None for one in match_segments(found, truth, self.threshold))
            events += len(truth)
            predictions += len(found)
        hours = sum(video.duration for video in self.videos) / 3600
        return ClassFit(events, hits, predictions - hits, hours, reason)

    def value(self, rule: EventRule) -> tuple[float, ...]:
        """How good a rule is; larger is better, the first number that differs decides."""
        fit = self.measured(rule)
        if self.measure == "f1":
            return (fit.f1,)
        reached = fit.recall >= self.recall
        return (1.0, -fit.false_events, fit.recall) if reached else (0.0, fit.recall, -fit.false_events)


def _search(task: _Task) -> EventRule:
    best = task.base.of(task.label)
    value = task.value(best)
    for _ in range(_ROUNDS):
        before = best
        for step in range(4):
            for candidate in _candidates(best, step):
                found = task.value(candidate)
                if found > value:
                    best, value = candidate, found
        if best == before:
            break
    return best


def _candidates(rule: EventRule, step: int) -> Iterator[EventRule]:
    """The rule with other values in one place; the values in the order in which they are tried."""
    if step == 0:
        changes = [{"enter": enter, "leave": round(enter * share, 6)} for enter in _ENTER for share in _LEAVE]
    else:
        changes = [{("smoothing", "shortest", "merge_gap")[step - 1]: seconds} for seconds in _SECONDS]
    for change in changes:
        yield rule.model_copy(update=change)
