"""`clipshift convert`."""

from __future__ import annotations

import shlex
from typing import Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import Text
from clipshift.console import say


def convert(
    file: str,
    *settings: str,
    to: Text,
    model: Text | None = None,
    segments: int | None = None,
    classes: Text | None = None,
    ema: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Turn published weights of PaddleVideo, mmaction2, MIT's TSM, timm or torchvision into a model.

    Args:
        file: A .pdparams, .pth, .pth.tar or .safetensors file; nothing in it is run.
        settings: model.shift.KEY=VALUE, such as model.shift.fold_div=4, where the file does not tell, or tells wrongly.
        to: Folder for the model; new or empty.
        model: The network, where the file does not tell: a name from 'clipshift models'.
        segments: Frames per clip, where the file does not tell.
        classes: kinetics400, ucf101, hmdb51, sthv2, jester, or a text file with one class name a line.
        ema: Take the averaged weights of a checkpoint that holds both.
    """
    import clipshift

    conversion = clipshift.convert(
        file, to, model=model, segments=segments, classes=classes, settings=settings, ema=ema
    )
    for line in conversion.lines():
        say(line)
    say(f"\nclipshift predict {shlex.quote(to)} VIDEO")
