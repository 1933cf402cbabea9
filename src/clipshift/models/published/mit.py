"""MIT's repository temporal-shift-module: torchvision's names behind `base_model.`, and `new_fc`.

A convolution with a shift before it is wrapped: `layer1.0.conv1.net.weight`.
"""

from __future__ import annotations

from collections.abc import Collection

from clipshift.models.published import timm, torchvision
from clipshift.models.published.layouts import Target


def is_mit(names: Collection[str], _target: Target) -> bool:
    """Whether names begin as in MIT's files."""
    return any(name.startswith("base_model.") for name in names)


def rename_mit(names: Collection[str], target: Target) -> dict[str, str]:
    """MIT's names of ResNets and of MobileNetV2 to the recognizer's."""
    inner = {
        name: name.removeprefix("base_model.").replace(".net.", ".") for name in names if name.startswith("base_model.")
    }
    mobilenet = torchvision.is_mobilenet_v2(inner.values(), target)
    rename = torchvision.rename_mobilenet_v2 if mobilenet else timm.rename_timm
    backbone = rename(inner.values(), target)
    renamed = {name: backbone[plain] for name, plain in inner.items() if plain in backbone}
    for name in names:
        if name.startswith("new_fc."):
            renamed[name] = f"classifier.{name.removeprefix('new_fc.')}"
    return renamed
