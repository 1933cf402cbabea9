"""Opening exported models: whole ones, damaged ones, and what they are asked for that they cannot do."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import threading
import zipfile
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

import clipshift
from clipshift.config import EvaluateConfig
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError, ExportError, MissingDependencyError, VideoError, WeightsError
from clipshift.inference.engines.open_session import open_session
from clipshift.inference.engines.session import EngineOptions, Mode
from clipshift.inference.engines.torch_program import TorchSession
from clipshift.inference.export_folder import MODEL_FILES, Export, Target, find_export, read_export
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.predictions import Prediction
from clipshift.inference.views import read_views
from clipshift.video import ClipInfo
from clipshift.video.video_file import VideoFile
from tests.conftest import MakeExport
from tests.exporting.making import noise
from tests.video.making import make_video, pictures

every_target = pytest.mark.parametrize("target", get_args(Target))
ONE_THREAD = EngineOptions(device="cpu", threads=1)


def copied(exported: MakeExport, target: Target, to: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(exported(target).folder, to))


@every_target
def test_a_folder_and_each_of_its_files_mean_the_export(
    target: Target, exported: MakeExport, small_model: Path
) -> None:
    folder = exported(target).folder
    assert find_export(folder) == folder
    for name in MODEL_FILES[target]:
        assert find_export(folder / name) == folder
        assert find_export(str(folder / name)) == folder
    for other in (folder / "README.md", folder.parent, small_model, small_model / "model.safetensors", "tsm-r50"):
        assert find_export(other) is None


@every_target
@pytest.mark.parametrize("spoil", ["shorter", "a bit", "missing"])
def test_a_file_that_was_changed(target: Target, spoil: str, exported: MakeExport, tmp_path: Path) -> None:
    folder = copied(exported, target, tmp_path / "copy")
    file = folder / MODEL_FILES[target][-1]  # of OpenVINO the weights
    data = bytearray(file.read_bytes())
    if spoil == "missing":
        file.unlink()
        text = rf"(?s)cannot be read.*{file.name}.*No such file"
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data[:-1] if spoil == "shorter" else data)
        text = rf"(?s)damaged or changed.*{file.name}.*got: +SHA-256 \w+\n.*allowed: +SHA-256 \w+\n.*export again"
    with pytest.raises(ExportError, match=text):
        clipshift.load(folder)


def test_layers_in_float32_under_the_key_of_earlier_versions(exported: MakeExport) -> None:
    described = read_export(exported("onnx").folder).model_dump(mode="json")
    assert described.pop("excluded_layers") == []
    assert Export.model_validate_json(json.dumps({**described, "kept": ["a", "b"]})).excluded_layers == ("a", "b")


def test_a_file_without_its_description(exported: MakeExport, tmp_path: Path) -> None:
    folder = copied(exported, "onnx", tmp_path / "copy")
    (folder / "model.json").unlink()
    for model in (folder, folder / "model.onnx"):
        with pytest.raises(ExportError, match=r"(?s)description.*model\.json.*No such file.*copy the whole folder"):
            clipshift.load(model)
    described = (exported("onnx").folder / "model.json").read_text(encoding="utf-8")
    for changed in (
        described.replace("left_to_right", "left_to_left"),
        described.replace('"segments": 4', '"segments": 8'),
        re.sub(r'"description_sha256": "\w+"', '"description_sha256": null', described),
    ):
        assert changed != described
        (folder / "model.json").write_text(changed, encoding="utf-8")
        with pytest.raises(ExportError, match=r"(?s)description.*damaged or changed.*model\.json.*SHA-256.*again"):
            clipshift.load(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ExportError, match=r"(?s)description.*not the text of JSON"):
        clipshift.load(folder)
    with pytest.raises(WeightsError):  # neither a model nor an export
        clipshift.load(tmp_path)


@every_target
def test_inputs_that_do_not_fit(target: Target, exported: MakeExport) -> None:
    folder = exported(target).folder
    export = read_export(folder)
    session = open_session(folder, export, ONE_THREAD)
    good = noise(4, 40, 50)[None]
    assert [answer.shape for answer in (session.run(good), *session.both(good))] == [(1, 4)] * 3
    bad = {
        "float32": good.astype(np.float32),
        r"\(4, 40, 50, 3\)": good[0],
        r"uint8 \(1, 3, 40, 50, 3\)": good[:, :3],
        r"\(1, 4, 3, 40, 50\)": good.transpose(0, 1, 4, 2, 3),
        r"\(0, 4, 40, 50, 3\)": good[:0],
        r"\(1, 4, 40, 50, 4\)": good.repeat(2, axis=4)[..., :4],
    }
    for got, inputs in bad.items():
        text = (
            rf"(?s)not what the exported model takes.*got: .*{got}.*allowed: +uint8 \(clips, 4, height, width, 3\): RGB"
        )
        with pytest.raises(ExportError, match=text):
            session.run(inputs)
        with pytest.raises(ExportError, match=text):
            session.both(inputs)
    model = clipshift.load(folder, device="cpu", threads=1)
    for frames in (
        good[0].astype(np.float32),
        good,
        good[0][..., :2],
        good[0].transpose(0, 3, 1, 2),
        list(good[0]),
        None,
    ):
        with pytest.raises(VideoError, match=r"(?s)not a video.*got: .*uint8 \(frames, height, width, 3\), RGB"):
            model.predict(frames)  # type: ignore[arg-type]


@every_target
def test_frames_need_not_be_contiguous(target: Target, exported: MakeExport) -> None:
    folder = exported(target).folder
    session = open_session(folder, read_export(folder), ONE_THREAD)
    frames = noise(4, 80, 50)[None]
    turned = frames.transpose(0, 1, 3, 2, 4)
    np.testing.assert_array_equal(session.run(turned), session.run(np.ascontiguousarray(turned)))
    np.testing.assert_array_equal(session.run(frames[:, :, ::2]), session.run(frames[:, :, ::2].copy()))


@every_target
def test_probabilities_are_those_of_the_logits(target: Target, exported: MakeExport) -> None:
    folder = exported(target).folder
    session = open_session(folder, read_export(folder), ONE_THREAD)
    frames = np.stack([noise(4, 44, 60, seed=seed) for seed in range(3)])
    logits, probabilities = session.both(frames)
    np.testing.assert_array_equal(session.run(frames), logits)
    exact = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    np.testing.assert_allclose(probabilities, exact / exact.sum(axis=1, keepdims=True), atol=1e-6)
    assert logits.dtype == probabilities.dtype == np.float32
    one_by_one = np.concatenate([session.run(clip[None]) for clip in frames])
    np.testing.assert_allclose(one_by_one, logits, atol=1e-4)


@pytest.mark.parametrize(
    ("target", "device", "allowed"),
    [
        ("onnx", "tensorrt", r"auto, .*cpu"),
        ("onnx", "gpu", r"auto, .*cpu"),
        ("onnx", "cpu:1", r"auto, .*cpu"),
        ("openvino", "cuda", "auto, cpu"),
        ("openvino", "GPU", "auto, cpu"),
        ("torch", "cuda:99", "auto, cpu"),
        ("torch", "tensorrt", "auto, cpu"),
    ],
)
def test_a_device_that_is_not_there(target: Target, device: str, allowed: str, exported: MakeExport) -> None:
    if device == "tensorrt" and target == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        if "TensorrtExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime has TensorRT")
    with pytest.raises(ConfigError, match=rf"(?s)has no such device here.*got: +{device}\n.*allowed: +{allowed}"):
        clipshift.load(exported(target).folder, device=device)


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_package_for_gpus_where_there_is_none(
    small_model: Path,
    small_clips: Path,
    exported: MakeExport,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime may have a GPU")
    providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    folder, frames = exported("onnx").folder, noise(4, 40, 50)
    for device in ("cuda", "cuda:1", "tensorrt"):
        with pytest.raises(ExportError, match=rf"(?s)could not start the device.*got: +{device}: it took CPU.*or use"):
            clipshift.load(folder, device=device)

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name.startswith("clipshift")]

    assert said() == []
    model = clipshift.load(folder, threads=1)
    assert model.engine.endswith("1 threads")
    assert model.predict(frames).label == clipshift.load(folder, device="cpu", threads=1).predict(frames).label
    (text,) = said()
    assert "could not start" in text
    assert "without a GPU" in text
    # Compared is what can be started, and what cannot is said.
    found = clipshift.verify(small_model, folder, data=small_clips, most=2)
    assert [row.precision for row in found.rows] == ["fp32", "fp32"]
    assert [text.split(":")[0] for text in said()[1:]] == ["Not compared on cuda", "Not compared on tensorrt"]


def test_options_that_mean_nothing(exported: MakeExport) -> None:
    folder = exported("openvino").folder
    with pytest.raises(ConfigError, match=r"(?s)number of threads.*got: +-1"):
        clipshift.load(folder, threads=-1)
    with pytest.raises(ConfigError, match=r"(?s)no such mode.*got: +fast\n.*latency, throughput"):
        clipshift.load(folder, mode="fast")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"(?s)own precision.*bf16.*fp32"):
        clipshift.load(folder, amp="bf16")


def test_large_frames_are_read_ahead_within_a_budget(exported: MakeExport, monkeypatch: pytest.MonkeyPatch) -> None:
    export = exported("onnx").export
    changed, read, answered, most = threading.Condition(), 0, 0, 0

    class Reader:
        """Of a clip in 4K, so it says."""

        frame_count = 8
        bytes_per_frame = 3840 * 2160 * 3

        def read(self, indices: list[int]) -> np.ndarray:
            nonlocal read, most
            with changed:
                read += 1
                most = max(most, read - answered)
                changed.notify_all()
            return np.zeros((len(indices), 1, 1, 3), dtype=np.uint8)

    class FakeSession:
        engine, concurrency = "slow", 1

        def run(self, inputs: np.ndarray) -> np.ndarray:
            nonlocal answered
            with changed:
                # Nothing is answered before the next clip, if there is one, was read.
                assert changed.wait_for(lambda: read - answered >= min(2, 40 - answered), timeout=1800)
                answered += len(inputs)
            return np.zeros((len(inputs), 4), dtype=np.float32)

        def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            raise NotImplementedError

    monkeypatch.setattr("clipshift.datasets.clip.open_clip", lambda *_, **__: nullcontext(Reader()))
    scorer = ExportScorer(FakeSession(), export)
    clips = [Clip(Path(f"{number}.mp4"), str(number), None) for number in range(40)]
    scored = list(scorer.stream(clips, EvaluateConfig(batch_size=1), workers=16))
    assert [each.clip for each in scored] == clips
    # 32 clips of four frames would be 3 GB.
    assert 2 <= most <= 2**30 // (4 * 3840 * 2160 * 3) + 1


def test_calls_are_side_by_side_up_to_what_the_engine_takes(
    exported: MakeExport, small_clips: Path, tmp_path: Path
) -> None:
    export = exported("onnx").export
    together, running, most = threading.Barrier(2), 0, 0
    lock = threading.Lock()

    class FakeSession:
        engine, concurrency = "parallel", 2

        def run(self, inputs: np.ndarray) -> np.ndarray:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            together.wait(timeout=1800)  # breaks unless two calls meet
            with lock:
                running -= 1
            return np.full((len(inputs), 4), inputs.mean(), dtype=np.float32)

        def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            raise NotImplementedError

    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    paths = [*sorted(small_clips.rglob("*.mp4"))[:4], broken]
    clips = [Clip(path, path.name, None) for path in paths]
    scorer = ExportScorer(FakeSession(), export)
    scored = list(scorer.stream(clips, EvaluateConfig(batch_size=1), workers=4))
    assert [each.clip for each in scored] == clips
    assert [each.logits is None for each in scored] == [False] * 4 + [True]
    assert scored[-1].error is not None
    assert most == 2


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_throughput_answers_a_folder_as_latency_does(target: Target, exported: MakeExport, small_clips: Path) -> None:
    folder = exported(target).folder
    quick, many = (clipshift.load(folder, device="cpu", threads=2, mode=mode) for mode in get_args(Mode))
    assert isinstance(quick.scorer, ExportScorer)
    assert isinstance(many.scorer, ExportScorer)
    assert (quick.scorer.session.concurrency, many.scorer.session.concurrency) == (1, 2)
    expected = list(quick.predict_many(small_clips, workers=0))
    found = list(many.predict_many(small_clips, workers=3))
    assert [answer.path for answer in found] == [answer.path for answer in expected]
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Prediction)
        assert isinstance(other, Prediction)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_throughput_gives_the_same_answers(exported: MakeExport) -> None:
    folder = exported("openvino").folder
    frames = noise(4, 44, 60)
    expected = clipshift.load(folder, device="cpu", threads=1).predict(frames)
    found = clipshift.load(folder, device="cpu", threads=2, mode="throughput").predict(frames)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)


def test_a_cache_of_what_openvino_compiled(exported: MakeExport, tmp_path: Path) -> None:
    folder = exported("openvino").folder
    frames = noise(4, 44, 60)[None]
    options = EngineOptions(device="cpu", threads=1, cache=tmp_path / "cache")
    first, second = (open_session(folder, read_export(folder), options).run(frames) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(("target", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_an_engine_that_is_not_installed(
    target: Target, package: str, exported: MakeExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(target).folder
    monkeypatch.setitem(sys.modules, package, None)  # what makes an import fail
    monkeypatch.delitem(sys.modules, f"clipshift.inference.engines.{package}", raising=False)
    with pytest.raises(MissingDependencyError, match=rf"(?s)'{package}'.*pip install 'clipshift\[{target}\]'"):
        clipshift.load(folder)


class _Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_no_pickle_is_read_from_a_program(exported: MakeExport, tmp_path: Path) -> None:
    folder, marker, program = exported("torch").folder, tmp_path / "touched", tmp_path / "model.pt2"
    pickled = io.BytesIO()
    torch.save((((_Touch(marker),), {})), pickled)
    with zipfile.ZipFile(folder / "model.pt2") as right, zipfile.ZipFile(program, "w") as wrong:
        for name in right.namelist():
            spoilt = "sample_inputs" in name
            wrong.writestr(name, pickled.getvalue() if spoilt else right.read(name))
    with pytest.raises(ExportError, match="PyTorch cannot read the file"):
        TorchSession(program, read_export(folder), ONE_THREAD)
    assert not marker.exists()


@pytest.mark.parametrize("spoil", ["no archive", "a number for a tree", "an archive in an archive"])
def test_a_program_that_is_none(spoil: str, exported: MakeExport, tmp_path: Path) -> None:
    """PyTorch's reader ends with errors of all kinds."""
    folder, program = exported("torch").folder, tmp_path / "model.pt2"
    with zipfile.ZipFile(folder / "model.pt2") as right, zipfile.ZipFile(program, "w") as wrong:
        for name in right.namelist():
            tree = spoil == "a number for a tree" and name.endswith(".json")
            place = f"deep/{name}" if spoil == "an archive in an archive" else name
            wrong.writestr(place, b"1" if tree else right.read(name))
    if spoil == "no archive":
        program.write_bytes(program.read_bytes()[:-100])
    with pytest.raises(ExportError, match="PyTorch cannot read the file"):
        TorchSession(program, read_export(folder), ONE_THREAD)


