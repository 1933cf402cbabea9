"""`clipshift.learning_curve`: accuracy over growing shares of the training clips, and what twice as many bring."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipshift.config import Config, Settings, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.datasets import DataSet, read_dataset
from clipshift.datasets.clip import Clip, Manifest, absolute, plural, some
from clipshift.datasets.split import clip_groups
from clipshift.device import pick_device
from clipshift.errors import ConfigError, DataError, OutputError
from clipshift.evaluation.metrics import wilson_interval
from clipshift.locks import hold_folder
from clipshift.parallel.prefetch import pick_threads
from clipshift.probing.curve_files import check_curve_folder, write_curve
from clipshift.probing.feature_store import FeatureStore
from clipshift.probing.features import frozen_network
from clipshift.probing.power_law import Estimate, PowerLaw, extrapolate
from clipshift.probing.shares import ClipKey, Trial, key_of, take_shares
from clipshift.probing.whole_trainings import answers_of_training
from clipshift.progress import Progress
from clipshift.training.folds import DECAY, compact
from clipshift.training.probe import fit_linear_probe

QUICK_SHARES = (0.125, 0.2, 0.3, 0.45, 0.67, 1.0)
TRAINED_SHARES = (0.25, 0.5, 1.0)
QUICK_REPEATS, TRAINED_REPEATS = 10, 3
LEAST_SIZES = 3
"""Different numbers of training clips below which no law is fitted: it has three parameters."""
MOST_REPEATS = 100


@dataclass(frozen=True)
class Point:
    """What so many training clips gave.

    Attributes:
        clips: Training clips, mean over the repeats.
        accuracy: Share of the tested clips that were right, over all repeats.
        repeats: The same of each repeat.
    """

    clips: float
    accuracy: float
    repeats: tuple[float, ...]


@dataclass(frozen=True)
class LearningCurve:
    """What was measured, and what it tells of more clips.

    Attributes:
        source: The data.
        mode: `frozen`: linear probes on features of a network that does not learn; `trained`: whole trainings.
        about: What learnt, for people.
        points: By the number of training clips.
        tested: Different clips that were tested.
        largest: Share of the largest class among them.
        repeats: Draws of the training clips and, where the split is made here, of the split.
        law: The fitted law.
        twice: Accuracy with twice the training clips, with its 95 % interval.
        gain: How much that is more than with all of today, by the same law.
        notes: What to know about it.
        folder: Where its files are.
    """

    source: str
    mode: Literal["frozen", "trained"]
    about: str
    points: tuple[Point, ...]
    tested: int
    largest: float
    repeats: int
    law: PowerLaw
    twice: Estimate
    gain: Estimate
    notes: tuple[str, ...]
    folder: Path

    @property
    def can_tell(self) -> bool:
        """Whether all clips give more than the largest class alone, not by chance (95 % interval)."""
        return wilson_interval(round(self.points[-1].accuracy * self.tested), self.tested)[0] > self.largest

    def verdict(self) -> str:
        """In a few words, what twice as many clips would bring."""
        if not self.can_tell:
            return (
                f"With all clips {self.points[-1].accuracy:.0%} are right, no better than always answering the largest "
                f"class ({self.largest:.0%}): what more clips would bring cannot be told."
            )
        number, twice, gain = round(2 * self.points[-1].clips), self.twice, self.gain
        text = (
            f"With twice as many clips, {number}: {twice.value:.0%} right "
            f"(95 % interval {twice.low:.0%} to {twice.high:.0%}), "
            f"{_points(gain.value)} points (from {_points(gain.low)} to {_points(gain.high)}) to today."
        )
        if gain.low >= _WORTH:
            return f"{text} More clips help."
        if gain.high < 2 * _WORTH:
            return f"{text} More clips of the same kind bring little."
        return f"{text} Whether more clips help cannot be told from so few."

    def lines(self) -> list[str]:
        """For the screen."""
        how = "whole trainings" if self.mode == "trained" else "linear probes, no training (--train trains)"
        lines = [
            f"{how}: {self.about}; {plural(self.repeats, 'repeat')}, {plural(self.tested, 'tested clip')}",
            f"{'clips':>8} {'right':>7}   of the repeats",
        ]
        for point in self.points:
            spread = f"{min(point.repeats):.1%} to {max(point.repeats):.1%}"
            lines.append(f"{point.clips:8.0f} {point.accuracy:7.1%}   {spread}")
        return [*lines, *(f"note: {note}" for note in self.notes), self.verdict()]

    def to_json(self) -> dict[str, Any]:
        """All of it, for json.dumps."""
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        return values | {"verdict": self.verdict()}


_WORTH = 0.005
"""Half a percentage point, what counts as something."""


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def learning_curve(  # noqa: PLR0913
    data: str | Path,
    *settings: Settings,
    out: str | Path | None = None,
    train: bool = False,
    recipe: str | Path | None = None,
    weights: str | Path | None = None,
    repeats: int | None = None,
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> LearningCurve:
    """Measure accuracy on growing shares of the training clips, and tell what twice as many would bring.

    Shares are of the sources of every class, drawn anew in each repeat; a larger share holds the smaller ones. A split
    that is made here is drawn anew, too; one that the data brings stays. What was read or trained before an
    interruption is not done again.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        *settings: `"key=value"`, or mappings; see `clipshift config`.
        out: Folder for the plot, the numbers and what an interrupted call has done; by default
            runs/DATA-learning-curve.
        train: Train a network for every point, with the recipe, in place of linear probes on frozen features: hours in
            place of a minute.
        recipe: A name from `clipshift models`, or a YAML file; by default finetune.
        weights: What a training starts from, or whose features are taken: a run folder, a model folder, a file of
            weights, or published weights by name; by default ImageNet's.
        repeats: Draws of the training clips, 2 to 100; by default 10, and 3 of trainings.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N; of trainings the setting train.device counts.
        workers: Threads that read clips ahead of the network; `auto`: one per core.
        progress: Called with (clips read, clips in all), or with (trainings done, trainings in all).

    Returns:
        The curve; its files are `learning_curve.json` and `learning_curve.png`.

    Raises:
        ConfigError: A setting is not valid, or clips may have several labels.
        DataError: The data cannot be read, or has too few clips for a curve.
        DownloadError: Published weights cannot be fetched.
        OutputError: The folder holds something else, or cannot be written.
        TrainingInterrupted: SIGTERM or Ctrl-C came in a training; everything is kept.
        WeightsError: There are no such weights, or they do not fit.
    """
    config = resolve(recipe or DEFAULT_RECIPE, settings=settings).config
    count = repeats or (TRAINED_REPEATS if train else QUICK_REPEATS)
    _check(config, count)
    folder = Path(out) if out else Path("runs") / f"{absolute(data).stem}-learning-curve"
    check_curve_folder(folder)
    trials, notes = _trials(data, config, count, TRAINED_SHARES if train else QUICK_SHARES)
    with hold_folder(folder, doing="measures a learning curve in this folder", error=OutputError):
        if train:
            command = _command(data, settings, out=out, recipe=recipe, weights=weights, repeats=repeats)
            about = f"recipe {Path(recipe or DEFAULT_RECIPE).stem}"
            answers = answers_of_training(
                trials,
                settings,
                config,
                folder=folder,
                recipe=recipe,
                weights=weights,
                command=command,
                progress=progress,
            )
        else:
            frozen = frozen_network(config, weights)
            about = f"features of {frozen.about}"
            store = FeatureStore(folder, frozen)
            clips = {key_of(clip): clip for trial in trials for clip in (*trial.train.clips, *trial.test.clips)}
            bad = store.read(
                list(clips.values()), config.data, pick_device(device), pick_threads(workers), progress=progress
            )
            if bad:
                notes.append(f"Left out, because unreadable: {plural(len(bad), 'clip')}: {some(list(bad))}.")
            answers = _answers_of_probes(trials, store)
        curve = _curve(data, trials, answers, "trained" if train else "frozen", about, notes, folder)
        write_curve(curve.to_json(), curve, folder)
    return curve


def _check(config: Config, repeats: int) -> None:
    if config.train.multi_label:
        raise ConfigError(
            "A learning curve is of clips with one label each.", where="train.multi_label", got="true", allowed="false"
        )
    if not 2 <= repeats <= MOST_REPEATS:
        raise ConfigError(
            "There is no such number of repeats: the interval is of their differences.",
            where="--repeats",
            got=repeats,
            allowed=f"2 to {MOST_REPEATS}",
        )


def _command(data: str | Path, settings: Sequence[Settings], **options: object) -> str:
    words = ["clipshift", "learning-curve", str(data), *(s for s in settings if isinstance(s, str)), "--train"]
    for name, value in options.items():
        words += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words)


def _trials(data: str | Path, config: Config, repeats: int, shares: Sequence[float]) -> tuple[list[Trial], list[str]]:
    """What is learnt from and tested in each repeat and share, and what to know about the reading."""
    trials: list[Trial] = []
    first: DataSet | None = None
    for repeat in range(repeats):
        drawn = config.data.model_copy(update={"split_seed": config.data.split_seed + repeat})
        dataset = read_dataset(data, drawn) if first is None or not first.split.startswith("as brought") else first
        first = first or dataset
        groups = clip_groups(dataset.train, across_classes=True)
        trials += take_shares(dataset, groups, shares, repeat=repeat, seed=config.data.split_seed)
    sizes = sorted({len(trial.train) for trial in trials if trial.repeat == 0})
    if len(sizes) < LEAST_SIZES:
        raise DataError(
            "There are too few training clips for a learning curve.",
            where=absolute(data),
            got=f"{sizes[-1]} of {plural(len(trials[0].train.classes), 'class')}",
            allowed=f"so many that shares of them make {LEAST_SIZES} different sizes",
        )
    notes = [] if first is None else list(first.notes)
    if first is not None and not first.split.startswith("as brought"):
        notes.append("The split is made here, and drawn anew in every repeat.")
    return trials, notes


def _answers_of_probes(trials: Sequence[Trial], store: FeatureStore) -> list[dict[ClipKey, bool]]:
    """Which of the tested clips the probe of each trial has right."""
    import torch

    keys = list(store.rows)
    place = {key: row for row, key in enumerate(keys)}
    moments = np.stack([store.rows[key] for key in keys])
    features = torch.from_numpy(compact((moments[:, 0], moments[:, 1])))
    found = []
    for trial in trials:
        learnt = [clip for clip in trial.train.clips if key_of(clip) in place]
        tested = [clip for clip in trial.test.clips if key_of(clip) in place]
        if not learnt or not tested:
            raise DataError(
                "Not one clip of a share could be read.", where=trial.train.source, remedy="clipshift check DATA"
            )
        x = features[[place[key_of(clip)] for clip in learnt]]
        y = torch.tensor([clip.label for clip in learnt])
        weight, bias = fit_linear_probe(x, y, len(trial.train.classes), decay=DECAY)
        best = (features[[place[key_of(clip)] for clip in tested]] @ weight.T + bias).argmax(dim=1).tolist()
        found.append({key_of(clip): label == clip.label for clip, label in zip(tested, best, strict=True)})
    return found


def _curve(
    data: str | Path,
    trials: Sequence[Trial],
    answers: Sequence[dict[ClipKey, bool]],
    mode: Literal["frozen", "trained"],
    about: str,
    notes: Sequence[str],
    folder: Path,
) -> LearningCurve:
    """Points, law and interval of what was answered."""
    tested = {key_of(clip): clip for trial in trials for clip in trial.test.clips}
    tested = {key: clip for key, clip in tested.items() if any(key in each for each in answers)}
    repeats, shares = 1 + max(t.repeat for t in trials), sorted({t.share for t in trials})
    right = np.full((repeats, len(shares), len(tested)), np.nan)
    sizes = np.zeros((repeats, len(shares)))
    place = {key: column for column, key in enumerate(tested)}
    for trial, answer in zip(trials, answers, strict=True):
        row = shares.index(trial.share)
        sizes[trial.repeat, row] = len(trial.train)
        for key, value in answer.items():
            right[trial.repeat, row, place[key]] = value
    of_repeats, size = np.nanmean(right, axis=2), sizes.mean(axis=0)
    law, twice, gain = extrapolate(size, right, _sources(tested, trials[0].test), 2 * size[-1])
    points = tuple(
        Point(float(size[row]), float(np.nanmean(right[:, row])), tuple(of_repeats[:, row].tolist()))
        for row in range(len(shares))
    )
    return LearningCurve(
        source=str(absolute(data)),
        mode=mode,
        about=about,
        points=points,
        tested=len(tested),
        largest=max(Counter(clip.label for clip in tested.values()).values()) / len(tested),
        repeats=repeats,
        law=law,
        twice=twice,
        gain=gain,
        notes=tuple(dict.fromkeys(notes)),
        folder=folder,
    )


def _sources(tested: dict[ClipKey, Clip], test: Manifest) -> np.ndarray:
    """The number of each tested clip's source."""
    manifest = Manifest(test.source, test.classes, tuple(tested.values()))
    numbers = np.zeros(len(tested), dtype=np.int64)
    for number, group in enumerate(clip_groups(manifest, across_classes=True)):
        numbers[group] = number
    return numbers
