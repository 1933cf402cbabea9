"""Files of other projects become models that give those projects' numbers."""

from __future__ import annotations

import argparse
import errno
import json
import pickle
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor

import clipshift
from clipshift.cli import app
from clipshift.config.schema import ShiftConfig
from clipshift.datasets.public.class_names import class_names, named_data_sets
from clipshift.errors import ConfigError, RunError, UserError, WeightsError
from clipshift.models.bundle import load_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO
from clipshift.weights.checkpoint_files import WeightsFile
from clipshift.weights.convert import convert
from clipshift.weights.formats import mit, mmaction2, paddlevideo
from clipshift.weights.loading import load_weights, shift_of_weights
from clipshift.weights.published import data_sets
from clipshift.weights.recognition import Asked, recognize

pytestmark = pytest.mark.slow

PADDLE, MMACTION2, MIT = "PaddleVideo", "mmaction2", "MIT temporal-shift-module"

# Of every reference: what the file does not tell, and the name of the network that must be found.
REFERENCES: dict[str, tuple[tuple[str, ...], str]] = {
    "paddlevideo/tsn_r50": (("--model", "tsn-r50", "--segments", "3"), "tsn-r50"),
    "paddlevideo/tsm_r50": (("--model", "tsm-r50"), "tsm-r50"),
    "paddlevideo/pptsn_r50": (("--model", "pptsn-r50", "--segments", "3"), "pptsn-r50"),
    "paddlevideo/pptsm_r50": (("--model", "pptsm-r50"), "pptsm-r50"),
    "paddlevideo/pptsm_mobilenetv2": ((), "pptsm-mobilenetv2"),
    "paddlevideo/pptsm_mobilenetv3": ((), "pptsm-mobilenetv3"),
    "paddlevideo/pptsmv2_16f": (("--segments", "16"), "pptsmv2-16f"),
    "paddlevideo/pptsmv2_16f_dml": ((), "pptsmv2-16f-attention"),
    "mmaction2/tsn_r50": (("--segments", "8"), "tsn-r50"),
    "mmaction2/tsm_r50_8f": ((), "tsm-r50"),
    "mmaction2/tsm_mobilenetv2": ((), "tsm-mobilenetv2"),
    "mit_tsm/tsn_r50": ((), "tsn-r50"),
    "mit_tsm/tsm_r50_8f": ((), "tsm-r50"),
    "mit_tsm/tsm_r18": ((), "tsm-r18"),
    "mit_tsm/tsm_mobilenetv2": ((), "tsm-mobilenetv2"),
    "mit_tsm/online_mobilenetv2": (("--model", "tsm-mobilenetv2-online", "--segments", "10"), "tsm-mobilenetv2-online"),
}


def _write(path: Path, project: str, state: dict[str, Any]) -> Path:
    """A file of weights as its project writes it."""
    if project == "paddlevideo":
        path = path.with_suffix(".pdparams")
        path.write_bytes(pickle.dumps({**state, "StructuredToParameterName@@": {name: name for name in state}}, 4))
        return path
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in state.items()}
    path = path.with_suffix(".pth")
    if project == "mmaction2":
        torch.save({"meta": {"mmaction_version": "1.2.0", "epoch": 50}, "state_dict": tensors}, path)
    else:
        parallel = {f"module.{name}": value for name, value in tensors.items()}
        torch.save({"epoch": 50, "arch": "x", "state_dict": parallel, "best_prec1": torch.tensor(71.2)}, path)
    return path


def _run(*words: str) -> None:
    app(list(words), result_action="return_value")


