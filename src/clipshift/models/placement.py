"""Where the temporal shift goes in a network: one rule for every kind of block.

In a residual network the shift lies on the residual branch, just before its first convolution, so that the shortcut
carries the unshifted features (the paper, section 4.1: residual shift). A network without residual branches shifts its
whole feature map once, before its third stage (PP-TSMv2). `clipshift models NAME` lists the places found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from timm.layers.conv_bn_act import ConvNormAct
from timm.models import _efficientnet_blocks as inverted
from timm.models import efficientnet, lcnetv2, mobilenetv3, regnet, res2net, resnest, resnet
from torch import nn

from clipshift.config.schema import ModelConfig
from clipshift.errors import ConfigError
from clipshift.models.shift import ShiftedConv2d, TemporalShift
from clipshift.models.temporal_attention import TemporalAttention

DEEP_STAGE = 23
"""A stage of so many residual blocks makes a network deep: `shift.deep_networks` says in which blocks it shifts."""


def _in_residual(_block: nn.Module) -> str:
    return "conv1"


def _in_regnet(block: nn.Module) -> str | None:
    return None if block.downsample is None else "conv1.conv"


def _in_inverted_residual(block: nn.Module) -> str | None:
    return "conv_pw" if block.has_skip else None


def _in_separable(block: nn.Module) -> str | None:
    return "conv_dw" if block.has_skip else None


def _in_fused_inverted_residual(block: nn.Module) -> str | None:
    return "conv_exp" if block.has_skip else None


def _in_universal_inverted_residual(block: nn.Module) -> str | None:
    if not block.has_skip:
        return None
    return "dw_start.conv" if isinstance(block.dw_start, ConvNormAct) else "pw_exp.conv"


# The ResNet family shifts in every block: where the shape changes, the shortcut is a convolution of its own.
_RESIDUAL: dict[type[nn.Module], Callable[[nn.Module], str | None]] = {
    resnet.BasicBlock: _in_residual,
    resnet.Bottleneck: _in_residual,
    res2net.Bottle2neck: _in_residual,
    resnest.ResNestBottleneck: _in_residual,
    regnet.Bottleneck: _in_regnet,
}
# The MobileNet family shifts only where the shortcut is the input itself (MIT, mmaction2, PaddleVideo).
_INVERTED: dict[type[nn.Module], Callable[[nn.Module], str | None]] = {
    inverted.InvertedResidual: _in_inverted_residual,
    inverted.DepthwiseSeparableConv: _in_separable,
    inverted.EdgeResidual: _in_fused_inverted_residual,
    inverted.UniversalInvertedResidual: _in_universal_inverted_residual,
}
_FIRST_CONVOLUTION = _RESIDUAL | _INVERTED
"""Of every kind of block that has a rule: the name of its residual branch's first convolution, or None."""
# Networks of stages one after the other, with features in the order (N, C, H, W).
_STAGED = (lcnetv2.LCNetV2, mobilenetv3.MobileNetV3, efficientnet.EfficientNet)


def shift_points(backbone: nn.Module, deep_networks: str = "every_second_block") -> list[str]:
    """Names of the modules whose input TSM shifts, in the network's order; empty where no rule applies.

    They are convolutions of residual branches or, in a network that has none, its third stage.

    Args:
        backbone: timm's network.
        deep_networks: The setting `model.shift.deep_networks`: with `every_second_block` a residual network with a
            stage of [DEEP_STAGE][clipshift.models.placement.DEEP_STAGE] blocks or more (ResNet-101 and deeper) shifts
            in every second block of each stage, beginning with its first.
    """
    left_out = _left_out(backbone) if deep_networks == "every_second_block" else set()
    points = []
    for name, block in backbone.named_modules():
        rule = _FIRST_CONVOLUTION.get(type(block))
        convolution = rule(block) if rule is not None and name not in left_out else None
        if convolution is not None:
            points.append(f"{name}.{convolution}")
    stage = third_stage(backbone)
    return points or ([] if stage is None else [stage])


