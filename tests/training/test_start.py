"""What a training starts from, and what it takes over from it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from clipshift.config import ModelSpec, resolve
from clipshift.config.schema import InputConfig, ShiftConfig
from clipshift.models.bundle import save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.training import start
from clipshift.training.start import follow_weights, starting_weights
from clipshift.weights.formats.paddlevideo import shift_of_paddle

_NAMES = ("backbone.conv._conv.weight", "backbone.conv._batch_norm._mean", "head.fc.weight")
PADDLE_TSM = dict.fromkeys(_NAMES, np.zeros(1, np.float32))


def _pickled(folder: Path, state: dict[str, np.ndarray]) -> Path:
    path = folder / "w.pdparams"
    path.write_bytes(pickle.dumps(state))
    return path


def test_shift_of_the_weights_is_taken_over(tmp_path: Path) -> None:
    file = _pickled(tmp_path, PADDLE_TSM)
    resolved = follow_weights(resolve("tsm-r50", settings=["input.segments=16"]), file)
    assert resolved.config.model.shift == shift_of_paddle(16)
    assert resolved.origin["model.shift.order"] == "weights w.pdparams"
    assert resolved.config.model.backbone == "resnet50"


def test_what_somebody_chose_stays(tmp_path: Path) -> None:
    file = _pickled(tmp_path, PADDLE_TSM)
    config = follow_weights(resolve("tsm-r50", settings=["model.shift.order=past_only"]), file).config
    assert (config.model.shift.order, config.model.shift.rounding) == ("past_only", "total")
    tsn = resolve("tsn-r50")
    assert follow_weights(tsn, file) is tsn
    plain = resolve("tsm-r50")
    assert follow_weights(plain, None) is plain


def test_weights_without_a_shift_change_nothing(tmp_path: Path) -> None:
    image = {n.removeprefix("backbone.").replace("head.fc", "out"): value for n, value in PADDLE_TSM.items()}
    plain = resolve("tsm-r50")
    assert follow_weights(plain, _pickled(tmp_path, image)) is plain
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "torchvision.pth")
    assert follow_weights(plain, tmp_path / "torchvision.pth") is plain
    headless = {name: value for name, value in PADDLE_TSM.items() if not name.startswith("head.")}
    assert follow_weights(plain, _pickled(tmp_path, headless)) is plain
    tsn = {"base_model.conv1.weight": torch.zeros(1), "new_fc.weight": torch.zeros(1)}  # no wrapped convolution
    torch.save(tsn, tmp_path / "tsn.pth")
    assert follow_weights(plain, tmp_path / "tsn.pth") is plain


def test_shift_of_a_model_folder(tmp_path: Path) -> None:
    shift = ShiftConfig(order="past_first", fold_div=4)
    model = resolve("motion-demo").config.model.model_copy(update={"shift": shift})
    network = Recognizer(model, segments=4, classes=2)
    spec = ModelSpec(clipshift="0", model=model, input=InputConfig(segments=4), classes=("a", "b"))
    save_bundle(tmp_path, network, spec)
    assert follow_weights(resolve("motion-demo"), tmp_path).config.model.shift == shift


def test_paddles_mobilenets_start_from_paddles_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "find_weights", lambda name: tmp_path / str(name))
    model = resolve("pptsm-mobilenetv3").config.model
    assert starting_weights(model, None) == tmp_path / "mobilenetv3-imagenet1k-ssld-paddle"
    assert starting_weights(model, "mine.pth") == tmp_path / "mine.pth"
    assert starting_weights(model.model_copy(update={"pretrained": False}), None) is None
    assert starting_weights(resolve("tsm-r50").config.model, None) is None
