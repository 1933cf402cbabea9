"""`clipshift.check_labels`: which clips look as if they had a wrong label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipshift.config import Config, ReadingConfig, Settings, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.datasets.clip import Clip, Manifest, absolute, plural, some
from clipshift.datasets.manifest import read_parts
from clipshift.datasets.split import clip_groups
from clipshift.datasets.tools.check import Finding
from clipshift.device import pick_device
from clipshift.errors import ConfigError, DataError
from clipshift.evaluation.metrics import wilson_interval
from clipshift.parallel.prefetch import pick_threads
from clipshift.probing.features import ClipFeatures, frozen_network, read_features
from clipshift.probing.label_errors import margins, suspicious
from clipshift.probing.strangers import distances_to_others, find_strangers
from clipshift.progress import Progress
from clipshift.training.folds import out_of_fold, sources_of_classes

FOLDS, REPEATS = 10, 2
"""Each clip is answered for by two probes, each of them on nine tenths of the sources."""
_FEW_SOURCES = 5
"""A class with fewer is said to be compared with little."""
_ENOUGH = 0.75
"""Share of labels that the others have to tell. On UCF-101, where they tell 87 %, 99 % of the suspicious labels were
wrong; on UT-Interaction, where they tell 47 %, 5 % were."""


@dataclass(frozen=True)
class CheckedClip:
    """One clip and what the others say of its label.

    Attributes:
        name: The clip's name in the data.
        label: The class that it has.
        likely: The likeliest other class.
        chance: Probability of its label, out of fold.
        likely_chance: Probability of the likeliest other class.
        suspicious: Whether it is among the first of the ranking, of which there are as many as the confident joint
            counts wrong labels.
        clip: Where it is.
    """

    name: str
    label: str
    likely: str
    chance: float
    likely_chance: float
    suspicious: bool
    clip: Clip = field(repr=False)

    def line(self) -> str:
        """One line for lists."""
        given, likely = f"{self.label} ({self.chance:.0%})", f"{self.likely} ({self.likely_chance:.0%})"
        return f"{self.name}: labeled {given}, looks like {likely}"


@dataclass(frozen=True)
class StrangeClip:
    """A clip that looks like no other one of the data.

    Attributes:
        name: The clip's name in the data.
        label: The class that it has.
        times: How much farther it is from the nearest clips of other sources than the median clip is.
        clip: Where it is.
    """

    name: str
    label: str
    times: float
    clip: Clip = field(repr=False)

    def line(self) -> str:
        """One line for lists."""
        return f"{self.name}: labeled {self.label}, {self.times:.1f} times as far from other clips as is usual here"


@dataclass(frozen=True)
class LabelCheck:
    """What was found.

    Attributes:
        source: The data.
        classes: Their names.
        features: What the features are of.
        ranked: The clips that were checked, the most suspicious first, by the margin between the probabilities of the
            label and of the likeliest other class.
        agreeing: Clips of these whose label is the likeliest class.
        largest: Clips of the largest class among them.
        notes: What to know about the check.
        reading: How clips are opened.
        strangers: Clips that look like no other one, the strangest first.
    """

    source: str
    classes: tuple[str, ...]
    features: str
    ranked: tuple[CheckedClip, ...]
    agreeing: int
    largest: int
    notes: tuple[str, ...]
    reading: ReadingConfig = field(repr=False)
    strangers: tuple[StrangeClip, ...] = ()

    @property
    def suspects(self) -> tuple[CheckedClip, ...]:
        """The suspicious clips, the most suspicious first."""
        return tuple(clip for clip in self.ranked if clip.suspicious)

    @property
    def can_tell(self) -> bool:
        """Whether the probes know the classes: better than the largest class, not by chance alone (95 % interval)."""
        return wilson_interval(self.agreeing, len(self.ranked))[0] > self.largest / len(self.ranked)

    @property
    def doubt(self) -> str | None:
        """Why the ranking means little, or nothing; None where it can be relied on."""
        if not self.can_tell:
            return "The features do not tell these classes apart: the ranking of labels means nothing."
        share = self.agreeing / len(self.ranked)
        if share < _ENOUGH:
            return f"The features tell only {share:.0%} of the labels: most of those that look wrong are right."
        return None

    def summary(self) -> str:
        """One sentence on what was looked at, and how far it can be trusted."""
        return (
            f"{plural(len(self.ranked), 'clip')} compared by features of {self.features}: without having seen a clip "
            f"or its source, the others tell its label for {self.agreeing} ({self.agreeing / len(self.ranked):.0%})."
        )

    def findings(self, page: str | None = None) -> tuple[Finding, ...]:
        """For the report of `clipshift check`.

        Args:
            page: Where the page is, to name it.
        """
        found = [Finding("info", "labels", text) for text in (self.summary(), *self.notes)]
        if self.doubt is not None:
            remedy = "try --weights of a model that knows such videos"
            found.append(Finding("warning", "labels", self.doubt, remedy=remedy))
        where = "" if page is None else f" in {page}"
        if self.can_tell and self.suspects:
            verb = "looks as if it had" if len(self.suspects) == 1 else "look as if they had"
            text = f"{plural(len(self.suspects), 'clip')} of {len(self.ranked)} {verb} a wrong label."
            found.append(
                _to_look_at("label", text, self.suspects, f"look at them{where}, and move those that are wrong")
            )
        if self.strangers:
            verb = "looks" if len(self.strangers) == 1 else "look"
            text = f"{plural(len(self.strangers), 'clip')} {verb} like no other clip of the data."
            remedy = f"look at them{where}, and take out what is of no class"
            found.append(_to_look_at("stranger", text, self.strangers, remedy))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """All that was found, for json.dumps: every clip in the order of the ranking."""
        ranked = [{key: value for key, value in _fields(clip).items() if key != "clip"} for clip in self.ranked]
        strangers = [{"name": clip.name, "label": clip.label, "times": round(clip.times, 3)} for clip in self.strangers]
        values = {"features": self.features, "checked": len(self.ranked), "agreeing": self.agreeing}
        values |= {"can_tell": self.can_tell, "doubt": self.doubt, "notes": list(self.notes)}
        return {**values, "ranked": ranked, "strangers": strangers}


def _to_look_at(kind: str, text: str, clips: Sequence[CheckedClip | StrangeClip], remedy: str) -> Finding:
    names, lines = tuple(clip.name for clip in clips), tuple(clip.line() for clip in clips)
    return Finding("warning", kind, text, names, lines, remedy)


def _fields(clip: CheckedClip) -> dict[str, Any]:
    return {**asdict(clip), "chance": round(clip.chance, 6), "likely_chance": round(clip.likely_chance, 6)}


def check_labels(
    data: str | Path,
    *settings: Settings,
    weights: str | Path | None = None,
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> LabelCheck:
    """Rank clips by how little their label agrees with what the other clips teach.

    Features of a frozen network are taken once of each clip. Linear probes on the clips of other sources then answer
    for it, over several deals into folds; a second round leaves the clips out of the learning that the first one finds
    suspicious. All parts of the data are checked together.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        *settings: `"key=value"`, or mappings; those of the sections data, input and model count.
        weights: Whose features are compared: a run folder, a model folder, a file of weights, or published weights by
            name; by default ImageNet's.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        workers: Threads that read clips ahead of the network; `auto`: one per core.
        seed: Of the deals into folds.
        progress: Called with (clips done, clips in all) after each clip.

    Returns:
        The clips, the most suspicious first.

    Raises:
        ConfigError: A setting is not valid, or clips may have several labels.
        DataError: The data cannot be read, has one class only, or no class has clips of two sources.
        DownloadError: Published weights cannot be fetched.
        WeightsError: There are no such weights, or they do not fit.
    """
    config = resolve(DEFAULT_RECIPE, settings=settings).config
    if config.train.multi_label:
        raise ConfigError(
            "Labels are checked where each clip has one.", where="train.multi_label", got="true", allowed="false"
        )
    manifest, notes = _all_clips(data, config)
    chosen = pick_device(device)
    frozen = frozen_network(config, weights)
    if frozen.trained:
        notes.append(
            f"The features are of a trained model, {weights}. If it learnt from these clips, it learnt their wrong "
            "labels, too, and finds fewer of them."
        )
    read = read_features(
        frozen, manifest.clips, config.data, device=chosen, workers=pick_threads(workers), progress=progress
    )
    if read.unreadable:
        count = plural(len(read.unreadable), "clip")
        listed = some([f"{name} ({why})" for name, why in read.unreadable])
        notes.append(f"Not checked, because unreadable: {count}: {listed}.")
    return rank_clips(manifest, read, about=frozen.about, notes=notes, reading=config.data.reading, seed=seed)


def _all_clips(data: str | Path, config: Config) -> tuple[Manifest, list[str]]:
    """The clips of all parts, and what to know about their reading."""
    found = read_parts(data, config.data)
    clips = tuple(clip for part in found.parts.values() for clip in part.clips)
    if len(found.classes) < 2 or len({clip.label for clip in clips}) < 2:
        raise DataError(
            "The data set has only one class: there is no other that a clip could be of.",
            where=absolute(data),
            got=some(list(found.classes)),
        )
    return Manifest(absolute(data), found.classes, clips), list(found.notes)


def rank_clips(
    manifest: Manifest,
    read: ClipFeatures,
    *,
    about: str,
    notes: Sequence[str] = (),
    reading: ReadingConfig | None = None,
    seed: int = 0,
) -> LabelCheck:
    """The check of clips whose features are there.

    Args:
        manifest: Where they are from, and the classes.
        read: Clips with their labels, and features.
        about: What the features are of.
        notes: What to know about the check.
        reading: How clips are opened.
        seed: Of the deals into folds.

    Raises:
        DataError: No class has clips of two sources.
    """
    own = Manifest(manifest.source, manifest.classes, read.clips)
    groups, labels = clip_groups(own, across_classes=True), np.array(own.labels(), dtype=np.int64)
    sources = sources_of_classes(groups, labels.tolist(), len(own.classes))
    checked = np.array([sources[label] > 1 for label in labels])
    if not checked.any() or len(set(labels.tolist())) < 2:
        raise DataError(
            "The labels cannot be checked: no class has clips of two sources.",
            where=manifest.source,
            got=plural(len(read.clips), "readable clip"),
            remedy="add clips; those that are named as parts of one recording count as one source",
        )
    chances = _chances((read.mean, read.deviation, read.inner), labels, groups, len(own.classes), seed)
    return LabelCheck(
        source=str(manifest.source),
        classes=own.classes,
        features=about,
        ranked=_in_order(own, chances, labels, checked),
        agreeing=int((chances.argmax(axis=1) == labels)[checked].sum()),
        largest=int(np.bincount(labels[checked]).max()),
        notes=tuple(dict.fromkeys([*notes, *_about_few(own.classes, sources)])),
        reading=reading or ReadingConfig(),
        strangers=_strangers(own, distances_to_others(read.mean, groups)),
    )


def _strangers(manifest: Manifest, distances: np.ndarray) -> tuple[StrangeClip, ...]:
    found: list[StrangeClip] = []
    for position in find_strangers(distances):
        clip, times = manifest.clips[position], float(distances[position] / max(np.nanmedian(distances), 1e-12))
        found.append(StrangeClip(clip.name, manifest.classes[clip.label or 0], times, clip))
    return tuple(found)


def _about_few(classes: Sequence[str], sources: Sequence[int]) -> list[str]:
    """What to know about classes of few sources."""
    alone = [name for name, count in zip(classes, sources, strict=True) if count == 1]
    few = [f"{name} ({count})" for name, count in zip(classes, sources, strict=True) if 1 < count < _FEW_SOURCES]
    notes = []
    if alone:
        notes.append(f"Not checked, because all clips are of one source: {some(alone, 5)}.")
    if few:
        notes.append(f"Of fewer than {_FEW_SOURCES} sources, so that little is compared: {some(few, 5)}.")
    return notes


def _chances(
    kinds: Sequence[np.ndarray], labels: np.ndarray, groups: Sequence[Sequence[int]], classes: int, seed: int
) -> np.ndarray:
    """Out-of-fold probabilities (N, K) by probes that have not learnt from what the first round finds suspicious."""
    learn = None
    for _ in range(2):
        chances = out_of_fold(
            kinds, labels, groups, classes=classes, folds=FOLDS, repeats=REPEATS, seed=seed, learn=learn
        )
        learn = ~suspicious(chances, labels)
    return chances


def _in_order(
    manifest: Manifest, chances: np.ndarray, labels: np.ndarray, checked: np.ndarray
) -> tuple[CheckedClip, ...]:
    count, gaps = int(suspicious(chances, labels)[checked].sum()), margins(chances, labels)
    ranked: list[CheckedClip] = []
    for row in sorted(np.flatnonzero(checked).tolist(), key=lambda row: gaps[row]):
        others = chances[row].copy()
        others[labels[row]] = -1
        likely = int(others.argmax())
        ranked.append(
            CheckedClip(
                name=manifest.clips[row].name,
                label=manifest.classes[labels[row]],
                likely=manifest.classes[likely],
                chance=float(chances[row, labels[row]]),
                likely_chance=float(others[likely]),
                suspicious=len(ranked) < count and bool(gaps[row] < 0),
                clip=manifest.clips[row],
            )
        )
    return tuple(ranked)
