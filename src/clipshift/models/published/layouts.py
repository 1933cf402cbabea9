"""What a published layout of weights is: how to recognise it, and how its names become the recognizer's."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from clipshift.config.schema import ShiftConfig

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
class Layout:
    """One home's way to name the same parameters.

    Attributes:
        name: What reports call it.
        matches: Whether names are of this layout; gets the file's names and the target.
        rename: From the file's names to the recognizer's, {file's name: recognizer's name}. A name it cannot place
            is left out.
        shift: How the home shifts in time, or None where it does not or its files may differ.
        note: What to know before trusting the numbers of such a file.
    """

    name: str
    matches: Callable[[Collection[str], Target], bool]
    rename: Callable[[Collection[str], Target], dict[str, str]]
    shift: ShiftConfig | None = None
    note: str | None = None


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
