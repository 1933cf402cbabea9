"""The data set of a training: read, held against the settings, and every clip of it once hashed and opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clipshift.config import Config
from clipshift.datasets import ClipRecord, DataSet, read_dataset, write_data_jsonl
from clipshift.datasets.checksums import describe_aspects
from clipshift.datasets.clip import check_regions, some
from clipshift.errors import ConfigError, DataError
from clipshift.training.old_model import OldModel, say_old_classes, with_old_clips
from clipshift.training.samples import mirror_partners
from clipshift.training.stages.job import Job


def read_data(data: str | Path, config: Config, old: OldModel | None = None) -> DataSet:
    """Read the data set, before a run folder is made: settings that do not fit it cost nothing.

    Args:
        data: A folder, a list, or a data.yaml.
        config: All settings.
        old: The model that classes are added to: its classes come first, with clips of its run where the data has none.

    Raises:
        ConfigError: A setting does not fit the classes, or another setting.
        DataError: The data cannot be trained on.
    """
    _check_labels(config)
    known = () if old is None else old.classes
    dataset = read_dataset(data, config.data, several=config.train.multi_label, known=known)
    if old is not None:
        dataset = with_old_clips(dataset, old, rehearse=config.train.rehearse)
    check_regions((*dataset.train.clips, *dataset.validation.clips), config.input, dataset.train.source)
    _check_metric(config, len(dataset.classes))
    _check_classes(config, dataset.classes)
    return dataset


def _check_labels(config: Config) -> None:
    if config.train.multi_label and config.distill.method != "none":
        raise ConfigError(
            "Distillation is for clips of one label.",
            where="distill.method",
            got=f"{config.distill.method}, with train.multi_label=true",
            allowed="none",
        )


def _check_metric(config: Config, classes: int) -> None:
    if config.train.metric == "top5" and classes <= 5:
        raise ConfigError(
            "The best of five guesses says nothing where there are no more than five classes.",
            where="train.metric",
            got=f"top5 with {classes} classes",
            allowed="top1, mean_class, loss",
        )


def _check_classes(config: Config, classes: Sequence[str]) -> None:
    """Raise where settings that name or count classes do not fit them."""
    mirror_partners(classes, config.augment)
    given = config.train.class_weights
    if isinstance(given, tuple) and len(given) != len(classes):
        raise ConfigError(
            "The class weights are not as many as the classes.",
            where="train.class_weights",
            got=f"{len(given)} weights for {len(classes)} classes",
            allowed=f"one for each, in this order: {some(list(classes), 8)}",
        )


def record_clips(job: Job) -> list[ClipRecord]:
    """Hash and open every clip, on the first rank; written to `data.jsonl`, which also spares a second reading.

    Returns:
        A record of each clip; of one that cannot be read, the error.
    """
    return job.ranks.on_rank_zero(lambda: _record_clips(job))


def _record_clips(job: Job) -> list[ClipRecord]:
    dataset, config = job.dataset, job.config
    with job.reporter.phase("reading clips", len(dataset.train) + len(dataset.validation)) as phase:
        records = write_data_jsonl(job.folder / "data.jsonl", dataset, config.data, progress=phase.advance_to)
    aspects = describe_aspects((record.name, record.pixel_aspect) for record in records)
    if aspects is not None:
        taken = {"ignore": "taken as stored", "apply": "scaled as players show them"}[config.input.pixel_aspect]
        job.reporter.say(f"{aspects}: frames are {taken} (input.pixel_aspect={config.input.pixel_aspect})")
    return records


def say_data(job: Job) -> None:
    """How many clips of how many classes, and how they were split."""
    dataset = job.dataset
    job.reporter.say(
        f"Data: {len(dataset.train)} training and {len(dataset.validation)} validation clips of "
        f"{len(dataset.classes)} classes; split: {dataset.split}"
    )
    for note in dataset.notes:
        job.reporter.say(note)
    for line in [] if job.old is None else say_old_classes(dataset, job.old):
        job.reporter.say(line)


def check_validation(records: Sequence[ClipRecord], dataset: DataSet) -> None:
    """Raise where an epoch would end with nothing to measure.

    Raises:
        DataError: Not one validation clip can be read.
    """
    validation = [clip for clip in records if clip.split == "validation"]
    if all(clip.error is not None for clip in validation):
        raise DataError(
            "Not one of the validation clips can be read.",
            where=dataset.validation.source,
            got=f"{validation[0].name}: {validation[0].error}" if validation else "no clip",
            remedy="clipshift check DATA lists all clips that cannot be read",
        )
