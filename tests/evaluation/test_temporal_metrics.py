"""Measures of found segments: values computed by hand, and average precision written a second time, step by step."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from clipshift.errors import DataError
from clipshift.evaluation.temporal_metrics import (
    ACTIVITYNET_TIOU,
    THUMOS_TIOU,
    Counts,
    Detection,
    detection_delay,
    edit_score,
    event_errors,
    frame_accuracy,
    frame_labels,
    mean_average_precision,
    segmental_f1,
)
from clipshift.temporal import Segment

TRUTH = {"v": [Segment("a", 0, 10), Segment("a", 20, 30)]}


def ap(predictions: dict[str, list[Segment]], truth: dict[str, list[Segment]] | None = None, at: float = 0.5) -> float:
    return mean_average_precision(predictions, truth or TRUTH, [at]).mean


def test_thresholds() -> None:
    assert pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]) == list(ACTIVITYNET_TIOU)
    assert pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7]) == list(THUMOS_TIOU)


def test_all_right_is_one_and_nothing_found_is_none() -> None:
    perfect = {"v": [Segment("a", 0, 10, 0.9), Segment("a", 20, 30, 0.1)]}
    assert mean_average_precision(perfect, TRUTH).mean == 1
    assert ap({}) == ap({"v": []}) == 0


def test_a_wrong_one_between_two_right_ones() -> None:
    # Right, wrong, right: precision 1, 1/2, 2/3; recall 1/2, 1/2, 1. Area: 1/2 * 1 + 1/2 * 2/3.
    found = {"v": [Segment("a", 0, 10, 0.9), Segment("a", 50, 60, 0.8), Segment("a", 20, 30, 0.7)]}
    assert ap(found) == pytest.approx(1 / 2 + 1 / 3, abs=1e-12)


def test_a_wrong_one_first() -> None:
    # Wrong, right, right: precision 0, 1/2, 2/3, made falling 2/3 everywhere.
    found = {"v": [Segment("a", 50, 60, 0.9), Segment("a", 0, 10, 0.8), Segment("a", 20, 30, 0.7)]}
    assert ap(found) == pytest.approx(2 / 3, abs=1e-12)


def test_duplicates_are_wrong() -> None:
    found = {"v": [Segment("a", 0, 10, 0.9), Segment("a", 0, 10, 0.8), Segment("a", 20, 30, 0.7)]}
    assert ap(found) == pytest.approx(5 / 6, abs=1e-12)


def test_a_taken_segment_leaves_the_next_best() -> None:
    truth = {"v": [Segment("a", 0, 10), Segment("a", 2, 12)]}
    assert ap({"v": [Segment("a", 0, 10, 0.9), Segment("a", 0, 10, 0.8)]}, truth, at=0.6) == 1
    assert ap({"v": [Segment("a", 0, 10, 0.9), Segment("a", 0, 10, 0.8)]}, truth, at=0.7) == 0.5


def test_a_tiou_at_the_threshold_counts() -> None:
    assert ap({"v": [Segment("a", 0, 5, 0.9)]}, at=0.5) == 0.5
    assert ap({"v": [Segment("a", 0, 4.999, 0.9)]}, at=0.5) == 0


def test_other_videos_and_other_classes_do_not_help() -> None:
    assert ap({"w": [Segment("a", 0, 10, 0.9)]}) == 0
    # A wrong one in a video without true segments ranks before the right ones: precision 0, 1/2, 2/3.
    right = [Segment("a", 0, 10, 0.5), Segment("a", 20, 30, 0.5)]
    assert ap({"w": [Segment("a", 0, 10, 0.9)], "v": right}) == pytest.approx(2 / 3)


def test_unknown_labels_are_counted_apart() -> None:
    measured = mean_average_precision({"v": [Segment("b", 0, 10, 0.9), Segment("a", 0, 10, 0.5)]}, TRUTH, [0.5])
    assert (measured.mean, measured.predictions, measured.unknown) == (0.5, 1, 1)
    assert measured.true_segments == {"a": 2}


def test_classes_and_thresholds_are_averaged() -> None:
    truth = {"v": [*TRUTH["v"], Segment("b", 0, 10)]}
    found = {"v": [Segment("a", 0, 10, 0.9), Segment("a", 20, 30, 0.8), Segment("b", 0, 6, 0.7)]}
    measured = mean_average_precision(found, truth, [0.5, 0.7])
    assert measured.by_class == {"a": 1, "b": 0.5}
    assert measured.by_threshold == {0.5: 1, 0.7: 0.5}
    assert measured.mean == 0.75


def test_ties_do_not_depend_on_the_order_given() -> None:
    found = [Segment("a", 0, 10, 0.5), Segment("a", 4, 10, 0.5), Segment("a", 50, 60, 0.5), Segment("a", 20, 30, 0.5)]
    results = {ap({"v": [found[place] for place in order]}) for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])}
    # By start: right, wrong (a duplicate), right, wrong.
    assert results == {1 / 2 + 1 / 2 * (2 / 3)}


def second_ap(
    predictions: dict[str, list[Segment]], truth: dict[str, list[Segment]], label: str, at: float
) -> Fraction:
    """AP by its definition: for each right prediction the highest precision from its rank on, in fractions."""
    ranked = [(video, one) for video in predictions for one in predictions[video] if one.label == label]
    ranked.sort(key=lambda pair: -(pair[1].score or 0))
    taken: list[Segment] = []
    right = []
    for video, one in ranked:
        best, best_ratio = None, -1.0
        for true in truth.get(video, []):
            if true.label != label or any(true is other for other in taken):
                continue
            shared = max(min(one.end, true.end) - max(one.start, true.start), 0)
            ratio = shared / ((true.end - true.start) + (one.end - one.start) - shared)
            if ratio > best_ratio:
                best, best_ratio = true, ratio
        if best is not None and best_ratio >= at:
            taken.append(best)
        right.append(best is not None and best_ratio >= at)
    positives = sum(one.label == label for segments in truth.values() for one in segments)
    area = Fraction(0)
    for rank, hit in enumerate(right):
        if hit:
            area += max(Fraction(sum(right[: last + 1]), last + 1) for last in range(rank, len(right)))
    return area / positives


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_of_random_cases_is_that_of_a_second_implementation(seed: int) -> None:
    random = np.random.default_rng(seed)

    def some(count: int, scored: bool) -> list[Segment]:
        starts, lengths = random.uniform(0, 50, count), random.uniform(1, 20, count)
        names = random.choice(["a", "b", "c"], count)
        scores = random.uniform(0, 1, count)
        return [
            Segment(str(name), start, start + length, score if scored else None)
            for name, start, length, score in zip(
                names, starts.tolist(), lengths.tolist(), scores.tolist(), strict=True
            )
        ]

    truth = {f"v{one}": some(6, False) for one in range(4)}
    predictions = {f"v{one}": some(15, True) for one in range(5)}
    for thresholds in (ACTIVITYNET_TIOU, THUMOS_TIOU):
        measured = mean_average_precision(predictions, truth, thresholds)
        for label, value in measured.by_class.items():
            expected = sum(second_ap(predictions, truth, label, one) for one in thresholds) / len(thresholds)
            assert value == pytest.approx(float(expected), abs=1e-12)
    assert measured.mean > 0


def test_segmental_f1() -> None:
    truth = {"v": [Segment("a", 0, 10), Segment("b", 10, 20), Segment("background", 20, 30)]}
    # `a` in two pieces of tIoU 0.4 and 0.5; `b` with tIoU 0.5; a `c` that is not there.
    found = {"v": [Segment("a", 0, 4), Segment("a", 5, 10), Segment("b", 15, 20), Segment("c", 22, 25)]}
    # The second piece of `a` looks at the same true segment: at 0.1 the first piece takes it, at 0.5 the second.
    assert segmental_f1(found, truth, 0.1) == Counts(2, 2, 0)
    assert segmental_f1(found, truth, 0.5) == Counts(2, 2, 0)
    assert segmental_f1(found, truth, 0.51) == Counts(0, 4, 2)
    assert segmental_f1(found, truth, 0.5).f1 == pytest.approx(2 * 2 / (4 + 2))
    assert segmental_f1({}, truth, 0.5) == Counts(0, 0, 2)
    assert (Counts(0, 0, 2).f1, Counts(0, 0, 2).precision, Counts(0, 0, 2).recall) == (0, None, 0)


def test_edit_score() -> None:
    truth = {"v": [Segment("a", 0, 1), Segment("b", 1, 2), Segment("a", 2, 3)], "w": [Segment("a", 0, 1)]}
    found = {"v": [Segment("a", 0, 9), Segment("a", 10, 12)], "w": [Segment("a", 5, 6)], "empty": []}
    score, videos = edit_score(found, truth)
    assert score == pytest.approx((2 / 3 + 1) / 2)  # one label is missing of three, and none of one
    assert videos == 2
    swapped = {"v": [Segment("b", 0, 1), Segment("a", 1, 2)]}
    assert edit_score(swapped, {"v": [Segment("a", 0, 1), Segment("b", 1, 2)]})[0] == 0


def test_frames() -> None:
    segments = [Segment("a", 0, 2, 0.5), Segment("b", 1, 3, 0.9), Segment("c", 1, 5)]
    labels = frame_labels(segments, [0, 1, 2, 3, 5])
    assert labels == ["a", "b", "b", "c", "background"]
    assert frame_accuracy(labels, ["a", "b", "c", "c", "c"]) == (0.6, 5)


def test_event_errors() -> None:
    found = {"v": [Segment("a", 0, 9, 0.9), Segment("b", 20, 30, 0.9)], "quiet": [Segment("a", 0, 1, 0.9)]}
    measured = event_errors(found, TRUTH, {"v": 60.0, "quiet": 300.0})
    assert measured.counts == Counts(1, 2, 1)
    assert measured.hours == 0.1
    assert measured.false_per_hour == 20


def test_detection_delay() -> None:
    truth = {"v": [Segment("a", 10.0 * one, 10.0 * one + 5) for one in range(20)]}
    found = {"v": [Detection(segment, segment.start + 0.1 * one) for one, segment in enumerate(truth["v"][:-1])]}
    delay = detection_delay(found, truth)
    assert (delay.found, delay.events) == (19, 20)
    assert delay.median == pytest.approx(0.9)
    assert delay.most == pytest.approx(1.8)


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(DataError, match="no true segments"):
        mean_average_precision({"v": [Segment("a", 0, 1, 0.5)]}, {"v": []})
    with pytest.raises(DataError, match="no segments"):
        segmental_f1({"v": [Segment("background", 0, 1)]}, {}, 0.5)
    with pytest.raises(DataError, match="no segments"):
        edit_score({"v": []}, {})
    with pytest.raises(DataError, match="no frames"):
        frame_accuracy([], [])
    with pytest.raises(DataError, match="no videos"):
        event_errors({}, {}, {})
    with pytest.raises(DataError, match="None of 2 events"):
        detection_delay({}, TRUTH)


def test_what_cannot_be_measured_says_why() -> None:
    with pytest.raises(DataError, match="has no score") as caught:
        mean_average_precision({"v": [Segment("a", 0, 1)]}, TRUTH)
    assert caught.value.where == "v"
    with pytest.raises(DataError, match="duration of every video") as caught:
        event_errors({}, TRUTH, {"w": 5.0})
    assert caught.value.where == "v"
    with pytest.raises(ValueError, match="thresholds"):
        mean_average_precision({}, TRUTH, [0.0])
    with pytest.raises(ValueError, match="shape"):
        frame_accuracy(["a"], ["a", "b"])
