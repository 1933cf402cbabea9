"""Exports of calibrated models: the temperature is in the file, in its description, and in what is compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.config import Calibration
from clipshift.exporting.comparison import gap_within
from clipshift.inference.export_folder import Target
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.models.bundle import read_bundle, replace_spec
from tests.conftest import MakeExport
from tests.exporting.making import noise, save_model

FITTED = Calibration(temperature=2.5, clips=30, error_before=0.2, error_after=0.1)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("calibrated") / "model")
    replace_spec(folder, read_bundle(folder)[1].model_copy(update={"calibration": FITTED}))
    return folder


@pytest.mark.parametrize("target", ["onnx", "openvino", "torch"])
def test_files_answer_with_the_temperature(target: Target, calibrated: Path, small_clips: Path, tmp_path: Path) -> None:
    made = clipshift.export(calibrated, to=target, out=tmp_path / target, data=small_clips)
    assert "calibrated temperature 2.5 from 30 clips: calibration error 0.200 before, 0.100 after" in made.lines()
    assert "logits / 2.5" in (made.folder / "README.md").read_text(encoding="utf-8")
    model = clipshift.load(made.folder, device="cpu")
    assert isinstance(model.scorer, ExportScorer)
    frames = noise(4, 40, 48)[None]
    logits = model.scorer.session.run(frames)[0].astype(np.float64)
    expected = np.exp(logits / 2.5 - np.logaddexp.reduce(logits / 2.5))
    np.testing.assert_allclose(model.scorer.session.both(frames)[1][0], expected, atol=1e-6)
    np.testing.assert_allclose(model.probabilities(logits), expected, atol=1e-6)
    assert clipshift.verify(calibrated, made.folder, data=small_clips).ok


def test_an_export_from_before_the_calibration_is_told(
    calibrated: Path, small_clips: Path, exported: MakeExport
) -> None:
    assert "calibrated no: temperature 1" in exported("onnx").lines()
    found = clipshift.verify(calibrated, exported("onnx").folder, data=small_clips)
    assert not found.ok
    assert "temperature 1, of the model 2.5: export it again" in found.to_text()


def test_a_file_that_does_not_do_what_its_description_says_is_found(exported: MakeExport) -> None:
    model = clipshift.load(exported("onnx").folder, device="cpu")
    assert gap_within(model) < 1e-6
    described = model.scorer.with_spec(model.spec.model_copy(update={"calibration": FITTED}))
    assert gap_within(clipshift.Model(described)) > 1e-3
