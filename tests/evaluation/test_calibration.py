"""Temperatures against the ones that the labels were drawn with; sets of classes against the rate they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.evaluation.calibration import LEAST_CLIPS, SMALLEST, calibrate_scores, fit_temperature
from clipshift.inference.probabilities import classes_of_set, probabilities, set_threshold

CLASSES = tuple("abcdef")
SPEC = ModelSpec(clipshift="0", model=ModelConfig(), input=InputConfig(), classes=CLASSES)


def drawn(clips: int, temperature: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (N, K), and labels drawn with the probabilities of logits / temperature."""
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(clips, len(CLASSES), generator=random, dtype=torch.float64)
    labels = torch.multinomial((logits / temperature).softmax(dim=1), 1, generator=random)[:, 0]
    return logits, labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_of_the_draw_is_found(temperature: float) -> None:
    logits, labels = drawn(4000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.07)


def test_it_is_the_minimum_of_the_likelihood_with_one_clip_of_any_class() -> None:
    logits, labels = drawn(60, 2.0)

    def loss(temperature: float) -> float:
        logs = (logits / temperature).log_softmax(dim=1)
        own = F.nll_loss(logs, labels, reduction="sum")
        return float(own - logs.mean())

    best = fit_temperature(logits, labels)
    assert loss(best) < min(loss(best * 1.02), loss(best / 1.02))


def test_a_model_that_is_always_right_is_not_certain() -> None:
    labels = torch.arange(30) % 3
    logits = F.one_hot(labels, 3).double()
    temperature = fit_temperature(logits, labels)
    assert SMALLEST < temperature < 1
    right = float((logits[0] / temperature).softmax(dim=0)[labels[0]])
    assert right == pytest.approx((30 + 1 / 3) / 31, abs=1e-4)  # the rule of succession


def test_several_labels() -> None:
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2000, 4, generator=random, dtype=torch.float64)
    targets = torch.rand(2000, 4, generator=random, dtype=torch.float64) < (logits / 1.7).sigmoid()
    assert fit_temperature(logits, targets) == pytest.approx(1.7, rel=0.07)
    found = calibrate_scores(logits, targets, data="val")
    assert found is not None
    assert found.scores == ()
    assert found.error_before is not None
    assert found.error_after is not None
    assert found.error_after < 0.03 < found.error_before


def test_errors_before_and_after() -> None:
    logits, labels = drawn(400, 4.0)
    found = calibrate_scores(logits, labels, data="val")
    assert found is not None
    assert (found.clips, found.data, len(found.scores)) == (400, "val", 400)
    assert found.error_before is not None
    assert found.error_after is not None
    assert found.error_before > 0.3
    assert found.error_after < 0.1


def test_too_few_clips_fit_nothing() -> None:
    logits, labels = drawn(LEAST_CLIPS, 1.0)
    assert calibrate_scores(logits, labels, data="") is not None
    assert calibrate_scores(logits[1:], labels[1:], data="") is None


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_truth_at_their_rate_over_20_splits(coverage: float) -> None:
    """On average over splits between `coverage` and `coverage` + 1 / (n + 1) (Vovk et al. 2005), but for chance."""
    rates, sizes = [], []
    for split in range(20):
        logits, labels = drawn(1200, 3.0, seed=split)
        fitted = calibrate_scores(logits[:200], labels[:200], data="val")
        assert fitted is not None
        spec = SPEC.model_copy(update={"calibration": fitted})
        threshold = set_threshold(spec, coverage)
        sets = [classes_of_set(probabilities(row.numpy(), spec), threshold) for row in logits[200:]]
        rates.append(np.mean([int(label) in found for label, found in zip(labels[200:], sets, strict=True)]))
        sizes.append(np.mean([len(found) for found in sets]))
    # The standard error of the mean of 20 splits of 200 and 1000 clips is 0.007.
    assert coverage - 0.02 < np.mean(rates) < coverage + 0.025
    assert min(rates) > coverage - 0.1
    assert 1 < np.mean(sizes) < len(CLASSES)


def test_of_many_clips_the_kept_scores_never_make_sets_smaller() -> None:
    logits, labels = drawn(3001, 1.5)
    fitted = calibrate_scores(logits, labels, data="val")
    assert fitted is not None
    assert len(fitted.scores) == 1000
    spec = SPEC.model_copy(update={"calibration": fitted})
    right = (logits / fitted.temperature).softmax(dim=1)[torch.arange(3001), labels]
    ascending = np.sort(1 - right.numpy())
    for coverage in (0.05, 0.5, 0.9, 0.999):
        exact = 1 - ascending[math.ceil(3002 * coverage) - 1]
        assert exact - 0.02 < set_threshold(spec, coverage) <= exact + 1e-12