@pytest.mark.parametrize("reference", REFERENCES)
def test_logits_are_those_of_the_project(
    shared: Path, seeded: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    meta, inputs, logits = seeded.load(shared / "reference" / reference)
    options, name = REFERENCES[reference]
    file = _write(tmp_path / "weights", reference.partition("/")[0], seeded.checkpoint(meta))
    _run("convert", str(file), "--to", str(tmp_path / "model"), *options)
    printed = capsys.readouterr().out
    assert f"network   {name}, {logits.shape[-1]} classes" in printed

    network, spec = load_bundle(tmp_path / "model")
    assert len(spec.classes) == logits.shape[-1]
    assert spec.provenance["file"] == file.name
    clips = torch.from_numpy(inputs)
    with torch.no_grad():
        # The online network answers to every frame as it comes.
        online = name.endswith("online")
        result = network.classifier(network.features(clips[None]))[0] if online else network(clips)
    assert seeded.relative_error(result.numpy(), logits) <= 1e-5


def test_every_reference_is_tried(shared: Path) -> None:
    found = {f"{path.parent.parent.name}/{path.parent.name}" for path in shared.glob("reference/*/*/meta.json")}
    assert found == set(REFERENCES)


_PADDLE_LEAVES = {"running_mean": "_mean", "running_var": "_variance"}


def _as_paddle(network: Recognizer, *, backbone: str = "backbone.") -> dict[str, Any]:
    """The state of a PP-TSMv2 as PaddleVideo names it."""
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        inner = name.removeprefix("backbone.")
        for theirs, own in {
            ".se.conv1.": ".se.fc1.",
            ".se.conv2.": ".se.fc2.",
            ".pw_conv_1.": ".pw_conv.0.",
            ".pw_conv_2.": ".pw_conv.1.",
            "last_conv.": "conv_head.",
            "global_attention.": "stages.temporal_attention.",
            "fc.": "classifier.",
        }.items():
            if own != "classifier." or inner.startswith(own):
                inner = inner.replace(own, theirs)
        stem, _, leaf = inner.rpartition(".")
        array = value.numpy()
        state[f"{backbone}{stem}.{_PADDLE_LEAVES.get(leaf, leaf)}"] = array.T if array.ndim == 2 else array
    return state


def _network(name: str, classes: int = 5, segments: int = 4) -> Recognizer:
    return Recognizer(
        ZOO[name].model, segments=segments, classes=classes, generator=torch.Generator().manual_seed(3)
    ).eval()


def _as_mit(network: Recognizer) -> dict[str, Tensor]:
    """The state of a residual network as MIT's code names it, shift and all."""
    shifted = network.model.architecture == "tsm"
    state = {}
    for name, value in network.state_dict().items():
        inner = f"base_model.{name.removeprefix('backbone.')}".replace("base_model.classifier.", "new_fc.")
        state[inner.replace(".conv1.weight", ".conv1.net.weight") if shifted and ".layer" in inner else inner] = value
    return state


def test_paddlevideos_student_with_and_without_its_project(tmp_path: Path) -> None:
    network = _network("pptsmv2-16f-attention", classes=27)
    for number, prefix in enumerate(("0.", "backbone.", "Student.0.")):
        state = _as_paddle(network, backbone=prefix)
        if prefix == "Student.0.":
            state["Teacher.head.fc.bias"] = np.zeros(27, np.float32)
            state["Student.0.stages.2.0.dw_conv.bias"] = np.zeros(256, np.float32)
        (tmp_path / "w.pdparams").write_bytes(pickle.dumps(state, 2))
        conversion = convert(tmp_path / "w.pdparams", tmp_path / str(number), classes="jester")
        assert (conversion.recognition.project, conversion.recognition.network) == (PADDLE, "pptsmv2-16f-attention")
        # The temporal attention tells the number of frames, and this the shift.
        assert conversion.spec.input.segments == 4
        assert conversion.spec.model.shift == paddlevideo.shift_of_paddle(4)
        assert conversion.spec.model.dropout_scaling == "inference"
        assert conversion.spec.classes[0] == "Swiping Left"
        assert conversion.notes == ()
        loaded = load_bundle(tmp_path / str(number))[0]
        assert all(torch.equal(loaded.state_dict()[k], v) for k, v in network.state_dict().items() if v.ndim)
    assert conversion.unused == {
        "Teacher.head.fc.bias": "of the teacher of the distillation",
        "Student.0.stages.2.0.dw_conv.bias": "the place of the folded branches, empty in training",
    }
    assert "ignored   1 entries: of the teacher of the distillation" in conversion.lines()
    with pytest.raises(WeightsError, match="another number of frames") as caught:
        convert(tmp_path / "w.pdparams", tmp_path / "no", segments=8)
    assert caught.value.allowed == "4"


def test_image_network_of_paddle_is_to_train_from(tmp_path: Path) -> None:
    network = _network("pptsmv2", classes=1000)
    image = _as_paddle(network, backbone="")
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(image))
    conversion = convert(tmp_path / "w.pdparams", tmp_path / "model")
    assert (conversion.recognition.network, conversion.spec.model.architecture) == ("lcnetv2_base", "tsn")
    without = {name: value for name, value in image.items() if not name.startswith("fc.")}
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(without))
    with pytest.raises(WeightsError, match="without its classifier") as caught:
        convert(tmp_path / "w.pdparams", tmp_path / "other")
    assert "model.backbone=lcnetv2_base" in str(caught.value.remedy)
    assert not (tmp_path / "other").exists()
    fresh = _network("pptsmv2")
    report = load_weights(fresh, tmp_path / "w.pdparams")
    assert report.new_classifier == "the file has none"
    theirs = network.backbone.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in fresh.backbone.state_dict().items() if value.ndim)


