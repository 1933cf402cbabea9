"""Probabilities of logits and temperatures, and sets of classes: the numbers by hand, and what cannot be asked for."""

from __future__ import annotations

import numpy as np
import pytest

from clipshift.config import Calibration, InputConfig, ModelConfig, ModelSpec
from clipshift.errors import ConfigError
from clipshift.inference.predictions import Prediction
from clipshift.inference.probabilities import classes_of_set, probabilities, set_threshold
from clipshift.inference.writing import as_text

SPEC = ModelSpec(clipshift="0", model=ModelConfig(), input=InputConfig(), classes=("a", "b", "c"))
SCORES = tuple(number / 100 for number in range(1, 20))


def calibrated(**changes: object) -> ModelSpec:
    fields = {"temperature": 2.0, "clips": 19, "scores": SCORES} | changes
    return SPEC.model_copy(update={"calibration": Calibration.model_validate(fields)})


def test_logits_are_divided_by_the_temperature() -> None:
    logits = np.array([2.0, 0.0, -4.0], dtype=np.float32)
    expected = np.exp([1.0, 0.0, -2.0])
    np.testing.assert_allclose(probabilities(logits, calibrated()), expected / expected.sum(), rtol=1e-6)
    plain = np.exp([2.0, 0.0, -4.0])
    np.testing.assert_allclose(probabilities(logits, SPEC), plain / plain.sum(), rtol=1e-6)
    several = calibrated().model_copy(update={"labels": "several"})
    np.testing.assert_allclose(probabilities(logits, several), 1 / (1 + np.exp([-1.0, 0.0, 2.0])), rtol=1e-6)


def test_the_threshold_is_that_of_the_right_rank() -> None:
    # Of 19 scores, the 19th is the one for 95 %, the tenth that for 50 %.
    assert set_threshold(calibrated(), 0.95) == pytest.approx(1 - 0.19)
    assert set_threshold(calibrated(), 0.5) == pytest.approx(1 - 0.10)
    assert set_threshold(calibrated(), 0.51) == pytest.approx(1 - 0.11)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 90.0, float("nan")])
def test_a_coverage_is_a_share(coverage: float) -> None:
    with pytest.raises(ConfigError, match="share of clips"):
        set_threshold(calibrated(), coverage)


def test_too_few_clips_for_the_coverage() -> None:
    with pytest.raises(ConfigError, match="too few clips") as caught:
        set_threshold(calibrated(), 0.951)
    assert caught.value.got == "0.951 with 19 clips"
    assert caught.value.allowed == "at most 0.95"


def test_models_without_scores() -> None:
    for spec in (SPEC, calibrated(scores=())):
        with pytest.raises(ConfigError, match="not calibrated") as caught:
            set_threshold(spec, 0.9)
        assert "clipshift calibrate" in str(caught.value)
    with pytest.raises(ConfigError, match="several classes"):
        set_threshold(calibrated().model_copy(update={"labels": "several"}), 0.9)


def test_a_set_is_never_empty_and_the_best_come_first() -> None:
    chances = np.array([0.2, 0.5, 0.3], dtype=np.float32)
    assert classes_of_set(chances, 0.9) == (1,)
    assert classes_of_set(chances, 0.3) == (1, 2)
    assert classes_of_set(chances, 0.0) == (1, 2, 0)


def test_how_a_set_is_written() -> None:
    chances = np.array([0.2, 0.5, 0.3], dtype=np.float32)
    plain = Prediction("v.mp4", ("a", "b", "c"), chances)
    asked = Prediction("v.mp4", ("a", "b", "c"), chances, 0.9, ("b", "c"))
    assert as_text(plain, 2) == "v.mp4: b 50.0%, c 30.0%"
    assert as_text(asked, 2) == "v.mp4: {b, c}  b 50.0%, c 30.0%"
    assert "class_set" not in plain.to_json()
    assert asked.to_json()["coverage"] == 0.9
    assert asked.to_json()["class_set"] == ["b", "c"]
