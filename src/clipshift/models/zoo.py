"""The tried models: what each is, and what is published about it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from timm.models import get_pretrained_cfg
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clipshift.config import Config, resolve
from clipshift.config.schema import ModelConfig
from clipshift.errors import ConfigError
from clipshift.models.backbones import build_backbone, check_name, timm_name
from clipshift.models.folding import fold_branches
from clipshift.models.placement import shift_points
from clipshift.models.recognizer import Recognizer

Architecture = Literal["tsn", "tsm"]


@dataclass(frozen=True)
class PublishedResult:
    """One published number.

    Attributes:
        data: Data set.
        top1: Accuracy in per cent.
        protocol: Frames and views of the test.
        source: Who published it.
    """

    data: str
    top1: float
    protocol: str
    source: str


@dataclass(frozen=True)
class ZooEntry:
    """A tried model: a recipe, and what to change in it.

    Attributes:
        description: One sentence.
        recipe: The recipe that trains it (`clipshift train --recipe`).
        settings: `key=value` settings that follow the recipe.
        published: What others report for the same network; not measured with clipshift.
    """

    description: str
    recipe: str
    settings: tuple[str, ...] = ()
    published: tuple[PublishedResult, ...] = ()

    @cached_property
    def config(self) -> Config:
        """The recipe with the settings."""
        return resolve(self.recipe, settings=self.settings).config

    @property
    def model(self) -> ModelConfig:
        """The network."""
        return self.config.model

    @property
    def segments(self) -> int:
        """Frames per clip."""
        return self.config.input.segments


_K400 = "Kinetics-400"
_SSV2 = "Something-Something V2"
_MMACTION2 = "mmaction2 1.2.0"
_MIT = "MIT temporal-shift-module"
_PADDLE = "PaddleVideo"

ZOO: dict[str, ZooEntry] = {
    "tsn-r50": ZooEntry(
        "TSN on ResNet-50: for classes that single frames tell apart.",
        recipe="tsn-r50",
        published=(
            PublishedResult(_K400, 74.12, "8 segments in training, 25 frames, 10 crops", _MMACTION2),
            PublishedResult(_K400, 71.70, "8 segments in training, 25 frames, 10 crops", _PADDLE),
            PublishedResult(_K400, 68.8, "8 frames, 1 crop", _MIT),
            PublishedResult("UCF-101", 83.03, "3 segments in training, from ImageNet", "mmaction2 0.24.1"),
        ),
    ),
    "tsm-r50": ZooEntry(
        "TSM on ResNet-50: the paper's network, for accuracy where there is a GPU.",
        recipe="tsm-r50",
        published=(
            PublishedResult(_K400, 73.18, "8 frames, 10 crops", _MMACTION2),
            PublishedResult(_K400, 71.2, "8 frames, 1 crop", _MIT),
            PublishedResult(_K400, 71.06, "8 frames, 1 crop", _PADDLE),
            PublishedResult(_SSV2, 62.72, "8 frames, 2 clips, 3 crops of 256 px", _MMACTION2),
            PublishedResult("UCF-101", 94.5, "8 frames, from Kinetics-400", "mmaction2 0.24.1"),
            PublishedResult("UCF-101", 94.42, "8 frames, 1 crop, from Kinetics-400", _PADDLE),
        ),
    ),
    "tsm-r50-16f": ZooEntry(
        "TSM on ResNet-50 with 16 frames: finer motion at twice the cost.",
        recipe="tsm-r50",
        settings=("input.segments=16",),
        published=(
            PublishedResult(_K400, 75.12, "16 frames, 10 crops", _MMACTION2),
            PublishedResult(_K400, 72.6, "16 frames, 1 crop", _MIT),
            PublishedResult(_SSV2, 64.16, "16 frames, 2 clips, 3 crops of 256 px", _MMACTION2),
        ),
    ),
    "tsn-r101": ZooEntry(
        "TSN on ResNet-101.",
        recipe="tsn-r50",
        settings=("model.backbone=resnet101",),
        published=(PublishedResult(_K400, 75.89, "8 segments in training, 25 frames, 10 crops", _MMACTION2),),
    ),
    "tsm-r101": ZooEntry(
        "TSM on ResNet-101, shifting in every second block.",
        recipe="tsm-r101",
        published=(PublishedResult(_SSV2, 63.7, "8 frames, 2 clips, 3 crops of 256 px", _MMACTION2),),
    ),
    "tsm-mobilenetv2": ZooEntry(
        "TSM on MobileNetV2: small and quick on a CPU; the network of the default recipe.",
        recipe="tsm-mobilenetv2",
        published=(
            PublishedResult(_K400, 68.71, "8 frames, 3 crops of 256 px", _MMACTION2),
            PublishedResult(_K400, 69.5, "8 frames dense, 3 crops, 10 clips", _MIT),
        ),
    ),
    "tsm-mobilenetv2-online": ZooEntry(
        "TSM on MobileNetV2 that takes from past frames only: no frame waits for a later one.",
        recipe="tsm-mobilenetv2",
        settings=("model.shift.order=past_only",),
    ),
    "pptsn-r50": ZooEntry(
        "PP-TSN on ResNet-50-vd: TSN with a better backbone.",
        recipe="pptsn-r50",
        published=(
            PublishedResult(_K400, 73.68, "3 segments in training, 25 frames, 10 crops", _PADDLE),
            PublishedResult(_K400, 75.06, "8 segments in training, distilled, 25 frames, 10 crops", _PADDLE),
        ),
    ),
    "pptsn-r101": ZooEntry("PP-TSN on ResNet-101-vd.", recipe="pptsn-r50", settings=("model.backbone=resnet101d",)),
    "pptsm-r50": ZooEntry(
        "PP-TSM on ResNet-50-vd with leaky ReLU: TSM with a better backbone at nearly the same cost.",
        recipe="pptsm-r50",
        published=(
            PublishedResult(_K400, 74.54, "8 frames, 1 crop", _PADDLE),
            PublishedResult(_K400, 75.11, "8 frames, 1 crop, distilled", _PADDLE),
            PublishedResult(_K400, 76.16, "8 frames dense, 3 crops, 10 clips, distilled", _PADDLE),
        ),
    ),
    "pptsm-r50-16f": ZooEntry(
        "PP-TSM on ResNet-50-vd with 16 frames.", recipe="pptsm-r50", settings=("input.segments=16",)
    ),
    "pptsm-r101": ZooEntry(
        "PP-TSM on ResNet-101-vd, shifting in every block: the most accurate, and the slowest.",
        recipe="pptsm-r101",
        published=(
            PublishedResult(_K400, 76.35, "8 frames, 1 crop, distilled", _PADDLE),
            PublishedResult(_K400, 77.15, "8 frames dense, 3 crops, 10 clips", _PADDLE),
        ),
    ),
    "pptsm-mobilenetv2": ZooEntry(
        "PP-TSM on Paddle's MobileNetV2.",
        recipe="pptsm-mobilenetv2",
        published=(PublishedResult(_K400, 68.09, "8 frames, 1 crop", _PADDLE),),
    ),
    "pptsm-mobilenetv3": ZooEntry(
        "PP-TSM on Paddle's MobileNetV3-Large.",
        recipe="pptsm-mobilenetv3",
        published=(PublishedResult(_K400, 69.84, "8 frames, 1 crop", _PADDLE),),
    ),
    "pptsmv2": ZooEntry(
        "PP-TSMv2 on PP-LCNetV2: one shift, branches that fold into one; accurate and quick on a CPU.",
        recipe="pptsmv2",
        published=(
            PublishedResult(_K400, 71.81, "8 frames, 1 crop", _PADDLE),
            PublishedResult(_K400, 72.45, "8 frames, 1 crop, distilled", _PADDLE),
        ),
    ),
    "pptsmv2-16f": ZooEntry(
        "PP-TSMv2 with 16 frames.",
        recipe="pptsmv2",
        settings=("input.segments=16",),
        published=(
            PublishedResult(_K400, 73.1, "16 frames, 1 crop", _PADDLE),
            PublishedResult(_K400, 74.38, "16 frames, 1 crop, distilled", _PADDLE),
        ),
    ),
    "pptsmv2-16f-attention": ZooEntry(
        "PP-TSMv2 with 16 frames and temporal attention.",
        recipe="pptsmv2",
        settings=("input.segments=16", "model.temporal_attention=true"),
        published=(PublishedResult(_K400, 75.16, "16 frames, 1 crop, distilled", _PADDLE),),
    ),
    "tsm-r18": ZooEntry(
        "TSM on ResNet-18: half the cost of ResNet-50.", recipe="tsm-r50", settings=("model.backbone=resnet18",)
    ),
    "tsm-mobilenetv3": ZooEntry(
        "TSM on MobileNetV3-Large: as quick as MobileNetV2.",
        recipe="tsm-mobilenetv2",
        settings=("model.backbone=mobilenetv3_large_100",),
    ),
    "tsm-efficientnet-lite0": ZooEntry(
        "TSM on EfficientNet-Lite0: no squeeze-excitation and ReLU6 only, for integer accelerators.",
        recipe="tsm-mobilenetv2",
        settings=("model.backbone=tf_efficientnet_lite0",),
    ),
}
"""Every tried model by its name."""


def zoo_entry(name: str) -> ZooEntry:
    """The entry of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in ZOO:
        near = difflib.get_close_matches(name, ZOO, n=3)
        raise ConfigError(
            "There is no model of this name.",
            got=name,
            allowed=f"nearest names: {', '.join(near)}" if near else list(ZOO),
            remedy="clipshift models lists them",
        )
    return ZOO[name]


