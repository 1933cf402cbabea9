"""Every causal network, one frame at a time, gives the numbers that it gives for a clip; at 64 px."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

import clipshift
from clipshift.config.schema import ModelConfig, ShiftConfig
from clipshift.errors import ConfigError
from clipshift.models.bundle import load_bundle
from clipshift.models.folding import inference_form
from clipshift.models.online import OnlineRecognizer, OnlineScores, State, check_causal, reset_streams
from clipshift.models.recognizer import Recognizer
from clipshift.models.shift import TemporalShift
from clipshift.models.zoo import ZOO
from tests.conformance.test_models import CLASSES, CROP, KINDS, MODELS, SEGMENTS, _network, of


def _causal(model: ModelConfig) -> ModelConfig:
    return model.model_copy(
        update={"shift": model.shift.model_copy(update={"order": "past_only"}), "pretrained": False}
    )


CAUSAL = [
    name
    for number, name in enumerate(KINDS)
    if not MODELS[name].temporal_attention
    and not MODELS[name].motion
    and _causal(MODELS[name]) not in [_causal(MODELS[other]) for other in KINDS[:number]]
]
every_causal = of(CAUSAL)
_FEW = ["tsm-mobilenetv2-online", "tsm test_resnet", "pptsmv2", "tsn test_convnext2"]
few = of(_FEW)


@lru_cache(maxsize=4)  # as many as `_FEW`
def _built(name: str) -> Recognizer:
    network = Recognizer(_causal(MODELS[name]), segments=SEGMENTS, classes=CLASSES, crop=CROP)
    # Which way channels are shifted is no part of the weights.
    network.load_state_dict(_network(name).state_dict())
    return network.eval().double()


def _build(name: str) -> Recognizer:
    """In double precision: deep networks of random weights make much of every rounding error."""
    return copy.deepcopy(_built(name))


def _frames(frames: int = SEGMENTS, streams: int = 2, seed: int = 2) -> Tensor:
    """Noise in blocks, float64 (T, B, 3, H, W)."""
    blocks = torch.randn(frames, streams, 3, CROP // 16, CROP // 16, generator=torch.Generator().manual_seed(seed))
    return blocks.double().repeat_interleave(16, dim=-1).repeat_interleave(16, dim=-2)


def _run(
    online: OnlineRecognizer, frames_TBCHW: Tensor, state: State | None = None
) -> tuple[list[OnlineScores], State]:
    answers = []
    with torch.no_grad():
        state = online.initial_state(frames_TBCHW.shape[1], CROP, CROP) if state is None else state
        for frames_BCHW in frames_TBCHW:
            scores, state = online.step(frames_BCHW, state)
            answers.append(scores)
    return answers, state


def _error(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).abs().max() / expected.abs().max())


def _offline(network: Recognizer, frames_TBCHW: Tensor) -> Tensor:
    """Logits of every frame of clips (T, B, K)."""
    with torch.no_grad():
        logits_BTK = network.classifier(network.dropout(network.features(frames_TBCHW.transpose(0, 1))))
    return torch.as_tensor(logits_BTK.transpose(0, 1))


def _clip(network: Recognizer, frames_TBCHW: Tensor) -> Tensor:
    """Logits of the clips (B, K)."""
    with torch.no_grad():
        return torch.as_tensor(network(frames_TBCHW.transpose(0, 1)))


@every_causal
def test_step_by_step_are_the_logits_of_the_clip(name: str) -> None:
    # What does not hang on the backbone is tried with few: streams of a batch, and the average, which of TSM and of TSN
    # is the answer to a clip; that folding keeps a network's numbers is tried with every one elsewhere.
    network, frames = _build(name), _frames(streams=2 if name in _FEW else 1)
    expected = _offline(network, frames)
    for form in (network, inference_form(network)) if name in _FEW else (network,):
        answers, _ = _run(OnlineRecognizer(form), frames)
        single = torch.stack([each.frame for each in answers])
        assert _error(expected, single) <= 1e-9
        if name in _FEW:
            assert _error(_clip(network, frames), answers[-1].average) <= 1e-9
        for number, each in enumerate(answers, start=1):
            assert _error(single[:number].mean(dim=0), each.average) <= 1e-9


@few
def test_float32_is_as_near_as_the_clip_in_float32(name: str) -> None:
    exact = _offline(_build(name), _frames())
    network, frames = _build(name).float(), _frames().float()
    rounding = _error(exact, _offline(network, frames).double())
    for form in (network, inference_form(network)):
        single = torch.stack([each.frame for each in _run(OnlineRecognizer(form), frames)[0]])
        assert _error(exact, single.double()) <= 1e-5 + 4 * rounding


@few
def test_bfloat16_errs_as_its_digits_tell(name: str) -> None:
    network, frames = _build(name), _frames()
    exact = _clip(network, frames)
    online = OnlineRecognizer(network.float())
    single = _run(online, frames.float())[0][-1].average
    with torch.autocast("cpu", torch.bfloat16):
        half = _run(online, frames.float())[0][-1].average
    assert half.dtype == torch.float32
    # bfloat16 has 16 binary digits fewer than float32.
    assert _error(exact, half) < 0.02 + 2**17 * _error(exact, single)


@few
def test_the_average_is_over_a_window_that_slides(name: str) -> None:
    online = OnlineRecognizer(_build(name), window=3)
    answers, _ = _run(online, _frames(7))
    for number, each in enumerate(answers, start=1):
        window = [one.frame for one in answers[max(0, number - 3) : number]]
        assert _error(torch.stack(window).mean(dim=0), each.average) <= 1e-9


@few
def test_later_frames_change_no_bit_of_an_answer(name: str) -> None:
    network, frames, other = _build(name), _frames(6), _frames(6)
    other[3:] = _frames(6, seed=3)[3:]
    online = OnlineRecognizer(network)
    for one, two in zip(_run(online, frames)[0][:3], _run(online, other)[0][:3], strict=True):
        assert torch.equal(one.frame, two.frame)
        assert torch.equal(one.average, two.average)
    first, second = _offline(network, frames[:SEGMENTS]), _offline(network, other[:SEGMENTS])
    assert torch.equal(first[:3], second[:3])
    assert not torch.equal(first[3], second[3])


@few
def test_a_stream_goes_on_from_its_state_and_the_state_stays(name: str) -> None:
    online, frames = OnlineRecognizer(_build(name)), _frames(6)
    whole, end = _run(online, frames)
    _, middle = _run(online, frames[:3])
    kept = [tensor.clone() for tensor in middle]
    for _ in range(2):  # from the same state, twice
        rest, last = _run(online, frames[3:], middle)
        assert all(torch.equal(one.frame, two.frame) for one, two in zip(whole[3:], rest, strict=True))
        assert all(map(torch.equal, end, last))
    assert all(map(torch.equal, kept, middle))
    # Without its state it is another stream, where frames meet at all.
    fresh, _ = _run(online, frames[3:])
    assert torch.equal(fresh[0].frame, whole[3].frame) == (MODELS[name].architecture == "tsn")


@few
def test_streams_of_a_batch_are_apart_and_are_reset_apart(name: str) -> None:
    online, frames = OnlineRecognizer(_build(name)), _frames(5, streams=3)
    together, state = _run(online, frames)
    for stream in range(3):
        alone, own = _run(online, frames[:, stream : stream + 1])
        for one, two in zip(together, alone, strict=True):
            assert _error(two.frame, one.frame[stream : stream + 1]) <= 1e-9
            assert _error(two.average, one.average[stream : stream + 1]) <= 1e-9
        for tensor, part in zip(state, own, strict=True):
            assert torch.allclose(tensor[stream : stream + 1], part, rtol=1e-9)
    # The second one begins anew, the others go on.
    after, _ = _run(online, frames[:2], reset_streams(state, 1))
    going, _ = _run(online, frames[:2], state)
    for number, each in enumerate(after):
        assert torch.equal(each.average[[0, 2]], going[number].average[[0, 2]])
        assert torch.equal(each.average[1], together[number].average[1])


def test_what_the_state_is() -> None:
    model = ModelConfig(backbone="test_resnet", shift=ShiftConfig(order="past_only"))
    online = OnlineRecognizer(Recognizer(model, segments=5, classes=CLASSES))
    state = online.initial_state(2, CROP, CROP)
    assert [tuple(tensor.shape) for tensor in state[-2:]] == [(2, 5, CLASSES), (2, 1)]
    assert all(not tensor.any() for tensor in state)
    tsn = Recognizer(ModelConfig(architecture="tsn", backbone="test_resnet"), segments=5, classes=CLASSES)
    assert len(OnlineRecognizer(tsn).initial_state(1, CROP, CROP)) == 2
    with torch.no_grad():
        with pytest.raises(ValueError, match="not of these streams"):
            online.step(torch.zeros(1, 3, CROP, CROP), state)
        with pytest.raises(ValueError, match="not of these streams"):
            online.step(torch.zeros(2, 3, 32, 32), state)
        with pytest.raises(ValueError, match="not of these streams"):
            online.step(torch.zeros(2, 3, CROP, CROP), state[1:])
        with pytest.raises(ValueError, match=f"state is of {len(state) - 1} shifts"):
            online.step(torch.zeros(2, 3, CROP, CROP), (*state[:-2], state[0], *state[-2:]))


def test_weights_are_shared_and_the_network_stays() -> None:
    network = Recognizer(ZOO["tsm-mobilenetv2-online"].model, segments=2, classes=CLASSES)
    online = OnlineRecognizer(network)
    assert {id(each) for each in network.parameters()} == {id(each) for each in online.parameters()}
    assert [shift.segments for shift in network.modules() if isinstance(shift, TemporalShift)] == [2] * 10
    assert (network.segments, network.training) == (2, True)


def test_networks_that_need_later_frames_are_refused() -> None:
    for name in ("tsm-r50", "pptsmv2"):
        with pytest.raises(ConfigError, match=r"(?s)later frames.*got: +future_first.*past_only.*finetune-online"):
            check_causal(ZOO[name].model)
    with pytest.raises(ConfigError, match=r"(?s)Temporal attention.*sliding window"):
        OnlineRecognizer(Recognizer(ZOO["pptsmv2-16f-attention"].model, segments=16, classes=CLASSES))
    reads_motion = ZOO["tsn-r50"].model.model_copy(update={"motion": True})
    with pytest.raises(ConfigError, match=r"(?s)changes between all frames.*model\.motion.*finetune-online"):
        check_causal(reads_motion)
    check_causal(ZOO["tsn-r50"].model)


def test_the_online_network_of_mit(shared: Path, seeded: ModuleType, tmp_path: Path) -> None:
    meta, frames, logits = seeded.load(shared / "reference" / "mit_tsm" / "online_mobilenetv2")
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in seeded.checkpoint(meta).items()}
    torch.save({"state_dict": tensors}, tmp_path / "mit.pth")
    clipshift.convert(tmp_path / "mit.pth", tmp_path / "model", model="tsm-mobilenetv2-online", segments=10)
    network, _ = load_bundle(tmp_path / "model")
    online = OnlineRecognizer(network)
    with torch.no_grad():
        state = online.initial_state(1, 224, 224)
        assert [list(tensor.shape) for tensor in state[:-2]] == meta["buffers"]
        for frame, expected in zip(torch.from_numpy(frames), logits, strict=True):
            scores, state = online.step(frame[None], state)
            assert seeded.relative_error(scores.frame[0].numpy(), expected) <= 1e-5
