"""From logits to probabilities, and from these to sets of classes that hold the truth at a chosen rate.

Layouts: K classes.
"""

from __future__ import annotations

import math

import numpy as np

from clipshift.config import ModelSpec
from clipshift.errors import ConfigError

_RECALIBRATE = "clipshift calibrate MODEL DATA, with labeled clips that the model has not learnt from"


def probabilities(logits: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Probabilities float32 (K,) of logits (K,), divided by the model's temperature.

    A softmax or, where a video may have several labels, a sigmoid of each.
    """
    exact = logits.astype(np.float64) / spec.temperature
    if spec.labels == "several":
        chances = np.exp(-np.logaddexp(0, -exact))  # the sigmoid, without overflow
    else:
        chances = np.exp(exact - exact.max())
        chances /= chances.sum()
    return np.asarray(chances, dtype=np.float32)


def set_threshold(spec: ModelSpec, coverage: float) -> float:
    """The probability from which on a class is in the set that holds the truth at a rate of at least `coverage`.

    Split conformal prediction (Vovk et al. 2005; the score 1 - p of Sadinle, Lei and Wasserman 2019): with the scores
    of n labeled clips in ascending order, the k-th, k = ceil((n + 1) coverage), is the largest that a class of the set
    may have. The rate holds on average over clips like those n, and over the choice of the n.

    Args:
        spec: The model's description, with its calibration.
        coverage: The rate, in (0, 1).

    Raises:
        ConfigError: The rate is no rate, the model has no scores of labeled clips, or so few that they cannot tell.
    """
    if not 0 < coverage < 1:
        raise ConfigError("The coverage is a share of clips.", where="coverage", got=coverage, allowed="0 to 1")
    if spec.labels == "several":
        raise ConfigError(
            "A video of this model may have several classes: sets with one true class are not for it.", where="coverage"
        )
    if spec.calibration is None or not spec.calibration.scores:
        raise ConfigError(
            "The model is not calibrated, so nothing is known of how often its sets of classes hold the truth.",
            where="coverage",
            remedy=_RECALIBRATE,
        )
    clips, scores = spec.calibration.clips, spec.calibration.scores
    rank = math.ceil((clips + 1) * coverage - 1e-9)  # (19 + 1) * 0.95 is 19, whatever floating-point numbers say
    if rank > clips:
        raise ConfigError(
            "The model was calibrated on too few clips for sets that hold the truth so often.",
            where="coverage",
            got=f"{coverage:g} with {clips} clips",
            allowed=f"at most {clips / (clips + 1):.4g}",
            remedy=_RECALIBRATE,
        )
    # Of very many clips, every score stands for a group, whose largest it is.
    return float(1 - scores[math.ceil(rank * len(scores) / clips) - 1])


def classes_of_set(chances: np.ndarray, threshold: float) -> tuple[int, ...]:
    """The classes of a set, best first: those at `threshold` and above, and always the best one.

    Args:
        chances: Probabilities (K,).
        threshold: Of `set_threshold`.
    """
    order = np.argsort(-chances, kind="stable")
    # The scores were rounded when they were stored, upwards; probabilities here are float32.
    inside = [int(index) for index in order if chances[index] >= threshold - 1e-6]
    return tuple(inside) or (int(order[0]),)
