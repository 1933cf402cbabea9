"""Temperatures: how sure a model may be, fitted on labeled clips that it has not learnt from.

Layouts: N clips, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from clipshift.config import Calibration
from clipshift.evaluation.metrics import binary_calibration_error, calibration_error

LEAST_CLIPS = 20
"""Clips below which no temperature is fitted: its error would be as large as what it mends."""
SMALLEST, LARGEST = 0.05, 20.0
"""Between these a temperature is looked for."""
_MOST_SCORES = 1000
_DIGITS = 6


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature with the lowest negative log-likelihood (Guo et al. 2017, section 4.2), by bisection.

    To the clips is added one whose truth is every class alike, its loss averaged over the logits of all: the rule of
    succession. Without it the temperature of a model that is right for each clip would be 0, that is, certainty.
    In 1 / temperature the loss is convex, so bisection of its derivative finds the one minimum.

    Args:
        logits: (N, K) float, N of at least 1, averaged over views.
        targets: (N,) int64 labels; or (N, K) bool, where clips may have several.

    Returns:
        In [`SMALLEST`, `LARGEST`].
    """
    z = logits.double().cpu()
    count, classes = z.shape
    one_label = targets.ndim == 1
    truth = F.one_hot(targets.cpu(), classes).double() if one_label else targets.double().cpu()
    unknown = 1 / classes if one_label else 0.5
    smoothed = (truth * count + unknown) / (count + 1)

    def slope(inverse: float) -> float:
        """Of the loss by 1 / temperature: the mean of sum_k z_k (p_k - target_k)."""
        scaled = z * inverse
        chances = scaled.softmax(dim=1) if one_label else scaled.sigmoid()
        return float((z * (chances - smoothed)).sum(dim=1).mean())

    low, high = math.log(1 / LARGEST), math.log(1 / SMALLEST)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) < 0 else (low, middle)
    return float(f"{math.exp(-(low + high) / 2):.6g}")


def calibrate_scores(logits: Tensor, targets: Tensor, *, data: str) -> Calibration | None:
    """Fit all that a model's description says of how sure it may be.

    Args:
        logits: (N, K) float of the clips that could be read, averaged over views, not divided by a temperature.
        targets: (N,) int64 labels; or (N, K) bool, where clips may have several.
        data: Where the clips are from.

    Returns:
        The calibration; None if there are fewer than `LEAST_CLIPS` clips.
    """
    count = len(logits)
    if count < LEAST_CLIPS:
        return None
    logits = logits.double().cpu()
    temperature = fit_temperature(logits, targets)
    scores: tuple[float, ...] = ()
    if targets.ndim == 1:
        right = (logits / temperature).softmax(dim=1)[torch.arange(count), targets.cpu()]
        scores = _kept(np.sort(1 - right.numpy()))
    return Calibration(
        temperature=temperature,
        clips=count,
        data=data,
        error_before=_error(logits, targets),
        error_after=_error(_cross_fitted(logits, targets), targets),
        scores=scores,
    )


def _cross_fitted(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits divided by the temperature of the other half of the clips; halves are every second clip of each label."""
    labels = targets if targets.ndim == 1 else targets.int().argmax(dim=1)
    order = torch.argsort(labels, stable=True)
    scaled = torch.empty_like(logits)
    for own, other in ((order[::2], order[1::2]), (order[1::2], order[::2])):
        scaled[own] = logits[own] / fit_temperature(logits[other], targets[other])
    return scaled


def _error(logits: Tensor, targets: Tensor) -> float:
    if targets.ndim == 1:
        return calibration_error(logits, targets)
    return binary_calibration_error(logits.sigmoid().flatten(), targets.flatten())


def _kept(ascending: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    """The scores rounded up; of very many the upper ends of equal parts: sets get larger by both, never smaller."""
    scores = np.asarray(ascending, dtype=np.float64)
    if len(scores) > _MOST_SCORES:
        ends = np.ceil(np.arange(1, _MOST_SCORES + 1) * len(scores) / _MOST_SCORES).astype(int) - 1
        scores = scores[ends]
    up = np.ceil(np.clip(scores, 0, 1) * 10**_DIGITS) / 10**_DIGITS
    return tuple(float(round(score, _DIGITS)) for score in np.minimum(up, 1.0))
