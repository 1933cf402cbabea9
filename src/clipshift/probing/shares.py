"""Growing shares of the training clips of a data set, by sources, the smaller inside the larger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from clipshift.config import Region
from clipshift.datasets.clip import Clip, DataSet, Manifest
from clipshift.video import Span

ClipKey = tuple[Path, Span | None, Region | None]


@dataclass(frozen=True)
class Trial:
    """What is learnt from, and what is tested.

    Attributes:
        repeat: Number of the draw, from 0.
        share: Of the training sources of each class, in (0, 1].
        train: The training clips of the share.
        test: The validation clips.
    """

    repeat: int
    share: float
    train: Manifest
    test: Manifest


def key_of(clip: Clip) -> ClipKey:
    """What tells a clip from others of a data set, however often that is split."""
    return clip.path, clip.span, clip.region


def take_shares(
    dataset: DataSet, groups: Sequence[Sequence[int]], shares: Sequence[float], *, repeat: int, seed: int
) -> list[Trial]:
    """Draw an order of the sources, and take as many from its beginning as the shares say, of every class at least one.

    Args:
        dataset: The split of this repeat.
        groups: Positions of training clips of one source.
        shares: Ascending, in (0, 1].
        repeat: Number of the draw.
        seed: Of the draws.
    """
    labels = dataset.train.labels()
    random = np.random.default_rng(np.random.SeedSequence([seed, repeat]))
    order = [groups[number] for number in random.permutation(len(groups)).tolist()]
    # A source of several classes counts in the first one.
    by_class: dict[int, list[Sequence[int]]] = {}
    for group in order:
        by_class.setdefault(labels[group[0]], []).append(group)
    trials = []
    for share in shares:
        taken = [group for mine in by_class.values() for group in mine[: max(1, math.floor(share * len(mine) + 0.5))]]
        positions = sorted(position for group in taken for position in group)
        clips = tuple(dataset.train.clips[position] for position in positions)
        train = replace(dataset.train, clips=clips, videos=())
        trials.append(Trial(repeat, share, train, replace(dataset.validation, videos=())))
    return trials
