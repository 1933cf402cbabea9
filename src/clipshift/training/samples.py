"""Training samples as a function of (seed, epoch, index), and their order as a function of (seed, epoch)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from clipshift.config import AugmentConfig, Config
from clipshift.datasets.clip import Clip, Manifest, some
from clipshift.errors import ConfigError, VideoError
from clipshift.preprocessing.transforms import training_clip
from clipshift.preprocessing.windows import choose_training_frames

Key = tuple[int, int]
"""Epoch, and index into the manifest; of a clip that an epoch has again, another number in the epoch's place."""

# What a random stream is for: streams of one (seed, epoch, ...) with different tags are independent.
_SAMPLE_TAG, _SUBSTITUTE_TAG, _ORDER_TAG, _BALANCED_TAG = 1, 2, 3, 4
_AGAIN = 2**32
"""Added to the epoch for each time that the epoch had the clip before, so that its crops are drawn anew."""
_SUBSTITUTES = 10
"""Clips that are tried in the place of a bad one."""


@dataclass(frozen=True)
class BadSample:
    """A clip that could not be read in training, and the clip that stood in for it."""

    name: str
    path: str
    reason: str
    substitute: str | None
    """Name of the clip that was used."""


class ReadingCost(NamedTuple):
    """Seconds of the CPU that reading clips took."""

    decoding: float
    """Opening the file and decoding the wanted frames."""
    changing: float
    """Scaling, cropping and augmenting them."""


class Sample(TypedDict):
    """One training sample."""

    clip: torch.Tensor
    """uint8 (T, 3, crop, crop)."""
    label: int | torch.Tensor
    """The class; of a mirrored clip, the one that the mirror makes of it. Where a clip may have several: float32 (K,),
    1 for each of its classes."""
    index: int
    """Index of the clip that was asked for, into the manifest."""
    bad: BadSample | None
    cost: ReadingCost


class TrainingClips(Dataset[Sample]):
    """Augmented training clips.

    A sample depends on the configuration's seed, the epoch and the index alone: not on the process that reads it,
    nor on what was read before.

    Args:
        manifest: Labeled clips.
        config: The sections input, augment, data and train.seed are used.

    Raises:
        ConfigError: A setting of `augment` does not fit the input or the classes.
    """

    def __init__(self, manifest: Manifest, config: Config) -> None:
        self.manifest = manifest
        self.input = config.input
        self.augment = config.augment
        self.data = config.data
        self.seed = config.train.seed
        self.balanced = config.train.balanced
        self._labels = np.asarray(manifest.labels(), dtype=np.int64)
        if 0 < self.augment.crop_resize < self.input.crop:
            raise ConfigError(
                "A crop cannot be cut from a smaller square.",
                where="augment.crop_resize",
                got=self.augment.crop_resize,
                allowed=f"0, or at least input.crop={self.input.crop}",
            )
        self._partners = mirror_partners(manifest.classes, self.augment)

    @property
    def order_labels(self) -> np.ndarray | None:
        """Labels that an epoch's order is balanced by, int64; None where every clip comes once."""
        return self._labels if self.balanced else None

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, key: Key) -> Sample:
        """Reads and augments one clip; an unreadable one is replaced by one of its class, and named.

        The replacement is drawn by (seed, epoch, index), too. Up to ten clips are tried.

        Args:
            key: Epoch and index.

        Raises:
            VideoError: Neither the clip nor a replacement can be read.
        """
        epoch, index = key
        clip, label = self.manifest.clips[index], int(self._labels[index])
        try:
            pixels, mirrored, cost = self._read(clip, epoch, index)
            return Sample(clip=pixels, label=self._seen(clip, mirrored), index=index, bad=None, cost=cost)
        except VideoError as error:
            reason = error.what
        for other in self._substitutes(epoch, index):
            substitute = self.manifest.clips[other]
            try:
                pixels, mirrored, cost = self._read(substitute, epoch, index)
            except VideoError:
                continue
            bad = BadSample(clip.name, clip.source, reason, substitute.name)
            return Sample(clip=pixels, label=self._seen(substitute, mirrored), index=index, bad=bad, cost=cost)
        raise VideoError(
            f"A clip cannot be read, nor any that could stand in for it: {reason}",
            where=clip.path,
            got=f"class {self.manifest.classes[label]}; up to {_SUBSTITUTES} others of it were tried",
            remedy="run `clipshift check DATA`, which lists all unreadable clips",
        )

    def _read(self, clip: Clip, epoch: int, index: int) -> tuple[torch.Tensor, bool, ReadingCost]:
        # Of this thread: without workers, the network's threads spin on for a while beside it.
        began = time.thread_time()
        random = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, index, _SAMPLE_TAG]))
        with clip.open_for(self.input, self.data) as reader:
            by_middle = clip.span is not None and self.data.windows == "middle"
            video, wanted = choose_training_frames(
                reader, self.augment.sampling, self.input, random, by_middle=by_middle
            )
            frames_THWC = video.read(wanted)
        decoded = time.thread_time()
        mirrors = all(self._partners[label] is not None for label in _labels_of(clip))
        pixels, mirrored = training_clip(frames_THWC, self.input, self.augment, random, mirrors=mirrors)
        return pixels, mirrored, ReadingCost(decoded - began, time.thread_time() - decoded)

    def _seen(self, clip: Clip, mirrored: bool) -> int | torch.Tensor:
        """The label of a clip as it is shown, or all its labels."""
        partners = {label: self._partners[label] for label in _labels_of(clip)}
        labels = [partner if mirrored and partner is not None else label for label, partner in partners.items()]
        if not clip.labels:
            return labels[0]
        return torch.zeros(len(self.manifest.classes)).index_fill(0, torch.tensor(labels), 1.0)

    def _substitutes(self, epoch: int, index: int) -> list[int]:
        random = np.random.default_rng(np.random.SeedSequence([self.seed, epoch, index, _SUBSTITUTE_TAG]))
        same = np.flatnonzero(self._labels == self._labels[index])
        same = same[same != index]
        return [int(other) for other in random.permutation(same)[:_SUBSTITUTES]]


