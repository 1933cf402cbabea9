"""timm's 2D networks as frame encoders."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Any, Literal

import timm
import torch
from timm.models import get_pretrained_cfg, list_models, list_pretrained, regnet, res2net, resnest, resnet
from torch import Tensor, nn

from clipshift.errors import ConfigError
from clipshift.models.paddle_backbones import PADDLE_BACKBONES, rebuild_as_paddle

Activation = Literal["default", "leaky_relu"]


def build_backbone(
    name: str,
    *,
    activation: Activation = "default",
    pretrained: bool = False,
    crop: int | None = None,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Build timm's network `name` without its classifier.

    Called with frames (N, 3, H, W), it returns the pooled features (N, D) that its classifier would see.

    Args:
        name: A name of `timm.list_models()`, with or without the tag of its published weights, or one of
            [PADDLE_BACKBONES][clipshift.models.paddle_backbones.PADDLE_BACKBONES].
        activation: `leaky_relu` puts leaky ReLU in place of all activations.
        pretrained: Let timm load its published weights; see
            [fetch_pretrained][clipshift.models.pretrained.fetch_pretrained], which handles what can go wrong.
        crop: Side in pixels of the frames, for networks that are built for one size (vision transformers); other
            networks take any size.
        generator: Source of the initial weights; without one they are the same at every call.

    Raises:
        ConfigError: timm has no such network or tag, or its activations cannot be chosen.
    """
    check_name(name)
    chosen: dict[str, Any] = {} if activation == "default" else {"act_layer": nn.LeakyReLU}
    seed = 0 if generator is None else int(torch.randint(2**62, (), generator=generator, device=generator.device))
    # timm initializes from the global generator: it is borrowed, and given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            backbone: nn.Module = timm.create_model(timm_name(name), pretrained=pretrained, num_classes=0, **chosen)
        except TypeError as error:
            if not chosen:
                raise
            raise ConfigError(
                "The activations of this network cannot be chosen.",
                where="model.activation",
                got=f"{activation}, with {name}",
                remedy="model.activation=default",
            ) from error
        if name in PADDLE_BACKBONES:
            rebuild_as_paddle(backbone)
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


def timm_name(name: str) -> str:
    """The network of timm that a backbone is, or begins as."""
    return PADDLE_BACKBONES.get(name, name)


def is_network(name: str) -> bool:
    """Whether timm, or clipshift itself, has a network of this name; a tag is not looked at."""
    return name in PADDLE_BACKBONES or name.partition(".")[0] in list_models()


def check_name(name: str) -> None:
    """Raise a ConfigError unless timm, or clipshift itself, knows the network `name` and its tag."""
    if name in PADDLE_BACKBONES:
        return
    architecture = name.partition(".")[0]
    if not is_network(name):
        known = [*list_models(), *PADDLE_BACKBONES]
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
        ConfigError: The network does not tell its stages, or has no such stage.
    """
    if stages == 0:
        return []
    levels = stage_ends(backbone)
    if stages not in levels:
        raise ConfigError(
            "The backbone has no such stage: one ends where the resolution halves.",
            where="train.frozen_stages",
            got=stages,
            allowed=", ".join(str(number) for number in (0, *levels)),
        )
    last = levels[stages]
    layers, seen = [], False
    for name, module in backbone.named_modules():
        inside = name == last or name.startswith(f"{last}.")
        if seen and not inside:
            break
        seen = seen or inside
        if name and any(True for _ in module.parameters(recurse=False)):
            layers.append(module)
    return layers


def stages_from_the_end(backbone: nn.Module) -> dict[nn.Parameter, int]:
    """How many stages come after the one that a parameter belongs to; 0 in the last one and behind it.

    Args:
        backbone: A network of timm; one that does not tell its stages counts as one stage.
    """
    ends = stage_ends(backbone)
    after = dict.fromkeys(backbone.parameters(), 0)
    # What the network holds itself are tokens and positions of transformers, which belong to the input.
    after |= dict.fromkeys(backbone.parameters(recurse=False), max(0, len(ends) - 1))
    for place, stage in enumerate(sorted(ends, reverse=True)[1:], start=1):
        for layer in early_layers(backbone, stage):
            after |= dict.fromkeys(layer.parameters(recurse=False), place)
    return after


def stage_ends(backbone: nn.Module) -> dict[int, str]:
    """The name of each stage's last module, by the stage's number."""
    info: list[dict[str, Any]] = list(getattr(backbone, "feature_info", []))
    # Networks of one resolution (transformers) count their levels; the others' begin with any part of it.
    flat = len({level["reduction"] for level in info}) <= 1
    numbers = (number if flat else round(math.log2(level["reduction"])) for number, level in enumerate(info, 1))
    return {number: str(level["module"]) for number, level in zip(numbers, info, strict=True)}


def as_maps(backbone: nn.Module, features: Tensor) -> Tensor:
    """Features inside a network of timm as (T, C, h, w); those of Swin transformers are (T, h, w, C)."""
    last = str(getattr(backbone, "output_fmt", "NCHW")) == "NHWC"
    return features.permute(0, 3, 1, 2) if last else features


_LAST_NORM: dict[type[nn.Module], tuple[str, ...]] = {
    resnet.BasicBlock: ("bn2",),
    resnet.Bottleneck: ("bn3",),
    res2net.Bottle2neck: ("bn3",),
    resnest.ResNestBottleneck: ("bn3",),
    regnet.Bottleneck: ("conv3.bn",),
}
