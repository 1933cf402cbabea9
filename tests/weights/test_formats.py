"""Weights of other projects give the numbers that their own code gives."""

from __future__ import annotations

from pathlib import Path

import torch
import torchvision
from torch import Tensor

from clipshift.config.schema import ModelConfig
from clipshift.models.recognizer import Recognizer, build_recognizer
from clipshift.weights.checkpoint_files import read_weights
from clipshift.weights.formats import LAYOUTS, Target
from clipshift.weights.formats.mmaction2 import rename_mmaction2
from clipshift.weights.loading import load_weights


def _network(architecture: str, backbone: str, *, segments: int, classes: int) -> Recognizer:
    model = ModelConfig.model_validate({"architecture": architecture, "backbone": backbone, "pretrained": False})
    return build_recognizer(model, segments=segments, classes=classes).eval()


def _randomised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Positive numbers everywhere, so that no two entries could be swapped unseen."""
    random = torch.Generator().manual_seed(0)
    return {
        name: 0.5 + torch.rand(value.shape, generator=random) * (0.1 if value.ndim > 1 else 0.5)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }


def test_imagenet_files(shared: Path) -> None:
    network = _network("tsm", "mobilenetv2_100", segments=8, classes=5)
    fresh = network.classifier.weight.clone()
    report = load_weights(network, shared / "weights" / "mobilenetv2_imagenet_features.pt")
    assert report.filled == 312
    assert report.new_classifier == "the file has none"
    assert torch.equal(network.classifier.weight, fresh)

    lite = shared / "weights" / "efficientnet-lite0-57934424.pth"
    network = _network("tsn", "tf_efficientnet_lite0", segments=8, classes=1000)
    report = load_weights(network, lite)
    assert report.filled == 296
    assert any("TensorFlow" in note for note in report.notes)
    assert torch.equal(network.classifier.weight, read_weights(lite).state["_fc.weight"])


def test_torchvision_mobilenet_v2(tmp_path: Path) -> None:
    theirs = torchvision.models.mobilenet_v2().eval()
    theirs.load_state_dict(_randomised(theirs.state_dict()))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    network = _network("tsn", "mobilenetv2_100", segments=1, classes=1000)
    assert load_weights(network, tmp_path / "w.pth").layout == "torchvision MobileNetV2"
    frames = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(network(frames[:, None]), theirs(frames), rtol=1e-4, atol=0)


def test_torchvision_resnet_and_mit_names(tmp_path: Path) -> None:
    theirs = torchvision.models.resnet18().eval()
    state = _randomised(theirs.state_dict())
    theirs.load_state_dict(state)
    torch.save(state, tmp_path / "torchvision.pth")
    mit = {
        f"module.base_model.{name.replace('.conv1.', '.conv1.net.') if '.conv1.' in name else name}"
        if not name.startswith("fc.")
        else f"module.new_{name}": value
        for name, value in state.items()
    }
    torch.save({"state_dict": mit}, tmp_path / "mit.pth")
    frames = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(frames)
    for file, project in (("torchvision.pth", "timm or torchvision"), ("mit.pth", "MIT temporal-shift-module")):
        network = _network("tsn", "resnet18", segments=1, classes=1000)
        report = load_weights(network, tmp_path / file)
        assert report.layout == project
        with torch.no_grad():
            torch.testing.assert_close(network(frames[:, None]), expected, rtol=1e-4, atol=0)
    assert "the weights are of a TSM, the network is a TSN" in report.notes


def test_mmaction2_names() -> None:
    names = {
        "backbone.conv1.conv.weight": "backbone.conv1.weight",
        "backbone.conv1.bn.running_var": "backbone.bn1.running_var",
        "backbone.layer3.22.conv1.conv.net.weight": "backbone.layer3.22.conv1.weight",
        "backbone.layer1.0.conv3.bn.bias": "backbone.layer1.0.bn3.bias",
        "backbone.layer1.0.downsample.conv.weight": "backbone.layer1.0.downsample.0.weight",
        "backbone.layer1.0.downsample.bn.weight": "backbone.layer1.0.downsample.1.weight",
        "cls_head.fc_cls.bias": "classifier.bias",
    }
    strange = ["backbone.layer2.0.non_local_block.theta.conv.weight", "neck.weight"]
    assert rename_mmaction2([*names, *strange], Target(tuple(names.values()), "fc")) == names


def test_every_layout_is_told_from_the_others() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
    target = Target(("backbone.conv1.weight", "classifier.weight"), "fc")
    assert not any(layout.matches(["encoder.0.weight", "encoder.0.bias"], target) for layout in LAYOUTS)
