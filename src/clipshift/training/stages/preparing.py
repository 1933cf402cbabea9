"""From what was asked for to a training in progress: fresh, or where its newest checkpoint was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clipshift.datasets import ClipRecord
from clipshift.models.recognizer import Recognizer
from clipshift.training.bad_samples import BadSamples
from clipshift.training.checkpoint import Checkpoint, load_checkpoint
from clipshift.training.choosing_motion import CHOSEN, motion_is_open, with_motion
from clipshift.training.loader import TrainingLoader, training_loader, worker_count
from clipshift.training.loop import Trainer
from clipshift.training.reporting import truncate_metrics
from clipshift.training.run_folder import (
    BAD_SAMPLES,
    check_same_run,
    describe_run,
    file_or_folder_hash,
    run_identity,
)
from clipshift.training.samples import BadSample, TrainingClips
from clipshift.training.stages.data import check_validation, record_clips, say_data
from clipshift.training.stages.job import Job, Run
from clipshift.training.stages.objective import Others, build_objective
from clipshift.training.start import MEDIAN_SPAN, starting_network


def prepare(job: Job, others: Others) -> Run:
    """Read the clips once, build the networks and what trains them, and go back to the newest checkpoint, if any.

    Args:
        job: What was asked for.
        others: The networks to learn from.

    Raises:
        DataError: The clips cannot be trained on.
        RunError: The folder holds another run, or a checkpoint that cannot be read.
        WeightsError: The weights do not fit.
    """
    records = record_clips(job)
    identity = _identify(job, others, records)
    _say_what_is_trained(job)
    check_validation(records, job.dataset)
    bad = _bad_samples(job, records)
    # Read by one and given to all: on several machines the others may not see its disk.
    found = job.ranks.on_rank_zero(lambda: load_checkpoint(job.checkpoints))
    network = _starting_network(job, found)
    if network.model.motion != job.config.model.motion:
        job = replace(job, resolved=with_motion(job.resolved, network.model.motion, CHOSEN))
    if job.ranks.first:
        describe_run(job.folder, job.resolved, identity, job.command)
    loader = _loader(job)
    updates = -(-loader.steps // job.config.train.accumulate)
    objective = build_objective(job, others, resumed=found is not None)
    trainer = Trainer(network, job.config, job.ranks, updates_per_epoch=updates, objective=objective)
    if found is not None:
        _go_back(job, trainer, found)
    run = Run(job, identity, trainer, loader, bad)
    _say_training(run)
    return run


def _starting_network(job: Job, found: Checkpoint | None) -> Recognizer:
    """The network of a fresh run, or one that the checkpoint's weights fit."""
    resumed, is_open = found is not None, motion_is_open(job.resolved)
    weights = None if resumed else job.weights
    network = starting_network(
        job.dataset, job.config, weights, resumed, job.ranks, job.reporter, job.old, motion_open=is_open
    )
    if found is not None and is_open:  # decided when the run began, which the width of its classifier tells
        width = found.tensors["network.classifier.weight"].shape[1]
        if width != network.classifier.in_features:
            network.read_motion(True)
    return network


def _identify(job: Job, others: Others, records: Sequence[ClipRecord]) -> dict[str, Any]:
    """What makes this run this run; raises where the folder holds another one."""
    origin = f"{job.weights.name} {file_or_folder_hash(job.weights)}" if job.weights else None
    hashes = {clip.path: clip.sha256 for clip in records}
    identity = run_identity(job.config, job.dataset, hashes, origin, job.ranks.count)
    if job.config.distill.method != "none":
        identity["teachers"] = others.identity(job.config)
    job.ranks.on_rank_zero(lambda: check_same_run(job.folder, identity))
    return identity


def _bad_samples(job: Job, records: Sequence[ClipRecord]) -> BadSamples:
    """The list of bad training clips, with those that are known already."""
    bad = BadSamples(job.folder / BAD_SAMPLES, len(job.dataset.train), job.config.data.max_bad)
    bad.restore()
    unreadable = [
        BadSample(clip.name, clip.path, clip.error, None)
        for clip in records
        if clip.error is not None and clip.split == "train"
    ]
    job.ranks.on_rank_zero(lambda: bad.add(unreadable))
    return bad


def _loader(job: Job) -> TrainingLoader:
    ranks, config = job.ranks, job.config
    return training_loader(
        TrainingClips(job.dataset.train, config),
        batch_size=config.train.batch_size,
        workers=worker_count(config.data.workers, ranks=ranks.count_here),
        rank=ranks.rank,
        ranks=ranks.count,
        pin_memory=ranks.device.type == "cuda",
        epochs=config.train.epochs,
    )


def _go_back(job: Job, trainer: Trainer, found: Checkpoint) -> None:
    for line in found.damaged:
        job.reporter.say(f"A damaged checkpoint was passed over: {line}")
    trainer.restore(found.tensors, found.progress)
    if job.ranks.first:
        progress = found.progress
        truncate_metrics(job.folder / "metrics.jsonl", update=progress.update, epoch=progress.epoch)


def _say_what_is_trained(job: Job) -> None:
    say_data(job)
    if any(source.startswith("weights ") for source in job.resolved.origin.values()):
        job.reporter.say(f"The temporal shift is that of the weights: {job.config.model.shift}.")
    _say_rate(job)


def _say_rate(job: Job) -> None:
    settings = job.config.input
    if settings.rate is not None:
        why = ", the median length of the spans" if job.resolved.origin.get("input.rate") == MEDIAN_SPAN else ""
        job.reporter.say(
            f"The network sees {settings.rate:g} frames a second: {settings.segments} in "
            f"{settings.segments / settings.rate:.3g} s{why} (input.rate={settings.rate:g})."
        )
    elif job.dataset.train.videos:
        job.reporter.say(
            "Note: frames are spread over each span, whatever its length; for streams, set input.rate, frames a second."
        )


def _say_training(run: Run) -> None:
    """Where, how long, at which learning rate; of a continued run, where it stands."""
    trainer, config, ranks = run.trainer, run.job.config, run.job.ranks
    batch = config.train.batch_size * config.train.accumulate * ranks.count
    say = run.job.reporter.say
    say(
        f"Training {config.model.architecture} {config.model.backbone} on {ranks.device.type} x {ranks.count}, "
        f"{config.train.epochs} epochs of {trainer.updates_per_epoch} updates; "
        f"peak learning rate {trainer.peak_rate:.3g} = {config.optim.lr:g} x {batch}/{config.optim.lr_batch_size}, "
        f"for {batch} clips an update"
    )
    progress = trainer.progress
    if progress.update and run.complete():
        say("This run is complete already.")
    elif progress.update:
        say(f"Going on from epoch {progress.epoch + 1}, update {progress.step + 1}.")