def _left_out(backbone: nn.Module) -> set[str]:
    stages: dict[str, list[str]] = {}
    for name, block in backbone.named_modules():
        if type(block) in _RESIDUAL:
            stages.setdefault(name.rpartition(".")[0], []).append(name)
    deep = any(len(blocks) >= DEEP_STAGE for blocks in stages.values())
    return {name for blocks in stages.values() for name in blocks[1::2]} if deep else set()


def third_stage(backbone: nn.Module) -> str | None:
    """Name of the stage that works at 1/8 of the frame's resolution at its input and 1/16 at its output.

    Returns:
        The name, or None for a network that is not one of stages in a row.
    """
    if not isinstance(backbone, _STAGED):
        return None
    levels: Any = backbone.feature_info
    before = next((str(level["module"]) for level in levels if level["reduction"] == 8), None)
    if before is None:
        return None
    parent, _, number = before.rpartition(".")
    name = f"{parent}.{int(number) + 1}"
    return name if name in dict(backbone.named_modules()) else None


def insert_shift(
    backbone: nn.Module, model: ModelConfig, *, segments: int, generator: torch.Generator | None = None
) -> None:
    """Make a backbone shift in time at its [shift_points][clipshift.models.placement.shift_points], in place.

    Args:
        backbone: timm's network; its parameters keep their names.
        model: Gives the shift's settings, and whether the frames are weighed before it.
        segments: Frames per clip.
        generator: Source of the temporal attention's initial weights.

    Raises:
        ConfigError: There is no rule for this kind of network, or none for its temporal attention.
    """
    shift = model.shift
    points = shift_points(backbone, shift.deep_networks)
    if not points:
        raise _refusal(
            "TSM has no rule where to shift in this network.",
            got=model.backbone,
            allowed="networks of residual blocks (ResNet, ResNeXt, RegNet), of inverted residuals with shortcuts "
            "(MobileNetV2 to V4, EfficientNet, MNASNet) or of plain stages (LCNet, PP-LCNetV2, MobileNetV1)",
        )
    if points == [third_stage(backbone)]:
        attention = TemporalAttention(segments, generator) if model.temporal_attention else None
        _insert_before_stage(backbone, points[0], _temporal(model, segments), attention)
        return
    if model.temporal_attention:
        raise ConfigError(
            "Temporal attention goes with the one shift of a network of plain stages; this one shifts in its blocks.",
            where="model.temporal_attention",
            got=f"true, with {model.backbone}",
            allowed="true with lcnetv2_base, for example",
            remedy="model.temporal_attention=false",
        )
    for point in points:
        convolution = backbone.get_submodule(point)
        if type(convolution) is not nn.Conv2d:
            raise _refusal(
                f"TSM cannot shift before a {type(convolution).__name__}, only before a plain convolution.",
                got=f"{model.backbone}: {point}",
            )
        backbone.set_submodule(point, ShiftedConv2d(convolution, _temporal(model, segments)))


def _temporal(model: ModelConfig, segments: int) -> TemporalShift:
    return TemporalShift(segments, model.shift.fold_div, model.shift.order, model.shift.rounding)


def _insert_before_stage(
    backbone: nn.Module, stage: str, shift: TemporalShift, attention: TemporalAttention | None
) -> None:
    # The stages are run in their order, whatever their names: so they keep their names in the state dict.
    parent, _, before = stage.rpartition(".")
    children: OrderedDict[str, nn.Module] = OrderedDict()
    for name, module in backbone.get_submodule(parent).named_children():
        if name == before:
            if attention is not None:
                children["temporal_attention"] = attention
            children["temporal_shift"] = shift
        children[name] = module
    backbone.set_submodule(parent, nn.Sequential(children))


def _refusal(what: str, *, got: str, allowed: str | None = None) -> ConfigError:
    return ConfigError(
        what,
        where="model.backbone",
        got=got,
        allowed=allowed,
        remedy="take another backbone, or model.architecture=tsn, which takes any",
    )
