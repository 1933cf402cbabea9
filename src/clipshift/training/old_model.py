"""A model that gets more classes: what it is, what it remembers, and the clips that it was trained on.

Where clips of its classes can still be had, they are trained on again beside the new ones (rehearsal). Of the others
the features that the model remembers stand in for them, and everything but the classifier stays as it is: features of
another network would be of no use.

Layouts: N clips, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from clipshift.config import Config, ModelSpec, Resolved
from clipshift.datasets import Clip, ClipRecord, DataSet, Manifest, read_data_jsonl
from clipshift.datasets.clip import plural, some
from clipshift.errors import ConfigError
from clipshift.inference.known_clips import load_known_clips
from clipshift.models.bundle import read_bundle
from clipshift.training.choosing_weights import WORDS
from clipshift.weights.resolve import find_model

_FOLLOWED = ("model", "input")
"""Sections of the settings that are the old model's, whatever the recipe says."""


@dataclass(frozen=True, eq=False)
class RememberedClips:
    """Clips of which only features are left.

    Attributes:
        features: float32 (N, D), what the classifier reads of each.
        labels: int64 (N,).
    """

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class OldModel:
    """A model whose classes are kept.

    Attributes:
        name: As it was asked for.
        folder: Its model folder.
        spec: What it is.
        records: The clips that its run was trained and validated on; none where it is no run's.
    """

    name: str
    folder: Path
    spec: ModelSpec
    records: tuple[ClipRecord, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Its classes, which come first in the new model, too."""
        return self.spec.classes

    def remembered(self, labels: Sequence[int]) -> RememberedClips | None:
        """What it remembers of clips of some classes; None where it remembers nothing of at least one of them.

        Args:
            labels: Indices of its classes.

        Raises:
            WeightsError: The file that this lies in is missing or damaged.
        """
        if self.spec.unknown is None or not labels:
            return None
        known = load_known_clips(self.folder, self.spec.unknown)
        if known.labels is None or known.lengths is None or not set(labels) <= set(known.labels.tolist()):
            return None
        own = torch.isin(torch.from_numpy(known.labels), torch.tensor(labels))
        features = torch.from_numpy(known.features * known.lengths[:, None])
        return RememberedClips(features[own], torch.from_numpy(known.labels)[own])


def find_old_model(config: Config, weights: str | Path | None) -> OldModel | None:
    """The model that gets more classes; None where a training is not to add any.

    Args:
        config: All settings.
        weights: What `--weights` names.

    Raises:
        ConfigError: No model is named, or the settings do not go with adding classes.
        WeightsError: There is no such model.
    """
    if not config.train.add_classes:
        return None
    if weights is None or str(weights) in WORDS:
        raise ConfigError(
            "Classes are added to a model, and none is named.",
            where="weights",
            got=weights,
            remedy="--weights with the run folder or model folder of the old model",
        )
    if config.train.multi_label or config.distill.method != "none":
        key, value = ("train.multi_label", "true") if config.train.multi_label else ("distill.method", "another one")
        raise ConfigError(
            "Classes can be added to a model that gives one class to a clip, and without other teachers than itself.",
            where=key,
            got=value,
            allowed="false" if config.train.multi_label else "none",
        )
    folder = find_model(weights)
    spec = read_bundle(folder)[1]
    if spec.labels == "several":
        raise ConfigError(
            "Classes can be added to a model that gives one class to a clip.",
            where=weights,
            got="a model whose clips may have several labels",
            remedy="train it anew on the clips of all classes",
        )
    return OldModel(str(weights), folder, spec, tuple(read_data_jsonl(folder.parent / "data.jsonl").values()))


def follow_old_model(resolved: Resolved, old: OldModel) -> Resolved:
    """Settings with the network, the input and the names of frames that the old model has.

    Args:
        resolved: Settings and where they come from.
        old: The model that gets more classes.

    Raises:
        ConfigError: Somebody chose another network or input.
    """
    config, origin = resolved.config, dict(resolved.origin)
    updates = {}
    for name in _FOLLOWED:
        own, theirs = getattr(config, name), getattr(old.spec, name)
        if name == "model":
            theirs = theirs.model_copy(update={"pretrained": False})
        _refuse_others(origin, name, own.model_dump(), theirs.model_dump(), old)
        origin = {key: value for key, value in origin.items() if not key.startswith(f"{name}.")}
        origin |= {f"{name}.{key}": f"model {old.name}" for key in theirs.model_dump() if key != "pretrained"}
        updates[name] = theirs
    reading = config.data.model_copy(update=old.spec.reading.model_dump())
    return Resolved(config.model_copy(update={**updates, "data": reading}), origin)


def _refuse_others(
    origin: dict[str, str], section: str, own: dict[str, object], theirs: dict[str, object], old: OldModel
) -> None:
    """Raise where a setting that somebody chose is not the old model's."""
    for key, source in origin.items():
        name = key.removeprefix(f"{section}.").partition(".")[0]
        if not key.startswith(f"{section}.") or source.startswith("recipe ") or name == "pretrained":
            continue
        if own[name] != theirs[name]:
            raise ConfigError(
                "A model that gets more classes keeps its network and its input.",
                where=key,
                got=f"{own[name]} ({source})",
                allowed=f"{theirs[name]}, as {old.name} has it",
                remedy="leave the setting out",
            )


def with_old_clips(dataset: DataSet, old: OldModel, *, rehearse: bool) -> DataSet:
    """The data with those clips of the old model's run that it lacks, where they still lie where they were.

    Validation clips of old classes always, as they tell what was lost; training clips only for rehearsal.

    Args:
        dataset: The new clips; of a class that it has clips of, no others are taken.
        old: The model that gets more classes.
        rehearse: Whether training clips are to be read.

    Raises:
        ConfigError: The data has no new class.
    """
    new = dataset.classes[len(old.classes) :]
    if not new:
        raise ConfigError(
            "The data has no class that the model does not know.",
            where=dataset.train.source,
            got=some(list(dataset.classes), 5),
            remedy="leave out --add-classes, to train the model on",
        )
    train, noted = _filled(dataset.train, old, "train") if rehearse else (dataset.train, ())
    validation, noted_too = _filled(dataset.validation, old, "validation")
    return replace(dataset, train=train, validation=validation, notes=(*dataset.notes, *noted, *noted_too))


def _filled(part: Manifest, old: OldModel, split: str) -> tuple[Manifest, tuple[str, ...]]:
    """A part with the old run's clips of classes that it lacks; and a note on those that are gone."""
    counts = part.counts()
    wanted = [
        record
        for record in old.records
        if record.split == split
        and record.error is None
        and record.class_name in old.classes
        and counts[old.classes.index(record.class_name)] == 0
    ]
    there = [record for record in wanted if Path(record.path).exists()]
    clips = tuple(_clip(record, old.classes.index(str(record.class_name))) for record in there)
    word = "training" if split == "train" else split
    note = f"{plural(len(wanted) - len(there), f'{word} clip')} of {old.name} no longer where it was read"
    return replace(part, clips=(*part.clips, *clips)), () if len(there) == len(wanted) else (note,)


def _clip(record: ClipRecord, label: int) -> Clip:
    span = None if record.start is None or record.end is None else (record.start, record.end)
    return Clip(path=Path(record.path), name=record.name, label=label, span=span, region=record.region)


def only_remembered(dataset: DataSet, old: OldModel) -> tuple[int, ...]:
    """Old classes that the data has no training clip of."""
    return tuple(label for label, count in enumerate(dataset.train.counts()[: len(old.classes)]) if count == 0)


def remembered_clips(dataset: DataSet, old: OldModel) -> RememberedClips | None:
    """What stands in for the training clips that the data lacks; None where nothing does, or nothing has to.

    Args:
        dataset: The clips, with those of the old model's run.
        old: The model that gets more classes.

    Raises:
        WeightsError: The file that this lies in is missing or damaged.
    """
    return old.remembered(only_remembered(dataset, old))


def say_old_classes(dataset: DataSet, old: OldModel) -> list[str]:
    """How the old classes are kept, for the log."""
    lacking = only_remembered(dataset, old)
    new = dataset.classes[len(old.classes) :]
    lines = [f"To the {plural(len(old.classes), 'class')} of {old.name} come {some(list(new), 5)}."]
    remembered = remembered_clips(dataset, old)
    if len(lacking) < len(old.classes):
        kept = plural(len(old.classes) - len(lacking), "old class")
        answers = ", and the old model's answers are learnt beside the labels" if remembered is None else ""
        lines.append(f"Clips of {kept} are trained on again{answers}.")
    if lacking:
        names = some([old.classes[label] for label in lacking], 5)
        if remembered is None:
            lines.append(
                f"Note: there are no training clips of {names}, and {old.name} remembers none: only its answers to the "
                "other clips keep them. Clips of them in the data would keep them better."
            )
        else:
            lines.append(
                f"Of {names} there are no training clips: the features that {old.name} remembers of "
                f"{plural(len(remembered.labels), 'clip')} stand in for them, and only the classifier learns."
            )
    unmeasured = [name for name, count in zip(old.classes, dataset.validation.counts(), strict=False) if count == 0]
    if unmeasured:
        lines.append(f"Note: no validation clips of {some(unmeasured, 5)}: what they lose cannot be measured.")
    return lines
