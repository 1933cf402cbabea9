"""How accuracy grows with the number of clips: an inverse power law, and what it says of more clips.

The error of n clips is a + b n^-c with a, b, c >= 0 (Cortes et al. 1994, "Learning Curves: Asymptotic Values and Rate
of Convergence"; Figueroa et al. 2012, "Predicting sample size required for classification performance").

Layouts: R repeats, S sizes of the training set, M tested clips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RATES = np.geomspace(0.1, 2.0, 25)
"""Exponents c that are tried."""


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PowerLaw:
    """The error of n clips, a + b n^-c.

    Attributes:
        a: Error that no number of clips takes away, in [0, 1].
        b: Error of one clip beyond that, at least 0.
        c: How quickly it falls, in [0.1, 2].
    """

    a: float
    b: float
    c: float

    def accuracy(self, clips: float | np.ndarray) -> np.ndarray:
        """In [0, 1], of the shape of `clips`."""
        return np.clip(1 - self.a - self.b * np.asarray(clips, dtype=np.float64) ** -self.c, 0, 1)


def fit_power_law(sizes: np.ndarray, accuracies: np.ndarray) -> PowerLaw:
    """Least squares over the sizes.

    Args:
        sizes: Numbers of training clips (S,), at least two different ones.
        accuracies: Means (S,) in [0, 1].
    """
    a, b, c = _fit(sizes, accuracies[None])
    return PowerLaw(float(a[0]), float(b[0]), float(c[0]))


def _fit(sizes: np.ndarray, accuracies: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, each (B,), of the curves of accuracies (B, S): for each rate the best a and b not below 0."""
    errors = 1 - accuracies
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    for rate in _RATES:
        # Sizes by the smallest: b stays of the size of the errors.
        x = (sizes / sizes.min()) ** -rate
        centered = x - x.mean()
        slope = np.maximum(errors @ centered / (centered @ centered), 0)
        floor = errors.mean(axis=1) - slope * x.mean()
        through_zero = errors @ x / (x @ x)
        slope, floor = np.where(floor < 0, through_zero, slope), np.maximum(floor, 0)
        residual = ((errors - floor[:, None] - slope[:, None] * x) ** 2).sum(axis=1)
        better = residual < best - 1e-15
        best[better] = residual[better]
        scale = sizes.min() ** rate
        found[:, better] = np.stack([floor, slope * scale, np.full_like(floor, rate)])[:, better]
    return found[0], found[1], found[2]


def extrapolate(
    sizes: np.ndarray,
    right: np.ndarray,
    sources: np.ndarray,
    clips: float,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[PowerLaw, Estimate, Estimate]:
    """The law of a learning curve, and the accuracy with another number of clips.

    The interval is that of the bootstrap (Efron and Tibshirani 1993, section 13.3), in which repeats are drawn, and the
    sources of the tested clips: both are few, and another draw of either would have given another curve.

    Args:
        sizes: Numbers of training clips (S,), ascending.
        right: float64 (R, S, M), 1 where a clip was right in a test, 0 where it was wrong, NaN where it was not tested.
        sources: int64 (M,), the source of each tested clip, from 0.
        clips: The number of training clips to tell for.
        draws: Of the bootstrap.
        seed: Of the draws.

    Returns:
        The law, the accuracy with so many clips, and how much it is more than with the largest size, by the same law.
    """
    random = np.random.default_rng(seed)
    repeats, groups = len(right), int(sources.max()) + 1
    tested = ~np.isnan(right)
    # What a source brings to a repeat and size: clips right, and clips tested.
    member = np.eye(groups)[sources]
    hits, counts = np.nan_to_num(right) @ member, tested @ member
    weight = _draws(random, draws, repeats)
    kept = _draws(random, draws, groups)
    numerator = np.einsum("br,rsg,bg->bs", weight, hits, kept, optimize=True)
    denominator = np.einsum("br,rsg,bg->bs", weight, counts, kept, optimize=True)
    usable = (denominator > 0).all(axis=1)
    drawn = numerator[usable] / denominator[usable]
    law = fit_power_law(sizes, hits.sum(axis=(0, 2)) / counts.sum(axis=(0, 2)))
    a, b, c = (each[:, None] for each in _fit(sizes, drawn))
    at = np.array([float(sizes[-1]), clips])
    told = np.clip(1 - a - b * at**-c, 0, 1)
    value, now = float(law.accuracy(clips)), float(law.accuracy(float(sizes[-1])))
    return law, _estimate(value, told[:, 1]), _estimate(value - now, told[:, 1] - told[:, 0])


def _draws(random: np.random.Generator, draws: int, number: int) -> np.ndarray:
    """How often each of `number` is drawn, float64 (draws, number)."""
    return random.multinomial(number, np.full(number, 1 / number), size=draws).astype(np.float64)


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(value, min(value, float(low)), max(value, float(high)))
