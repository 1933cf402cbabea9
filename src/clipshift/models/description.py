"""Models by numbers: parameters, arithmetic, and where they shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from timm.models import get_pretrained_cfg
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clipshift.config.schema import ModelConfig
from clipshift.models.backbones import build_backbone, check_name, timm_name
from clipshift.models.folding import fold_branches
from clipshift.models.placement import shift_points
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO, ZooEntry

Architecture = Literal["tsn", "tsm"]


@dataclass(frozen=True)
class ModelDescription:
    """A model by numbers.

    Attributes:
        name: The name asked for: of the zoo, or timm's.
        model: The network's settings.
        segments: Frames per clip.
        crop: Side of the frames in pixels.
        classes: Number of classes that the counts are for.
        parameters: Number of trained parameters.
        folded_parameters: Number after the parallel branches are folded for deployment; the same where there are none.
        gmacs: Multiplications with addition for one clip, in thousand millions: convolutions and matrix products, of
            the folded form.
        features: Features per frame.
        shift_points: The modules before which TSM shifts; empty for TSN.
        mean: Mean of the colors that the published ImageNet weights were trained with.
        std: Their standard deviation.
        entry: The zoo's entry, or None for another network of timm.
    """

    name: str
    model: ModelConfig
    segments: int
    crop: int
    classes: int
    parameters: int
    folded_parameters: int
    gmacs: float
    features: int
    shift_points: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    entry: ZooEntry | None

    def to_text(self) -> str:
        """The description as lines for people."""
        lines = [self.name, f"  {self.entry.description}"] if self.entry is not None else [self.name]
        architecture, backbone = self.model.architecture, self.model.backbone
        if self.entry is not None:
            train = " ".join(["--recipe", self.entry.recipe, *self.entry.settings])
        else:
            train = f"model.architecture={architecture} model.backbone={backbone} input.segments={self.segments}"
        size = f"{self.parameters / 1e6:.2f} M parameters with {self.classes} classes, {self.features} features"
        if self.folded_parameters != self.parameters:
            size += f"; {self.folded_parameters / 1e6:.2f} M when folded for deployment"
        facts = {
            "train": f"clipshift train DATA {train}",
            "network": f"{architecture.upper()} over {backbone}, {self.segments} frames of {self.crop} px",
            "size": size,
            "arithmetic": f"{self.gmacs:.2f} GMACs for one clip",
            "shifts": f"before {_counted(self.shift_points)}" if self.shift_points else "nowhere",
        }
        lines += [f"  {name:12}{text}" for name, text in facts.items()]
        lines += [f"  {'':12}{point}" for point in self.shift_points]
        return "\n".join(lines)


def describe_model(
    name: str,
    *,
    architecture: Architecture | None = None,
    segments: int | None = None,
    crop: int = 224,
    classes: int = 400,
) -> ModelDescription:
    """Count and list what a model consists of; nothing is computed or fetched.

    Args:
        name: Of the zoo, or of any network of timm.
        architecture: For a network of timm; as default TSM where there is a rule for it, else TSN.
        segments: Frames per clip; as default the zoo's, or 8.
        crop: Side of the frames in pixels.
        classes: Number of classes.

    Raises:
        ConfigError: No model has this name, or TSM was asked for where there is no rule.
    """
    entry = ZOO.get(name)
    if entry is None:
        check_name(name)
    # On the device "meta" tensors have shapes and no values.
    with torch.device("meta"):
        model = (
            entry.model if entry is not None else ModelConfig(architecture=_natural_architecture(name), backbone=name)
        )
        if architecture is not None:
            model = model.model_copy(update={"architecture": architecture})
        segments = segments or (entry.segments if entry is not None else 8)
        network = Recognizer(model, segments=segments, classes=classes, crop=crop).eval()
        folded = fold_branches(network)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            folded(torch.empty(1, segments, 3, crop, crop))
    trained_with = get_pretrained_cfg(timm_name(model.backbone))
    return ModelDescription(
        name=name,
        model=model,
        segments=segments,
        crop=crop,
        classes=classes,
        parameters=_count(network),
        folded_parameters=_count(folded),
        gmacs=counter.get_total_flops() / 2e9,
        features=network.classifier.in_features,
        shift_points=_shift_points(network),
        mean=tuple(trained_with.mean) if trained_with is not None else None,
        std=tuple(trained_with.std) if trained_with is not None else None,
        entry=entry,
    )


def _shift_points(network: Recognizer) -> tuple[str, ...]:
    if network.model.architecture == "tsn":
        return ()
    return tuple(shift_points(network.backbone, network.model.shift.deep_networks))


def _counted(points: tuple[str, ...]) -> str:
    return "one module" if len(points) == 1 else f"{len(points)} modules"


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _natural_architecture(backbone: str) -> Architecture:
    return "tsm" if shift_points(build_backbone(backbone)) else "tsn"
