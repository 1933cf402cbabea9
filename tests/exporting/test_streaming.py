"""One frame at a time, of trained and exported models: the same numbers, explicit states, and what is refused."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import clipshift
from clipshift.config import ModelConfig, ModelSpec
from clipshift.config.schema import ShiftConfig
from clipshift.errors import ConfigError, ExportError, UserError, VideoError
from clipshift.exporting.comparison import LARGEST_DIFFERENCE
from clipshift.exporting.export import write_files
from clipshift.exporting.streaming_graph import LARGEST_FRAME_ERROR, check_frames, describe_streaming
from clipshift.inference.export_folder import Checked, Export, Target
from clipshift.inference.stream_state import StreamScores, StreamState
from clipshift.models.bundle import load_bundle, save_bundle
from clipshift.models.online import OnlineRecognizer
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import evaluation_views, normalize
from tests.conftest import MakeExport
from tests.exporting.making import graphs_made_once, noise, save_model

MakeStreaming = Callable[[Target], Path]
both_targets = pytest.mark.parametrize("target", ["onnx", "openvino"])


def save_causal(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    """The small model with the shift of the past."""
    save_model(folder, **changes)
    network, spec = load_bundle(folder)
    model = spec.model.model_copy(update={"shift": ShiftConfig(order="past_only")})
    causal = Recognizer(model, segments=spec.input.segments, classes=len(spec.classes))
    causal.load_state_dict(network.state_dict())
    save_bundle(folder, causal, spec.model_copy(update={"model": model}))
    return folder


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("causal") / "model")


@pytest.fixture(scope="module")
def streaming(causal: Path, small_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeStreaming:
    @cache
    def make(target: Target) -> Path:
        out = tmp_path_factory.mktemp("streaming") / target
        with graphs_made_once():
            return clipshift.export(causal, to=target, out=out, streaming=True, data=small_clips).folder

    return make


@pytest.fixture(scope="module")
def int8(causal: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeStreaming:
    """The network in eight bits, measured on streams of noise; nobody asks how good its answers are."""
    from clipshift.exporting.quantization.accuracy_control import Demands
    from clipshift.exporting.quantization.onnx import quantize_onnx
    from clipshift.exporting.quantization.openvino import quantize_openvino
    from clipshift.exporting.quantization.streams import real_steps

    network, spec = load_bundle(causal)
    views = [evaluation_views(frames_of(4, 36, 36, seed=seed), spec.input, "center") for seed in range(8)]
    clips = [np.asarray(normalize(view, spec.input.mean, spec.input.std)) for view in views]
    streaming = describe_streaming(network, spec)

    @cache
    def make(target: Target) -> Path:
        quantize = quantize_onnx if target == "onnx" else quantize_openvino

        def quantized(graph: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
            steps = real_steps(network, streaming, clips)
            found = quantize(graph, steps, clips[:2], Demands(lambda _: 1.0, 0.0), streaming)
            return found.model, found.excluded

        folder = tmp_path_factory.mktemp("int8") / target
        folder.mkdir()
        export = Export(
            clipshift="0", target=target, precision="int8", streaming=streaming, spec=spec, license="none", versions={}
        )
        with graphs_made_once():
            assert write_files(folder, network.eval(), export, quantized).excluded_layers == ()
        return folder

    return make


def load(model: Path) -> clipshift.Model:
    return clipshift.load(model, device="cpu", threads=1)


def run(
    model: clipshift.Model, frames: np.ndarray, state: StreamState | None = None
) -> tuple[list[StreamScores], StreamState]:
    """The answers to frames (T, H, W, 3) or (T, B, H, W, 3)."""
    answers = []
    state = state or model.start(1 if frames.ndim == 4 else frames.shape[1])
    for frame in frames:
        scores, state = model.step(frame, state)
        answers.append(scores)
    return answers, state


def frames_of(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return noise(count, height, width, seed=seed).repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]


def test_a_stream_of_a_clip_ends_with_the_answer_for_the_clip(causal: Path) -> None:
    model, frames = load(causal), frames_of(4, 48, 60)
    answers, _ = run(model, frames)
    expected = model.predict(frames)
    np.testing.assert_allclose(answers[-1].probabilities, expected.probabilities, atol=2e-6)
    assert answers[-1].label == expected.label
    assert answers[0].probabilities.dtype == np.float32
    assert np.array_equal(answers[0].probabilities, answers[0].frame_probabilities)
    np.testing.assert_allclose(
        answers[-1].logits, np.mean([each.frame_logits for each in answers], axis=0), rtol=1e-5, atol=1e-5
    )


@both_targets
def test_exports_answer_as_the_model_at_every_frame(target: Target, causal: Path, streaming: MakeStreaming) -> None:
    trained, export = load(causal), load(streaming(target))
    one, other = trained.start(2), export.start(2)
    for number, (height, width) in enumerate([(36, 36), (48, 60), (90, 41), (20, 31)] * 2):
        frames = np.stack([frames_of(1, height, width, seed=2 * number + stream)[0] for stream in (0, 1)])
        expected, one = trained.step(frames, one)
        found, other = export.step(frames, other)
        for name in ("logits", "frame_logits"):
            a, b = getattr(expected, name), getattr(found, name)
            assert np.abs(a - b).max() <= LARGEST_FRAME_ERROR * np.abs(a).max()
        assert found.probabilities.shape == (2, 4)
        assert found.labels == expected.labels


@both_targets
def test_a_streaming_export_takes_clips_too(
    target: Target, causal: Path, streaming: MakeStreaming, small_clips: Path
) -> None:
    trained, export = load(causal), load(streaming(target))
    for video in sorted(small_clips.rglob("*.mp4"))[::3]:
        np.testing.assert_allclose(
            export.predict(video).probabilities, trained.predict(video).probabilities, atol=LARGEST_DIFFERENCE
        )


@pytest.mark.parametrize("kind", ["trained", "onnx", "openvino", "onnx int8", "openvino int8"])
def test_states_are_explicit(kind: str, causal: Path, streaming: MakeStreaming, int8: MakeStreaming) -> None:
    target, _, quantized = kind.partition(" ")
    make: Callable[[Any], Path] = int8 if quantized else streaming
    model = load(causal if kind == "trained" else make(target))
    frames = np.stack([frames_of(6, 40, 52, seed=stream) for stream in range(3)], axis=1)
    together, _ = run(model, frames)
    _, middle = run(model, frames[:3])
    for _ in range(2):  # the state stays as it is
        rest, _ = run(model, frames[3:], middle)
        assert np.array_equal(rest[-1].logits, together[-1].logits)
    stored = pickle.loads(pickle.dumps(middle))  # noqa: S301 - its own
    assert np.array_equal(run(model, frames[3:], stored)[0][-1].logits, together[-1].logits)
    for stream in range(3):
        alone, _ = run(model, frames[:, stream])
        for one, two in zip(alone, together, strict=True):
            np.testing.assert_allclose(two.logits[stream], one.logits, rtol=1e-5, atol=1e-4)
    fresh, _ = run(model, frames[:2], middle.reset(1))
    going, _ = run(model, frames[:2], middle)
    assert np.array_equal(fresh[-1].logits[[0, 2]], going[-1].logits[[0, 2]])
    np.testing.assert_allclose(fresh[-1].logits[1], together[1].logits[1], rtol=1e-5, atol=1e-4)
    assert not np.allclose(going[-1].logits[1], together[1].logits[1])
    with pytest.raises(ValueError, match="3 streams: take labels"):
        _ = together[0].label


@both_targets
def test_eight_bits_stay_near_the_network_at_every_frame(target: Target, causal: Path, int8: MakeStreaming) -> None:
    trained, export = load(causal), load(int8(target))
    frames = frames_of(24, 44, 60, seed=50)
    expected, found = (np.stack([one.frame_logits for one in run(model, frames)[0]]) for model in (trained, export))
    errors = np.abs(found - expected).max(axis=1) / np.abs(expected).max()
    assert errors.max() < 0.1
    # What streams keep is rounded anew at each frame: no error grows along the stream.
    assert errors[12:].mean() < 1.5 * errors[:12].mean()


@pytest.mark.parametrize("size", [2, 3])
def test_steps_to_measure_on_are_of_one_stream(size: int, causal: Path) -> None:
    from clipshift.exporting.quantization.streams import PIXELS, real_steps

    network, spec = load_bundle(causal)
    streaming = describe_streaming(network.eval(), spec)
    clips = [np.random.default_rng(seed).normal(size=(1, size, 3, 32, 32)).astype(np.float32) for seed in range(3)]
    steps = real_steps(network, streaming, clips)
    online = OnlineRecognizer(network)
    frames, state, seen = np.concatenate(clips, axis=1), online.initial_state(1, 32, 32), []
    for number in range(3 * size):
        seen += [state for step in steps if np.array_equal(step[PIXELS], frames[:, number])]
        state = online.step(torch.from_numpy(frames[:, number]), state)[1]
    assert len(steps) == len(seen) == 6
    for step, before in zip(steps, seen, strict=True):
        for kept, tensor in zip(streaming.states, before, strict=True):
            np.testing.assert_allclose(step[kept.name], tensor.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["trained", "onnx"])
def test_what_is_no_frame_of_the_streams(kind: str, causal: Path, streaming: MakeStreaming) -> None:
    model = load(causal if kind == "trained" else streaming("onnx"))
    state = model.start(2)
    frame = frames_of(1, 40, 40)[0]
    wrong: list[Any] = [frame, frame[None], frame.astype(np.float32), [frame, frame], np.zeros((2, 0, 4, 3), np.uint8)]
    for frames in wrong:
        with pytest.raises(VideoError, match=r"not a frame|not one frame"):
            model.step(frames, state)
    with pytest.raises(UserError, match="state is not of this model"):
        model.step(frame, StreamState(state.tensors, 1))
    with pytest.raises(ConfigError, match=r"(?s)no such stream.*0 to 1"):
        state.reset(2)
    with pytest.raises(ConfigError, match="1 or more"):
        model.start(0)


def test_models_that_have_no_streams(small_model: Path, causal: Path, small_clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)later frames.*finetune-online.*sliding window"):
        load(small_model).start()
    with pytest.raises(ConfigError, match="later frames"):
        clipshift.export(small_model, to="onnx", out=tmp_path / "out", streaming=True)
    several = save_causal(tmp_path / "several", crops="three")
    with pytest.raises(ConfigError, match=r"(?s)one crop.*--crops center"):
        load(several).start()
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"to": "torch"}, r"no streaming exports"),
        ({"to": "onnx", "precision": "fp16"}, "no such precision"),
        ({"to": "onnx", "input": "clips"}, "frames as decoded"),
    )
    for options, what in refused:
        with pytest.raises(ExportError, match=what):
            clipshift.export(causal, out=tmp_path / "out", streaming=True, **options)
    assert not (tmp_path / "out").exists()


def test_exports_of_clips_have_no_streams(exported: MakeExport) -> None:
    with pytest.raises(ExportError, match=r"(?s)takes clips.*--streaming"):
        load(exported("onnx").folder).start()


@both_targets
def test_what_the_folder_says(target: Target, streaming: MakeStreaming, small_clips: Path) -> None:
    from clipshift.inference.export_folder import read_export

    export = read_export(streaming(target))
    assert export.streaming is not None
    assert export.streaming.window == 4
    assert [state.name for state in export.streaming.states][-2:] == ["recent_logits", "frames_seen"]
    assert export.streaming.states[-2].shape == (4, 4)
    assert export.checked is not None
    assert export.checked.frames == 6 * (1 + 2 + 3 + 1)
    assert 0 < (export.checked.largest_frame_error or 0) <= LARGEST_FRAME_ERROR
    card = (streaming(target) / "README.md").read_text(encoding="utf-8")
    assert "- `frame`: uint8 (B, H, W, 3)" in card
    assert "  - `shift_0`: (B, " in card
    assert "model.step(frame, state)" in card


def test_an_export_of_another_network_is_refused(causal: Path, streaming: MakeStreaming, tmp_path: Path) -> None:
    network, spec = load_bundle(causal)
    network.classifier.weight.data *= 1.001
    save_bundle(tmp_path / "other", network, spec)
    steppers = (load(tmp_path / "other").scorer.stepper, load(streaming("onnx")).scorer.stepper)
    checked = Checked(clips=1, source="", random_inputs=1, largest_difference=0.0, agreement=1.0)
    with pytest.raises(ExportError, match=r"(?s)frame by frame.*1e-05"):
        check_frames(*steppers, spec, "fp32", checked)
    assert check_frames(*steppers, spec, "bf16", checked).largest_frame_error > 1e-4  # type: ignore[operator]


@pytest.mark.parametrize("changes", [{"labels": "several"}, {}])
def test_labels_and_tsn(changes: dict[str, Any], tmp_path: Path, small_clips: Path) -> None:
    folder = save_causal(tmp_path / "model", **changes)
    if not changes:
        network, spec = load_bundle(folder)
        tsn = ModelSpec.model_validate({**spec.model_dump(), "model": _tsn(spec.model).model_dump()})
        plain = Recognizer(tsn.model, segments=4, classes=len(tsn.classes))
        plain.load_state_dict(network.state_dict())
        save_bundle(folder, plain, tsn)
    done = clipshift.export(folder, to="onnx", out=tmp_path / "out", streaming=True, data=small_clips)
    frames = frames_of(4, 40, 40)
    found, expected = (run(load(path), frames)[0][-1] for path in (done.folder, folder))
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-6)
    np.testing.assert_allclose(found.probabilities, load(folder).predict(frames).probabilities, atol=2e-6)
    assert "stepwise" in "\n".join(done.lines())


def _tsn(model: ModelConfig) -> ModelConfig:
    return model.model_copy(update={"architecture": "tsn"})


def test_the_page_does_what_it_says(
    causal: Path, streaming: MakeStreaming, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "streaming.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "live").symlink_to(causal)
    (tmp_path / "live").symlink_to(streaming("onnx"))
    monkeypatch.chdir(tmp_path)
    frames = frames_of(6, 40, 40)
    first: dict[str, Any] = {"frames": frames}
    second: dict[str, Any] = {"frames": frames}
    exec(blocks[1], first)  # noqa: S102 - the page of this repository
    exec(blocks[2], second)  # noqa: S102
    np.testing.assert_allclose(second["probabilities"][0], first["scores"].probabilities, atol=2e-6)
