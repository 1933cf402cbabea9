"""MIT's repository temporal-shift-module: torchvision's names behind `base_model.`, and `new_fc`.

A convolution with a shift before it is wrapped: `layer1.0.conv1.net.weight`.
"""

from __future__ import annotations

from collections.abc import Collection

from clipshift.config.schema import InputConfig, ModelConfig
from clipshift.models.zoo import ZOO
from clipshift.weights.formats import timm, torchvision
from clipshift.weights.formats.layouts import Layout, ProjectTest, Target, shift_of_the_paper, variant_of_tsm


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


def networks_with_wrapped_shift(names: Collection[str]) -> list[ModelConfig]:
    """The networks of MIT's code and of mmaction2: TSM where a convolution is wrapped, else TSN."""
    architecture = "tsm" if any(".net." in name for name in names) else "tsn"
    entries = ("tsm-r50", "tsm-r101", "tsm-r18", "tsm-mobilenetv2")
    return [ZOO[entry].model.model_copy(update={"architecture": architecture}) for entry in entries]


def _test(_model: ModelConfig, segments: int | None) -> ProjectTest:
    """One crop of torchvision's resizing and cropping (`test_models.py`, `--test_crops 1`)."""
    return ProjectTest(
        InputConfig(segments=segments or 8, sampling="middle_float", resize_rounding="down", crop_rounding="even")
    )


LAYOUT = Layout(
    "MIT temporal-shift-module",
    is_mit,
    rename_mit,
    networks=networks_with_wrapped_shift,
    shift=shift_of_the_paper,
    wrapped=True,
    variant=variant_of_tsm,
    test=_test,
    alphabetical=("jester",),
)
