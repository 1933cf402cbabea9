"""Observations along a video are the answers of the step, or of clips of the last ticks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipshift._version import __version__
from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.errors import ConfigError
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.observing import Observation, check_rate, observe
from clipshift.inference.predictor import Model
from clipshift.models.recognizer import Recognizer
from clipshift.video.timed import TimedFrame

CLASSES = ("background", "fall", "wave")
SEGMENTS = 4


def make_model(order: str) -> Model:
    model = ModelConfig.model_validate(
        {"backbone": "test_resnet", "pretrained": False, "shift": {"order": order}}, strict=False
    )
    network = Recognizer(model, segments=SEGMENTS, classes=3, generator=torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        network.classifier.weight.mul_(300)
    settings = InputConfig(segments=SEGMENTS, resize=36, crop=32)
    spec = ModelSpec(clipshift=__version__, model=model, input=settings, classes=CLASSES)
    return Model(NetworkScorer(network, spec, torch.device("cpu"), "fp32"))


@pytest.fixture(scope="module")
def causal() -> Model:
    return make_model("past_only")


@pytest.fixture(scope="module")
def two_way() -> Model:
    return make_model("past_first")


def frames(count: int, *, first: float = 0.0, rate: float = 10, size: tuple[int, int] = (40, 48)) -> list[TimedFrame]:
    random = np.random.default_rng(count)
    return [TimedFrame(first + k / rate, random.integers(0, 256, (*size, 3), np.uint8)) for k in range(count)]


def assert_same(found: list[Observation], expected: list[Observation]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.time == other.time
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.frame_probabilities, other.frame_probabilities)


def test_a_causal_network_takes_a_step_a_tick(causal: Model) -> None:
    source = frames(21)
    found = list(observe(causal, source, 5))
    assert [one.time for one in found] == [k / 5 for k in range(11)]
    state = causal.start()
    for one, tick in zip(found, source[::2], strict=True):
        scores, state = causal.step(tick.frame, state)
        np.testing.assert_array_equal(one.probabilities, scores.probabilities)
        np.testing.assert_array_equal(one.frame_probabilities, scores.frame_probabilities)
    assert len({one.probabilities.tobytes() for one in found}) == 11


def test_a_window_is_a_clip_of_the_last_ticks(two_way: Model) -> None:
    source = frames(9)
    found = list(observe(two_way, source, 10, window=True))
    assert [one.time for one in found] == [k / 10 for k in range(SEGMENTS - 1, 9)]
    for number, one in enumerate(found):
        clip = np.stack([each.frame for each in source[number : number + SEGMENTS]])
        np.testing.assert_array_equal(one.probabilities, two_way.predict(clip).probabilities)


@pytest.mark.parametrize("window", [False, True])
def test_where_ticks_begin_anew_the_network_does_too(causal: Model, window: bool) -> None:
    """After a jump back, and after a time without frames, answers are those of a new stream."""
    one, back, later = frames(6, first=50), frames(7, first=0), frames(8, first=300)
    found = list(observe(causal, [*one, *back, *later], 10, window=window, longest_display=1))
    apart = [list(observe(causal, part, 10, window=window)) for part in (one, back, later)]
    starts = [[each for each in found if low <= each.time < high] for low, high in ((50, 56), (0, 50), (300, 400))]
    for told, expected in zip(starts, apart, strict=True):
        # Before a break the last frame stays on display; a jump back takes its own tick away.
        shared = min(len(told), len(expected))
        assert shared >= len(expected) - 1
        assert_same(told[:shared], expected[:shared])


def test_frames_that_change_their_size(causal: Model, two_way: Model) -> None:
    source = [*frames(5), *frames(5, first=0.5, size=(60, 32))]
    assert len(list(observe(causal, source, 10))) == 10
    assert [round(one.time, 6) for one in observe(two_way, source, 10, window=True)] == [0.3, 0.4, 0.8, 0.9]


def test_a_network_that_is_not_causal_says_so_before_the_first_frame(two_way: Model) -> None:
    with pytest.raises(ConfigError):
        observe(two_way, [], 10)


def test_rates() -> None:
    assert check_rate(2.5) == 2.5
    with pytest.raises(ConfigError, match="spread over whole clips"):
        check_rate(None)
    with pytest.raises(ConfigError, match="no such rate"):
        check_rate(float("nan"))
