"""Whatever is wrong with an export makes it fail, with the numbers, and leaves nothing behind."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import clipshift
from clipshift.errors import ConfigError, DataError, ExportError, MissingDependencyError, UserError, WeightsError
from clipshift.exporting import targets
from clipshift.exporting.targets import WRITERS
from clipshift.inference.engines.openvino import processor_has_bf16
from clipshift.inference.export_folder import FORMAT, Export, Target
from clipshift.locks import hold
from clipshift.models.bundle import load_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.training.run_folder import mark_finished
from tests.conftest import MakeExport
from tests.exporting.making import SETTINGS, save_model

pytestmark = pytest.mark.slow

NUMBERS = (
    r"(?s)does not give the numbers of the model; nothing was written.*a probability differs by \d\.\de-0[1-4].*1e-04"
)


def refused(kind: type[UserError], call: Callable[[], object], text: str, out: Path) -> None:
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(kind, match=text) as caught:
        call()
    assert len(str(caught.value).splitlines()) <= 6
    assert sorted(out.parent.rglob("*")) == before


def write_spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[ModelProto], object]) -> None:
    """Let the writer of ONNX files make a fault after its work."""
    right = WRITERS["onnx"]

    def write(folder: Path, network: Recognizer, export: Export, quantize: targets.Quantize | None) -> Export:
        export = right(folder, network, export, quantize)
        file = onnx.load(folder / "model.onnx")
        spoil(file)
        onnx.save(file, folder / "model.onnx")
        return export

    monkeypatch.setitem(WRITERS, "onnx", write)


def another_slope(file: ModelProto) -> None:
    """As PaddleVideo's documented route to ONNX does, in one of all layers."""
    nodes = [node for node in file.graph.node if node.op_type == "LeakyRelu"]
    assert all(node.attribute[0].f == pytest.approx(0.01) for node in nodes)
    nodes[-1].attribute[0].f = 0.1


def swapped_colors(file: ModelProto) -> None:
    for node in file.graph.node:
        for place, name in enumerate(node.input):
            if name == "frames":
                node.input[place] = "swapped"
    file.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "order"))
    file.graph.node.insert(0, helper.make_node("Gather", ["frames", "order"], ["swapped"], axis=4))