def _labels_of(clip: Clip) -> tuple[int, ...]:
    return clip.labels if clip.label is None else clip.labels or (clip.label,)


def mirror_partners(classes: Sequence[str], augment: AugmentConfig) -> tuple[int | None, ...]:
    """What a mirror makes of each class: the index of a class, its own where sides do not matter.

    Args:
        classes: Names of the classes.
        augment: `flip_pairs` and `flip_others`.

    Returns:
        One per class; None where it must not be mirrored.

    Raises:
        ConfigError: A pair names a class that there is not.
    """
    partners: list[int | None] = [label if augment.flip_others else None for label in range(len(classes))]
    for pair in augment.flip_pairs:
        unknown = [name for name in pair if name not in classes]
        if unknown:
            near = get_close_matches(unknown[0], classes, n=3)
            raise ConfigError(
                "The data has no class of this name.",
                where="augment.flip_pairs",
                got=unknown[0],
                allowed=near or some(list(classes), 8),
            )
        one, other = (classes.index(name) for name in pair)
        partners[one], partners[other] = other, one
    return tuple(partners)


def epoch_order(samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits its samples: a permutation of range(samples), int64."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, _ORDER_TAG])).permutation(samples)


def balanced_order(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch that has as many clips of each class; a function of its arguments.

    The epoch is as long as the data set. Each class that has clips gets an equal share of it, with one more for some,
    drawn by chance. The clips of a class take turns: none comes again before all others of it have come.

    Args:
        labels: Labels of all clips, int64.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        Indices of clips, int64, as many as labels.
    """
    random = np.random.default_rng(np.random.SeedSequence([seed, epoch, _BALANCED_TAG]))
    classes = random.permutation(np.unique(labels))
    share, more = divmod(len(labels), len(classes))
    chosen = []
    for place, label in enumerate(classes):
        own, wanted = np.flatnonzero(labels == label), share + (place < more)
        turns = [random.permutation(own) for _ in range(-(-wanted // len(own)))]
        chosen.append(np.concatenate(turns)[:wanted] if turns else own[:0])
    order: np.ndarray = random.permutation(np.concatenate(chosen))
    return order


def epoch_keys(samples: int, seed: int, epoch: int, labels: np.ndarray | None = None) -> list[Key]:
    """The keys of an epoch's samples, in order; balanced by labels where these are given."""
    if labels is None:
        return [(epoch, int(index)) for index in epoch_order(samples, seed, epoch)]
    came = [0] * samples
    keys = []
    for index in balanced_order(labels, seed, epoch).tolist():
        keys.append((epoch + _AGAIN * came[index], index))
        came[index] += 1
    return keys


def steps_per_epoch(samples: int, *, batch_size: int, ranks: int) -> int:
    """Batches of each rank in an epoch: whole global batches only, but at least one."""
    return max(1, samples // (batch_size * ranks))


def epoch_batches(
    samples: int,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    rank: int,
    ranks: int,
    first_step: int = 0,
    labels: np.ndarray | None = None,
) -> list[list[Key]]:
    """The keys of one rank's batches in an epoch, from a step on.

    The global batch of a step is the same clips for any number of ranks that divides it; rank r takes every
    `ranks`-th of them, from the r-th. What is left after the last whole global batch waits for the next epoch's
    order. Where the data set is smaller than one global batch, there is one smaller batch; it is filled up from
    its start to the same number of clips on every rank.

    Args:
        samples: Size of the data set.
        seed: The run's seed.
        epoch: The epoch, from 0.
        batch_size: Clips of one rank in a step.
        rank: This rank.
        ranks: Number of ranks.
        first_step: Batches to leave out: those that were trained before a resumed run was stopped.
        labels: Labels of all clips, for epochs with as many clips of each class.

    Returns:
        For each step the (epoch, index) of its clips; the same number of batches on every rank.

    Raises:
        ValueError: There is no sample.
    """
    if samples < 1:
        raise ValueError("an epoch needs at least one sample")
    keys = epoch_keys(samples, seed, epoch, labels)
    together = batch_size * ranks
    if samples < together:
        keys = (keys * ranks)[: -(-samples // ranks) * ranks]
    steps = steps_per_epoch(samples, batch_size=batch_size, ranks=ranks)
    return [keys[step * together : (step + 1) * together][rank::ranks] for step in range(first_step, steps)]
