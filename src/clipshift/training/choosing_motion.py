"""Whether a classifier reads motion beside the mean of the frames' features: what the training clips themselves say.

Layouts: N clips, D features of a frame, P parts of what a classifier reads: the mean, and changes over each distance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipshift.config import Config, Resolved
from clipshift.datasets.clip import evenly
from clipshift.training.folds import out_of_fold
from clipshift.weights.loading import spec_of_weights

CHOSEN = "training clips"
"""Where `model.motion` comes from that nobody set."""
_MOST_CLIPS, _MOST_CLASSES = 500, 25
"""As many clips and classes tell it, and in seconds."""
_FEWEST_GROUPS = 10
_FOLDS, _DEALS = 5, 3


@dataclass(frozen=True)
class MotionChoice:
    """What probes with and without motion lose on held-out clips.

    Attributes:
        still: Mean loss in nats of probes that read the mean alone.
        moving: Mean loss in nats of probes that read all parts.
        error: Standard error over clips of the difference.
    """

    still: float
    moving: float
    error: float

    @property
    def motion(self) -> bool:
        """Whether motion is to be read: it lowers the loss by more than its standard error."""
        return self.still - self.moving > self.error

    def said(self) -> str:
        """For the user."""
        reads = "reads motion, too" if self.motion else "reads no motion"
        return (
            f"The classifier {reads} (model.motion={str(self.motion).lower()}): on held-out training clips, linear "
            f"probes that do have a loss of {self.moving:.2f}, others of {self.still:.2f} (lower by "
            f"{self.still - self.moving:.2f} ± {self.error:.2f})."
        )


def motion_is_open(resolved: Resolved) -> bool:
    """Whether the training clips are to decide `model.motion`, and can.

    Args:
        resolved: Settings and where they come from.
    """
    config = resolved.config
    return config.train.choose_motion and "model.motion" not in resolved.origin and _can_choose(config)


def _can_choose(config: Config) -> bool:
    probed = config.train.probe and not config.train.multi_label
    return probed and config.input.segments > 1 and not config.model.is_past_only


def follow_motion(resolved: Resolved, weights: Path | None, classes: Sequence[str]) -> Resolved:
    """Settings with a classifier that reads what that of the weights does, where it is kept and nobody set another.

    Args:
        resolved: Settings and where they come from.
        weights: What the training starts from.
        classes: Of the data; the weights' classifier is kept where it is one for these.

    Raises:
        WeightsError: The weights cannot be read.
    """
    spec = None if weights is None or "model.motion" in resolved.origin else spec_of_weights(weights)
    if weights is None or spec is None or set(spec.classes) != set(classes):
        return resolved
    return with_motion(resolved, spec.model.motion, f"weights {weights.name}")


def with_motion(resolved: Resolved, motion: bool, origin: str) -> Resolved:
    """The settings with another `model.motion`, and where it comes from."""
    model = resolved.config.model.model_copy(update={"motion": motion})
    config = resolved.config.model_copy(update={"model": model})
    return Resolved(config, {**resolved.origin, "model.motion": origin})


def choose_motion(features_NPD: np.ndarray, labels: np.ndarray, groups: Sequence[Sequence[int]]) -> MotionChoice | None:
    """Ask linear probes that have not seen a clip, nor another one of its source, for its class: with motion, without.

    Args:
        features_NPD: float32 (N, P, D): the mean over the frames, then the changes over each distance.
        labels: int64 (N,).
        groups: Positions of clips of one source.

    Returns:
        None where there are too few sources to tell.
    """
    rows = _some(labels)
    place = {int(row): number for number, row in enumerate(rows)}
    together = [[place[position] for position in group if position in place] for group in groups]
    together = [group for group in together if group]
    if len(together) < _FEWEST_GROUPS:
        return None
    known, own = np.unique(labels[rows], return_inverse=True)
    losses = []
    for kinds in (features_NPD[rows, :1], features_NPD[rows]):
        chances = out_of_fold(
            list(kinds.swapaxes(0, 1)), own, together, classes=len(known), folds=_FOLDS, repeats=_DEALS, seed=0
        )
        losses.append(-np.log(chances[np.arange(len(own)), own].clip(1e-12)))
    gain = losses[0] - losses[1]
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
    return MotionChoice(float(losses[0].mean()), float(losses[1].mean()), error)


def _some(labels: np.ndarray) -> np.ndarray:
    """Positions of the clips that are asked about: all, or of so many classes as evenly spread, so many of each."""
    of_class: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels.tolist()):
        of_class[label].append(position)
    classes = evenly([of_class[label] for label in sorted(of_class)], _MOST_CLASSES)
    if sum(map(len, classes)) > _MOST_CLIPS:
        classes = [evenly(own, _MOST_CLIPS // len(classes)) for own in classes]
    return np.array(sorted(position for own in classes for position in own), dtype=np.int64)
