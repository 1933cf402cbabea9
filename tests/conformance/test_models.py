"""Every backbone keeps every contract; at 64 px, with batch norms made random so that no branch is silent."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from clipshift.config.schema import InputConfig, ModelConfig
from clipshift.models.bundle import ModelSpec, load_bundle, save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO

SEGMENTS, CLASSES, CROP = 2, 3, 64
_MORE = (
    ("tsm", "resnet26d"),
    ("tsm", "test_resnet"),
    ("tsm", "mobilenetv2_050"),
    ("tsm", "mobilenetv4_conv_small"),
    ("tsn", "efficientnet_lite0"),
    ("tsm", "regnety_002"),
    ("tsn", "resnet18"),
    ("tsn", "lcnetv2_base"),
    ("tsn", "convnext_atto"),
    ("tsn", "vit_tiny_patch16_224"),
)
MODELS = list(dict.fromkeys([*((entry.architecture, entry.backbone) for entry in ZOO.values()), *_MORE]))
every_model = pytest.mark.parametrize(("architecture", "backbone"), MODELS)


@cache
def _network(architecture: str, backbone: str) -> Recognizer:
    model = ModelConfig.model_validate({"architecture": architecture, "backbone": backbone, "pretrained": False})
    network = Recognizer(model, segments=SEGMENTS, classes=CLASSES, crop=CROP).eval()
    random = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # timm starts the last scale of residual branches at zero, which would hide what they compute.
            nn.init.uniform_(module.weight, 0.8, 1.2, generator=random)
    nn.init.normal_(network.classifier.weight, generator=random)
    return network


def _clips() -> torch.Tensor:
    return torch.randn(2, SEGMENTS, 3, CROP, CROP, generator=torch.Generator().manual_seed(2))


@cache
def _features(architecture: str, backbone: str) -> torch.Tensor:
    with torch.no_grad():
        return _network(architecture, backbone).features(_clips())


@cache
def _logits(architecture: str, backbone: str) -> torch.Tensor:
    with torch.no_grad():
        return _network(architecture, backbone).classify(_features(architecture, backbone))


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max() / first.abs().max())


@every_model
def test_shapes(architecture: str, backbone: str) -> None:
    width = _network(architecture, backbone).classifier.in_features
    assert _features(architecture, backbone).shape == (2, SEGMENTS, width)
    assert _logits(architecture, backbone).shape == (2, CLASSES)
    assert torch.isfinite(_logits(architecture, backbone)).all()


@every_model
def test_names_are_those_of_timm(architecture: str, backbone: str) -> None:
    network = _network(architecture, backbone)
    with torch.device("meta"):
        expected = list(timm.create_model(backbone, num_classes=0).state_dict())
    assert list(network.backbone.state_dict()) == expected
    names = [*(f"backbone.{name}" for name in expected), "classifier.weight", "classifier.bias"]
    assert list(network.state_dict()) == names


@every_model
def test_order_of_frames_counts_in_tsm_only_and_in_its_clip_only(architecture: str, backbone: str) -> None:
    backwards = _clips()
    backwards[0] = backwards[0].flip(0)
    with torch.no_grad():
        logits = _network(architecture, backbone)(backwards)
    expected = _logits(architecture, backbone)
    if architecture == "tsm":
        assert _difference(expected[:1], logits[:1]) > 1e-3
    else:
        assert _difference(expected[:1], logits[:1]) < 1e-5
    assert _difference(expected[1:], logits[1:]) < 1e-5


@every_model
def test_every_parameter_gets_a_gradient(architecture: str, backbone: str) -> None:
    network = _network(architecture, backbone)
    # In evaluation mode: the batch norms' statistics stay as they are for the other tests.
    logits = network(_clips()[:1])
    gradients = torch.autograd.grad(logits.logsumexp(1).sum(), list(network.parameters()), allow_unused=True)
    names = [name for name, _ in network.named_parameters()]
    silent = [n for n, gradient in zip(names, gradients, strict=True) if gradient is None or not gradient.any()]
    assert silent == []


@every_model
def test_channels_last_and_bundle_give_the_same(architecture: str, backbone: str, tmp_path: Path) -> None:
    network = _network(architecture, backbone)
    spec = ModelSpec(
        clipshift="0",
        model=network.model,
        input=InputConfig(segments=SEGMENTS, resize=CROP, crop=CROP),
        classes=("a", "b", "c"),
    )
    save_bundle(tmp_path, network, spec)
    loaded, _ = load_bundle(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(_clips()), _logits(architecture, backbone))
        last = loaded.to(memory_format=torch.channels_last)
        assert _difference(_logits(architecture, backbone), last(_clips())) < 1e-4
