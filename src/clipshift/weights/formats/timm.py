"""clipshift's own names, and those of timm, from which they differ only by the prefix `backbone.`."""

from __future__ import annotations

from collections.abc import Collection

from clipshift.config.schema import ModelConfig
from clipshift.weights.formats.layouts import CLASSIFIER, Layout, Target


def is_own(names: Collection[str], target: Target) -> bool:
    """Whether at least half of the names are the recognizer's own."""
    return 2 * len(set(names) & set(target.names)) >= len(names)


def rename_own(names: Collection[str], target: Target) -> dict[str, str]:
    """Names that stay as they are."""
    return {name: name for name in names if name in target.names or name.startswith(f"{CLASSIFIER}.")}


def is_timm(names: Collection[str], target: Target) -> bool:
    """Whether at least half of the names are those of timm's network; torchvision's ResNets have them too."""
    return is_own([f"backbone.{name}" for name in names], target)


def rename_timm(names: Collection[str], target: Target) -> dict[str, str]:
    """Names of timm to the recognizer's."""
    renamed = {}
    for name in names:
        if name.startswith(f"{target.timm_classifier}."):
            renamed[name] = CLASSIFIER + name[len(target.timm_classifier) :]
        elif f"backbone.{name}" in target.names:
            renamed[name] = f"backbone.{name}"
    return renamed


_IMAGE_NETWORKS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnet50d",
    "resnet101d",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "tf_efficientnet_lite0",
    "lcnetv2_base",
)


def image_networks(_names: Collection[str]) -> list[ModelConfig]:
    """TSNs over the image networks that are recognized without being named."""
    return [ModelConfig(architecture="tsn", backbone=name, pretrained=False) for name in _IMAGE_NETWORKS]


OWN = Layout("clipshift", is_own, rename_own, networks=image_networks)
LAYOUT = Layout("timm or torchvision", is_timm, rename_timm, networks=image_networks)
