"""What the arguments of several commands share: types with their ranges, settings among names, `-` as an input."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number


def _no_option(kind: object, value: object) -> None:  # noqa: ARG001 - as cyclopts calls it
    if isinstance(value, str) and value.startswith("--"):
        raise ValueError(f"{value!r} is an option and no value; for a file of that name write ./{value}.")


Text = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_no_option)]
"""The value of an option, which may begin with one hyphen: `--json -`, `--out -x`."""
Tracker = Literal["tensorboard", "wandb", "trackio", "mlflow", "dvc"]
Crops = Literal["center", "three", "three_small", "ten"]
Amp = Literal["fp32", "bf16", "fp16"]
Target = Literal["onnx", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
Count = Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))]
Threads = Annotated[int, Parameter(validator=Number(gte=0, lte=1024))]
Processes = Annotated[int | None, Parameter(validator=Number(gte=0, lte=1024))]
MultiLabel = Annotated[bool, Parameter(negative=())]
Fetch = Annotated[bool, Parameter(negative=())]
ListFormat = Literal["clipshift", "mmaction2", "paddlevideo", "videofolder", "fiftyone", "labelstudio", "cvat"]
# The names of `clipshift.evaluation.PROTOCOLS`, which is not imported here: the help must not wait for PyTorch.
Protocol = Literal[
    "uniform-1x1",
    "uniform-1x3",
    "uniform-1x10",
    "tsn-25x1",
    "tsn-25x3",
    "tsn-25x10",
    "twice-2x1",
    "twice-2x3",
    "dense-10x1",
    "dense-10x3",
    "dense-10x3-small",
    "dense-10x10",
]


def names_and_settings(words: Iterable[str], sections: tuple[str, ...] = ("data",)) -> tuple[list[str], list[str]]:
    """Names and settings: the word data.KEY=VALUE is a setting; a file of that name is ./data.KEY=VALUE.

    Args:
        words: As they were given.
        sections: Of the settings.
    """
    setting = re.compile(rf"({'|'.join(sections)})\.[^=/]+=.*", re.DOTALL)
    names: list[str] = []
    settings: list[str] = []
    for word in words:
        (settings if setting.fullmatch(word) else names).append(word)
    return names, settings


STANDARD_INPUT = "\0standard input"
"""In place of an input `-`, which cyclopts takes for an option without a name."""


def with_standard_input(words: list[str]) -> list[str]:
    """The words of a command with `-` as an input in a form that is not taken for an option.

    After an option that takes a value (`--json -`), `-` is that value.
    """
    return [
        STANDARD_INPUT if word == "-" and (number == 0 or not words[number - 1].startswith("--")) else word
        for number, word in enumerate(words)
    ]
