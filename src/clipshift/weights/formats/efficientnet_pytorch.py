"""EfficientNets as the package efficientnet_pytorch names them; EfficientNet-Lite's PyTorch weights do the same.

The blocks stand in one list: `_blocks.4._expand_conv.weight`. The published files come from TensorFlow: timm's
`tf_efficientnet_*` have its padding and batch norms' epsilon (1e-3). For EfficientNet-Lite0 that was measured: on real
frames, normalized to (x - 127) / 128, the means before the batch norms are nearer to the stored ones with
`tf_efficientnet_lite0` (0.13 standard deviations off on average) than with `efficientnet_lite0` (0.15).
"""

from __future__ import annotations

from collections.abc import Collection

from clipshift.config.schema import InputConfig, ModelConfig
from clipshift.weights.formats.layouts import Layout, ProjectTest, Target, inverted_residual_names, replace_prefix

_WITH_EXPANSION = {
    "_expand_conv.": "conv_pw.",
    "_bn0.": "bn1.",
    "_depthwise_conv.": "conv_dw.",
    "_bn1.": "bn2.",
    "_project_conv.": "conv_pwl.",
    "_bn2.": "bn3.",
    "_se_reduce.": "se.conv_reduce.",
    "_se_expand.": "se.conv_expand.",
}
_WITHOUT_EXPANSION = {
    "_depthwise_conv.": "conv_dw.",
    "_bn1.": "bn1.",
    "_project_conv.": "conv_pw.",
    "_bn2.": "bn2.",
    "_se_reduce.": "se.conv_reduce.",
    "_se_expand.": "se.conv_expand.",
}


def is_efficientnet_pytorch(names: Collection[str], _target: Target) -> bool:
    """Whether the stem and the first block are named as in efficientnet_pytorch."""
    return {"_conv_stem.weight", "_blocks.0._depthwise_conv.weight"} <= set(names)


def rename_efficientnet_pytorch(names: Collection[str], target: Target) -> dict[str, str]:
    """efficientnet_pytorch's names to the recognizer's."""
    prefixes = {
        "_conv_stem.": "backbone.conv_stem.",
        "_bn0.": "backbone.bn1.",
        "_conv_head.": "backbone.conv_head.",
        "_bn1.": "backbone.bn2.",
        "_fc.": "classifier.",
    }
    for number, block in enumerate(inverted_residual_names(target)):
        expanded = f"{block}.conv_pwl.weight" in target.names
        for theirs, own in (_WITH_EXPANSION if expanded else _WITHOUT_EXPANSION).items():
            prefixes[f"_blocks.{number}.{theirs}"] = f"{block}.{own}"
    return replace_prefix(names, prefixes)


def _networks(_names: Collection[str]) -> list[ModelConfig]:
    return [ModelConfig(architecture="tsn", backbone="tf_efficientnet_lite0", pretrained=False)]


def _test(_model: ModelConfig, segments: int | None) -> ProjectTest:
    half = (0.5, 0.5, 0.5)
    return ProjectTest(InputConfig(segments=segments or 8, mean=half, std=half))


LAYOUT = Layout(
    "efficientnet_pytorch",
    is_efficientnet_pytorch,
    rename_efficientnet_pytorch,
    networks=_networks,
    test=_test,
    note="trained with TensorFlow's padding, as timm's tf_efficientnet_* have it; EfficientNet-Lite also wants "
    "input.mean=[0.5,0.5,0.5] and input.std=[0.5,0.5,0.5]",
)
