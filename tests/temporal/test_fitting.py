"""Rules fitted to data whose best rule is known."""

from __future__ import annotations

import numpy as np
import pytest

from clipshift.temporal import EventRule, EventRules, ScoredVideo, Segment, fit_rules


def video(level: float, noise: float = 0.0, events: int = 6) -> ScoredVideo:
    """Events of 4 s every 10 s, of the class `a`, which score `level`; else spikes of the height `noise`."""
    times = np.arange(0, 10.0 * events)
    inside = times % 10 < 4
    spike = times % 10 == 7
    a = np.where(inside, level, np.where(spike, noise, 0.02))
    truth = tuple(Segment("a", 10.0 * one, 10.0 * one + 4) for one in range(events))
    return ScoredVideo(times, np.stack([1 - a, a], axis=1), truth, 10.0 * events)


def test_a_threshold_that_fits_is_found() -> None:
    fitted = fit_rules([video(0.35)], ["background", "a"])
    assert set(fitted.classes) == {"a"}
    assert fitted.classes["a"].f1 == 1
    assert fitted.classes["a"].reason is None
    assert 0.02 < fitted.rules.of("a").enter <= 0.35


def test_spikes_are_left_out() -> None:
    fitted = fit_rules([video(0.35, noise=0.9)], ["background", "a"])
    assert (fitted.classes["a"].hits, fitted.classes["a"].false_events) == (6, 0)


def test_a_lag_that_fits_is_found() -> None:
    there = video(0.9)
    late = ScoredVideo(there.times + 3, there.probabilities, there.truth, there.duration + 3)
    assert fit_rules([late], ["background", "a"], threshold=0.9).classes["a"].f1 == 0
    fitted = fit_rules([late], ["background", "a"], threshold=0.9, lags=[1.0, 2.0, 3.0, 4.0])
    assert fitted.rules.lag == 3
    assert fitted.classes["a"].hits >= 5  # of the first one, the beginning of a window is not full
    with pytest.raises(ValueError, match="lags"):
        fit_rules([late], ["a"], lags=[-1.0])


def test_of_equal_rules_the_one_at_hand_stays() -> None:
    base = EventRules(classes={"a": EventRule(enter=0.45, leave=0.2)})
    assert fit_rules([video(0.9)], ["background", "a"], base=base).rules == base


def test_too_few_events_keep_the_rule_and_say_so() -> None:
    fitted = fit_rules([video(0.35, events=2)], ["background", "a"])
    assert fitted.rules == EventRules()
    assert fitted.classes["a"].reason == "2 events in the validation videos, fewer than 5: its rule stays"
    assert fitted.classes["a"].hits == 0


def test_false_events_at_a_recall() -> None:
    # Half of the events score as low as the false ones: a recall of a half is had without any of these.
    sure, unsure = video(0.9), video(0.3)
    times = np.arange(0, 60.0)
    alarm = np.where(times % 10 < 4, 0.3, 0.02)
    empty = ScoredVideo(times, np.stack([1 - alarm, alarm], axis=1), (), 60.0)
    half = fit_rules([sure, unsure, empty], ["background", "a"], measure="false_events", recall=0.5).classes["a"]
    assert (half.recall, half.false_per_hour) == (0.5, 0)
    all_of_them = fit_rules([sure, unsure, empty], ["background", "a"], measure="false_events", recall=1.0).classes["a"]
    assert (all_of_them.recall, all_of_them.false_events) == (1, 6)
    assert all_of_them.false_per_hour == pytest.approx(120)


def test_the_same_data_give_the_same_rules() -> None:
    random = np.random.default_rng(0)
    base = video(0.6, noise=0.7)
    noisy = np.clip(base.probabilities + random.normal(0, 0.15, base.probabilities.shape), 0, 1)
    data = ScoredVideo(base.times, noisy, base.truth, base.duration)
    first, again = (fit_rules([data], ["background", "a"]) for _ in range(2))
    assert first == again
    assert first.classes["a"].f1 > 0.8


def test_nothing_to_fit_to() -> None:
    with pytest.raises(ValueError, match="needs videos"):
        fit_rules([], ["a"])
    with pytest.raises(ValueError, match="threshold"):
        fit_rules([video(0.5)], ["background", "a"], threshold=0)
