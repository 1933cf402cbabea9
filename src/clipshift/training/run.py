"""`clipshift.train`: from a folder of labeled clips to a trained, measured and explained classifier."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from clipshift.config import Config, Settings, flatten, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.config.text import yaml_value
from clipshift.device import check_amp
from clipshift.errors import TrainingInterrupted
from clipshift.parallel.spawning import end_if_run_again
from clipshift.tracking.trackers import Trackers
from clipshift.training.checkpoint import newest_checkpoint_name
from clipshift.training.choosing_motion import follow_motion
from clipshift.training.choosing_weights import WeightsChoice, choose_weights
from clipshift.training.distributed import Ranks, join_ranks
from clipshift.training.interrupt import StopRequest, stop_on_signals
from clipshift.training.loop import StopAsked
from clipshift.training.old_model import find_old_model, follow_old_model
from clipshift.training.reporting import Reporter
from clipshift.training.run_folder import RunFolder
from clipshift.training.stages.data import read_data
from clipshift.training.stages.epochs import train_epochs
from clipshift.training.stages.finishing import TrainResult, finish
from clipshift.training.stages.job import Job
from clipshift.training.stages.objective import Others, find_others
from clipshift.training.stages.preparing import prepare
from clipshift.training.start import follow_spans, follow_weights, starting_weights

__all__ = ["TrainResult", "train"]


def train(  # noqa: PLR0913
    data: str | Path,
    *settings: Settings,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    config: str | Path | None = None,
    weights: str | Path | None = None,
    amp: str | None = None,
    track: Sequence[str] = (),
    add_classes: bool = False,
    overwrite: bool = False,
) -> TrainResult:
    """Train a classifier, or go on with a training that was interrupted.

    The same call on a folder that holds an unfinished run of the same settings and data goes on from its newest
    checkpoint, to the same bits as if it had never stopped. Under `torchrun` all processes train together.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        *settings: `"key=value"`, or mappings; see `clipshift config`.
        out: Run folder; by default runs/DATA-RECIPE.
        recipe: A name from `clipshift models`, or a YAML file; by default finetune.
        config: YAML file with settings. They come after the recipe's and before `settings`.
        weights: Start from a run folder, a model folder, a file of weights, or published weights by name; or from what
            was learnt from imagenet (still pictures) or kinetics400 (motion): auto is the latter where it can be had;
            by default as the recipe says. A TSM takes over their shift, unless settings say otherwise.
        amp: Precision: fp32, bf16 or fp16. Short for the setting `train.amp`.
        track: Trackers that are told of the run: tensorboard, wandb, trackio, mlflow, dvc; one or more. Short for
            the setting `train.track`.
        add_classes: Keep the classes of the model that is the start, and add those of the data. It has to be named by
            `weights`; see docs/training.md. Short for the setting `train.add_classes`.
        overwrite: Replace the run that the run folder holds.

    Returns:
        The run folder and its best network's evaluation.

    Raises:
        ConfigError: The settings are not valid, or nobody published weights of Kinetics-400 for the network.
        DataError: The data cannot be trained on.
        WeightsError: The weights do not fit.
        RunError: Another process trains in the run folder, it holds something else, or it cannot be written.
        DivergedError: The loss or a gradient became infinite or not a number.
        TrainingInterrupted: SIGTERM or Ctrl-C came; everything is kept.
    """
    end_if_run_again()
    recipe = recipe or DEFAULT_RECIPE
    extra: dict[str, dict[str, Any]] = {"--amp": {"train.amp": amp}} if amp else {}
    if track:
        extra["--track"] = {"train.track": list(track)}
    if add_classes:
        extra["--add-classes"] = {"train.add_classes": True}
    settled = resolve(recipe, file=config, settings=settings, extra=extra)
    run = Path(out) if out else Path("runs") / f"{Path(data).resolve().stem}-{Path(recipe).stem}"
    options = {"out": out, "recipe": recipe, "config": config, "weights": weights, "amp": amp, "track": track}
    command = _command(data, settings, **options) + " --add-classes" * add_classes
    with join_ranks(settled.config.train.device) as ranks, stop_on_signals() as stop, RunFolder(run) as held:
        ranks.on_rank_zero(held.look)
        # Decided once for all processes: one may reach a server that another cannot.
        old = ranks.on_rank_zero(lambda: find_old_model(settled.config, weights))
        if old is None:
            chosen = ranks.on_rank_zero(lambda: choose_weights(settled.config, weights, run, overwrite=overwrite))
            start = starting_weights(settled.config.model, chosen.name)
            resolved = follow_weights(settled, start)
        else:
            chosen, start = WeightsChoice(old.folder), old.folder
            resolved = follow_old_model(settled, old)
        _set_up_pytorch(resolved.config, ranks)
        # All that can fail without a run folder does so before one is claimed: with `overwrite`, that ends a run.
        dataset = read_data(data, resolved.config, old)
        resolved = follow_spans(resolved, dataset)
        resolved = follow_motion(resolved, start, dataset.classes)
        others = find_others(resolved.config, dataset.classes)
        read = [data, *([] if start is None else [start]), *resolved.config.distill.teacher]
        ranks.on_rank_zero(lambda: held.claim(overwrite=overwrite, inputs=read))
        reporter = Reporter(run, speaks=ranks.first)
        with reporter.logging_to_file():
            for line in chosen.said:
                reporter.say(line)
            return _train(Job(run, resolved, start, dataset, ranks, reporter, command, old), others, stop)


def _set_up_pytorch(config: Config, ranks: Ranks) -> None:
    check_amp(ranks.device, config.train.amp, "train.amp")
    if config.train.threads:
        torch.set_num_threads(config.train.threads)


def _train(job: Job, others: Others, stop: StopRequest) -> TrainResult:
    run = prepare(job, others)
    settings = job.config.train
    names = settings.track if job.ranks.first else ()
    with Trackers(names, job.folder, settings.track_seconds, job.reporter.say) as trackers:
        trackers.start()
        try:
            train_epochs(run, stop, on_epoch=trackers.look)
        except StopAsked:
            checkpoint = newest_checkpoint_name(job.checkpoints)
            where = str(job.checkpoints / checkpoint) if checkpoint else None
            raise TrainingInterrupted(stop.exit_code or 75, where, job.command) from None
        result = finish(run)
        trackers.finish()
    return result


def _command(data: str | Path, settings: tuple[Settings, ...], **options: object) -> str:
    """The command line that does the same as this call."""
    words = ["clipshift", "train", str(data)]
    for setting in settings:
        words += (
            [setting] if isinstance(setting, str) else [f"{k}={yaml_value(v)}" for k, v in flatten(setting).items()]
        )
    for name, value in options.items():
        for each in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            words += [f"--{name}", str(each)]
    return shlex.join(words)