def test_what_a_file_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    state = {}
    for name, value in _network("tsm-r50").state_dict().items():
        if not name.endswith("num_batches_tracked"):
            state[_paddle_resnet(name)] = value.numpy().T if value.ndim == 2 else value.numpy()
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(state))
    with pytest.raises(WeightsError, match="fit several networks") as caught:
        convert(tmp_path / "w.pdparams", tmp_path / "model")
    assert caught.value.remedy == "--model tsn-r50 or --model tsm-r50"
    with pytest.raises(WeightsError, match=r"not of pptsm-r50"):
        convert(tmp_path / "w.pdparams", tmp_path / "model", model="pptsm-r50")
    with pytest.raises(ConfigError, match="no model of this name"):
        convert(tmp_path / "w.pdparams", tmp_path / "model", model="tsm-r5O")
    tsn = convert(tmp_path / "w.pdparams", tmp_path / "tsn", model="tsn-r50")
    assert (tsn.spec.input.segments, tsn.spec.crops, tsn.spec.input.antialias) == (25, "ten", False)
    tsm = convert(tmp_path / "w.pdparams", tmp_path / "tsm", model="tsm-r50")
    assert (tsm.spec.input.segments, tsm.spec.crops, tsm.spec.input.aspect) == (8, "center", "four_thirds")
    assert "8 frames per clip are taken for granted" in tsm.notes[0]
    shutil.copyfile(tmp_path / "w.pdparams", tmp_path / "TSM_k400_16f.pdparams")
    named = convert(tmp_path / "TSM_k400_16f.pdparams", tmp_path / "named")
    assert (named.recognition.network, named.spec.model.shift.fold_div) == ("tsm-r50-16f", 16)
    assert (
        "tsm-r50, as the file's name (TSM_k400_16f.pdparams) says: --model tsn-r50 has the same shapes" in named.notes
    )
    sixteen = convert(tmp_path / "w.pdparams", tmp_path / "sixteen", model="tsm-r50-16f")
    assert sixteen.spec.model.shift.fold_div == sixteen.spec.input.segments == 16
    assert sixteen.recognition.network == "tsm-r50-16f"


def _paddle_resnet(name: str) -> str:
    """PaddleVideo's name of an entry of a plain ResNet-50."""
    parts = name.removeprefix("backbone.").split(".")
    if parts[0] == "classifier":
        return f"head.fc.{parts[1]}"
    leaf = _PADDLE_LEAVES.get(parts[-1], parts[-1])
    kind = "_conv" if "conv" in parts[-2] or parts[-3:-1] == ["downsample", "0"] else "_batch_norm"
    if not parts[0].startswith("layer"):
        return f"backbone.conv.{kind}.{leaf}"
    block = f"res{int(parts[0][5:]) + 1}{chr(ord('a') + int(parts[1]))}"
    place = "short" if parts[2] == "downsample" else f"conv{int(parts[2][-1]) - 1}"
    return f"backbone.{block}.{place}.{kind}.{leaf}"


def test_name_of_published_weights_tells_all(tmp_path: Path) -> None:
    network = _network("pptsmv2-16f-attention", classes=400, segments=16)
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(_as_paddle(network, backbone="0.")))
    conversion = convert(tmp_path / "w.pdparams", tmp_path / "1", model="pptsmv2-16f-k400-dml-student")
    assert (conversion.recognition.network, conversion.spec.classes[5], conversion.notes) == (
        "pptsmv2-16f-attention",
        "archery",
        (),
    )
    image = _as_paddle(_network("pptsmv2", classes=1000), backbone="")
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(image))
    conversion = convert(tmp_path / "w.pdparams", tmp_path / "2", model="pplcnetv2-imagenet1k-ssld-paddle")
    assert conversion.recognition.network == "lcnetv2_base"


