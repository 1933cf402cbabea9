"""`clipshift learning-curve`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import Text
from clipshift.console import progress_bar, say


def learning_curve(
    data: str,
    *settings: str,
    out: Text | None = None,
    train: Annotated[bool, Parameter(negative=())] = False,
    recipe: Text | None = None,
    weights: Text | None = None,
    repeats: int | None = None,
    device: Text = "auto",
) -> None:
    """Measure accuracy on growing shares of the training clips, and tell what twice as many clips would bring.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        settings: key=value, such as train.epochs=10; 'clipshift config' lists all.
        out: Folder for the plot, the numbers and what an interrupted call has done; by default
            runs/DATA-learning-curve.
        train: Train a network for every point, with the recipe, in place of linear probes on frozen features: hours in
            place of a minute.
        recipe: A name from 'clipshift models', or a YAML file; by default finetune.
        weights: What a training starts from, or whose features are taken: a run folder, a model folder, a file of
            weights, or published weights by name; by default ImageNet's.
        repeats: Draws of the training clips, 2 to 100; by default 10, and 3 of trainings.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N; of trainings the setting train.device counts.
    """
    import clipshift
    from clipshift.probing.curve_files import PLOT

    with progress_bar("trainings" if train else "features") as progress:
        curve = clipshift.learning_curve(
            data,
            *settings,
            out=out,
            train=train,
            recipe=recipe,
            weights=weights,
            repeats=repeats,
            device=device,
            progress=progress,
        )
    for line in curve.lines():
        say(line)
    say(str(curve.folder / PLOT))
