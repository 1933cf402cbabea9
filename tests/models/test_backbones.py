from __future__ import annotations

import pytest
import torch
from torch import nn

from clipshift.config.schema import ShiftConfig
from clipshift.errors import ConfigError
from clipshift.models.backbones import (
    build_backbone,
    early_layers,
    feature_width,
    fixed_size,
    insert_shift,
    shift_points,
)
from clipshift.models.shift import ShiftedConv2d


def _points(name: str) -> list[str]:
    with torch.device("meta"):
        return shift_points(build_backbone(name))


def test_residual_networks_shift_in_every_block() -> None:
    assert _points("resnet18") == [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert len(_points("resnet50")) == 16
    assert len(_points("resnext50_32x4d")) == 16
    assert _points("regnety_002")[0] == "s1.b1.conv1.conv"


def test_deep_residual_networks_shift_in_every_second_block() -> None:
    points = _points("resnet101")
    assert len(points) == 2 + 2 + 12 + 2
    assert points[:3] == ["layer1.0.conv1", "layer1.2.conv1", "layer2.0.conv1"]


def test_mobile_networks_shift_where_the_shortcut_is_the_identity() -> None:
    # MIT's features.3, 5, 6, 8, 9, 10, 12, 13, 15 and 16.
    blocks = ["1.1", "2.1", "2.2", "3.1", "3.2", "3.3", "4.1", "4.2", "5.1", "5.2"]
    assert _points("mobilenetv2_100") == [f"blocks.{block}.conv_pw" for block in blocks]
    # PaddleVideo shifts in 10 of 15 blocks; the first has no expansion.
    mobilenet_v3 = _points("mobilenetv3_large_100")
    assert len(mobilenet_v3) == 10
    assert mobilenet_v3[0] == "blocks.0.0.conv_dw"
    assert all(point.endswith(".conv") for point in _points("mobilenetv4_conv_small"))
    assert any(point.endswith(".conv_exp") for point in _points("efficientnetv2_rw_t"))


def test_shift_is_inserted_before_those_convolutions_only() -> None:
    backbone = build_backbone("test_resnet")
    names = list(backbone.state_dict())
    points = shift_points(backbone)
    insert_shift(backbone, "test_resnet", segments=4, shift=ShiftConfig(fold_div=4, order="past_first"))
    shifted = {name: module for name, module in backbone.named_modules() if isinstance(module, ShiftedConv2d)}
    assert list(shifted) == points == shift_points(backbone)
    assert list(backbone.state_dict()) == names
    temporal = shifted[points[0]].shift
    assert (temporal.segments, temporal.fold_div, temporal.order, temporal.rounding) == (4, 4, "past_first", "each")


def test_shortcut_sees_the_unshifted_input() -> None:
    backbone = build_backbone("resnet10t").eval()
    insert_shift(backbone, "resnet10t", segments=2, shift=ShiftConfig())
    block = backbone.get_submodule("layer1.0")
    for norm in (module for module in block.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.zeros_(norm.weight)
    x = torch.rand(4, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "vgg11", "test_efficientnet"])
def test_networks_without_a_rule_are_refused(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    with pytest.raises(ConfigError, match="no rule where to shift") as caught:
        insert_shift(backbone, name, segments=8, shift=ShiftConfig())
    assert caught.value.got == name
    assert "MobileNetV2" in str(caught.value.allowed)
    assert "tsn" in str(caught.value.remedy)


def test_mixed_convolutions_are_refused() -> None:
    with torch.device("meta"):
        backbone = build_backbone("mixnet_s")
    with pytest.raises(ConfigError, match="before a MixedConv2d"):
        insert_shift(backbone, "mixnet_s", segments=8, shift=ShiftConfig())


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
