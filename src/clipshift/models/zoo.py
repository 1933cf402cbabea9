"""The tried models: what each is, and what is published about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from timm.models import get_pretrained_cfg
from torch.utils.flop_counter import FlopCounterMode

from clipshift.config.schema import ModelConfig
from clipshift.models.backbones import build_backbone, check_name, shift_points
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
    """A tried model.

    Attributes:
        recipe: The recipe that trains it (`clipshift train --recipe`), or None where another's is to be adapted.
        description: One sentence.
        architecture: `tsn` or `tsm`.
        backbone: timm's name.
        segments: Frames per clip.
        published: What others report for the same network; not measured with clipshift.
    """

    recipe: str | None
    description: str
    architecture: Architecture
    backbone: str
    segments: int = 8
    published: tuple[PublishedResult, ...] = ()


_MMACTION2 = "mmaction2 1.2.0"
_MIT = "MIT temporal-shift-module"

ZOO: dict[str, ZooEntry] = {
    "tsm-mobilenetv2": ZooEntry(
        recipe="tsm-mobilenetv2",
        description="TSM on MobileNetV2: small and quick on a CPU; the default.",
        architecture="tsm",
        backbone="mobilenetv2_100",
        published=(
            PublishedResult("Kinetics-400", 68.71, "8 frames dense, 3 crops, 10 clips", _MMACTION2),
            PublishedResult("Kinetics-400", 69.5, "8 frames dense, 3 crops, 10 clips", _MIT),
        ),
    ),
    "tsm-r50": ZooEntry(
        recipe="tsm-r50",
        description="TSM on ResNet-50: the paper's network, for accuracy where there is a GPU.",
        architecture="tsm",
        backbone="resnet50",
        published=(
            PublishedResult("Kinetics-400", 73.18, "8 frames, 10 crops", _MMACTION2),
            PublishedResult("Kinetics-400", 71.2, "8 frames, 1 crop", _MIT),
            PublishedResult("Something-Something V2", 62.72, "8 frames, 3 crops", _MMACTION2),
            PublishedResult("UCF-101", 94.5, "8 frames, from Kinetics-400", "mmaction2 0.24.1"),
        ),
    ),
    "tsn-r50": ZooEntry(
        recipe="tsn-r50",
        description="TSN on ResNet-50: for classes that single frames tell apart.",
        architecture="tsn",
        backbone="resnet50",
        published=(
            PublishedResult("Kinetics-400", 74.12, "8 segments in training, 25 frames, 10 crops", _MMACTION2),
            PublishedResult("Kinetics-400", 68.8, "8 frames, 1 crop", _MIT),
            PublishedResult("UCF-101", 83.03, "3 segments in training, from ImageNet", "mmaction2 0.24.1"),
        ),
    ),
    "tsm-r18": ZooEntry(
        recipe=None,
        description="TSM on ResNet-18: half the cost of ResNet-50.",
        architecture="tsm",
        backbone="resnet18",
    ),
    "tsm-r50-16f": ZooEntry(
        recipe=None,
        description="TSM on ResNet-50 with 16 frames: finer motion at twice the cost.",
        architecture="tsm",
        backbone="resnet50",
        segments=16,
        published=(
            PublishedResult("Kinetics-400", 75.12, "16 frames, 10 crops", _MMACTION2),
            PublishedResult("Kinetics-400", 72.6, "16 frames, 1 crop", _MIT),
            PublishedResult("Something-Something V2", 64.16, "16 frames, 3 crops", _MMACTION2),
        ),
    ),
    "tsm-r101": ZooEntry(
        recipe=None,
        description="TSM on ResNet-101, shifting in every second block.",
        architecture="tsm",
        backbone="resnet101",
        published=(PublishedResult("Something-Something V2", 63.7, "8 frames, 3 crops", _MMACTION2),),
    ),
    "tsm-mobilenetv3": ZooEntry(
        recipe=None,
        description="TSM on MobileNetV3-Large: as quick as MobileNetV2.",
        architecture="tsm",
        backbone="mobilenetv3_large_100",
    ),
    "tsm-efficientnet-lite0": ZooEntry(
        recipe=None,
        description="TSM on EfficientNet-Lite0: no squeeze-excitation and ReLU6 only, for integer accelerators.",
        architecture="tsm",
        backbone="tf_efficientnet_lite0",
    ),
}
"""Every tried model by its name."""


@dataclass(frozen=True)
class ModelDescription:
    """A model by numbers.

    Attributes:
        name: The name asked for: of the zoo, or timm's.
        architecture: `tsn` or `tsm`.
        backbone: timm's name.
        segments: Frames per clip.
        crop: Side of the frames in pixels.
        classes: Number of classes that the counts are for.
        parameters: Number of trained parameters.
        gmacs: Multiplications with addition for one clip, in thousand millions: convolutions and matrix products.
        features: Features per frame.
        shift_points: The convolutions before which TSM shifts; empty for TSN.
        mean: Mean of the colours that the published ImageNet weights were trained with.
        std: Their standard deviation.
        entry: The zoo's entry, or None for another network of timm.
    """

    name: str
    architecture: Architecture
    backbone: str
    segments: int
    crop: int
    classes: int
    parameters: int
    gmacs: float
    features: int
    shift_points: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    entry: ZooEntry | None

    def to_text(self) -> str:
        """The description as lines for people."""
        lines = [self.name, f"  {self.entry.description}"] if self.entry is not None else [self.name]
        recipe = self.entry.recipe if self.entry is not None else None
        settings = f"model.architecture={self.architecture} model.backbone={self.backbone}"
        settings += f" input.segments={self.segments}"
        facts = {
            "train": f"clipshift train DATA {f'--recipe {recipe}' if recipe else settings}",
            "network": f"{self.architecture.upper()} over {self.backbone}, {self.segments} frames of {self.crop} px",
            "size": f"{self.parameters / 1e6:.2f} M parameters with {self.classes} classes, {self.features} features",
            "arithmetic": f"{self.gmacs:.2f} GMACs for one clip",
            "shifts": f"before {len(self.shift_points)} convolutions" if self.shift_points else "nowhere",
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
    backbone = entry.backbone if entry is not None else name
    check_name(backbone)
    segments = segments or (entry.segments if entry is not None else 8)
    # On the device "meta" tensors have shapes and no values.
    with torch.device("meta"):
        if architecture is None:
            architecture = entry.architecture if entry is not None else _natural_architecture(backbone)
        model = ModelConfig(architecture=architecture, backbone=backbone, pretrained=False)
        network = Recognizer(model, segments=segments, classes=classes, crop=crop).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, segments, 3, crop, crop))
    trained_with = get_pretrained_cfg(backbone)
    return ModelDescription(
        name=name,
        architecture=architecture,
        backbone=backbone,
        segments=segments,
        crop=crop,
        classes=classes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        gmacs=counter.get_total_flops() / 2e9,
        features=network.classifier.in_features,
        shift_points=tuple(shift_points(network.backbone)) if architecture == "tsm" else (),
        mean=tuple(trained_with.mean) if trained_with is not None else None,
        std=tuple(trained_with.std) if trained_with is not None else None,
        entry=entry,
    )


def _natural_architecture(backbone: str) -> Architecture:
    return "tsm" if shift_points(build_backbone(backbone)) else "tsn"
