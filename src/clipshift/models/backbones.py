"""timm's 2D networks as frame encoders, and where the temporal shift goes in each of them.

The shift lies on the residual branch, just before its first convolution, so that the shortcut carries the unshifted
features (the paper, section 4.1: residual shift). `_FIRST_CONVOLUTION` says, for every kind of block that has a rule,
which convolution that is; `clipshift models NAME` lists the places found.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.layers.conv_bn_act import ConvNormAct
from timm.models import _efficientnet_blocks as inverted
from timm.models import get_pretrained_cfg, list_models, list_pretrained, regnet, resnet
from torch import nn

from clipshift.config.schema import ShiftConfig
from clipshift.errors import ConfigError
from clipshift.models.shift import ShiftedConv2d, TemporalShift

DEEP_STAGE = 23
"""A stage of so many residual blocks makes a network deep: it shifts in every second block only."""


def build_backbone(
    name: str, *, pretrained: bool = False, crop: int | None = None, generator: torch.Generator | None = None
) -> nn.Module:
    """Build timm's network `name` without its classifier.

    Called with frames (N, 3, H, W), it returns the pooled features (N, D) that its classifier would see.

    Args:
        name: A name of `timm.list_models()`, with or without the tag of its published weights.
        pretrained: Let timm load its published weights; see
            [fetch_pretrained][clipshift.models.pretrained.fetch_pretrained], which handles what can go wrong.
        crop: Side in pixels of the frames, for networks that are built for one size (vision transformers); other
            networks take any size.
        generator: Source of the initial weights; without one they are the same at every call.

    Raises:
        ConfigError: timm has no such network or tag.
    """
    check_name(name)
    seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))
    # timm initialises from the global generator: it is borrowed, and given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        backbone: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
    if not pretrained:
        _open_residual_branches(backbone)
    set_input_size: Callable[..., None] | None = getattr(backbone, "set_input_size", None)
    if crop is not None and set_input_size is not None and fixed_size(backbone) not in (None, (crop, crop)):
        set_input_size(img_size=(crop, crop))
    return backbone


def _open_residual_branches(backbone: nn.Module) -> None:
    # timm starts residual branches with a last batch norm of scale 0, so that nothing passes at first. The temporal
    # shift lies in these branches: without them a network that starts from nothing sees no motion, and was measured
    # to stay at chance. MIT's, mmaction2's and PaddleVideo's networks start with 1.
    for block in backbone.modules():
        for norm in _LAST_NORM.get(type(block), ()):
            last = block.get_submodule(norm)
            if isinstance(last, nn.BatchNorm2d):
                nn.init.ones_(last.weight)


def check_name(name: str) -> None:
    """Raise a ConfigError unless timm knows the network `name` and its tag."""
    architecture = name.partition(".")[0]
    known = list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture, known, n=5)
        raise ConfigError(
            "timm has no network of this name.",
            where="model.backbone",
            got=name,
            allowed=f"nearest names: {', '.join(near)}" if near else None,
            remedy="clipshift models lists the tried networks, timm.list_models() all",
        )
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:
        raise ConfigError(
            "timm has no weights of this tag for the network.",
            where="model.backbone",
            got=name,
            allowed=list_pretrained(f"{architecture}.*"),
        ) from error


def feature_width(backbone: nn.Module) -> int:
    """Number of pooled features per frame, D."""
    network: Any = backbone
    return int(getattr(network, "head_hidden_size", None) or network.num_features)


def fixed_size(backbone: nn.Module) -> tuple[int, int] | None:
    """(height, width) of the only frames that the network takes, or None where it takes any."""
    patches: Any = getattr(backbone, "patch_embed", None)
    if patches is None or not getattr(patches, "strict_img_size", False):
        return None
    size = getattr(patches, "img_size", None)
    return None if size is None else (int(size[0]), int(size[1]))


def early_layers(backbone: nn.Module, stages: int) -> list[nn.Module]:
    """The layers of a backbone's first stages: everything before the end of stage number `stages`.

    A stage is what timm calls a feature level: its output has half the resolution of the one before. In ResNets these
    are the stem (1), layer1 (2), layer2 (3) and so on.

    Args:
        backbone: A network of timm.
        stages: How many stages; 0 for none.

    Returns:
        The layers that hold parameters of their own, in the network's order.

    Raises:
        ConfigError: The network does not tell its stages, or has fewer.
    """
    if stages == 0:
        return []
    levels = [str(level["module"]) for level in getattr(backbone, "feature_info", [])]
    if stages > len(levels):
        raise ConfigError(
            "The backbone does not have so many stages.",
            where="train.frozen_stages",
            got=stages,
            allowed=f"0 to {len(levels)}",
        )
    layers, seen = [], False
    for name, module in backbone.named_modules():
        inside = name == levels[stages - 1] or name.startswith(f"{levels[stages - 1]}.")
        if seen and not inside:
            break
        seen = seen or inside
        if name and any(True for _ in module.parameters(recurse=False)):
            layers.append(module)
    return layers


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


_FIRST_CONVOLUTION: dict[type[nn.Module], Callable[[nn.Module], str | None]] = {
    # The ResNet family shifts in every block: where the shape changes, the shortcut is a convolution of its own.
    resnet.BasicBlock: _in_residual,
    resnet.Bottleneck: _in_residual,
    regnet.Bottleneck: _in_regnet,
    # The MobileNet family shifts only where the shortcut is the input itself (MIT, mmaction2, PaddleVideo).
    inverted.InvertedResidual: _in_inverted_residual,
    inverted.DepthwiseSeparableConv: _in_separable,
    inverted.EdgeResidual: _in_fused_inverted_residual,
    inverted.UniversalInvertedResidual: _in_universal_inverted_residual,
}
_LAST_NORM: dict[type[nn.Module], tuple[str, ...]] = {
    resnet.BasicBlock: ("bn2",),
    resnet.Bottleneck: ("bn3",),
    regnet.Bottleneck: ("conv3.bn",),
}
_RESIDUAL_BLOCKS = tuple(_LAST_NORM)


def shift_points(backbone: nn.Module) -> list[str]:
    """Names of the convolutions whose input TSM shifts, in the network's order; empty where no rule applies.

    In a residual network with a stage of [DEEP_STAGE][clipshift.models.backbones.DEEP_STAGE] blocks or more (ResNet-101
    and deeper) these lie in every second block of each stage, beginning with its first, as MIT and mmaction2 do it;
    PaddleVideo shifts in all of them.
    """
    stages: dict[str, list[str]] = {}
    for name, block in backbone.named_modules():
        if type(block) in _RESIDUAL_BLOCKS:
            stages.setdefault(name.rpartition(".")[0], []).append(name)
    deep = any(len(blocks) >= DEEP_STAGE for blocks in stages.values())
    left_out = {name for blocks in stages.values() for name in blocks[1::2]} if deep else set()

    points = []
    for name, block in backbone.named_modules():
        rule = _FIRST_CONVOLUTION.get(type(block))
        convolution = rule(block) if rule is not None and name not in left_out else None
        if convolution is not None:
            points.append(f"{name}.{convolution}")
    return points


def insert_shift(backbone: nn.Module, name: str, *, segments: int, shift: ShiftConfig) -> None:
    """Make a backbone shift in time at its [shift_points][clipshift.models.backbones.shift_points], in place.

    Raises:
        ConfigError: There is no rule for this kind of network.
    """
    points = shift_points(backbone)
    if not points:
        raise ConfigError(
            "TSM has no rule where to shift in this network.",
            where="model.backbone",
            got=name,
            allowed="networks of residual blocks (ResNet, ResNeXt, RegNet) or of inverted residuals with shortcuts "
            "(MobileNetV2 to V4, EfficientNet, MNASNet)",
            remedy="take another backbone, or model.architecture=tsn, which takes any",
        )
    for point in points:
        convolution = backbone.get_submodule(point)
        if type(convolution) is not nn.Conv2d:
            raise ConfigError(
                f"TSM cannot shift before a {type(convolution).__name__}, only before a plain convolution.",
                where="model.backbone",
                got=f"{name}: {point}",
                remedy="take another backbone, or model.architecture=tsn, which takes any",
            )
        temporal = TemporalShift(segments, shift.fold_div, shift.order, shift.rounding)
        backbone.set_submodule(point, ShiftedConv2d(convolution, temporal))
