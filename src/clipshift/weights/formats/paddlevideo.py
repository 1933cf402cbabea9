"""PaddleVideo's networks, and the image networks of PaddlePaddle that they start from.

Every convolution lies with its batch norm (`_conv`, `_batch_norm`; in the newer networks `conv`, `bn`), statistics are
called `_mean` and `_variance`, and the weights of linear layers are transposed. A network of PaddleVideo puts
`backbone.` and `head.` before its names, the student of a distillation `0.` (`Student.0.` in the checkpoint of both),
an image network nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from clipshift.config.schema import InputConfig, ModelConfig, ShiftConfig
from clipshift.models.zoo import ZOO
from clipshift.weights.formats.layouts import CLASSIFIER, Layout, ProjectTest, Target, inverted_residual_names

_PREFIXES = ("Student.0.", "Student.", "0.", "backbone.")
_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}
_TEACHER = "Teacher."

_PLAIN_RESNET = "conv._conv.weight"
_RESNET_VD = "conv1_1._conv.weight"
_MOBILENET_V2 = "conv9._conv.weight"
_MOBILENET_V3 = "last_second_conv.conv.weight"
_LCNET_V2 = "stem.1.dw_conv.conv.weight"

# res2a, res2b ... of ResNet-50; res4a, res4b1, res4b2 ... in the third stage of ResNet-101.
_PLAIN_BLOCK = re.compile(r"^res(\d)([a-z])(\d*)\.(conv\d|short)\.(_conv|_batch_norm)\.")
_VD_BLOCK = re.compile(r"^bb_(\d)_(\d+)\.(conv\d|short)\.(_conv|_batch_norm)\.")
_VD_STEM = {
    "conv1_1._conv.": "conv1.0.",
    "conv1_1._batch_norm.": "conv1.1.",
    "conv1_2._conv.": "conv1.3.",
    "conv1_2._batch_norm.": "conv1.4.",
    "conv1_3._conv.": "conv1.6.",
    "conv1_3._batch_norm.": "bn1.",
}
_V2_ENDS = {
    "conv1._conv.": "conv_stem.",
    "conv1._batch_norm.": "bn1.",
    "conv9._conv.": "conv_head.",
    "conv9._batch_norm.": "bn2.",
}
_V2_BLOCK = re.compile(
    r"^conv(\d)\.(?:_first_block|conv\d_(\d))\._(expand|bottleneck|linear)_conv\.(_conv|_batch_norm)\."
)
_V3_ENDS = {
    "conv.conv.": "conv_stem.",
    "conv.bn.": "bn1.",
    "last_second_conv.conv.": "blocks.6.0.conv.",
    "last_second_conv.bn.": "blocks.6.0.bn1.",
    "last_conv.": "conv_head.",
}
_V3_BLOCK = re.compile(r"^blocks\.(\d+)\.(expand|bottleneck|linear)_conv\.(conv|bn)\.")
_V3_SQUEEZE = re.compile(r"^blocks\.(\d+)\.mid_se\.conv([12])\.")
_INVERTED = {
    "expand": ("conv_pw", "bn1"),
    "bottleneck": ("conv_dw", "bn2"),
    "linear": ("conv_pwl", "bn3"),
}
_SQUEEZE = {"1": "se.conv_reduce", "2": "se.conv_expand"}
_LCNET_PARTS = {
    ".se.conv1.": ".se.fc1.",
    ".se.conv2.": ".se.fc2.",
    ".pw_conv_1.": ".pw_conv.0.",
    ".pw_conv_2.": ".pw_conv.1.",
    "last_conv.": "conv_head.",
    "global_attention.": "stages.temporal_attention.",
}
# What PaddleVideo's networks call their classifier; the longest first.
_CLASSIFIERS = ("head.fc.", "fc.", "out.")
_FOLDED_BRANCH = re.compile(r"^(stages\.\d+\.\d+)\.dw_conv\.(weight|bias)$")


def is_paddle(names: Collection[str], _target: Target) -> bool:
    """Whether batch norms have the names of Paddle's statistics."""
    return any(name.endswith("._mean") for name in names)


def rename_paddle(names: Collection[str], target: Target) -> dict[str, str]:
    """PaddleVideo's and PaddleClas' names to the recognizer's."""
    plain = {name: _plain(name) for name in names if not name.startswith(_TEACHER)}
    rename = _family(set(plain.values()))
    renamed = {}
    for name, inner in plain.items():
        stem, _, leaf = inner.rpartition(".")
        own = f"{stem}.{_LEAVES.get(leaf, leaf)}"
        classifier = next((prefix for prefix in _CLASSIFIERS if own.startswith(prefix)), None)
        if classifier is not None:
            renamed[name] = f"{CLASSIFIER}.{own.removeprefix(classifier)}"
        elif rename is not None and (inside := rename(own, target)) is not None:
            renamed[name] = f"backbone.{inside}"
    return renamed


def unused_by_paddle(names: Collection[str]) -> dict[str, str]:
    """Entries that PaddleVideo's networks hold and do not use, each with the reason."""
    students = {_plain(name) for name in names if not name.startswith(_TEACHER)}
    unused = {}
    for name in names:
        branch = _FOLDED_BRANCH.match(_plain(name))
        if name.startswith(_TEACHER) and len(students) > 0:
            unused[name] = "of the teacher of the distillation"
        elif branch is not None and f"{branch[1]}.dw_conv_list.0.conv.weight" in students:
            unused[name] = "the place of the folded branches, empty in training"
    return unused


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _family(names: Collection[str]) -> Callable[[str, Target], str | None] | None:
    families = {
        _PLAIN_RESNET: _plain_resnet,
        _RESNET_VD: _resnet_vd,
        _MOBILENET_V2: _mobilenet_v2,
        _MOBILENET_V3: _mobilenet_v3,
        _LCNET_V2: _lcnet_v2,
    }
    return next((rename for name, rename in families.items() if name in names), None)


