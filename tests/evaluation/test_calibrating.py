"""From a trained model and labeled clips to a temperature in its description, and to all that reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.cli import app
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import DataError, ExportError
from clipshift.evaluation.calibrating import calibrate_run, say_calibration
from clipshift.evaluation.report.page import write_report
from clipshift.evaluation.results import load_evaluation
from clipshift.models.bundle import load_bundle
from tests.conftest import MakeExport
from tests.exporting.making import save_model


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six validation clips of each of four classes."""
    folder = tmp_path_factory.mktemp("motion") / "clips"
    return write_motion_clips(folder, clips_per_class=1, validation_per_class=6, frames=6, size=40)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model")


def run(words: Sequence[str | Path], capsys: pytest.CaptureFixture[str]) -> str:
    app([str(word) for word in words], result_action="return_value")
    return capsys.readouterr().out


def test_a_model_is_calibrated_and_its_answers_follow(
    model: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, raw = load_bundle(model), clipshift.evaluate(model, clips, device="cpu")
    assert raw.temperature == 1
    assert "not calibrated: temperature 1" in raw.to_text()
    text = run(["calibrate", model, clips, "--device", "cpu"], capsys)
    after = load_bundle(model)
    fitted = after[1].calibration
    assert fitted is not None
    assert fitted.clips == len(fitted.scores) == 24
    assert f"temperature {fitted.temperature:.3g} from 24 clips" in text
    for name, tensor in before[0].state_dict().items():
        assert tensor.equal(after[0].state_dict()[name])

    scaled = clipshift.evaluate(model, clips, device="cpu", out=tmp_path / "scores")
    assert [score.logits for score in scaled.scores] == [score.logits for score in raw.scores]
    assert scaled.metrics.temperature == fitted.temperature
    assert scaled.metrics.calibration_error_before == raw.metrics.calibration_error
    assert scaled.metrics.loss < raw.metrics.loss
    assert load_evaluation(tmp_path / "scores").metrics == scaled.metrics
    assert f"temperature {fitted.temperature:.3g}" in scaled.to_text()

    score = scaled.scores[0]
    loaded = clipshift.load(model, device="cpu")
    np.testing.assert_allclose(loaded.predict(score.path).probabilities, scaled.chances(score), atol=1e-5)
    stored = json.loads((tmp_path / "scores" / "predictions.jsonl").read_text().splitlines()[0])["probabilities"]
    assert max(stored.values()) == pytest.approx(float(scaled.chances(score).max()), abs=1e-6)
    run(["predict", model, score.path, "--coverage", "0.8", "--json", "-", "--device", "cpu"], capsys)
    assert loaded.predict(score.path, coverage=0.8).class_set[0] == loaded.predict(score.path).label


def test_what_cannot_be_calibrated(model: Path, clips: Path, small_clips: Path, exported: MakeExport) -> None:
    with pytest.raises(DataError, match="too few clips") as caught:
        clipshift.calibrate(model, small_clips, device="cpu")
    assert (caught.value.got, caught.value.allowed) == ("8 readable clips", "20 or more")
    with pytest.raises(ExportError, match="inside an exported file"):
        clipshift.calibrate(exported("onnx").folder, clips)


def test_a_model_is_written_beside(model: Path, clips: Path, tmp_path: Path) -> None:
    found = clipshift.calibrate(model, clips, out=tmp_path / "beside", device="cpu")
    assert load_bundle(tmp_path / "beside")[1].calibration == found.calibration
    assert load_bundle(model)[1].calibration is None


def test_a_run_is_calibrated_by_its_own_evaluation_each_time_alike(clips: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "run" / "model")
    clipshift.evaluate(tmp_path / "run", clips, device="cpu", out=tmp_path / "run" / "evaluation")
    first = calibrate_run(tmp_path / "run")
    files = [(tmp_path / "run" / name).read_bytes() for name in ("model/model.json", "evaluation/metrics.json")]
    assert first.metrics.calibration_error_before is not None
    assert "Calibrated: temperature" in say_calibration(tmp_path / "run", first)
    assert calibrate_run(tmp_path / "run").metrics == first.metrics
    assert files == [(tmp_path / "run" / name).read_bytes() for name in ("model/model.json", "evaluation/metrics.json")]
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert f"temperature of {first.temperature:.3g}" in page
    assert "fitted on 24 clips" in page


def test_a_run_of_few_clips_says_that_its_temperature_stays(small_clips: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "run" / "model")
    clipshift.evaluate(tmp_path / "run", small_clips, device="cpu", out=tmp_path / "run" / "evaluation")
    evaluation = calibrate_run(tmp_path / "run")
    assert evaluation.temperature == 1
    said = say_calibration(tmp_path / "run", evaluation)
    assert "Not calibrated, the temperature stays 1: 8 validation clips" in said
    assert "clipshift calibrate" in said
    assert "Not calibrated" in write_report(tmp_path / "run").read_text(encoding="utf-8")
