"""mmaction2: every convolution lies with its batch norm in a ConvModule (`conv1.conv`, `conv1.bn`).

ResNets: `backbone.layer1.0.conv1.conv.weight`, with the shift `backbone.layer1.0.conv1.conv.net.weight`.
MobileNetV2: `backbone.layer2.1.conv.0.conv.weight`, with the shift `backbone.layer2.1.conv.0.net.conv.weight`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from clipshift.config.schema import InputConfig, ModelConfig
from clipshift.weights.formats.layouts import Layout, ProjectTest, Target, shift_of_the_paper, variant_of_tsm
from clipshift.weights.formats.mit import networks_with_wrapped_shift

_RESNET = (
    (re.compile(r"^conv1\.conv\."), "conv1."),
    (re.compile(r"^conv1\.bn\."), "bn1."),
    (re.compile(r"^(layer\d+\.\d+)\.conv(\d)\.conv\."), r"\1.conv\2."),
    (re.compile(r"^(layer\d+\.\d+)\.conv(\d)\.bn\."), r"\1.bn\2."),
    (re.compile(r"^(layer\d+\.\d+)\.downsample\.conv\."), r"\1.downsample.0."),
    (re.compile(r"^(layer\d+\.\d+)\.downsample\.bn\."), r"\1.downsample.1."),
)
_MOBILENET_ENDS = {
    "conv1.conv.": "conv_stem.",
    "conv1.bn.": "bn1.",
    "conv2.conv.": "conv_head.",
    "conv2.bn.": "bn2.",
}
_MOBILENET_BLOCK = re.compile(r"^layer(\d+)\.(\d+)\.conv\.(\d)\.(conv|bn)\.")
# timm's names of a block's ConvModules, one after the other.
_WITHOUT_EXPANSION = ({"conv": "conv_dw", "bn": "bn1"}, {"conv": "conv_pw", "bn": "bn2"})
_WITH_EXPANSION = (
    {"conv": "conv_pw", "bn": "bn1"},
    {"conv": "conv_dw", "bn": "bn2"},
    {"conv": "conv_pwl", "bn": "bn3"},
)


def is_mmaction2(names: Collection[str], _target: Target) -> bool:
    """Whether the stem or the classifier is named as in mmaction2's files."""
    return "backbone.conv1.conv.weight" in names or any(name.startswith("cls_head.") for name in names)


def rename_mmaction2(names: Collection[str], target: Target) -> dict[str, str]:
    """mmaction2's names of ResNets and of MobileNetV2 to the recognizer's; those of MMAction before it, too."""
    mobilenet = "backbone.conv2.conv.weight" in names
    renamed = {}
    for name in names:
        if name.startswith("cls_head.fc_cls."):
            renamed[name] = f"classifier.{name.removeprefix('cls_head.fc_cls.')}"
        elif name.startswith("backbone."):
            plain = name.removeprefix("backbone.").replace(".net.", ".")
            own = _mobilenet_name(plain, target) if mobilenet else _resnet_name(plain, target)
            if own is not None:
                renamed[name] = f"backbone.{own}"
    return renamed


def _resnet_name(plain: str, target: Target) -> str | None:
    for pattern, own in _RESNET:
        if pattern.match(plain):
            return pattern.sub(own, plain)
    # MMAction 0.1, of 2019, had torchvision's names.
    return plain if f"backbone.{plain}" in target.names else None


def _mobilenet_name(plain: str, target: Target) -> str | None:
    for prefix, own in _MOBILENET_ENDS.items():
        if plain.startswith(prefix):
            return own + plain[len(prefix) :]
    match = _MOBILENET_BLOCK.match(plain)
    if match is None:
        return None
    layer, block, module, kind = match.groups()
    stage = f"blocks.{int(layer) - 1}.{block}"
    expanded = f"backbone.{stage}.conv_pwl.weight" in target.names
    modules = _WITH_EXPANSION if expanded else _WITHOUT_EXPANSION
    if int(module) >= len(modules):
        return None
    return f"{stage}.{modules[int(module)][kind]}.{plain[match.end() :]}"


def _test(model: ModelConfig, segments: int | None) -> ProjectTest:
    """The `test_pipeline` of mmaction2's configurations: OpenCV's resizing, ten crops, 25 frames for TSN."""
    own = 25 if model.architecture == "tsn" else 8
    return ProjectTest(
        InputConfig(segments=segments or own, sampling="middle_float", antialias=False),
        crops="ten",
        # TSN's head averages the features of all views, TSM's test the probabilities.
        average="logits" if model.architecture == "tsn" else "probabilities",
    )


LAYOUT = Layout(
    "mmaction2",
    is_mmaction2,
    rename_mmaction2,
    networks=networks_with_wrapped_shift,
    shift=shift_of_the_paper,
    wrapped=True,
    variant=variant_of_tsm,
    test=_test,
)
