"""`clipshift train`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from clipshift.cli.arguments import Amp, Text, Tracker


def train(  # noqa: PLR0913
    data: str,
    *settings: str,
    out: Text | None = None,
    recipe: Text | None = None,
    config: Text | None = None,
    weights: Text | None = None,
    amp: Amp | None = None,
    track: Annotated[tuple[Tracker, ...], Parameter(negative=(), show_default=False)] = (),
    add_classes: Annotated[bool, Parameter(negative=())] = False,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a classifier; the same command again goes on where it stopped.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        settings: key=value, such as train.epochs=10; 'clipshift config' lists all.
        out: Run folder; by default runs/DATA-RECIPE.
        recipe: A name from 'clipshift models', or a YAML file; by default finetune.
        config: YAML file with settings.
        weights: Start from a run folder, a model folder, a file of weights, or published weights by name; or from what
            was learnt from imagenet (still pictures) or kinetics400 (motion): auto is the latter where it can be had;
            by default as the recipe says.
        amp: Precision: fp32, bf16 or fp16.
        track: Trackers that are told of the run: tensorboard, wandb, trackio, mlflow, dvc; one or more.
        add_classes: Keep the classes of the model that is the start, and add those of the data.
        overwrite: Replace the run that the run folder holds.
    """
    import clipshift

    clipshift.train(
        data,
        *settings,
        out=out,
        recipe=recipe,
        config=config,
        weights=weights,
        amp=amp,
        track=track,
        add_classes=add_classes,
        overwrite=overwrite,
    )