def zoo_name(model: ModelConfig, segments: int | None) -> str:
    """The name of a network, whatever its shift and dropout; of one outside the zoo that of its backbone.

    Args:
        model: The network.
        segments: Frames per clip, where they shall tell the names apart.
    """

    def parts(model: ModelConfig) -> tuple[object, ...]:
        online = model.architecture == "tsm" and model.shift.order == "past_only"
        return model.architecture, model.backbone, model.activation, model.temporal_attention, online

    named = [name for name, entry in ZOO.items() if parts(entry.model) == parts(model)]
    exact = [name for name in named if ZOO[name].segments == segments]
    plain = model.backbone if model.architecture == "tsn" else f"TSM over {model.backbone}"
    return next(iter([*exact, *named]), plain)


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
        mean: Mean of the colours that the published ImageNet weights were trained with.
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
        for result in self.entry.published if self.entry is not None else ():
            lines.append(f"  {'published':12}{result.data} {result.top1} % ({result.protocol}; {result.source})")
        return "\n".join(lines)


def describe_models() -> list[tuple[str, str]]:
    """(name, description) of every tried model."""
    return [(name, entry.description) for name, entry in ZOO.items()]


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
        shift_points=tuple(shift_points(network.backbone, model.shift.deep_networks))
        if model.architecture == "tsm"
        else (),
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