@pytest.mark.parametrize(("choice", "width"), [("ignore", 96), ("apply", 192)])
def test_frames_reach_the_engine_with_the_pixels_of_the_model(
    choice: str, width: int, exported: MakeExport, tmp_path: Path
) -> None:
    export = exported("onnx").export
    spec = export.spec.model_copy(update={"input": export.spec.input.model_copy(update={"pixel_aspect": choice})})
    shapes = []

    class FakeSession:
        engine, concurrency = "noting", 1

        def run(self, inputs: np.ndarray) -> np.ndarray:
            shapes.append(inputs.shape[2:])
            return np.zeros((len(inputs), 4), dtype=np.float32)

        def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            raise NotImplementedError

    path = make_video(tmp_path / "a.mp4", pictures(9), pixel_aspect=Fraction(2))
    scorer = ExportScorer(FakeSession(), export.model_copy(update={"spec": spec}))
    scored = list(scorer.stream([Clip(path, "a", None)], EvaluateConfig(), workers=0))
    assert [each.error for each in scored] == [None]
    assert shapes == [(64, width, 3)]


def test_no_frame_is_decoded_to_know_its_size(
    exported: MakeExport, small_clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: VideoFile) -> ClipInfo:
        raise AssertionError("a frame would be decoded for it")

    monkeypatch.setattr(VideoFile, "info", property(refused))
    model = clipshift.load(exported("onnx").folder, device="cpu")
    path = min(small_clips.rglob("*.mp4"))
    assert model.predict(path).probabilities.sum() == pytest.approx(1)
    views = read_views(Clip(path, "a", None), model.spec.input, model.spec.reading, crops="center")
    assert views.shape[:2] == (1, 4)