def not_a_number(file: ModelProto) -> None:
    weights = next(weights for weights in file.graph.initializer if weights.name == "classifier.weight")
    weights.CopyFrom(numpy_helper.from_array(np.full((4, weights.dims[1]), np.nan, np.float32), weights.name))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (another_slope, NUMBERS),
        (swapped_colors, NUMBERS),
        (not_a_number, "answers with NaN; nothing was written"),
    ],
)
def test_a_fault_in_the_graph(
    spoil: Callable[[ModelProto], object],
    text: str,
    small_model: Path,
    small_clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_spoiled(monkeypatch, spoil)
    out = tmp_path / "out"
    refused(ExportError, lambda: clipshift.export(small_model, to="onnx", out=out, data=small_clips), text, out)


@pytest.mark.parametrize("target", get_args(Target))
def test_swapped_colors_in_every_target(
    target: Target, small_model: Path, small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = WRITERS[target]

    def write(folder: Path, network: Recognizer, export: Export, quantize: targets.Quantize | None) -> Export:
        other = copy.deepcopy(network)
        first = next(other.backbone.parameters())
        assert first.shape[1] == 3
        first.data = first.data.flip(1)
        return right(folder, other, export, quantize)

    monkeypatch.setitem(WRITERS, target, write)
    out = tmp_path / "out"
    refused(ExportError, lambda: clipshift.export(small_model, to=target, out=out, data=small_clips), NUMBERS, out)


@pytest.mark.parametrize("changes", [{"interpolation": "bicubic"}, {"crop_rounding": "even", "resize": 37}])
def test_another_resize(
    changes: dict[str, object],
    small_model: Path,
    small_clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = WRITERS["onnx"]

    def write(folder: Path, network: Recognizer, export: Export, quantize: targets.Quantize | None) -> Export:
        other = export.spec.model_copy(update={"input": export.spec.input.model_copy(update=changes)})
        right(folder, network, export.model_copy(update={"spec": other}), quantize)
        return export

    monkeypatch.setitem(WRITERS, "onnx", write)
    out = tmp_path / "out"
    refused(ExportError, lambda: clipshift.export(small_model, to="onnx", out=out, data=small_clips), NUMBERS, out)


def test_fp16_that_gives_clips_other_classes(
    small_model: Path, small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = WRITERS["openvino"]

    def write(folder: Path, network: Recognizer, export: Export, quantize: targets.Quantize | None) -> Export:
        other = copy.deepcopy(network)
        other.classifier.weight.data = other.classifier.weight.data.roll(1, 0)
        return right(folder, other, export, quantize)

    monkeypatch.setitem(WRITERS, "openvino", write)
    out = tmp_path / "out"
    refused(
        ExportError,
        lambda: clipshift.export(small_model, to="openvino", out=out, precision="fp16", data=small_clips),
        r"(?s)another class than the model; nothing was written.*0\.0% of 8 clips \("
        r".*mp4: \w+ \(0\.\d+\), exported: \w+ \(in the model 0\.\d+\);.*"
        r"at least 99\.5%.*--precision fp32",
        out,
    )


def test_weights_that_are_not_a_number(small_clips: Path, tmp_path: Path) -> None:
    model, out = save_model(tmp_path / "model", spoil="classifier.weight"), tmp_path / "out"
    refused(
        WeightsError,
        lambda: clipshift.export(model, to="torch", out=out, data=small_clips),
        "infinity or NaN: its weights are broken",
        out,
    )


def test_clips_of_which_none_can_be_read(small_model: Path, tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.mp4", tmp_path / "out"
    broken.write_bytes(b"no video")
    refused(
        ExportError,
        lambda: clipshift.export(small_model, to="torch", out=out, data=broken),
        r"(?s)None of the clips for the check could be read.*where: .*broken\.mp4.*got: ",
        out,
    )


def test_a_run_that_is_not_finished_or_broken(small_model: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"

    def export() -> object:
        return clipshift.export(run, to="torch", out=out)

    refused(WeightsError, export, "There is no such model", out)
    run.mkdir()
    (run / "run.json").write_text("{}")
    refused(ExportError, export, "(?s)not finished a single epoch.*'clipshift train'", out)
    save_model(run / "model")
    (run / "report.html").write_text("a page says nothing of that")
    refused(ExportError, export, "(?s)is not finished.*'clipshift train'.*clipshift export .*run/model ", out)
    best_so_far = clipshift.export(run / "model", to="torch", out=tmp_path / "best", input="clips")
    assert any("not finished" in note for note in best_so_far.notes)
    mark_finished(run, epochs=3, best_epoch=2)
    (run / "config.yaml").write_text("train: [")
    refused(ExportError, export, r"(?s)settings of the training cannot be read.*config\.yaml", out)
    (run / "config.yaml").write_text("train: {epochs: 1}")
    (run / "data.jsonl").write_text('{"path": 3\n')
    refused(DataError, export, r"(?s)list of clips cannot be read.*data\.jsonl", out)
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    refused(WeightsError, export, "(?s)damaged or replaced.*SHA-256", out)


def test_an_export_is_no_model_to_export(exported: MakeExport, tmp_path: Path) -> None:
    folder, out = exported("torch").folder, tmp_path / "out"
    refused(
        ExportError,
        lambda: clipshift.export(folder, to="torch", out=out),
        "(?s)exported model already.*trained model that it was made from",
        out,
    )


def test_a_folder_that_is_taken(small_model: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    file.write_text("a file")
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    for taken in (file, out):
        refused(
            ExportError,
            lambda: clipshift.export(small_model, to="torch", out=taken),  # noqa: B023
            r"(?s)output folder is there already.*--out",
            taken,
        )
    below = out / "mine.txt" / "export"
    with pytest.raises(ExportError, match="cannot be written"):
        clipshift.export(small_model, to="torch", out=below)


def test_a_folder_that_is_filled_while_the_export_is_checked(
    small_model: Path, small_clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()

    def meanwhile(_done: int, _total: int) -> None:
        assert not any(path.name == "model.json" for path in out.iterdir())
        (out / "mine.txt").write_text("kept")

    with pytest.raises(ExportError, match="cannot be written"):
        clipshift.export(small_model, to="torch", out=out, data=small_clips, input="clips", progress=meanwhile)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("target", "package", "extra"),
    [
        ("onnx", "onnx", "export"),
        ("onnx", "onnxscript", "export"),
        ("onnx", "onnxruntime", "onnx"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_a_missing_package(
    target: Target, package: str, extra: str, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def without(name: str, *rest: str) -> ModuleSpec | None:
        return None if name == package else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    out = tmp_path / "out"
    refused(
        MissingDependencyError,
        lambda: clipshift.export(small_model, to=target, out=out),
        rf"(?s)'{package}', which is not installed.*pip install 'clipshift\[{extra}\]'",
        out,
    )


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"to": "tflite"}, ConfigError, r"(?s)where: +to\n.*tflite\n.*onnx, openvino, torch"),
        ({"to": "onnx", "precision": "fp8"}, ConfigError, r"(?s)precision\n.*fp8\n.*fp32, fp16, bf16, int8"),
        ({"to": "onnx", "input": "video"}, ConfigError, r"(?s)input\n.*video\n.*frames, clips"),
        ({"to": "onnx", "crops": "five"}, ConfigError, r"(?s)crops\n.*five\n.*center, three, three_small, ten"),
        ({"to": "onnx", "precision": "bf16"}, ExportError, r"(?s)no such precision.*bf16 for onnx\n.*fp32, fp16"),
        (
            {"to": "torch", "precision": "int8"},
            ExportError,
            r"(?s)no such.*int8 for torch\n.*allowed: +fp32$",
        ),
        ({"to": "openvino", "precision": "int8"}, ExportError, r"(?s)needs clips to measure.*--calibrate DATA"),
    ],
)
def test_words_that_mean_nothing_and_pairs_that_do_not_go(
    options: dict[str, str], kind: type[UserError], text: str, small_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    refused(kind, lambda: clipshift.export(small_model, out=out, **options), text, out)  # type: ignore[arg-type]


def test_bf16_on_a_processor_without_it(small_model: Path, tmp_path: Path) -> None:
    if processor_has_bf16():
        pytest.skip("this CPU computes in bfloat16")
    out = tmp_path / "out"
    refused(
        ExportError,
        lambda: clipshift.export(small_model, to="openvino", out=out, precision="bf16"),
        r"(?s)does not compute in bfloat16.*--precision fp32 or int8",
        out,
    )


def test_resizing_that_a_target_cannot_write(small_clips: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS.model_dump(), "antialias": False, "interpolation": "bicubic"}
    bicubic, out = save_model(tmp_path / "bicubic", input=settings), tmp_path / "out"
    refused(
        ExportError,
        lambda: clipshift.export(bicubic, to="onnx", out=out, data=small_clips),
        r"(?s)Bicubic resizing without antialiasing cannot be written in ONNX.*--input clips",
        out,
    )


def test_a_newer_format_and_a_description_that_is_not_valid(exported: MakeExport, tmp_path: Path) -> None:
    described = json.loads((exported("torch").folder / "model.json").read_text(encoding="utf-8"))
    for changes, text in (
        ({"format": FORMAT + 1}, rf"(?s)newer clipshift.*format {FORMAT + 1}.*format {FORMAT} or older.*pip install"),
        ({"format": "one"}, "newer clipshift"),
        ({"target": "tflite"}, r"(?s)not valid.*model\.json: target\n.*'onnx', 'openvino' or 'torch'"),
        ({"color": "red"}, r"(?s)not valid.*model\.json: color"),
    ):
        (tmp_path / "model.json").write_text(json.dumps(described | changes), encoding="utf-8")
        with pytest.raises(ExportError, match=text):
            clipshift.load(tmp_path)


def test_two_exports_to_one_folder(small_model: Path, small_clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with hold(tmp_path / ".out.lock", doing="exports into this folder", error=ExportError):
        refused(
            ExportError,
            lambda: clipshift.export(small_model, to="onnx", out=out, data=small_clips),
            "Another process exports into this folder",
            out,
        )


@pytest.mark.parametrize("file", ["model.bin", "model.xml"])
def test_files_that_openvino_cannot_make(file: str, small_model: Path, tmp_path: Path) -> None:
    network, spec = load_bundle(small_model)
    description = Export(
        clipshift=clipshift.__version__, target="openvino", precision="fp32", input="clips", spec=spec, license="none"
    )
    (tmp_path / file).mkdir()
    with pytest.raises(OSError, match="may they not be made"):
        WRITERS["openvino"](tmp_path, network, description, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(
    ("target", "file"), [("openvino", "model.bin"), ("torch", "model.pt2"), ("onnx", "model.onnx")]
)
def test_a_full_disk_is_an_error_of_the_system(target: Target, file: str, small_model: Path, tmp_path: Path) -> None:
    """Not one of a writer in C++, and not the end of the process, as PyTorch's own writer of files."""
    network, spec = load_bundle(small_model)
    description = Export(
        clipshift=clipshift.__version__, target=target, precision="fp32", input="clips", spec=spec, license="none"
    )
    (tmp_path / file).symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"full|space"):
        WRITERS[target](tmp_path, network, description, None)
