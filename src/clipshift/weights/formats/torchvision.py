"""torchvision's names, also used by MIT's repository and by many files converted from either.

ResNets have timm's names, but for the classifier. MobileNetV2 is a flat list of `features`:
`features.0` the stem, `features.1` to `features.17` the blocks, `features.18` the last convolution. Within a block,
torchvision nests each convolution with its batch norm (`conv.0.0`, `conv.0.1`, `conv.1.0`, ...), MIT and others do
not (`conv.0`, `conv.1`, `conv.3`, ...).
"""

from __future__ import annotations

from collections.abc import Collection

from clipshift.config.schema import ModelConfig
from clipshift.models.zoo import ZOO
from clipshift.weights.formats.layouts import Layout, Target, inverted_residual_names, replace_prefix

# Where the convolutions and batch norms of timm's blocks stand in the two lists.
_NESTED = {
    "without expansion": {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"},
    "with expansion": {
        "conv_pw": "0.0",
        "bn1": "0.1",
        "conv_dw": "1.0",
        "bn2": "1.1",
        "conv_pwl": "2",
        "bn3": "3",
    },
}
_FLAT = {
    "without expansion": {"conv_dw": "0", "bn1": "1", "conv_pw": "3", "bn2": "4"},
    "with expansion": {"conv_pw": "0", "bn1": "1", "conv_dw": "3", "bn2": "4", "conv_pwl": "6", "bn3": "7"},
}


def is_mobilenet_v2(names: Collection[str], _target: Target) -> bool:
    """Whether names are torchvision's or MIT's of a MobileNetV2."""
    return {"features.0.0.weight", "features.18.0.weight"} <= set(names) and any(
        name.startswith("features.1.conv.") for name in names
    )


def rename_mobilenet_v2(names: Collection[str], target: Target) -> dict[str, str]:
    """Names of a MobileNetV2 of either nesting to the recognizer's."""
    places = _NESTED if "features.1.conv.0.0.weight" in names else _FLAT
    prefixes = {
        "features.0.0.": "backbone.conv_stem.",
        "features.0.1.": "backbone.bn1.",
        "features.18.0.": "backbone.conv_head.",
        "features.18.1.": "backbone.bn2.",
        "classifier.1.": "classifier.",
        "classifier.": "classifier.",
    }
    for number, block in enumerate(inverted_residual_names(target), start=1):
        kind = "with expansion" if f"{block}.conv_pwl.weight" in target.names else "without expansion"
        for own, place in places[kind].items():
            prefixes[f"features.{number}.conv.{place}."] = f"{block}.{own}."
    return replace_prefix(names, prefixes)


def _networks(names: Collection[str]) -> list[ModelConfig]:
    image = ModelConfig(architecture="tsn", backbone="mobilenetv2_100", pretrained=False)
    # MIT's online TSM, of which nothing tells that it is no image network.
    flat = "classifier.weight" in names and "features.1.conv.0.0.weight" not in names
    return [image, ZOO["tsm-mobilenetv2-online"].model] if flat else [image]


LAYOUT = Layout(
    "torchvision MobileNetV2", is_mobilenet_v2, rename_mobilenet_v2, networks=_networks, alphabetical=("jester",)
)