def test_views_are_those_that_a_published_file_was_tested_with(tmp_path: Path) -> None:
    network = Recognizer(ZOO["tsm-r50"].model, segments=8, classes=174).eval()
    state = {}
    for name, value in network.state_dict().items():
        inner = name.replace("classifier.", "cls_head.fc_cls.").replace("downsample.0", "downsample.conv")
        inner = inner.replace("downsample.1", "downsample.bn").replace("backbone.bn1", "backbone.conv1.bn")
        inner = re.sub(r"\.bn(\d)\.", r".conv\1.bn.", inner)
        inner = re.sub(r"\.(conv\d)\.weight$", r".\1.conv.weight", inner)
        state[re.sub(r"(layer.*conv1\.conv)\.weight", r"\1.net.weight", inner)] = value
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    by_name = convert(tmp_path / "w.pth", tmp_path / "1", model="tsm-r50-8f-sthv2-mmaction2").spec
    assert (by_name.crops, by_name.clips, by_name.average) == ("three", 2, "probabilities")
    assert by_name.classes[0] == "Approaching something with your camera"
    plain = convert(tmp_path / "w.pth", tmp_path / "2").spec
    assert (plain.crops, plain.clips, plain.input) == ("ten", 1, by_name.input)


def test_mits_files(tmp_path: Path) -> None:
    network = _network("tsm-r18", classes=27)
    torch.save({"state_dict": _as_mit(network)}, tmp_path / "w.pth.tar")
    conversion = convert(tmp_path / "w.pth.tar", tmp_path / "model", classes="jester")
    assert (conversion.recognition.project, conversion.recognition.network, conversion.spec.input.sampling) == (
        MIT,
        "tsm-r18",
        "middle_float",
    )
    # MIT numbers Jester's classes alphabetically.
    assert conversion.spec.classes[:2] == ("Doing other things", "Drumming Fingers")
    clips = torch.randn(1, 8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = Recognizer(ZOO["tsm-r18"].model, segments=8, classes=27).eval()
        expected.load_state_dict(network.state_dict())
        assert torch.equal(load_bundle(tmp_path / "model")[0](clips), expected(clips))
    with pytest.raises(WeightsError, match=r"not of tsn-r50"):
        convert(tmp_path / "w.pth.tar", tmp_path / "no", model="tsn-r50")


def _independent_tsm(state: dict[str, Tensor], clips: Tensor, fold_div: int) -> Tensor:
    """The logits of torchvision's ResNet-18 under MIT's names, shifted before the first convolution of each block."""
    segments = clips.shape[1]
    classes = state["new_fc.bias"].numel()
    network = torchvision.models.resnet18(num_classes=classes).eval()
    renamed = {
        name.replace("base_model.", "").replace(".net.", ".").replace("new_fc.", "fc."): state[name] for name in state
    }
    network.load_state_dict(renamed)

    def shift(_module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        frames = inputs[0].reshape(-1, segments, *inputs[0].shape[1:])
        fold = frames.shape[2] // fold_div
        moved = frames.clone()
        moved[:, :, : 2 * fold] = 0
        for t in range(segments - 1):
            moved[:, t, :fold] = frames[:, t + 1, :fold]
            moved[:, t + 1, fold : 2 * fold] = frames[:, t, fold : 2 * fold]
        return moved.flatten(0, 1)

    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.conv1.register_forward_pre_hook(shift)
    with torch.no_grad():
        logits: Tensor = network(clips.flatten(0, 1)).reshape(-1, segments, classes).mean(1)
    return logits


# Of every way to tell the shift: the file's path, and what of the checkpoint tells, too.
TOLD = {
    "name": ("TSM_kinetics_RGB_resnet18_shift4_blockres_avg_segment8_e50.pth", {}),
    "folder": ("TSM_own_RGB_resnet18_shift4_blockres_avg_segment8_e50_dense/ckpt.best.pth.tar", {}),
    "settings": (
        "w.pth",
        {"args": argparse.Namespace(shift=True, shift_div=4, shift_place="blockres", num_segments=8)},
    ),
}


@pytest.mark.parametrize("how", TOLD)
def test_shift_that_a_file_tells(shared: Path, seeded: ModuleType, tmp_path: Path, how: str) -> None:
    meta, inputs, logits = seeded.load(shared / "reference" / "mit_tsm" / "tsm_r18")
    state = {name: torch.from_numpy(np.asarray(value)) for name, value in seeded.checkpoint(meta).items()}
    clips = torch.from_numpy(inputs)
    # With the shift that the reference was computed with, the reference here is MIT's code.
    assert seeded.relative_error(_independent_tsm(state, clips, 8).numpy(), logits) <= 1e-5

    name, beside = TOLD[how]
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": state, **beside}, file)
    conversion = convert(file, tmp_path / "model")
    shift = conversion.spec.model.shift
    assert (shift.fold_div, conversion.recognition.segments) == (4, 8)
    assert any(note.startswith("1/4 of the channels moves each way, as ") for note in conversion.notes)
    assert any("dense" in note for note in conversion.notes) is (how == "folder")
    assert "shift     1/4 of the channels each way, future_first" in "\n".join(conversion.lines())
    network = load_bundle(tmp_path / "model")[0]
    with torch.no_grad():
        result = network(clips)
    expected = _independent_tsm(state, clips, 4)
    assert seeded.relative_error(result.numpy(), expected.numpy()) <= 1e-5
    # It would matter: with the usual shift the numbers are others.
    assert seeded.relative_error(logits, expected.numpy()) > 1e-2
    built = Recognizer(
        ZOO["tsm-r18"].model.model_copy(update={"shift": ShiftConfig(fold_div=4)}), segments=8, classes=logits.shape[-1]
    ).eval()
    built.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(built(clips), result)
    # A training that starts from the file adopts it.
    assert shift_of_weights(file, 8) == shift


def test_what_is_asked_for_wins_and_contradictions_are_said(tmp_path: Path) -> None:
    state = _as_mit(_network("tsm-r18"))

    def notes(name: str, *settings: str, segments: int | None = None, **beside: object) -> tuple[ShiftConfig, int, str]:
        torch.save({"state_dict": state, **beside}, tmp_path / name)
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        conversion = convert(tmp_path / name, tmp_path / "model", model="tsm-r18", settings=settings, segments=segments)
        return conversion.spec.model.shift, conversion.recognition.segments, "\n".join(conversion.notes)

    shift, segments, text = notes("w.pth")
    assert (shift, segments) == (ShiftConfig(), 8)
    assert "a shift of 1/8 of the channels is taken for granted" in text
    assert "8 frames per clip are taken for granted" in text

    name = "TSM_x_RGB_resnet18_shift4_blockres_avg_segment16_e50.pth"
    shift, segments, text = notes(name)
    assert (shift.fold_div, segments) == (4, 16)
    assert f"16 frames per clip, as the file's name ({name}) says" in text

    shift, segments, text = notes(name, "model.shift.fold_div=16", "model.shift.order=past_first", segments=8)
    assert shift == ShiftConfig(fold_div=16, order="past_first")
    assert f"1/16 of the channels moves each way, though the file's name ({name}) says 4" in text
    assert f"8 frames per clip are taken, though the file's name ({name}) says 16" in text

    # Settings in the file are more than its name.
    shift, segments, text = notes(name, args=argparse.Namespace(shift_div=8, num_segments=8))
    assert (shift.fold_div, segments) == (8, 8)
    assert "1/8 of the channels moves each way, though" in text
    assert "says 4" in text

    shift, _, text = notes("w.pth", "model.shift.order=past_only", "model.shift.rounding=total")
    assert (shift.order, shift.rounding) == ("past_only", "total")
    _, _, text = notes("TSM_x_RGB_resnet18_shift8_block_avg_segment8_e50_nl.pth")
    assert "the file has no non-local blocks, though" in text
    assert "it shifts on the residual branch, as the entries' names tell, though" in text
    with pytest.raises(ConfigError, match="settings of the temporal shift only") as caught:
        convert(tmp_path / "w.pth", tmp_path / "no", settings=["train.epochs=3"])
    assert "model.shift.deep_networks" in str(caught.value.allowed)
    with pytest.raises(ConfigError, match="fold_div"):
        convert(tmp_path / "w.pth", tmp_path / "no", settings=["model.shift.fold_div=1"])
    with pytest.raises(ConfigError, match="order"):
        convert(tmp_path / "w.pth", tmp_path / "no", settings=["model.shift.order=backwards"])
    without = {name.replace(".net.", "."): value for name, value in state.items()}
    torch.save(without, tmp_path / "TSM_x_RGB_resnet18_avg_segment5_e50.pth")
    with pytest.raises(ConfigError, match="A TSN does not shift"):
        convert(
            tmp_path / "TSM_x_RGB_resnet18_avg_segment5_e50.pth", tmp_path / "no", settings=["model.shift.fold_div=4"]
        )
    assert not (tmp_path / "no").exists()
    # MIT's TSNs are called TSM, too, and are tested with other frames than they were trained with.
    tsn = convert(tmp_path / "TSM_x_RGB_resnet18_avg_segment5_e50.pth", tmp_path / "tsn")
    assert (tsn.recognition.segments, len(tsn.notes)) == (8, 1)


def test_deep_networks_that_shift_in_every_block(tmp_path: Path) -> None:
    with torch.device("meta"):  # names and shapes tell
        model = ZOO["tsm-r101"].model.model_copy(update={"shift": ShiftConfig(deep_networks="every_block")})
        file = WeightsFile(_as_mit(Recognizer(model, segments=8, classes=5)), "torch")
    with pytest.raises(WeightsError, match="no network that clipshift knows") as caught:
        recognize(file, tmp_path / "w.pth", Asked())
    assert "model.shift.deep_networks=every_block does, too" in str(caught.value.got)
    found = recognize(file, tmp_path / "w.pth", Asked(shift={"deep_networks": "every_block"}))
    assert (found.network, found.shift) == ("tsm-r101", ShiftConfig(deep_networks="every_block"))


def test_averaged_weights_become_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = timm.create_model("resnet18", num_classes=3).state_dict()
    mean = {name: value + 1 if value.ndim > 1 else value for name, value in plain.items()}
    args = argparse.Namespace(model="resnet18", lr=0.1)
    torch.save(
        {"epoch": 3, "arch": "resnet18", "state_dict": plain, "state_dict_ema": mean, "args": args, "version": 2},
        tmp_path / "model_best.pth.tar",
    )
    for words, expected in (((), plain), (("--ema",), mean)):
        _run("convert", str(tmp_path / "model_best.pth.tar"), "--to", str(tmp_path / f"m{len(words)}"), *words)
        assert "state_dict_ema" in capsys.readouterr().out
        state = load_bundle(tmp_path / f"m{len(words)}")[0].state_dict()
        assert torch.equal(state["backbone.conv1.weight"], expected["conv1.weight"])


@pytest.mark.parametrize(
    ("theirs", "what"),
    [
        (".layer1.0.net.conv1.weight", "shifts whole blocks"),
        (".layer2.net.0.conv1.net.weight", "temporal pooling"),
        (".layer2.0.nl.theta.weight", "non-local blocks"),
    ],
)
def test_other_variants_of_tsm_are_refused(tmp_path: Path, theirs: str, what: str) -> None:
    state = _as_mit(_network("tsm-r18"))
    own = ".layer1.0.conv1.net.weight"
    extra = {f"base_model{theirs}": state[f"base_model{own}"]}
    torch.save({"state_dict": {**state, **extra}}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=what):
        convert(tmp_path / "w.pth", tmp_path / "model")
    with pytest.raises(WeightsError, match=what):
        load_weights(_network("tsm-r18"), tmp_path / "w.pth")


def test_network_that_shifts_elsewhere_is_refused(tmp_path: Path) -> None:
    state = _as_mit(_network("tsm-r18"))
    state["base_model.layer2.1.conv1.weight"] = state.pop("base_model.layer2.1.conv1.net.weight")
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no network that clipshift knows") as caught:
        convert(tmp_path / "w.pth", tmp_path / "model")
    assert "shifts in other places: backbone.layer2.1.conv1" in str(caught.value.got)


def test_files_of_mmaction_before_mmaction2(tmp_path: Path) -> None:
    network = _network("tsm-r18").state_dict()
    state = {name.replace("classifier.", "cls_head.fc_cls."): value for name, value in network.items()}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "w.pth")
    conversion = convert(tmp_path / "w.pth", tmp_path / "model")
    # Without a wrapped convolution it is a TSN, and there is a TSN on ResNet-18 by no name of the zoo.
    assert (conversion.recognition.project, conversion.recognition.network, conversion.spec.average) == (
        MMACTION2,
        "resnet18",
        "logits",
    )


def test_bad_files_and_folders(tmp_path: Path) -> None:
    state = _as_mit(_network("tsm-r18"))
    file = tmp_path / "w.pth"

    def broken(**changes: Tensor | None) -> UserError:
        changed = {**state, **{name.replace("__", "."): value for name, value in changes.items()}}
        torch.save({name: value for name, value in changed.items() if value is not None}, file)
        with pytest.raises(UserError) as caught:
            convert(file, tmp_path / "model")
        assert not (tmp_path / "model").exists()
        return caught.value

    assert "1 of 122 missing: backbone.bn1.weight" in str(broken(base_model__bn1__weight=None))
    assert "1 without a place: neck.weight" in str(broken(neck__weight=torch.ones(1)))
    assert "of another shape: backbone.bn1.bias (3,) for (64,)" in str(broken(base_model__bn1__bias=torch.ones(3)))
    assert "NaN" in str(broken(base_model__bn1__bias=torch.full((64,), float("nan"))))
    assert "no network that clipshift knows" in str(broken(**dict.fromkeys(state), x=torch.ones(1)))
    torch.save(state, file)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "note.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        convert(file, tmp_path / "model")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError, match="not empty"):
        convert(file, tmp_path / "taken")
    with pytest.raises(WeightsError, match="no such file"):
        convert(tmp_path / "nothing.pth", tmp_path / "new")


def test_class_names(tmp_path: Path) -> None:
    torch.save(_as_mit(_network("tsm-r18", classes=3)), tmp_path / "w.pth")
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert convert(tmp_path / "w.pth", tmp_path / "1", classes=tmp_path / "names.txt").spec.classes[2] == "three"
    assert convert(tmp_path / "w.pth", tmp_path / "2", classes=["b", "a", "c"]).spec.classes == ("b", "a", "c")
    numbered = convert(tmp_path / "w.pth", tmp_path / "3")
    assert numbered.spec.classes == ("0", "1", "2")
    assert "--classes FILE names them" in numbered.notes[-1]
    with pytest.raises(ConfigError, match="more or fewer names") as caught:
        convert(tmp_path / "w.pth", tmp_path / "4", classes="ucf101")
    assert (caught.value.got, caught.value.allowed) == ("101", "3")
    (tmp_path / "names.txt").write_text("one\none\nthree\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="another class"):
        convert(tmp_path / "w.pth", tmp_path / "4", classes=tmp_path / "names.txt")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        convert(tmp_path / "w.pth", tmp_path / "4", classes="kinetics4OO")
    assert "kinetics400" in str(caught.value.allowed)
    for data in named_data_sets():
        assert len(class_names(data)) == data_sets()[data].classes
    assert class_names("kinetics400")[5] == "archery"


def test_converted_model_is_an_ordinary_one(tmp_path: Path) -> None:
    torch.save(_as_mit(_network("tsm-r18", classes=3)), tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "model", classes=["a", "b", "c"])
    frames = np.random.default_rng(0).integers(0, 255, (12, 120, 160, 3), dtype=np.uint8)
    prediction = clipshift.load(tmp_path / "model", device="cpu").predict(frames)
    assert prediction.classes == ("a", "b", "c")
    described = json.loads((tmp_path / "model" / "model.json").read_text())
    assert described["provenance"]["project"] == MIT
    assert described["input"]["crop_rounding"] == "even"


def test_projects_with_wrapped_convolutions_tell_tsn_from_tsm() -> None:
    for layout in (mit.LAYOUT, mmaction2.LAYOUT):
        assert layout.architecture(["a.net.weight"]) == "tsm"
        assert layout.architecture(["a.weight"]) == "tsn"
    assert paddlevideo.LAYOUT.architecture(["a.net.weight"]) is None


def test_a_conversion_that_failed_or_was_killed_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network("pptsmv2", classes=1000)
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(_as_paddle(network, backbone="")))

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("clipshift.models.bundle.sync", full)
        with pytest.raises(RunError, match="cannot be written"):
            convert(tmp_path / "w.pdparams", tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []
    (tmp_path / "model" / "model.safetensors.new").write_bytes(b"half")  # as a killed one leaves it
    convert(tmp_path / "w.pdparams", tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.safetensors", "model.json"}
    (tmp_path / "model" / "notes.txt").touch()
    with pytest.raises(RunError, match="not empty"):
        convert(tmp_path / "w.pdparams", tmp_path / "model")
