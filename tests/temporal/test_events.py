"""Events from scores: hand-made courses of probability, and streams cut anywhere against whole files."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from clipshift.errors import ConfigError
from clipshift.temporal import (
    Event,
    EventRule,
    EventRules,
    Segment,
    advance,
    advance_all,
    find_events,
    find_segments,
    finish,
    interrupt,
    start,
)

PLAIN: dict[str, float] = {"shortest": 0.0, "merge_gap": 0.0}


def rules(**values: float) -> EventRules:
    return EventRules(default=EventRule(**{**PLAIN, **values}))


def spans(course: list[float], **values: float) -> list[tuple[float, float]]:
    """Segments of a course of one observation a second."""
    found = find_segments(range(len(course)), [[value] for value in course], rules(**values), ["a"])
    return [(one.start, one.end) for one in found]


def told(
    course: list[float], times: list[float] | None = None, **values: float
) -> list[tuple[str, float, float, float]]:
    state = start(rules(**values), ["a"])
    events, state = advance_all(state, times or list(range(len(course))), [[value] for value in course])
    return [(one.kind, one.time, one.start, one.end) for one in events]


def test_hysteresis() -> None:
    assert spans([0.1, 0.45, 0.5, 0.45, 0.4, 0.39, 0.45, 0.1]) == [(2, 5)]
    assert spans([0.1, 0.45, 0.5, 0.45, 0.6, 0.39], leave=0.5) == [(2, 3), (4, 5)]


def test_smoothing_is_the_moving_average_in_time() -> None:
    # From 0 towards 1 with the time constant 2: 1 - exp(-t / 2) passes 0.6 between 1 and 2 seconds.
    assert spans([0, 1, 1, 1, 0, 0, 0], smoothing=2.0, enter=0.6, leave=0.6) == [(2, 4)]
    state = start(rules(smoothing=2.0, enter=0.1, leave=0.1), ["a"])
    events, _ = advance_all(state, [0.0, 1.5], [[0.0], [1.0]])
    assert events[0].peak == pytest.approx(1 - math.exp(-0.75), abs=1e-12)


def test_short_events_never_were() -> None:
    course = [0, 0.9, 0.9, 0, 0.9, 0, 0]
    assert spans(course, shortest=2.0) == [(1, 3)]
    assert told(course, shortest=2.0) == [("new", 3, 1, 3), ("end", 3, 1, 3)]


def test_rounding_of_times_does_not_decide() -> None:
    times = [0.4, 0.7, 1.0]
    assert times[1] - times[0] < 0.3
    assert len(find_segments(times, [[0.9], [0], [0]], rules(shortest=0.3), ["a"])) == 1


def test_gaps_are_merged_and_count_for_the_length() -> None:
    course = [0.9, 0, 0, 0.9, 0, 0, 0, 0.9, 0.0]
    assert spans(course, merge_gap=2.0) == [(0, 4), (7, 8)]
    assert spans(course, merge_gap=2.0, shortest=4.0) == [(0, 4)]
    assert spans(course, merge_gap=1.0) == [(0, 1), (3, 4), (7, 8)]


def test_end_is_told_when_no_merge_can_come() -> None:
    course = [0.9, 0, 0, 0, 0]
    assert told(course, merge_gap=2.0)[-1] == ("end", 4, 0, 1)
    assert told(course)[-1] == ("end", 1, 0, 1)


def test_cooldown_holds_new_events_back() -> None:
    assert spans([0.9, 0, 0.9, 0.9, 0.9, 0, 0], cooldown=3.0) == [(0, 1), (4, 5)]
    # One that was too short to be told begins none.
    assert spans([0.9, 0, 0.9, 0.9, 0.9, 0, 0], cooldown=3.0, shortest=2.0) == [(2, 5)]


def test_updates_keep_their_interval() -> None:
    assert [time for kind, time, _, _ in told([0.9] * 8, update_every=3.0) if kind == "update"] == [3, 6]


def test_scores_are_those_of_the_runs() -> None:
    state = start(rules(merge_gap=5.0), ["a"])
    events, state = advance_all(state, range(5), [[0.6], [0.8], [0.1], [0.7], [0.1]])
    last, _ = finish(state)
    assert last[0].peak == 0.8
    assert last[0].mean == pytest.approx(0.7)
    assert last[0].segment() == Segment("a", 0, 4, last[0].mean)
    assert {one.id for one in events + last} == {1}


def test_background_never_makes_events() -> None:
    found = find_segments([0, 1], [[1.0, 0.0], [1.0, 0.0]], rules(), ["background", "a"], end=2.0)
    assert found == []
    own = rules().model_copy(update={"background": ("a",)})
    assert [one.label for one in find_segments([0, 1], [[1.0, 1.0]] * 2, own, ["background", "a"])] == ["background"]


def test_classes_have_their_own_rules() -> None:
    both = EventRules(default=EventRule(**PLAIN), classes={"b": EventRule(enter=0.9, **PLAIN)})
    found = find_segments([0, 1, 2], [[0.6, 0.6], [0.6, 0.95], [0, 0]], both, ["a", "b"])
    assert [(one.label, one.start) for one in found] == [("a", 0), ("b", 1)]


def ends(times: list[float], finished_at: float | None = None, **values: float) -> list[Event]:
    state = start(rules(**values).model_copy(update={"most_gap": 2.0}), ["a"])
    events, state = advance_all(state, times, [[0.9]] * len(times))
    last, _ = finish(state, finished_at)
    return [one for one in events + last if one.kind == "end"]


def test_a_gap_ends_events_where_it_begins() -> None:
    found = ends([0, 1, 2, 5, 6])
    assert [(one.start, one.end, one.time, one.reason) for one in found] == [(0, 2, 5, "gap"), (5, 6, 6, "finished")]


def test_a_jump_back_ends_events_and_the_cool_down() -> None:
    found = ends([100, 101, 0, 1], cooldown=50.0)
    assert [(one.start, one.end, one.reason) for one in found] == [(100, 101, "clock"), (0, 1, "finished")]
    _, state = advance_all(start(rules(), ["a"]), [100, 101, 0], [[0.0]] * 3)
    assert (state.breaks, state.time) == (1, 0)


def test_smoothing_starts_anew_after_a_break() -> None:
    state = start(rules(smoothing=5.0), ["a"])
    events, _ = advance_all(state, [0, 1, 100], [[0.0], [0.0], [0.9]])
    assert [(one.kind, one.start, one.peak) for one in events] == [("new", 100, 0.9)]


def test_the_last_observation_holds_until_the_end() -> None:
    assert [(one.start, one.end) for one in ends([0, 1], 2.5)] == [(0, 2.5)]
    assert [(one.start, one.end) for one in ends([0, 1], 9.0)] == [(0, 1)]
    assert [(one.start, one.end) for one in ends([0], 2.0, shortest=2.0)] == [(0, 2)]
    with pytest.raises(ValueError, match="before the last"):
        ends([0, 1], 0.5)


def test_a_lag_places_events_earlier_and_tells_them_no_earlier() -> None:
    course = [[value] for value in (0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9)]
    plain, lagged = rules(), rules().model_copy(update={"lag": 1.5})
    before, after = (find_events(range(10), course, own, ["a"], end=10.0) for own in (plain, lagged))
    assert [(one.last.start, one.last.end) for one in before] == [(0, 2), (5, 7), (9, 10)]
    # After two seconds a window of three is not full: what is said then is of the time from 0 to 2.
    assert [(one.last.start, one.last.end) for one in after] == [(0, 1), (3.5, 5.5), (7.5, 10)]
    assert [one.told for one in before] == [one.told for one in after]


def test_after_a_break_a_window_is_not_full() -> None:
    own = rules().model_copy(update={"lag": 1.0, "most_gap": 2.0})
    times = [0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0]
    found = find_events(times, [[0.1], [0.1], [0.1], [0.9], [0.9], [0.9], [0.1]], own, ["a"])
    assert [(one.last.start, one.last.end, one.last.reason) for one in found] == [(2, 3, "gap"), (100, 101, "left")]


def test_ids_go_on_after_finish() -> None:
    state = start(rules(), ["a"])
    for number in (1, 2):
        events, state = advance(state, 0.0, [0.9])
        more, state = finish(state, 1.0)
        assert {one.id for one in events + more} == {number}
    assert state.open_labels == ()


def random_scores(seed: int) -> tuple[np.ndarray, np.ndarray, EventRules]:
    random = np.random.default_rng(seed)
    steps = random.choice([0.0, 0.1, 0.25, 0.4, 1.0, 5.0], size=300, p=[0.05, 0.35, 0.3, 0.2, 0.08, 0.02])
    waves = random.uniform(-1, 1, size=(300, 3)).cumsum(axis=0)
    probabilities = 1 / (1 + np.exp(-waves))
    each = {}
    for name in ("a", "b", "c"):
        enter = float(random.uniform(0.3, 0.9))
        each[name] = EventRule(
            smoothing=float(random.choice([0, 0.3, 1])),
            enter=enter,
            leave=float(random.uniform(0, enter)),
            shortest=float(random.choice([0, 0.3, 1])),
            merge_gap=float(random.choice([0, 0.3, 1])),
            cooldown=float(random.choice([0, 0.5, 2])),
        )
    return steps.cumsum(), probabilities, EventRules(classes=each, most_gap=2.0)


@pytest.mark.parametrize("lag", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(12))
def test_stream_and_file_agree_bit_for_bit_however_it_is_cut(seed: int, lag: float) -> None:
    times, probabilities, own = random_scores(seed)
    own = own.model_copy(update={"lag": lag})
    names = ["a", "b", "c"]
    whole = find_segments(times, probabilities, own, names)
    assert len(whole) > 2
    random = np.random.default_rng(seed + 1000)
    cuts = [0, *sorted(random.integers(0, 301, size=random.integers(1, 60)).tolist()), 300]
    events: list[Event] = []
    state = start(own, names)
    for first, last in pairwise(cuts):
        more, following = advance_all(state, times[first:last], probabilities[first:last])
        again, _ = advance_all(state, times[first:last], probabilities[first:last])
        assert more == again  # a state is never changed
        events, state = events + more, following
    last_events, _ = finish(state)
    events += last_events
    found = [one.segment() for one in events if one.kind == "end"]
    assert sorted(found, key=repr) == sorted(whole, key=repr)
    if not lag:
        check_stories(events, own)


def check_stories(events: list[Event], own: EventRules) -> None:
    """What holds for every stream: one beginning, one end, updates between; no overlaps; all durations kept."""
    by_id: dict[int, list[Event]] = {}
    for event in events:
        by_id.setdefault(event.id, []).append(event)
    assert sorted(by_id) == list(range(1, len(by_id) + 1))
    finished: dict[str, float] = {}
    for story in by_id.values():
        rule = own.of(story[0].label)
        assert [one.kind for one in story] == ["new", *["update"] * (len(story) - 2), "end"]
        assert story[-1].end - story[-1].start >= rule.shortest - 1e-6
        assert rule.leave <= story[-1].mean <= story[-1].peak
        assert all(b.time - a.time >= rule.update_every - 1e-6 for a, b in pairwise(story[:-1]))
        assert story[0].start >= finished.get(story[0].label, -math.inf) + rule.cooldown - 1e-6
        finished[story[0].label] = story[-1].end


def test_rules_are_stored_and_read_back_equal() -> None:
    own = random_scores(0)[2]
    assert EventRules.model_validate_json(own.model_dump_json()) == own


@pytest.mark.parametrize("wrong", [{"enter": 1.1}, {"leave": 0.9}, {"shortest": -1.0}, {"unknown": 1}, {"enter": "1"}])
def test_rules_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EventRule(**wrong)


def test_rules_for_unknown_classes() -> None:
    with pytest.raises(ConfigError, match="does not have") as caught:
        start(EventRules(classes={"c": EventRule()}), ["a", "b"])
    assert (caught.value.got, caught.value.allowed) == ("c", "a, b")


@pytest.mark.parametrize(
    ("time", "values", "message"),
    [
        (math.nan, [0.5], "finite"),
        (0.0, [0.5, 0.5], "shape"),
        (0.0, [1.5], r"in \[0, 1\]"),
        (0.0, [math.nan], r"in \[0, 1\]"),
    ],
)
def test_observations_that_cannot_be(time: float, values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        advance(start(rules(), ["a"]), time, values)


def test_files_do_not_go_backwards() -> None:
    with pytest.raises(ValueError, match="backwards"):
        find_segments([1, 0], [[0.5], [0.5]], rules(), ["a"])
    with pytest.raises(ValueError, match="different names"):
        start(rules(), ["a", "a"])


def test_an_interruption_ends_what_is_open_however_soon_it_goes_on() -> None:
    rules = EventRules(default=EventRule(enter=0.5, leave=0.4, shortest=0.5, merge_gap=5.0, smoothing=3.0))
    state = start(rules, ["fall"])
    assert interrupt(state) == ([], state)
    _, state = advance_all(state, [0.0, 1.0, 2.0], [[0.9]] * 3)
    ended, state = interrupt(state, "clock")
    assert [(event.kind, event.end, event.reason) for event in ended] == [("end", 2.0, "clock")]
    assert (state.breaks, state.open_labels) == (1, ())
    events, state = advance_all(state, [2.1, 2.2], [[0.1]] * 2)  # smoothing would still be above `enter`
    assert events == []
    events, state = advance_all(state, [9.0, 10.0], [[0.9]] * 2)
    assert [(event.id, event.kind, event.start) for event in events] == [(2, "new", 9.0)]
