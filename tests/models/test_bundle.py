from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from clipshift.config import Calibration, ModelSpec
from clipshift.config.model_spec import FORMAT
from clipshift.config.schema import InputConfig, ModelConfig, ShiftConfig
from clipshift.errors import WeightsError
from clipshift.models import bundle
from clipshift.models.bundle import find_bundle, load_bundle, replace_spec, save_bundle
from clipshift.models.recognizer import Recognizer

MODEL = ModelConfig(backbone="test_resnet", shift=ShiftConfig(fold_div=4, order="past_first"))
SPEC = ModelSpec(
    clipshift="0.1.0",
    model=MODEL,
    input=InputConfig(segments=2, resize=72, crop=64),
    classes=("brush teeth", "naïve jump"),
    provenance={"run": "runs/one", "epoch": 7, "top1": 0.875},
)


def _network(seed: int = 1) -> Recognizer:
    return Recognizer(MODEL, segments=2, classes=2, generator=torch.Generator().manual_seed(seed)).eval()


def _clips() -> torch.Tensor:
    return torch.randn(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_round_trip(tmp_path: Path) -> None:
    network = _network().to(memory_format=torch.channels_last)
    save_bundle(tmp_path / "run" / "model", network, SPEC)
    loaded, spec = load_bundle(tmp_path / "run" / "model")
    assert spec == SPEC
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert torch.equal(loaded(_clips()), _network()(_clips()))
    assert sorted(path.name for path in (tmp_path / "run" / "model").iterdir()) == ["model.json", "model.safetensors"]
    assert "naïve jump" in (tmp_path / "run" / "model" / "model.json").read_text(encoding="utf-8")


def test_find_bundle(tmp_path: Path) -> None:
    save_bundle(tmp_path / "run" / "model", _network(), SPEC)
    assert find_bundle(tmp_path / "run") == find_bundle(str(tmp_path / "run" / "model")) == tmp_path / "run" / "model"
    with pytest.raises(WeightsError, match="no such model"):
        find_bundle(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="no model here"):
        find_bundle(tmp_path)


def test_flipped_byte_is_found(tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(), SPEC)
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1000] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged or replaced") as caught:
        load_bundle(tmp_path)
    assert "SHA-256" in str(caught.value.got)


def _edit(folder: Path, **changes: object) -> None:
    described = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(described | changes), encoding="utf-8")


def test_models_of_before_have_the_views_of_before(tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(), SPEC)
    described = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    for key in ("crops", "clips", "average"):
        del described[key]
    for key in ("sampling", "aspect", "resize_rounding", "crop_rounding", "antialias"):
        del described["input"][key]
    (tmp_path / "model.json").write_text(json.dumps(described), encoding="utf-8")
    _, spec = load_bundle(tmp_path)
    assert spec == SPEC
    assert (spec.crops, spec.clips, spec.average) == ("center", 1, "logits")
    assert (spec.input.sampling, spec.input.aspect, spec.input.antialias) == ("middle", "keep", True)
    assert (spec.input.resize_rounding, spec.input.crop_rounding) == ("nearest", "down")


def test_models_of_before_name_their_project(tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(), SPEC)
    _edit(tmp_path, provenance={"home": "PaddleVideo", "file": "w.pdparams"})
    assert list(load_bundle(tmp_path)[1].provenance.items()) == [("project", "PaddleVideo"), ("file", "w.pdparams")]


def test_views_survive_and_are_checked(tmp_path: Path) -> None:
    own = SPEC.model_copy(update={"crops": "ten", "clips": 10, "average": "probabilities"})
    save_bundle(tmp_path, _network(), own)
    assert load_bundle(tmp_path)[1] == own
    _edit(tmp_path, input={**own.input.model_dump(), "sampling": "ends"})
    with pytest.raises(WeightsError, match="description is not valid") as caught:
        load_bundle(tmp_path)
    assert "clips (10) are more than input.sampling=ends knows (1)" in str(caught.value.got)
    _edit(tmp_path, average="scores")
    with pytest.raises(WeightsError, match="description is not valid") as caught:
        load_bundle(tmp_path)
    assert "'logits' or 'probabilities'" in str(caught.value.got)