def _with_prefix(name: str, prefixes: Mapping[str, str]) -> str | None:
    """The name with its first fitting prefix replaced, or None."""
    return next((own + name.removeprefix(theirs) for theirs, own in prefixes.items() if name.startswith(theirs)), None)


def _plain_resnet(name: str, _target: Target) -> str | None:
    match = _PLAIN_BLOCK.match(name)
    if match is None:
        return _with_prefix(name, {"conv._conv.": "conv1.", "conv._batch_norm.": "bn1."})
    stage, letter, number, place, kind = match.groups()
    block = int(number) if number else ord(letter) - ord("a")
    part = _residual_part(place, kind, shortcut=0)
    return f"layer{int(stage) - 1}.{block}.{part}.{name[match.end() :]}"


def _resnet_vd(name: str, _target: Target) -> str | None:
    match = _VD_BLOCK.match(name)
    if match is None:
        return _with_prefix(name, _VD_STEM)
    stage, block, place, kind = match.groups()
    # timm has the pooling, or nothing, before the shortcut's convolution.
    return f"layer{int(stage) + 1}.{block}.{_residual_part(place, kind, shortcut=1)}.{name[match.end() :]}"


def _residual_part(place: str, kind: str, *, shortcut: int) -> str:
    norm = kind == "_batch_norm"
    if place == "short":
        return f"downsample.{shortcut + norm}"
    return f"{'bn' if norm else 'conv'}{int(place[-1]) + 1}"


def _mobilenet_v2(name: str, _target: Target) -> str | None:
    match = _V2_BLOCK.match(name)
    if match is None:
        return _with_prefix(name, _V2_ENDS)
    stage, block, place, kind = match.groups()
    part = _INVERTED[place][kind == "_batch_norm"]
    return f"blocks.{int(stage) - 2}.{int(block or 1) - 1}.{part}.{name[match.end() :]}"


def _mobilenet_v3(name: str, target: Target) -> str | None:
    blocks = [block.removeprefix("backbone.") for block in inverted_residual_names(target)]
    if (match := _V3_BLOCK.match(name)) is not None and int(match[1]) < len(blocks):
        part = _INVERTED[match[2]][match[3] == "bn"]
    elif (match := _V3_SQUEEZE.match(name)) is not None and int(match[1]) < len(blocks):
        part = _SQUEEZE[match[2]]
    else:
        return _with_prefix(name, _V3_ENDS)
    return f"{blocks[int(match[1])]}.{part}.{name[match.end() :]}"


def _lcnet_v2(name: str, _target: Target) -> str | None:
    for theirs, own in _LCNET_PARTS.items():
        name = name.replace(theirs, own)
    return name


def networks_of_paddle(names: Collection[str]) -> list[ModelConfig]:
    """The networks that the names may be of.

    TSN and TSM, and PP-TSN and PP-TSM, have the same names and shapes: only who has the file can tell them apart. Image
    networks are TSNs.
    """
    plain = {_plain(name) for name in names}
    families = {
        _PLAIN_RESNET: ("tsn-r50", "tsm-r50", "tsn-r101", "tsm-r101"),
        _RESNET_VD: ("pptsn-r50", "pptsm-r50", "pptsn-r101", "pptsm-r101"),
        _MOBILENET_V2: ("pptsm-mobilenetv2",),
        _MOBILENET_V3: ("pptsm-mobilenetv3",),
        _LCNET_V2: ("pptsmv2-16f-attention" if "global_attention.fc.weight" in plain else "pptsmv2",),
    }
    models = [ZOO[entry].model for mark, entries in families.items() if mark in plain for entry in entries]
    if any(name.startswith(("backbone.", "head.", "0.", "Student.")) for name in names):
        return models
    images = [model.model_copy(update={"architecture": "tsn", "temporal_attention": False}) for model in models]
    return list(dict.fromkeys(model for model in images if model.activation == "default"))


def segments_of_paddle(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The side of the temporal attention's matrix; without attention, nothing tells."""
    return next((shape[0] for name, shape in shapes.items() if _plain(name) == "global_attention.fc.bias"), None)


def shift_of_paddle(segments: int) -> ShiftConfig:
    """One channel in `segments` goes each way, the first ones from the past (`temporal_shift` of PaddlePaddle)."""
    return ShiftConfig(fold_div=max(2, segments), order="past_first", rounding="total", deep_networks="every_block")


def _test(model: ModelConfig, segments: int | None) -> ProjectTest:
    """What PaddleVideo's `tools/predict.py` does, which differs from the test of its configurations."""
    if model.architecture == "tsn":
        return ProjectTest(
            InputConfig(
                segments=segments or 25,
                sampling="middle_or_first",
                aspect="four_thirds",
                antialias=False,
            ),
            crops="ten",
        )
    return ProjectTest(
        InputConfig(segments=segments or 8, sampling="block_middle", aspect="four_thirds", crop_rounding="even")
    )


LAYOUT = Layout(
    "PaddleVideo",
    is_paddle,
    rename_paddle,
    networks=networks_of_paddle,
    shift=shift_of_paddle,
    shift_follows_segments=True,
    segments=segments_of_paddle,
    unused=unused_by_paddle,
    linear_transposed=True,
    test=_test,
)
