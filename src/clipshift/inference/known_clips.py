"""None of these: clips that are unlike all that a model has learnt from.

Whether a network's probabilities are high says little of clips of none of its classes, for these are not what it was
trained to tell. How near a clip's features are to those of the clips that it was trained on says more.

Layouts: N clips, D features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from clipshift.config import UnknownRule
from clipshift.errors import WeightsError
from clipshift.files import write_whole

KNOWN_CLIPS_FILE = "known_clips.safetensors"
"""In a model folder, where `model.json` has a rule for unknown clips."""


@dataclass(frozen=True, eq=False)
class KnownClips:
    """What a model remembers of the clips that it has learnt from.

    Attributes:
        features: float32 (N, D), what the classifier reads of each, made of length 1.
        lengths: float32 (N,), what the features were divided by; None where a model was written without.
        labels: int64 (N,), the clips' classes; None likewise.
    """

    features: np.ndarray
    lengths: np.ndarray | None = None
    labels: np.ndarray | None = None

    def to_bytes(self) -> bytes:
        """As a file of safetensors."""
        tensors = {"features": self.features, "lengths": self.lengths, "labels": self.labels}
        return safetensors.numpy.save({name: value for name, value in tensors.items() if value is not None})


def unit_length(features_ND: np.ndarray) -> np.ndarray:
    """Each row divided by its length, float32; rows of zeros stay."""
    exact = features_ND.astype(np.float64)
    return np.asarray(exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def familiarity(features_ND: np.ndarray, known: KnownClips) -> np.ndarray:
    """Cosine of each clip's features and the nearest known clip's, (N,) in [-1, 1] (Sun et al. 2022, with k = 1)."""
    cosines: np.ndarray = unit_length(features_ND) @ known.features.T
    return np.asarray(cosines.max(axis=1))


def fit_threshold(familiarities: np.ndarray, kept: float) -> float:
    """The familiarity at which the share `kept` of known clips stays.

    Of n held-out clips in ascending order it is the one of rank floor((n + 1) (1 - kept)), as in split conformal
    prediction: another such clip is below it with a probability of at most 1 - kept. With too few clips for that it is
    the smallest.

    Args:
        familiarities: (N,), of known clips that are not among the remembered ones.
        kept: In (0, 1).
    """
    ascending = np.sort(familiarities)
    rank = int((len(ascending) + 1) * (1 - kept) + 1e-9)
    return float(ascending[max(rank, 1) - 1])


def save_known_clips(folder: Path, known: KnownClips) -> str:
    """Write the file into a model folder.

    Returns:
        Its SHA-256, for the model's description.

    Raises:
        OSError: It cannot be written.
    """
    content = known.to_bytes()
    write_whole(folder / KNOWN_CLIPS_FILE, content)
    return hashlib.sha256(content).hexdigest()


def load_known_clips(folder: Path, rule: UnknownRule) -> KnownClips:
    """Read the file of a model folder, checked against the description.

    Raises:
        WeightsError: It is missing, or not the one that the description was written with.
    """
    path = folder / KNOWN_CLIPS_FILE
    remedy = "copy the whole model folder from where it was made"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            "What the model remembers of its clips is missing.", where=path, got=error.strerror, remedy=remedy
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != rule.sha256:
        raise WeightsError(
            "What the model remembers of its clips was damaged or replaced.",
            where=path,
            got=f"SHA-256 {digest}",
            allowed=f"SHA-256 {rule.sha256}",
            remedy=remedy,
        )
    try:
        tensors = safetensors.numpy.load(content)
        return KnownClips(tensors["features"], tensors.get("lengths"), tensors.get("labels"))
    except (safetensors.SafetensorError, KeyError) as error:
        raise WeightsError("The file is none of known clips.", where=path) from error
