"""Exports give the model's answers, on real clips, in every form, and say what they are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest

import clipshift
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError, ExportError
from clipshift.evaluation.evaluator import evaluate
from clipshift.exporting.comparison import LARGEST_DIFFERENCE, random_frames
from clipshift.exporting.parity import check
from clipshift.files import sha256_of_file
from clipshift.inference.engines.openvino import the_core
from clipshift.inference.engines.session import Session
from clipshift.inference.export_folder import (
    EXPORT_FILE,
    METADATA_KEY,
    MODEL_FILES,
    Export,
    InputForm,
    Target,
    read_export,
)
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.predictions import Prediction
from clipshift.video import decode, probe
from tests.conftest import MakeExport
from tests.exporting.making import SETTINGS, noise, save_model

pytestmark = pytest.mark.slow

every_target = pytest.mark.parametrize("target", get_args(Target))
NEAR = 2e-5
"""Differences of probabilities that rounding explains; `export` itself allows LARGEST_DIFFERENCE."""


def videos(clips: Path) -> list[Path]:
    return sorted(clips.rglob("*.mp4"))


def compare(expected: clipshift.Model, found: clipshift.Model, folder: Path, *, clips: int | None = None) -> None:
    for video in videos(folder)[::3]:
        one, other = expected.predict(video, clips=clips), found.predict(video, clips=clips)
        np.testing.assert_allclose(other.probabilities, one.probabilities, atol=NEAR)
        assert other.classes == one.classes


@every_target
def test_predictions_are_the_models(target: Target, small_model: Path, exported: MakeExport, small_clips: Path) -> None:
    trained = clipshift.load(small_model, device="cpu")
    export = clipshift.load(exported(target).folder, device="cpu", threads=1)
    compare(trained, export, small_clips)
    compare(trained, export, small_clips, clips=2)
    path = videos(small_clips)[0]
    frames = decode(path, range(probe(path).frames))
    np.testing.assert_allclose(export.predict(frames).probabilities, trained.predict(path).probabilities, atol=NEAR)
    with pytest.raises(ExportError, match="holds no network"):
        _ = export.network
    assert "fp32" in export.engine


@every_target
def test_batches_and_sizes_of_frames(
    target: Target, small_model: Path, exported: MakeExport, small_clips: Path, tmp_path: Path
) -> None:
    trained = clipshift.load(small_model, device="cpu")
    export = clipshift.load(exported(target).folder, device="cpu", threads=1)
    sources: list[Path] = videos(small_clips)[:4]
    odd = clipshift.datasets.motion.write_motion_clips(  # another size of frames between the others
        tmp_path / "odd", clips_per_class=1, validation_per_class=1, frames=6, size=70
    )
    sources.insert(2, videos(odd)[0])
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    sources.insert(1, broken)
    expected = list(trained.predict_many(sources))
    for batch_size, workers in ((1, 0), (2, 2), (3, 0)):
        found = list(export.predict_many(sources, batch_size=batch_size, workers=workers))
        assert [answer.path for answer in found] == [answer.path for answer in expected]
        for one, other in zip(expected, found, strict=True):
            assert type(one) is type(other)
            if isinstance(one, Prediction) and isinstance(other, Prediction):
                np.testing.assert_allclose(other.probabilities, one.probabilities, atol=NEAR)


@every_target
def test_frames_of_any_size(target: Target, small_model: Path, exported: MakeExport) -> None:
    trained = clipshift.load(small_model, device="cpu")
    export = clipshift.load(exported(target).folder, device="cpu", threads=1)
    for height, width in ((36, 36), (36, 80), (90, 41), (20, 11), (144, 100)):
        frames = noise(4, height, width).repeat(2, axis=1)[:, :height]
        np.testing.assert_allclose(
            export.predict(frames).probabilities, trained.predict(frames).probabilities, atol=NEAR
        )


@pytest.mark.parametrize(
    ("target", "options", "spec"),
    [
        ("onnx", {"crops": "ten"}, {"average": "probabilities"}),
        ("onnx", {"input": "clips", "crops": "three"}, {"labels": "several"}),
        ("openvino", {"input": "clips"}, {"clips": 2}),
        (
            "openvino",
            {"crops": "three_small"},
            {
                "average": "probabilities",
                "clips": 2,
                "input": {**SETTINGS.model_dump(), "antialias": False, "aspect": "four_thirds"},
            },
        ),
        (
            "torch",
            {"crops": "ten"},
            {"labels": "several", "clips": 2, "input": {**SETTINGS.model_dump(), "antialias": False}},
        ),
    ],
)
def test_forms_crops_labels_and_averages(
    target: Target, options: dict[str, Any], spec: dict[str, Any], small_clips: Path, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model", **spec)
    done = clipshift.export(model, to=target, out=tmp_path / "out", data=videos(small_clips)[0].parent, **options)
    trained, export = clipshift.load(model, device="cpu"), clipshift.load(done.folder, device="cpu", threads=1)
    crops = options.get("crops", "center")
    for video in videos(small_clips)[::3]:
        np.testing.assert_allclose(
            export.predict(video).probabilities, trained.predict(video, crops=crops).probabilities, atol=NEAR
        )
    with pytest.raises(ConfigError, match=r"(?s)crops are inside.*allowed: +" + crops + r"\n.*--crops"):
        export.predict(videos(small_clips)[0], crops="three_small" if crops == "three" else "three")


def test_fp16(small_model: Path, small_clips: Path, tmp_path: Path) -> None:
    trained = clipshift.load(small_model, device="cpu")
    for target in ("onnx", "openvino"):
        done = clipshift.export(small_model, to=target, out=tmp_path / target, precision="fp16", data=small_clips)
        assert done.export.checked is not None
        assert 0 < done.export.checked.largest_difference < 0.01
        export = clipshift.load(done.folder, device="cpu", threads=1)
        for video in videos(small_clips)[::3]:
            np.testing.assert_allclose(
                export.predict(video).probabilities, trained.predict(video).probabilities, atol=0.01
            )


@every_target
def test_what_lies_in_the_folder(target: Target, exported: MakeExport) -> None:
    done = exported(target)
    names = {*MODEL_FILES[target], EXPORT_FILE, "README.md"}
    assert {path.name for path in done.folder.iterdir()} == names
    assert [path.name for path in done.folder.parent.iterdir()] == [target]  # and nothing beside it
    export = read_export(done.folder)
    assert export == done.export
    assert (export.target, export.precision, export.input, export.license) == (target, "fp32", "frames", "Apache-2.0")
    assert set(export.files) == set(MODEL_FILES[target])
    checked = export.checked
    assert checked is not None
    assert (checked.clips, checked.random_inputs, checked.agreement) == (8, 4, 1.0)
    assert checked.largest_difference <= LARGEST_DIFFERENCE
    assert checked.accuracy == checked.accuracy_of_model
    assert checked.accuracy is not None
    assert "torch" in export.versions

    card = (done.folder / "README.md").read_text(encoding="utf-8")
    for part in (
        "left_to_right, right_to_left", "compared with the trained model on 8 clips", "uint8 (B, 4, H, W, 3)",
        "Apache-2.0", f"clipshift predict {done.folder}", MODEL_FILES[target][0], *export.files.values(),
    ):  # fmt: skip
        assert part in card, part
    assert "{{" not in card
    assert "{%" not in card
    said = "\n".join(done.lines())
    assert f"clipshift predict {done.folder}" in said
    assert re.search(r"8 clips .* and 4 random inputs: probabilities differ by \d", said)


def test_layers_that_were_kept_are_named(exported: MakeExport) -> None:
    done = exported("torch")

    def said(*excluded: str) -> list[str]:
        lines = replace(done, export=done.export.model_copy(update={"excluded_layers": excluded})).lines()
        return [line for line in lines if line.startswith("excluded")]

    assert said() == []
    assert said("classifier") == ["excluded  from int8, in float32: classifier"]
    assert said("a", "b", "c", "d", "e") == ["excluded  from int8, in float32: a, b, c and 2 more"]


def test_clips_that_cannot_be_read_are_counted_and_said(small_model: Path, small_clips: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_clips, data)
    for broken in videos(data)[:2]:
        broken.write_bytes(b"no video")
    done = clipshift.export(small_model, to="torch", out=tmp_path / "out", data=data)
    checked = done.export.checked
    assert checked is not None
    assert (checked.clips, checked.unreadable, checked.agreement) == (6, 2, 1.0)
    assert checked.accuracy == evaluate(small_model, data, device="cpu").metrics.top1
    said = "\n".join(done.lines())
    assert "checked   6 clips (" in said
    assert "; 2 more cannot be read) and" in said
    assert said.count(", the unreadable ones as wrong") == 1
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert "; 2 more could not be read)" in card
    assert "unreadable clips count as wrong" in card


def test_the_description_is_inside_the_files(exported: MakeExport) -> None:
    file = onnx.load(exported("onnx").folder / "model.onnx")
    texts = {"onnx": {entry.key: entry.value for entry in file.metadata_props}[METADATA_KEY]}
    model = the_core().read_model(exported("openvino").folder / "model.xml")
    texts["openvino"] = model.get_rt_info(["framework", METADATA_KEY]).astype(str)
    for target, text in texts.items():
        inside = Export.model_validate_json(text)
        # A file cannot hold its own hash, and is checked when it is written.
        assert inside == exported(target).export.model_copy(update={"files": {}, "checked": None})  # type: ignore[arg-type]
    assert [dim.dim_param or dim.dim_value for dim in file.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 4, "height", "width", 3,
    ]  # fmt: skip
    assert [output.name for output in file.graph.output] == ["probabilities", "logits"]


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_evaluating_an_export(target: Target, small_model: Path, exported: MakeExport, small_clips: Path) -> None:
    folder = exported(target).folder
    expected, found = (
        evaluate(small_model, small_clips, device="cpu"),
        evaluate(folder, small_clips, device="cpu", workers=0),
    )
    assert found.metrics.top1 == expected.metrics.top1
    assert found.model["sha256"] == sha256_of_file(folder / MODEL_FILES[target][-1])
    with pytest.raises(ConfigError, match="crops or averages in it than the protocol"):
        evaluate(folder, small_clips, protocol="uniform-1x10", device="cpu")
    with pytest.raises(ConfigError, match="own precision"):
        evaluate(folder, small_clips, amp="bf16", device="cpu")


def test_a_run_folder_brings_its_clips_and_settings(small_clips: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_model(run / "model")
    lines = [
        {"path": str(path), "name": path.name, "label": 0, "split": split, "error": None}
        for path, split in zip(videos(small_clips), ["validation"] * 5 + ["train"] * 3, strict=True)
    ]
    (run / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (run / "config.yaml").write_text("train:\n  epochs: 3\n", encoding="utf-8")
    done = clipshift.export(run, to="torch", out=tmp_path / "out", input="clips")
    assert done.export.training == {"train": {"epochs": 3}}
    assert done.export.license == "not stated"
    assert done.export.checked is not None
    assert (done.export.checked.clips, done.export.checked.source) == (5, "the run's validation clips")


@pytest.mark.parametrize("form", get_args(InputForm))
def test_a_check_asks_each_network_once_for_every_input(
    form: InputForm, small_model: Path, small_clips: Path, tmp_path: Path
) -> None:
    made = clipshift.export(small_model, to="onnx", out=tmp_path / "made", data=small_clips, input=form)
    trained, exported = (clipshift.load(folder, device="cpu") for folder in (small_model, made.folder))
    assert isinstance(trained.scorer, NetworkScorer)
    assert isinstance(exported.scorer, ExportScorer)
    seen = {"trained": 0, "exported": 0}

    def count(who: str, clips: int) -> None:
        seen[who] += clips

    network = trained.network
    network.register_forward_pre_hook(lambda _, inputs: count("trained", len(inputs[0])))
    session = _Watched(exported.scorer.session, lambda clips: count("exported", clips))
    reference = replace(trained, scorer=replace(trained.scorer, as_trained=True))
    watched = replace(exported, scorer=replace(exported.scorer, session=session))
    clips = [Clip(path, path.name, None) for path in videos(small_clips)[:2]]
    compared = check(reference, watched, clips, "two clips", made.export)
    random = sum(len(frames) for frames in random_frames(made.export.spec))
    assert compared.clips == len(clips)
    assert seen == {"trained": random + len(clips), "exported": random + len(clips)}


@dataclass(frozen=True)
class _Watched:
    """A session, and who is told of the clips that it is given."""

    session: Session
    tell: Callable[[int], None]
    engine: str = "watched"
    concurrency: int = 1

    def run(self, inputs: np.ndarray) -> np.ndarray:
        self.tell(len(inputs))
        return self.session.run(inputs)

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.tell(len(inputs))
        return self.session.both(inputs)


@pytest.mark.parametrize("resize", [8, 16, 36, 256])
def test_random_inputs_of_every_shape(resize: int, exported: MakeExport) -> None:
    settings = SETTINGS.model_copy(update={"resize": resize, "crop": resize})
    spec = exported("torch").export.spec.model_copy(update={"input": settings})
    shapes = [frames.shape for frames in random_frames(spec)]
    assert {shape[0] for shape in shapes} == {1, 2, 3}
    assert all(shape[1] == 4 and shape[4] == 3 and 0 not in shape for shape in shapes)
    kinds = {(shape[2] > shape[3]) - (shape[2] < shape[3]) for shape in shapes}
    assert kinds == {-1, 0, 1}  # wide, square, upright
