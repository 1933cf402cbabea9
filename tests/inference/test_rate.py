"""A model with a rate sees windows of time: from files and spans, in every engine, and in a test of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.config import ModelSpec
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError
from clipshift.evaluation.protocols import with_protocol
from clipshift.inference.observing import rate_of
from clipshift.inference.predictor import Model
from clipshift.preprocessing.windows import spread_windows
from tests.conftest import MakeExport
from tests.video.making import decode_all, make_video, pictures

TIMES = np.cumsum(np.random.default_rng(5).integers(5, 90, 60)).tolist()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a variable frame rate."""
    path = tmp_path_factory.mktemp("variable") / "a.mkv"
    return make_video(path, pictures(60), options={"preset": "ultrafast"}, times=TIMES)


def at_rate(model: Model, rate: float) -> Model:
    spec = model.spec
    settings = spec.input.model_copy(update={"rate": rate})
    return replace(model, scorer=model.scorer.with_spec(spec.model_copy(update={"input": settings})))


@pytest.mark.parametrize("engine", ["trained", "onnx"])
def test_frames_are_those_on_display(engine: str, video: Path, small_model: Path, exported: MakeExport) -> None:
    model = at_rate(clipshift.load(small_model if engine == "trained" else exported("onnx").folder), 6.0)
    frames = np.stack(decode_all(video))
    times = (np.array(TIMES) - TIMES[0]) / 1000
    segments = model.spec.input.segments
    for source, span in ((str(video), (0.0, times[-1] + 0.04)), (f"{video}#t=0.8,2", (0.8, 2.0))):
        first = (span[0] + span[1]) / 2 - (segments - 1) / 12
        first = max(0.0, min(first, times[-1] + 0.04 - (segments - 1) / 6))
        ticks = first + np.arange(segments) / 6
        wanted = np.searchsorted(times, ticks + 1e-6, side="right") - 1
        [answer] = model.predict_many([source])
        assert isinstance(answer, clipshift.Prediction)
        assert answer.path == source
        expected = model.probabilities(model.scorer.one_set(frames[wanted]))
        np.testing.assert_allclose(answer.probabilities, expected, rtol=0, atol=1e-5)


def test_decoded_frames_count_as_having_come_at_the_rate(small_model: Path) -> None:
    model = at_rate(clipshift.load(small_model), 3.0)
    segments = model.spec.input.segments
    frames = pictures(segments + 6)
    answer = model.predict(frames)
    expected = model.probabilities(model.scorer.one_set(frames[3 : 3 + segments]))
    np.testing.assert_allclose(answer.probabilities, expected, rtol=0, atol=1e-6)


def test_windows_of_several_clips(video: Path, small_model: Path) -> None:
    model = at_rate(clipshift.load(small_model), 8.0)
    with Clip(video, "a", None).open(model.spec.reading) as reader:
        boundaries = reader.boundaries
    end, segments = float(boundaries[-1]), model.spec.input.segments
    sets = spread_windows(boundaries, 0.0, end, rate=8.0, segments=segments, clips=2)
    frames = np.stack(decode_all(video))
    logits = np.mean([model.scorer.one_set(frames[each]) for each in sets], axis=0)
    answer = model.predict(video, clips=2)
    np.testing.assert_allclose(answer.probabilities, model.probabilities(logits), rtol=0, atol=1e-5)


def test_the_rate_for_a_stream(small_model: Path) -> None:
    model = clipshift.load(small_model)
    assert rate_of(at_rate(model, 6.0)) == 6.0
    assert rate_of(at_rate(model, 6.0), 2.0) == 2.0
    assert rate_of(model, 2.0) == 2.0
    with pytest.raises(ConfigError, match="does not say how many"):
        rate_of(model)


def test_protocols_of_other_frames_are_refused(small_model: Path) -> None:
    spec: ModelSpec = at_rate(clipshift.load(small_model), 6.0).spec
    assert with_protocol(spec, "uniform-1x3").input.rate == 6.0
    for name in ("dense-10x3", "twice-2x1"):
        with pytest.raises(ConfigError, match="rate of its own"):
            with_protocol(spec, name)
