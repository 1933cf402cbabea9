"""What a published layout of weights is: how to recognize it, and how its names become the recognizer's."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from clipshift.config.schema import Crops, InputConfig, ModelConfig, ShiftConfig

CLASSIFIER = "classifier"
"""The name of the recognizer's classifier; its entries are `classifier.weight` and `classifier.bias`."""


@dataclass(frozen=True)
class Target:
    """The names that are to be filled.

    Attributes:
        names: All names of the recognizer's state dict, in its order.
        timm_classifier: What timm calls the classifier of this backbone (`fc`, `classifier`, `head` ...).
    """

    names: tuple[str, ...]
    timm_classifier: str


@dataclass(frozen=True)
class ProjectTest:
    """How a project's own tool sees a video that it is to classify.

    Attributes:
        input: Frames, scaling, crop and colors.
        crops: Crops per frame.
        average: What is averaged over the crops.
    """

    input: InputConfig
    crops: Crops = "center"
    average: Literal["logits", "probabilities"] = "logits"


def _plain_test(_model: ModelConfig, segments: int | None) -> ProjectTest:
    return ProjectTest(InputConfig(segments=segments or 8))


@dataclass(frozen=True)
class Layout:
    """One project's way to name the same parameters.

    Attributes:
        name: What reports call it.
        matches: Whether names are of this layout; gets the file's names and the target.
        rename: From the file's names to the recognizer's, {file's name: recognizer's name}. A name it cannot place
            is left out.
        networks: The networks that the names may be of, to try one after the other.
        shift: How the project shifts clips of so many segments, or None where it does not or its files may differ.
        shift_follows_segments: Whether the shift depends on the number of segments alone; else a training may have
            chosen another `fold_div`, which no entry tells.
        wrapped: Whether a convolution with a shift before it is wrapped, so that `.net.` in its name tells a TSM.
        variant: Which network of the project it is that clipshift does not have, though the names may fit, or None.
        segments: The number of frames per clip that shapes tell, or None; gets the file's names and shapes.
        unused: Names that the project's network holds and does not use, each with the reason.
        linear_transposed: Whether the weights of linear layers are (inputs, outputs).
        test: The project's own way to see a video, of a network and a number of segments (or None for its own number).
        alphabetical: Data sets whose classes the project numbers alphabetically, against their own order.
        note: What to know before trusting the numbers of such a file.
    """

    name: str
    matches: Callable[[Collection[str], Target], bool]
    rename: Callable[[Collection[str], Target], dict[str, str]]
    networks: Callable[[Collection[str]], Sequence[ModelConfig]]
    shift: Callable[[int], ShiftConfig] | None = None
    shift_follows_segments: bool = False
    wrapped: bool = False
    variant: Callable[[Collection[str]], str | None] = field(default=lambda _names: None)
    segments: Callable[[Mapping[str, tuple[int, ...]]], int | None] = field(default=lambda _shapes: None)
    unused: Callable[[Collection[str]], dict[str, str]] = field(default=lambda _names: {})
    linear_transposed: bool = False
    test: Callable[[ModelConfig, int | None], ProjectTest] = field(default=_plain_test)
    alphabetical: tuple[str, ...] = ()
    note: str | None = None

    def architecture(self, names: Collection[str]) -> Literal["tsn", "tsm"] | None:
        """`tsn` or `tsm`, or None where the names do not tell."""
        if not self.wrapped:
            return None
        return "tsm" if any(".net." in name for name in names) else "tsn"

    def value(self, entry: Tensor) -> Tensor:
        """An entry of the file as the recognizer has it."""
        return entry.T if self.linear_transposed and entry.ndim == 2 else entry


def shift_of_the_paper(_segments: int) -> ShiftConfig:
    """MIT's and mmaction2's: one channel in eight goes each way, the first ones from the future."""
    return ShiftConfig()


def variant_of_tsm(names: Collection[str]) -> str | None:
    """Which variant of a TSM of MIT's code or mmaction2 the names are of that clipshift does not have, or None.

    Their names fit a TSM, but the network is another one.
    """
    for pattern, what in _VARIANTS.items():
        found = next((name for name in names if pattern.search(name)), None)
        if found is not None:
            return f"it is a TSM {what} ({found}), which clipshift does not have"
    return None


_VARIANTS = {
    re.compile(r"\.(nl|non_local_block)\."): "with non-local blocks",
    re.compile(r"(^|\.)layer\d+\.net\."): "with temporal pooling",
    re.compile(r"(^|\.)layer\d+\.\d+\.net\."): "that shifts whole blocks",
}


def inverted_residual_names(target: Target) -> list[str]:
    """The blocks of a timm MobileNet or EfficientNet in order: `backbone.blocks.0.0`, `backbone.blocks.1.0` ..."""
    blocks = (".".join(name.split(".")[:4]) for name in target.names if name.startswith("backbone.blocks."))
    return list(dict.fromkeys(blocks))


def replace_prefix(names: Collection[str], prefixes: dict[str, str]) -> dict[str, str]:
    """{name: name with its first fitting prefix replaced}; names without one are left out."""
    renamed = {}
    for name in names:
        for old, new in prefixes.items():
            if name.startswith(old):
                renamed[name] = new + name[len(old) :]
                break
    return renamed