def test_newer_format_is_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(), SPEC)
    _edit(tmp_path, format=FORMAT + 1, clipshift="9.0", unheard_of=True)
    with pytest.raises(WeightsError, match="newer clipshift") as caught:
        load_bundle(tmp_path)
    assert caught.value.got == f"format {FORMAT + 1}, clipshift 9.0"


def test_broken_descriptions(tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(), SPEC)
    _edit(tmp_path, classes="one")
    with pytest.raises(WeightsError, match="description is not valid") as caught:
        load_bundle(tmp_path)
    assert str(caught.value.where).endswith("model.json: classes")
    save_bundle(tmp_path, _network(), SPEC)
    _edit(tmp_path, classes=["one", "two", "three"])
    with pytest.raises(WeightsError, match="do not fit its description"):
        load_bundle(tmp_path)
    (tmp_path / "model.json").write_text('{"format": 1')
    with pytest.raises(WeightsError, match="description cannot be read"):
        load_bundle(tmp_path)
    (tmp_path / "model.json").write_text("[]")
    with pytest.raises(WeightsError, match="description cannot be read"):
        load_bundle(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(WeightsError, match="description is missing"):
        load_bundle(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_kill_at_any_moment_leaves_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    """`kept` of the four steps (two files written, two renamed) are done when the writer is killed."""
    old, new = _network(1), _network(2)
    save_bundle(tmp_path, old, SPEC)
    (tmp_path / "model.onnx").write_text("another file of the user")
    done = 0

    def step(kind: str) -> None:
        nonlocal done
        if done == kept:
            raise KeyboardInterrupt(kind)
        done += 1

    write, rename = bundle._write, Path.replace

    def killed_write(path: Path, data: bytes) -> None:
        if done == kept:
            path.write_bytes(data[: len(data) // 2])
        step("write")
        write(path, data)

    def killed_rename(path: Path, target: Path) -> Path:
        step("rename")
        return rename(path, target)

    newer = SPEC.model_copy(update={"provenance": {"epoch": 8}})
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "_write", killed_write)
        patch.setattr(Path, "replace", killed_rename)
        with pytest.raises(KeyboardInterrupt):
            save_bundle(tmp_path, new, newer)
    loaded, spec = load_bundle(tmp_path)
    expected, epoch = (old, 7) if kept < 3 else (new, 8)
    assert torch.equal(loaded(_clips()), expected(_clips()))
    assert spec.provenance["epoch"] == epoch

    save_bundle(tmp_path, new, SPEC)
    assert torch.equal(load_bundle(tmp_path)[0](_clips()), new(_clips()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.onnx", "model.safetensors"]


def test_classes_must_be_as_many_as_logits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        save_bundle(tmp_path, Recognizer(MODEL, segments=2, classes=3), SPEC)
    assert not any(tmp_path.iterdir())


def test_a_description_is_replaced_and_the_weights_stay(tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(), SPEC)
    weights = (tmp_path / "model.safetensors").read_bytes()
    fitted = Calibration(temperature=0.7, clips=3, scores=(0.1, 0.2, 0.2))
    replace_spec(tmp_path, SPEC.model_copy(update={"calibration": fitted}))
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    spec = load_bundle(tmp_path)[1]
    assert (spec.calibration, spec.temperature) == (fitted, 0.7)
    with pytest.raises(ValueError, match="another network"):
        replace_spec(tmp_path, SPEC.model_copy(update={"classes": ("x",)}))
    for wrong in ({"temperature": 0.0}, {"scores": [0.2, 0.1, 0.3]}, {"clips": 2}, {"scores": [2.0]}):
        _edit(tmp_path, calibration=fitted.model_dump(mode="json") | wrong)
        with pytest.raises(WeightsError, match="description is not valid"):
            load_bundle(tmp_path)


def test_models_from_before_calibration_have_the_temperature_1(tmp_path: Path) -> None:
    save_bundle(tmp_path, _network(), SPEC)
    described = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    del described["calibration"], described["events"]
    (tmp_path / "model.json").write_text(json.dumps({**described, "format": 2}), encoding="utf-8")
    spec = load_bundle(tmp_path)[1]
    assert spec == SPEC
    assert (spec.calibration, spec.temperature) == (None, 1.0)
