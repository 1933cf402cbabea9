"""What a prediction answers; the same object whichever engine ran the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clipshift.datasets.clip import TrackPart

UNKNOWN = "unknown"
"""The answer for a video that is unlike all that the model has learnt from."""


@dataclass(frozen=True)
class Prediction:
    """The class probabilities of one video.

    Attributes:
        path: What was asked for.
        classes: K names.
        probabilities: float32 `(K,)` in [0, 1], with sum 1 unless the model gives a video several labels.
        coverage: The rate at which `class_set` holds the right class, where one was asked for; else None.
        class_set: These classes, best first.
        familiarity: Cosine with the nearest clip that the model has learnt from; None where it remembers none.
        unknown: Whether that is too little, so that the video is none of the classes.
        track: Of which track the answer is, where it is of one.
    """

    path: str
    classes: tuple[str, ...]
    probabilities: np.ndarray
    coverage: float | None = None
    class_set: tuple[str, ...] = ()
    familiarity: float | None = None
    unknown: bool = False
    track: TrackPart | None = None

    @property
    def label(self) -> str:
        """The most probable class, or `unknown`."""
        return UNKNOWN if self.unknown else self.top(1)[0][0]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, best first; never more than there are classes."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in best]

    def to_json(self) -> dict[str, Any]:
        """All classes and probabilities, best first, and the set of classes where one was asked for."""
        ranked = {name: round(chance, 6) for name, chance in self.top(len(self.classes))}
        answer: dict[str, Any] = {"path": self.path, **_of_track(self.track), "label": self.label}
        answer["probabilities"] = ranked
        if self.familiarity is not None:
            answer |= {"unknown": self.unknown, "familiarity": round(self.familiarity, 6)}
        if self.coverage is not None:
            answer |= {"coverage": self.coverage, "class_set": list(self.class_set)}
        return answer


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the network made of one video, before the classifier.

    Attributes:
        path: What was asked for.
        vector: float32 `(D,)`.
    """

    path: str
    vector: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """The path and the numbers, each with as few digits as give the same float32 again."""
        return {"path": self.path, "embedding": [float(str(number)) for number in self.vector]}


@dataclass(frozen=True)
class Failure:
    """A video that could not be read.

    Attributes:
        path: What was asked for.
        error: Why, in one line.
        track: Of which track an answer was wanted, where it was of one.
    """

    path: str
    error: str
    track: TrackPart | None = None

    def to_json(self) -> dict[str, Any]:
        """The path and the error."""
        return {"path": self.path, **_of_track(self.track), "error": self.error}


def _of_track(track: TrackPart | None) -> dict[str, Any]:
    return {} if track is None else {"track": track.name, "cut_at_edge": track.cut}
