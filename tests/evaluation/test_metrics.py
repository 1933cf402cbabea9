from __future__ import annotations

import json
import math

import pytest
import torch

from clipshift.evaluation.metrics import compute_metrics, metrics_from_json, ranking, wilson_interval

ABC = ("a", "b", "c")


def one_hot(predictions: list[int], classes: int, size: float = 1.0) -> torch.Tensor:
    return size * torch.nn.functional.one_hot(torch.tensor(predictions), classes).float()


def test_counts_of_a_small_set_by_hand() -> None:
    # truth      a a a b b c
    # predicted  a b a b a c
    metrics = compute_metrics(one_hot([0, 1, 0, 1, 0, 2], 3), torch.tensor([0, 0, 0, 1, 1, 2]), ABC)
    assert (metrics.total, metrics.scored, metrics.bad) == (6, 6, 0)
    assert metrics.top1 == 4 / 6
    assert metrics.confusion == ((2, 1, 0), (1, 1, 0), (0, 0, 1))
    assert [entry.support for entry in metrics.per_class] == [3, 2, 1]
    assert [entry.accuracy for entry in metrics.per_class] == [2 / 3, 1 / 2, 1]
    assert [entry.precision for entry in metrics.per_class] == [2 / 3, 1 / 2, 1]
    assert [entry.f1 for entry in metrics.per_class] == [2 / 3, 1 / 2, 1]
    assert metrics.mean_class == pytest.approx((2 / 3 + 1 / 2 + 1) / 3, abs=1e-15)


def test_loss_and_calibration_by_hand() -> None:
    # Softmax of (log 3, 0) is (3/4, 1/4): three videos at 75 %, of which two are right.
    logits = torch.tensor([[math.log(3), 0.0]] * 3, dtype=torch.float64)
    metrics = compute_metrics(logits, torch.tensor([0, 0, 1]), ("a", "b"))
    assert metrics.loss == pytest.approx((2 * -math.log(0.75) - math.log(0.25)) / 3, abs=1e-12)
    assert metrics.calibration_error == pytest.approx(0.75 - 2 / 3, abs=1e-12)


def test_certainty_shares_the_last_bin() -> None:
    # Confidences 1 (wrong) and 0.97 (right): one bin (14/15, 1], whose gap is |0.985 - 0.5|.
    logits = torch.tensor([[2000.0, 0.0], [math.log(0.97 / 0.03), 0.0]], dtype=torch.float64)
    metrics = compute_metrics(logits, torch.tensor([1, 0]), ("a", "b"))
    assert metrics.calibration_error == pytest.approx(0.485, abs=1e-9)


def test_bad_videos_are_wrong_in_every_denominator() -> None:
    # 100 videos, 20 a class: five broken (5 %), all others right.
    classes = tuple("abcde")
    labels = [label for label in range(5) for _ in range(20)]
    broken = [0, 0, 0, 1, 4]
    scored = list(labels)
    for label in broken:
        scored.remove(label)
    logits = one_hot(scored, 5, size=1e4)
    metrics = compute_metrics(logits, torch.tensor(scored), classes, bad_labels=broken, bad="wrong")
    assert (metrics.total, metrics.scored, metrics.bad) == (100, 95, 5)
    assert metrics.top1 == 0.95
    assert [entry.accuracy for entry in metrics.per_class] == [0.85, 0.95, 1.0, 1.0, 0.95]
    assert [entry.support for entry in metrics.per_class] == [20] * 5
    assert metrics.mean_class == pytest.approx(0.95, abs=1e-15)
    assert metrics.per_class[0].precision == 1.0
    assert metrics.per_class[0].f1 == pytest.approx(2 * 0.85 / 1.85, abs=1e-15)
    # What needs a prediction is of the scored videos only.
    assert sum(map(sum, metrics.confusion)) == 95
    assert metrics.loss == 0.0
    assert metrics.calibration_error == pytest.approx(0.0, abs=1e-12)


def test_bad_videos_can_be_left_out_but_stay_in_sight() -> None:
    metrics = compute_metrics(one_hot([0, 1], 3), torch.tensor([0, 1]), ABC, bad_labels=[0, 2], bad="exclude")
    assert (metrics.total, metrics.scored, metrics.bad) == (4, 2, 2)
    assert metrics.top1 == 1.0
    assert [entry.accuracy for entry in metrics.per_class] == [1.0, 1.0, None]
    assert metrics.empty_classes == 1


def test_top5_counts_bad_videos_too() -> None:
    logits = torch.arange(8.0).flip(0).repeat(3, 1)  # class 0 first, 7 last
    metrics = compute_metrics(logits, torch.tensor([0, 4, 5]), tuple("abcdefgh"), bad_labels=[1])
    assert metrics.topk == {1: 1 / 4, 5: 2 / 4}


@pytest.mark.parametrize(("classes", "keys"), [(2, {1}), (5, {1}), (6, {1, 5})])
def test_top5_needs_more_than_five_classes(classes: int, keys: set[int]) -> None:
    names = tuple(f"class {index}" for index in range(classes))
    assert set(compute_metrics(torch.zeros(2, classes), torch.tensor([0, 1]), names).topk) == keys


def test_a_class_without_a_video_is_left_out_of_the_mean() -> None:
    metrics = compute_metrics(one_hot([0, 2], 3), torch.tensor([0, 1]), ABC)
    assert [entry.accuracy for entry in metrics.per_class] == [1.0, 0.0, None]
    assert metrics.mean_class == 0.5
    assert metrics.per_class[2].precision == 0.0
    assert metrics.per_class[2].f1 is None
    assert metrics.empty_classes == 1


def test_equal_logits_prefer_the_lower_class() -> None:
    logits = torch.zeros(4, 64)
    logits[:, 40:] = 1.0
    assert ranking(logits)[:, :3].tolist() == [[40, 41, 42]] * 4
    names = tuple(map(str, range(64)))
    assert compute_metrics(logits, torch.tensor([40, 41, 44, 45]), names).topk == {1: 1 / 4, 5: 3 / 4}


def test_nothing_scored_is_not_a_number_and_json_null() -> None:
    none, no_labels = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    metrics = compute_metrics(none, no_labels, ABC, bad_labels=[0, 1], bad="exclude")
    assert math.isnan(metrics.top1)
    assert math.isnan(metrics.loss)
    assert metrics.summary()["top1"] is None
    assert compute_metrics(none, no_labels, ABC, bad_labels=[0, 1]).top1 == 0.0


def test_json_round_trip() -> None:
    metrics = compute_metrics(torch.randn(9, 6), torch.arange(9) % 5, tuple("abcdef"), bad_labels=[5])
    assert metrics_from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


@pytest.mark.parametrize(
    ("logits", "labels", "bad"),
    [((2, 4), [0, 1], []), ((2, 3), [0], []), ((2, 3), [0, 3], []), ((2, 3), [0, -1], []), ((2, 3), [0, 1], [3])],
)
def test_shapes_and_labels_are_checked(logits: tuple[int, int], labels: list[int], bad: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected for 3 classes|must lie in"):
        compute_metrics(torch.zeros(logits), torch.tensor(labels), ABC, bad_labels=bad)


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20, score interval.
    assert list(wilson_interval(81, 263)) == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert list(wilson_interval(0, 20)) == pytest.approx([0.0, 0.1611], abs=5e-5)
    with pytest.raises(ValueError, match="at least one"):
        wilson_interval(0, 0)
