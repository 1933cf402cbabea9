from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from clipshift.config import ModelSpec
from clipshift.config.schema import InputConfig, ModelConfig, ShiftConfig
from clipshift.errors import WeightsError
from clipshift.models.bundle import save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.weights.loading import load_weights

TSM = ModelConfig(backbone="test_resnet", pretrained=False)


def _network(model: ModelConfig = TSM, *, classes: int = 3, seed: int = 1) -> Recognizer:
    return Recognizer(model, segments=2, classes=classes, generator=torch.Generator().manual_seed(seed))


def _equal(first: Recognizer, second: Recognizer) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


def test_own_names(tmp_path: Path) -> None:
    source, network = _network(seed=1), _network(seed=2)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    report = load_weights(network, tmp_path / "w.safetensors")
    assert _equal(network, source)
    assert (report.layout, report.new_classifier, report.unused, report.missing) == ("clipshift", None, (), ())
    assert report.filled == len(network.state_dict())
    assert "3 classes are taken to be in the data's order" in "\n".join(report.lines())


def test_timm_names_with_another_classifier(tmp_path: Path) -> None:
    published = timm.create_model("test_resnet", num_classes=10)
    torch.save(published.state_dict(), tmp_path / "w.pth")
    network, fresh = _network(seed=2), _network(seed=2)
    report = load_weights(network, tmp_path / "w.pth")
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, published.state_dict()[name])
    assert torch.equal(network.classifier.weight, fresh.classifier.weight)
    assert report.new_classifier == "the file's has 10 classes, the network 3"
    assert report.unused == ("fc.weight: the classifier starts anew", "fc.bias: the classifier starts anew")
    assert set(report.missing) == {"classifier.weight", "classifier.bias"}
    assert report.lines()[1] == "  new classifier: the file's has 10 classes, the network 3"

    reads_motion = _network(TSM.model_copy(update={"motion": True}), classes=10)
    report = load_weights(reads_motion, tmp_path / "w.pth")
    assert report.new_classifier == "the file's reads 96 features, the network's 192 (model.motion)"

    same_size = _network(classes=10)
    assert load_weights(same_size, tmp_path / "w.pth").new_classifier is None
    assert torch.equal(same_size.classifier.bias, published.state_dict()["fc.bias"])


def _bundle(folder: Path, source: Recognizer, classes: tuple[str, ...]) -> Path:
    spec = ModelSpec(clipshift="0", model=source.model, input=InputConfig(segments=2), classes=classes)
    save_bundle(folder, source, spec)
    return folder


def test_model_folder_takes_the_classifier_by_class_names(tmp_path: Path) -> None:
    source = _network(seed=1)
    run = _bundle(tmp_path / "run" / "model", source, ("run", "jump", "sit")).parent
    network = _network(seed=2)
    report = load_weights(network, run, classes=("sit", "run", "jump"))
    assert torch.equal(network.classifier.weight, source.classifier.weight[[2, 0, 1]])
    assert torch.equal(network.classifier.bias, source.classifier.bias[[2, 0, 1]])
    assert report.new_classifier is None
    assert report.notes == ()

    network, fresh = _network(seed=2), _network(seed=2)
    report = load_weights(network, run / "model", classes=("sit", "run", "fall"))
    assert report.new_classifier == "the file's classes have other names"
    assert torch.equal(network.classifier.weight, fresh.classifier.weight)


def test_another_view_of_time_is_noted(tmp_path: Path) -> None:
    folder = _bundle(tmp_path, _network(), ("a", "b", "c"))
    tsn = _network(TSM.model_copy(update={"architecture": "tsn"}))
    assert load_weights(tsn, folder, classes="abc").notes == ("the weights are of a TSM, the network is a TSN",)
    other = _network(TSM.model_copy(update={"shift": ShiftConfig(order="past_first")}))
    (note,) = load_weights(other, folder, classes="abc").notes
    assert "another shift" in note
    assert "past_first" in note


def _without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name not in names}


def test_old_files_without_counters_and_with_counts_of_operations(tmp_path: Path) -> None:
    state = {n: v for n, v in _network().state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(state | {"backbone.total_ops": torch.ones(1)}, tmp_path / "w.pth")
    report = load_weights(_network(seed=2), tmp_path / "w.pth")
    assert report.unused == ("backbone.total_ops: a count of operations",)
    assert {name.rpartition(".")[2] for name in report.missing} == {"num_batches_tracked"}


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    state = _network().state_dict()
    weight, mean = "backbone.conv1.0.weight", "backbone.bn1.running_mean"
    cases = {
        f"1 of {len(state)} missing: {weight}": _without(state, weight),
        f"1 of {len(state)} missing: {mean}": _without(state, mean),
        "1 without a place: backbone.non_local.weight": state | {"backbone.non_local.weight": torch.ones(1)},
        f"1 of another shape: {weight} (1, 2, 3, 3)": state | {weight: torch.ones(1, 2, 3, 3)},
        "1 without a place: classifier.1.weight": state | {"classifier.1.weight": torch.ones(1)},
        weight: state | {weight: state[weight] * torch.nan},
    }
    for expected, content in cases.items():
        network, fresh = _network(seed=2), _network(seed=2)
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(WeightsError) as caught:
            load_weights(network, tmp_path / "w.pth")
        assert expected in str(caught.value.got)
        assert _equal(network, fresh)


def test_long_lists_are_cut(tmp_path: Path) -> None:
    state = _network().state_dict()
    torch.save(dict(list(state.items())[len(state) // 3 :]), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="do not fit a test_resnet") as caught:
        load_weights(_network(), tmp_path / "w.pth")
    assert "more" in str(caught.value.got)
    assert str(caught.value.got).count("backbone.") == 5


def test_weights_of_another_network(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no known project's test_resnet"):
        load_weights(_network(), tmp_path / "w.pth")
    mobilenet = Recognizer(ModelConfig(backbone="mobilenetv2_035"), segments=2, classes=3)
    torch.save({f"module.{name}": value for name, value in mobilenet.state_dict().items()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="test_resnet"):
        load_weights(_network(), tmp_path / "w.pth")
    lite = {"_conv_stem.weight": torch.ones(1), "_blocks.0._depthwise_conv.weight": torch.ones(1)}
    torch.save(lite, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="do not fit a test_resnet"):
        load_weights(_network(), tmp_path / "w.pth")
