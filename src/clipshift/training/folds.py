"""Out-of-fold predictions: every clip is answered for by a probe that has seen no clip of the same source.

Layouts: N clips, D features of a kind (which kinds differ in), K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from clipshift.training.probe import fit_linear_probe

DECAY = 1e-3
"""Of the probe's weights: ten times that of a training's start, because some labels are wrong."""


def deal_folds(groups: Sequence[Sequence[int]], labels: Sequence[int], folds: int, *, seed: int) -> np.ndarray:
    """Deal groups of clips into folds so that each class is spread over them as evenly as its groups allow.

    Args:
        groups: Positions of clips that stay together.
        labels: Of every clip.
        folds: How many.
        seed: Of the draw.

    Returns:
        The fold of every clip, int64 (N,).
    """
    random = np.random.default_rng(seed)
    fold = np.zeros(len(labels), dtype=np.int64)
    there = np.zeros((folds, max(labels) + 1), dtype=np.int64)
    order = [groups[number] for number in random.permutation(len(groups))]
    for group in sorted(order, key=len, reverse=True):  # large ones first: what comes after evens them out
        classes, counts = np.unique([labels[position] for position in group], return_counts=True)
        costs = there[:, classes].sum(axis=1) + there.sum(axis=1) / (1 + there.sum())
        cheapest = np.flatnonzero(costs <= costs.min() + 1e-9)
        chosen = int(random.choice(cheapest))
        there[chosen, classes] += counts
        fold[list(group)] = chosen
    return fold


def out_of_fold(
    kinds: Sequence[np.ndarray],
    labels: np.ndarray,
    groups: Sequence[Sequence[int]],
    *,
    classes: int,
    folds: int,
    repeats: int,
    seed: int,
    learn: np.ndarray | None = None,
) -> np.ndarray:
    """Probabilities of every clip by linear probes on the other folds, averaged over several deals.

    Args:
        kinds: Features of each kind, float32 (N, D).
        labels: int64 (N,).
        groups: Positions of clips of one source.
        classes: K.
        folds: Parts; each is answered for by a probe on the others.
        repeats: Deals.
        seed: Of the deals.
        learn: bool (N,), the clips that probes learn from; None: all.

    Returns:
        float64 (N, K).
    """
    x, y = torch.from_numpy(compact(kinds)), torch.from_numpy(labels)
    learn = np.ones(len(labels), dtype=bool) if learn is None else learn
    chances = np.zeros((len(labels), classes))
    for repeat in range(repeats):
        fold = deal_folds(groups, labels.tolist(), folds, seed=seed + repeat)
        for number in range(folds):
            inside, others = fold == number, (fold != number) & learn
            if inside.any() and others.any():
                weight, bias = fit_linear_probe(x[others], y[others], classes, decay=DECAY)
                chances[inside] += (x[inside] @ weight.T + bias).double().softmax(dim=1).numpy()
    return chances / repeats


def compact(kinds: Sequence[np.ndarray]) -> np.ndarray:
    """Features of several kinds, each scaled to a total variance of 1, turned into as few directions as they span.

    Probes give the same answers sooner: their penalty is the length of the weights, which turning does not change.

    Args:
        kinds: Features of each kind, float32 (N, D).

    Returns:
        float32 (N, the smaller of N and all features); nothing is dropped.
    """
    flat = np.concatenate([_to_unit_variance(kind.astype(np.float64)) for kind in kinds], axis=1)
    if len(flat) >= flat.shape[1]:
        return np.asarray(flat, dtype=np.float32)
    axes, lengths, _ = np.linalg.svd(flat, full_matrices=False)
    return np.asarray(axes * lengths, dtype=np.float32)


def _to_unit_variance(kind_ND: np.ndarray) -> np.ndarray:
    centered = kind_ND - kind_ND.mean(axis=0)
    return np.asarray(centered / max(1e-12, float(np.sqrt(centered.var(axis=0).sum()))))


def sources_of_classes(groups: Sequence[Sequence[int]], labels: Sequence[int], classes: int) -> list[int]:
    """How many groups each class has clips in."""
    counts = Counter(label for group in groups for label in {labels[position] for position in group})
    return [counts[label] for label in range(classes)]
