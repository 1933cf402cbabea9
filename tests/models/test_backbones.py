from __future__ import annotations

import pytest
import torch
from torch import nn

from clipshift.errors import ConfigError
from clipshift.models.backbones import build_backbone, early_layers, feature_width, fixed_size
from clipshift.models.paddle_backbones import PADDLE_BACKBONES


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no network of this name") as caught:
        build_backbone("resnet5O")
    assert "resnet50" in str(caught.value.allowed)
    with pytest.raises(ConfigError, match="no network of this name"):
        build_backbone("hf-hub:someone/something")
    with pytest.raises(ConfigError, match="no weights of this tag") as caught:
        build_backbone("resnet18.mine")
    assert "resnet18.tv_in1k" in str(caught.value.allowed)


def test_initial_weights_are_a_function_of_the_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = build_backbone("test_resnet"), build_backbone("test_resnet")
    other = build_backbone("test_resnet", generator=torch.Generator().manual_seed(1))
    assert torch.equal(first.get_parameter("conv1.0.weight"), again.get_parameter("conv1.0.weight"))
    assert not torch.equal(first.get_parameter("conv1.0.weight"), other.get_parameter("conv1.0.weight"))
    assert torch.equal(torch.get_rng_state(), before)


def test_size_of_transformers() -> None:
    with torch.device("meta"):
        assert fixed_size(build_backbone("resnet18")) is None
        assert fixed_size(build_backbone("vit_tiny_patch16_224")) == (224, 224)
        small = build_backbone("vit_tiny_patch16_224", crop=64)
    assert fixed_size(small) == (64, 64)
    assert feature_width(small) == 192


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "regnety_002"])
def test_residual_branches_are_open_from_the_start(name: str) -> None:
    # timm closes them (zero_init_last); a shift inside them would then move nothing.
    norms = [m for m in build_backbone(name).modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(bool((norm.weight == 1).all()) for norm in norms)


@pytest.mark.parametrize(
    ("name", "stages", "last", "first_free"),
    [
        ("mobilenetv2_100", 3, "blocks.2.2.", "blocks.3.0."),
        ("resnet18", 3, "layer2.1.", "layer3.0."),
        ("resnet18", 1, "bn1", "layer1.0."),
    ],
)
def test_early_layers_end_with_their_stage(name: str, stages: int, last: str, first_free: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    frozen = set(early_layers(backbone, stages))
    names = [path for path, module in backbone.named_modules() if module in frozen]
    free = [
        path for path, module in backbone.named_modules() if list(module.parameters(False)) and module not in frozen
    ]
    assert names[-1].startswith(last)
    assert free[0].startswith(first_free)
    assert early_layers(backbone, 0) == []


def test_stages_are_counted_by_resolution() -> None:
    with torch.device("meta"):
        backbone = build_backbone("lcnetv2_base")
    frozen = set(early_layers(backbone, 3))
    names = [path for path, module in backbone.named_modules() if module in frozen]
    assert names[-1].startswith("stages.1.1.")
    with pytest.raises(ConfigError, match="no such stage") as caught:
        early_layers(backbone, 1)
    assert caught.value.allowed == "0, 2, 3, 4, 5"


def test_activations_can_be_leaky() -> None:
    with torch.device("meta"):
        backbone = build_backbone("resnet50d", activation="leaky_relu")
        kinds = {type(module).__name__ for module in backbone.modules()}
        assert "LeakyReLU" in kinds
        assert "ReLU" not in kinds
        with pytest.raises(ConfigError, match="cannot be chosen"):
            build_backbone("dla34", activation="leaky_relu")


def test_paddle_mobilenets_expand_in_their_first_block() -> None:
    for name in PADDLE_BACKBONES:
        with torch.device("meta"):
            backbone = build_backbone(name)
        assert "blocks.0.0.conv_pwl.weight" in backbone.state_dict()
        assert feature_width(backbone) == 1280
    assert "conv_head.bias" not in backbone.state_dict()
    with pytest.raises(ConfigError, match="no network of this name") as caught:
        build_backbone("paddle_mobilenetv2")
    assert "paddle_mobilenetv2_100" in str(caught.value.allowed)
