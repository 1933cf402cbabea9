"""What a stream keeps and what is answered at its frames; the same objects whichever engine runs the network."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipshift.errors import ConfigError, VideoError


@dataclass(frozen=True, eq=False)
class StreamState:
    """All that streams keep from one frame to the next; no step changes it.

    Attributes:
        tensors: Arrays or tensors, with a row for each stream; zeros are the start of a stream.
        streams: Their number, B.
    """

    tensors: tuple[Any, ...]
    streams: int

    def reset(self, *streams: int) -> StreamState:
        """A state in which some streams begin anew, by their numbers from 0; the others go on.

        Raises:
            ConfigError: There is no such stream.
        """
        wrong = [number for number in streams if not 0 <= number < self.streams]
        if wrong:
            raise ConfigError(
                "There is no such stream.", where="streams", got=wrong[0], allowed=f"0 to {self.streams - 1}"
            )
        fresh = deepcopy(self.tensors)
        for tensor in fresh:
            tensor[list(streams)] = 0
        return StreamState(fresh, self.streams)


@dataclass(frozen=True, eq=False)
class StreamScores:
    """The answer at a frame: to the stream so far, which is the average over the last frames, and to the frame alone.

    Attributes:
        classes: K names.
        probabilities: Of the averaged logits, float32 (K,) for one frame (H, W, 3), (B, K) for frames (B, H, W, 3).
        frame_probabilities: Of the frame's own logits, of the same shape.
        logits: The averaged logits, of the same shape.
        frame_logits: The frame's own logits, of the same shape.
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    frame_probabilities: np.ndarray
    logits: np.ndarray
    frame_logits: np.ndarray

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class of each stream."""
        return tuple(self.classes[best] for best in np.atleast_2d(self.probabilities).argmax(axis=1))

    @property
    def label(self) -> str:
        """The most probable class of the only stream.

        Raises:
            ValueError: There are several.
        """
        if len(self.labels) != 1:
            raise ValueError(f"there are {len(self.labels)} streams: take labels")
        return self.labels[0]


def as_batch(frames: np.ndarray, streams: int) -> np.ndarray:
    """One frame of each stream as uint8 (B, H, W, 3).

    Args:
        frames: That, or the frame (H, W, 3) of the only stream.
        streams: How many there are, B.

    Raises:
        VideoError: The frames are nothing of these.
    """
    one = "(height, width, 3) or " if streams == 1 else ""
    allowed = f"uint8 {one}({streams}, height, width, 3), RGB"
    if not isinstance(frames, np.ndarray):
        raise VideoError("This is not a frame.", got=type(frames).__name__, allowed=f"an array {allowed}")
    batch = frames[None] if frames.ndim == 3 else frames
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3 or 0 in batch.shape or len(batch) != streams:
        raise VideoError("This is not one frame of each stream.", got=f"{frames.dtype} {frames.shape}", allowed=allowed)
    return batch
