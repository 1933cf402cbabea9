"""Streams through an exported model: one frame of each stream at a time, and what a stream keeps as plain arrays.

Layouts: B streams, T frames of a clip, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from clipshift.errors import ExportError
from clipshift.inference.engines.session import Session, check_input
from clipshift.inference.export_folder import Export, Streaming

Arrays = tuple[np.ndarray, ...]


class Logits(NamedTuple):
    """What is answered at a frame.

    Attributes:
        frame: Of the frame alone, float32 (B, K).
        average: Averaged over the last frames, as many as the model's window, float32 (B, K).
    """

    frame: np.ndarray
    average: np.ndarray


class Stepper(Protocol):
    """A causal model, whichever engine runs it, one frame at a time; it holds nothing of its streams."""

    @property
    def window(self) -> int:
        """Frames that the average is over."""

    def initial_state(self, streams: int) -> tuple[Any, ...]:
        """What streams keep before their first frame: arrays or tensors of zeros, with a row for each stream."""

    def step(self, frames_BHWC: np.ndarray, state: tuple[Any, ...]) -> tuple[Logits, tuple[Any, ...]]:
        """Answer to one frame of each stream, uint8 (B, H, W, 3), RGB as decoded; the state is not changed."""


@runtime_checkable
class NamedSession(Session, Protocol):
    """A session whose inputs and outputs have names."""

    def answers(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> Arrays:
        """What the file gives for inputs, as many rows in each."""


class StreamingSession:
    """A streaming export: a [Stepper][clipshift.inference.engines.streaming.Stepper] and, for clips, a Session.

    A clip is a stream of its frames, at whose end the average is its answer.

    Args:
        session: Of the file.
        export: What it is.
        streaming: What it says of streams.
    """

    def __init__(self, session: NamedSession, export: Export, streaming: Streaming) -> None:
        self._session, self._export, self._streaming = session, export, streaming
        self._kept = tuple(state.name for state in streaming.states)
        self._given = tuple(state.next_name for state in streaming.states)

    @property
    def engine(self) -> str:
        """Engine, version, device and threads, for people."""
        return self._session.engine

    @property
    def concurrency(self) -> int:
        """How many calls it takes, from as many threads at once, to keep the engine busy."""
        return self._session.concurrency

    @property
    def window(self) -> int:
        """Frames that the average is over."""
        return self._streaming.window

    def initial_state(self, streams: int) -> Arrays:
        """Zeros."""
        return tuple(np.zeros((streams, *state.shape), dtype=state.dtype) for state in self._streaming.states)

    def step(self, frames_BHWC: np.ndarray, state: Arrays) -> tuple[Logits, Arrays]:
        """Answer to one frame of each stream, uint8 (B, H, W, 3).

        Raises:
            ExportError: The frames or the state are not what the file takes.
        """
        frame, average, *kept = self._step(frames_BHWC, state, ("frame_logits", "logits"))
        return Logits(frame, average), tuple(kept)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits float32 (B, K) of clips, uint8 (B, T, H, W, 3)."""
        return self._last(inputs, "logits")[0]

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits, and the probabilities that the file gives itself, float32 (B, K), of clips."""
        logits, probabilities = self._last(inputs, "logits", "probabilities")
        return logits, probabilities

    def _last(self, clips_BTHWC: np.ndarray, *outputs: str) -> Arrays:
        check_input(clips_BTHWC, self._export)
        state = self.initial_state(len(clips_BTHWC))
        for number in range(clips_BTHWC.shape[1]):
            given = self._step(clips_BTHWC[:, number], state, outputs)
            answers, state = given[: len(outputs)], given[len(outputs) :]
        return answers

    def _step(self, frames_BHWC: np.ndarray, state: Arrays, outputs: tuple[str, ...]) -> Arrays:
        self._check(frames_BHWC, state)
        inputs = {"frame": np.ascontiguousarray(frames_BHWC), **dict(zip(self._kept, state, strict=True))}
        return self._session.answers(inputs, (*outputs, *self._given))

    def _check(self, frames_BHWC: np.ndarray, state: Arrays) -> None:
        shape = frames_BHWC.shape
        if frames_BHWC.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
            raise ExportError(
                "The input is not what the exported model takes.",
                got=f"{frames_BHWC.dtype} {shape}",
                allowed="uint8 (streams, height, width, 3): one RGB frame of each stream, as decoded",
            )
        expected = [(shape[0], *kept.shape) for kept in self._streaming.states]
        if [each.shape for each in state] != expected:
            raise ExportError(
                "The state is not of this model, or not of so many streams.",
                got=f"{len(state)} arrays of {len(state[0]) if state else 0} streams",
                allowed=f"{len(expected)} arrays of {shape[0]} streams, as the step before gave them",
            )
