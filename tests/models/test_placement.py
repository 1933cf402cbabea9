from __future__ import annotations

import pytest
import torch
from torch import nn

from clipshift.config.schema import ModelConfig, ShiftConfig
from clipshift.errors import ConfigError
from clipshift.models.backbones import build_backbone
from clipshift.models.placement import insert_shift, shift_points
from clipshift.models.shift import ShiftedConv2d, TemporalShift
from clipshift.models.temporal_attention import TemporalAttention


def _tsm(backbone: str, shift: ShiftConfig | None = None, *, attention: bool = False) -> ModelConfig:
    return ModelConfig(
        architecture="tsm", backbone=backbone, shift=shift or ShiftConfig(), temporal_attention=attention
    )


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
    with torch.device("meta"):
        assert len(shift_points(build_backbone("resnet101d"), "every_block")) == 33


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
    insert_shift(backbone, _tsm("test_resnet", ShiftConfig(fold_div=4, order="past_first")), segments=4)
    shifted = {name: module for name, module in backbone.named_modules() if isinstance(module, ShiftedConv2d)}
    assert list(shifted) == points == shift_points(backbone)
    assert list(backbone.state_dict()) == names
    temporal = shifted[points[0]].shift
    assert (temporal.segments, temporal.fold_div, temporal.order, temporal.rounding) == (4, 4, "past_first", "each")


def test_shortcut_sees_the_unshifted_input() -> None:
    backbone = build_backbone("resnet10t").eval()
    insert_shift(backbone, _tsm("resnet10t"), segments=2)
    block = backbone.get_submodule("layer1.0")
    for norm in (module for module in block.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.zeros_(norm.weight)
    x = torch.rand(4, 64, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "vgg11"])
def test_networks_without_a_rule_are_refused(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    with pytest.raises(ConfigError, match="no rule where to shift") as caught:
        insert_shift(backbone, _tsm(name), segments=8)
    assert caught.value.got == name
    assert "MobileNetV2" in str(caught.value.allowed)
    assert "tsn" in str(caught.value.remedy)


def test_mixed_convolutions_are_refused() -> None:
    with torch.device("meta"):
        backbone = build_backbone("mixnet_s")
    with pytest.raises(ConfigError, match="before a MixedConv2d"):
        insert_shift(backbone, _tsm("mixnet_s"), segments=8)


@pytest.mark.parametrize(
    ("name", "stage"), [("lcnetv2_base", "stages.2"), ("lcnet_050", "blocks.3"), ("mobilenetv1_100", "blocks.3")]
)
def test_networks_of_plain_stages_shift_once_before_the_third(name: str, stage: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    names = list(backbone.state_dict())
    assert shift_points(backbone) == [stage]
    shift = ShiftConfig(fold_div=16, order="past_first", rounding="total")
    insert_shift(backbone, _tsm(name, shift), segments=8)
    assert list(backbone.state_dict()) == names
    assert shift_points(backbone) == [stage]
    parent, _, before = stage.rpartition(".")
    children = list(dict(backbone.get_submodule(parent).named_children()))
    assert children[children.index(before) - 1] == "temporal_shift"
    temporal = backbone.get_submodule(f"{parent}.temporal_shift")
    assert isinstance(temporal, TemporalShift)
    assert (temporal.fold_div, temporal.order, temporal.rounding) == (16, "past_first", "total")
    # The stage sees an eighth of the resolution.
    seen = []
    backbone.get_submodule(stage).register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape[2:]))
    backbone.eval()(torch.empty(8, 3, 224, 224, device="meta"))
    assert seen == [(28, 28)]


def test_attention_lies_before_the_one_shift() -> None:
    backbone = build_backbone("lcnetv2_base")
    insert_shift(backbone, _tsm("lcnetv2_base", attention=True), segments=4)
    assert list(dict(backbone.get_submodule("stages").named_children())) == [
        "0", "1", "temporal_attention", "temporal_shift", "2", "3",
    ]  # fmt: skip
    with torch.device("meta"):
        backbone = build_backbone("test_resnet")
    with pytest.raises(ConfigError, match="Temporal attention goes with"):
        insert_shift(backbone, _tsm("test_resnet", attention=True), segments=4)
    with pytest.raises(ValueError, match=r"needs model\.architecture=tsm"):
        ModelConfig(architecture="tsn", temporal_attention=True)


def test_attention_weighs_every_frame_by_one_number() -> None:
    attention = TemporalAttention(2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        attention.fc.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, -1.0]]))
        attention.fc.bias.copy_(torch.tensor([0.5, 0.0]))
        x = torch.stack([torch.full((3, 2, 2), value) for value in (1.0, 3.0, 0.0, 0.0)])
        result = attention(x)
    weights = torch.sigmoid(torch.tensor([1.0 + 6.0 + 0.5, -3.0]))
    torch.testing.assert_close(result[:2].flatten(1), torch.tensor([[1.0], [3.0]]) * weights[:, None].expand(2, 12))
    assert not result[2:].any()
