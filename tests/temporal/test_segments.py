"""Segments: what is allowed, how they are ordered, how they overlap and match."""

from __future__ import annotations

import math

import pytest

from clipshift.temporal import Segment, match_segments, overlap, sort_segments, tiou


@pytest.mark.parametrize(
    ("label", "start", "end", "score"),
    [("", 0, 1, None), ("a", 2, 1, None), ("a", math.nan, 1, None), ("a", 0, math.inf, None), ("a", 0, 1, math.nan)],
)
def test_what_is_no_segment_is_refused(label: str, start: float, end: float, score: float | None) -> None:
    with pytest.raises(ValueError, match="segment"):
        Segment(label, start, end, score)


def test_order_does_not_depend_on_the_order_given() -> None:
    ordered = [
        Segment("a", 0, 2, 0.9),
        Segment("a", 0, 2, 0.1),
        Segment("b", 0, 2),
        Segment("a", 0, 3),
        Segment("a", 1, 2),
    ]
    assert sort_segments(reversed(ordered)) == ordered


@pytest.mark.parametrize(
    ("first", "second", "shared", "ratio"),
    [
        ((0, 4), (2, 6), 2, 1 / 3),
        ((0, 4), (0, 4), 4, 1),
        ((0, 4), (1, 2), 1, 1 / 4),
        ((0, 4), (4, 8), 0, 0),
        ((0, 4), (5, 8), 0, 0),
        ((1, 1), (1, 1), 0, 0),
    ],
)
def test_overlap(first: tuple[int, int], second: tuple[int, int], shared: float, ratio: float) -> None:
    one, other = Segment("a", *first), Segment("b", *second)
    assert overlap(one, other) == overlap(other, one) == shared
    assert tiou(one, other) == tiou(other, one) == pytest.approx(ratio)


def test_each_true_segment_is_matched_once_by_the_highest_score() -> None:
    truth = [Segment("a", 0, 10), Segment("a", 20, 30)]
    predicted = [Segment("a", 0, 10, 0.2), Segment("a", 1, 10, 0.9), Segment("a", 21, 30), Segment("a", 50, 60, 1.0)]
    assert match_segments(predicted, truth, 0.5) == [None, 0, 1, None]


def test_a_prediction_goes_to_the_next_best_where_the_best_is_taken() -> None:
    truth = [Segment("a", 0, 10), Segment("a", 2, 12)]
    predicted = [Segment("a", 0, 10, 0.9), Segment("a", 0, 10, 0.8)]
    assert match_segments(predicted, truth, 0.6) == [0, 1]
    assert match_segments(predicted, truth, 0.7) == [0, None]


def test_a_tiou_at_the_threshold_is_a_match() -> None:
    assert match_segments([Segment("a", 0, 1, 1.0)], [Segment("a", 0, 2)], 0.5) == [0]
