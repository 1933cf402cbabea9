"""Unknown clips: the nearest known one by hand, thresholds that keep what they promise, files, and the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.config import UnknownRule
from clipshift.datasets.clip import Clip
from clipshift.errors import WeightsError
from clipshift.inference.known_clips import (
    KNOWN_CLIPS_FILE,
    KnownClips,
    familiarity,
    fit_threshold,
    load_known_clips,
    save_known_clips,
    unit_length,
)
from clipshift.inference.predictions import Prediction
from clipshift.inference.views import read_views
from clipshift.inference.writing import as_text
from clipshift.models.bundle import load_bundle, read_bundle, replace_spec
from clipshift.preprocessing.transforms import normalize
from tests.exporting.making import noise, save_model


def test_the_nearest_clip_counts() -> None:
    known = KnownClips(unit_length(np.array([[2.0, 0.0], [0.0, 5.0]])))
    found = familiarity(np.array([[3.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.0]]), known)
    np.testing.assert_allclose(found, [1, np.sqrt(0.5), 0, 0], atol=1e-6)


def test_the_threshold_has_its_rank() -> None:
    scores = np.arange(100)[::-1] / 100
    assert fit_threshold(scores, 0.95) == 0.04  # rank floor(101 x 0.05) = 5
    assert fit_threshold(scores[:19], 0.95) == scores[18]
    assert fit_threshold(scores[:3], 0.95) == scores[2]


def test_known_clips_stay_at_the_promised_rate_over_20_splits() -> None:
    """A new known clip is below the threshold with a probability of at most 5 %, whatever the distribution."""
    random = np.random.default_rng(0)
    rates = []
    for _ in range(20):
        scores = random.beta(8, 2, size=1200)
        rates.append(np.mean(scores[200:] >= fit_threshold(scores[:200], 0.95)))
    assert 0.94 < np.mean(rates) < 0.975
    assert min(rates) > 0.9


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, small_clips: Path) -> Path:
    """A small model that remembers four clips; the threshold lies between these and everything else."""
    folder = save_model(tmp_path_factory.mktemp("knowing") / "model")
    network, spec = load_bundle(folder)
    rows = []
    for path in sorted(small_clips.rglob("*.mp4"))[:4]:
        views = read_views(Clip(path, path.name, None), spec.input, spec.reading, crops="center")
        frames = normalize(views, spec.input.mean, spec.input.std)
        rows.append(network.features(frames).mean(dim=1)[0].detach().numpy())
    sha256 = save_known_clips(folder, KnownClips(unit_length(np.stack(rows))))
    rule = UnknownRule(threshold=0.9999, clips=20, remembered=4, sha256=sha256)
    replace_spec(folder, spec.model_copy(update={"unknown": rule}))
    return folder


@pytest.mark.parametrize("workers", [0, 2])
def test_answers(model: Path, small_clips: Path, workers: int) -> None:
    paths = sorted(small_clips.rglob("*.mp4"))
    loaded = clipshift.load(model, device="cpu", threads=2)
    plain = clipshift.load(_forgetful(model), device="cpu")
    answers = list(loaded.predict_many(paths, workers=workers))
    for path, answer, without in zip(paths, answers, plain.predict_many(paths, workers=0), strict=True):
        assert isinstance(answer, Prediction)
        assert isinstance(without, Prediction)
        assert answer.familiarity is not None
        np.testing.assert_allclose(answer.probabilities, without.probabilities, atol=1e-6)
        if path in paths[:4]:
            assert answer.familiarity == pytest.approx(1, abs=1e-4)
            assert (answer.unknown, answer.label) == (False, without.label)
        assert (without.familiarity, without.unknown) == (None, False)


def _forgetful(model: Path) -> Path:
    """The same model without a rule for unknown clips."""
    folder = model.parent / "forgetful"
    if not folder.exists():
        save_model(folder)
    return folder


def test_noise_is_unknown_and_its_nearest_classes_are_told(model: Path) -> None:
    answer = clipshift.load(model, device="cpu").predict(noise(6, 40, 48))
    assert answer.unknown
    assert answer.label == "unknown"
    assert answer.familiarity is not None
    assert answer.familiarity < 0.9999
    best = answer.top(1)[0][0]
    assert as_text(answer, 1).startswith(f"frames: unknown (nearest: {best} ")
    told = answer.to_json()
    assert (told["label"], told["unknown"], next(iter(told["probabilities"]))) == ("unknown", True, best)


def test_explanations_say_that_a_clip_is_unknown(model: Path, small_clips: Path) -> None:
    loaded = clipshift.load(model, device="cpu")
    foreign = clipshift.explain(loaded, noise(6, 40, 48), where="none")
    assert foreign.notes[0].startswith("The clip is unknown: it is unlike those that the model has learnt from (famil")
    learnt = min(small_clips.rglob("*.mp4"))
    for known, clip in ((loaded, learnt), (_forgetful(model), noise(6, 40, 48))):
        notes = clipshift.explain(known, clip, where="none", device="cpu").notes
        assert not [note for note in notes if "unknown" in note]


def test_evaluation_measures_what_it_did_before(model: Path, small_clips: Path) -> None:
    knowing = clipshift.evaluate(model, small_clips, device="cpu", workers=0)
    plain = clipshift.evaluate(_forgetful(model), small_clips, device="cpu", workers=0)
    assert knowing.metrics.top1 == plain.metrics.top1
    assert knowing.metrics.loss == pytest.approx(plain.metrics.loss, rel=1e-5)


def test_an_export_says_that_it_tells_no_unknown_clips(model: Path, small_clips: Path, tmp_path: Path) -> None:
    made = clipshift.export(model, to="onnx", out=tmp_path / "onnx", data=small_clips)
    assert any("does not tell unknown clips" in line for line in made.lines())
    answer = clipshift.load(made.folder, device="cpu").predict(noise(6, 40, 48))
    assert (answer.unknown, answer.familiarity) == (False, None)


def test_what_is_remembered_may_be_missing_or_another(model: Path, tmp_path: Path) -> None:
    rule = read_bundle(model)[1].unknown
    assert rule is not None
    with pytest.raises(WeightsError, match="is missing"):
        load_known_clips(tmp_path, rule)
    (tmp_path / KNOWN_CLIPS_FILE).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="damaged or replaced") as caught:
        load_known_clips(tmp_path, rule)
    assert "copy the whole model folder" in str(caught.value)
