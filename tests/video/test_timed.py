"""Frames at the rate of a network: what is on display at each tick, whatever the rate of the source."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from clipshift.video.timed import TimedFrame, frames_at_rate


def at(*times: float) -> list[TimedFrame]:
    """Frames whose pixels are their numbers."""
    return [TimedFrame(time, np.full((1, 1, 3), number, np.uint8)) for number, time in enumerate(times)]


def told(frames: list[TimedFrame], rate: float, longest_display: float = math.inf) -> list[tuple[float, int]]:
    ticks = frames_at_rate(frames, rate, longest_display=longest_display)
    return [(round(tick.time, 6), int(tick.frame[0, 0, 0])) for tick in ticks]


def test_a_quicker_source_loses_frames() -> None:
    assert told(at(*(k / 30 for k in range(31))), 2) == [(0.0, 0), (0.5, 15), (1.0, 30)]
    assert told(at(*(k / 25 for k in range(26))), 4) == [(0.0, 0), (0.25, 6), (0.5, 12), (0.75, 18), (1.0, 25)]


def test_a_slower_source_shows_frames_again() -> None:
    assert told(at(5.0, 6.0, 7.0), 2) == [(5.0, 0), (5.5, 0), (6.0, 1), (6.5, 1), (7.0, 2)]


def test_a_variable_rate_changes_nothing() -> None:
    """The same scene, at 20 frames a second and with three of four frames left out where nothing happens."""
    even = at(*(k / 20 for k in range(61)))
    uneven = [frame for number, frame in enumerate(even) if number < 20 or number % 4 == 0]
    assert [time for time, _ in told(even, 5)] == [time for time, _ in told(uneven, 5)]
    assert [number for _, number in told(even, 5)][:5] == [number for _, number in told(uneven, 5)][:5]
    assert told(even, 5)[5:] == told(uneven, 5)[5:]  # every fourth is one on a tick


def test_ticks_that_rounding_moves_are_the_same() -> None:
    """A time base of 1/90000 puts a third of a second a little early or late."""
    times = [round(k / 3 * 90_000) / 90_000 for k in range(10)]
    shifted = [time + sign * 4e-7 for time, sign in zip(times, itertools.cycle((1, -1)), strict=False)]
    assert [number for _, number in told(at(*shifted), 3)] == list(range(10))


def test_a_tick_is_told_when_the_frame_after_it_is_there() -> None:
    source = iter(at(0.0, 0.1, 0.2, 0.3))
    ticks = frames_at_rate(source, 10)
    assert next(ticks).time == 0.0
    assert next(source).time == 0.2  # one frame after the tick was taken, and no more


def test_the_clock_goes_back() -> None:
    assert told(at(10.0, 10.5, 3.0, 3.5), 2) == [(10.0, 0), (3.0, 2), (3.5, 3)]


def test_a_source_that_stands_still_shows_nothing_new() -> None:
    frames = at(0.0, 0.5, 60.2, 60.7)
    assert told(frames, 2, longest_display=1) == [(0.0, 0), (0.5, 1), (1.0, 1), (1.5, 1), (60.2, 2), (60.7, 3)]
    assert len(told(frames, 2)) == 122


def test_sources_of_one_frame_and_of_none() -> None:
    assert told(at(4.0), 8) == [(4.0, 0)]
    assert told([], 8) == []


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_that_are_none(rate: float) -> None:
    with pytest.raises(ValueError, match="rate must be above 0"):
        told(at(0.0), rate)


def test_a_time_that_is_none() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        told(at(0.0, math.nan), 1)
