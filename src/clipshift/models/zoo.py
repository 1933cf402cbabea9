"""The tried models: what each is, and how to train it. Published accuracies stand with the published weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property

from clipshift.config import Config, resolve
from clipshift.config.schema import ModelConfig
from clipshift.errors import ConfigError


@dataclass(frozen=True)
class ZooEntry:
    """A tried model: a recipe, and what to change in it.

    Attributes:
        description: One sentence.
        recipe: The recipe that trains it (`clipshift train --recipe`).
        settings: `key=value` settings that follow the recipe.
    """

    description: str
    recipe: str
    settings: tuple[str, ...] = ()

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


ZOO: dict[str, ZooEntry] = {
    "tsn-r50": ZooEntry(
        "TSN on ResNet-50: for classes that single frames tell apart.",
        recipe="tsn-r50",
    ),
    "tsm-r50": ZooEntry(
        "TSM on ResNet-50: the paper's network, for accuracy where there is a GPU.",
        recipe="tsm-r50",
    ),
    "tsm-r50-16f": ZooEntry(
        "TSM on ResNet-50 with 16 frames: finer motion at twice the cost.",
        recipe="tsm-r50",
        settings=("input.segments=16",),
    ),
    "tsn-r101": ZooEntry(
        "TSN on ResNet-101.",
        recipe="tsn-r50",
        settings=("model.backbone=resnet101",),
    ),
    "tsm-r101": ZooEntry(
        "TSM on ResNet-101, shifting in every second block.",
        recipe="tsm-r101",
    ),
    "tsm-mobilenetv2": ZooEntry(
        "TSM on MobileNetV2: small and quick on a CPU; the network of the default recipe.",
        recipe="tsm-mobilenetv2",
    ),
    "tsm-mobilenetv2-online": ZooEntry(
        "TSM on MobileNetV2 that takes from past frames only: no frame waits for a later one.",
        recipe="tsm-mobilenetv2-online",
    ),
    "tsm-r50-online": ZooEntry(
        "TSM on ResNet-50 that takes from past frames only, for live streams.", recipe="tsm-r50-online"
    ),
    "pptsm-r50-online": ZooEntry(
        "PP-TSM on ResNet-50-vd that takes from past frames only, for live streams.", recipe="pptsm-r50-online"
    ),
    "pptsn-r50": ZooEntry(
        "PP-TSN on ResNet-50-vd: TSN with a better backbone.",
        recipe="pptsn-r50",
    ),
    "pptsn-r101": ZooEntry("PP-TSN on ResNet-101-vd.", recipe="pptsn-r50", settings=("model.backbone=resnet101d",)),
    "pptsm-r50": ZooEntry(
        "PP-TSM on ResNet-50-vd with leaky ReLU: TSM with a better backbone at nearly the same cost.",
        recipe="pptsm-r50",
    ),
    "pptsm-r50-16f": ZooEntry(
        "PP-TSM on ResNet-50-vd with 16 frames.", recipe="pptsm-r50", settings=("input.segments=16",)
    ),
    "pptsm-r101": ZooEntry(
        "PP-TSM on ResNet-101-vd, shifting in every block: the most accurate, and the slowest.",
        recipe="pptsm-r101",
    ),
    "pptsm-mobilenetv2": ZooEntry(
        "PP-TSM on Paddle's MobileNetV2.",
        recipe="pptsm-mobilenetv2",
    ),
    "pptsm-mobilenetv3": ZooEntry(
        "PP-TSM on Paddle's MobileNetV3-Large.",
        recipe="pptsm-mobilenetv3",
    ),
    "pptsmv2": ZooEntry(
        "PP-TSMv2 on PP-LCNetV2: one shift, branches that fold into one; accurate and quick on a CPU.",
        recipe="pptsmv2",
    ),
    "pptsmv2-16f": ZooEntry(
        "PP-TSMv2 with 16 frames.",
        recipe="pptsmv2",
        settings=("input.segments=16",),
    ),
    "pptsmv2-16f-attention": ZooEntry(
        "PP-TSMv2 with 16 frames and temporal attention.",
        recipe="pptsmv2",
        settings=("input.segments=16", "model.temporal_attention=true"),
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
        return model.architecture, model.backbone, model.activation, model.temporal_attention, model.is_past_only

    named = [name for name, entry in ZOO.items() if parts(entry.model) == parts(model)]
    exact = [name for name in named if ZOO[name].segments == segments]
    plain = model.backbone if model.architecture == "tsn" else f"TSM over {model.backbone}"
    return next(iter([*exact, *named]), plain)


def describe_models() -> list[tuple[str, str]]:
    """(name, description) of every tried model."""
    return [(name, entry.description) for name, entry in ZOO.items()]
