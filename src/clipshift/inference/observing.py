"""What a model says along a video that goes on: one observation a tick, from a file and from a live source alike."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipshift.config import EventRules
from clipshift.errors import ConfigError
from clipshift.video.timed import TimedFrame, frames_at_rate

if TYPE_CHECKING:
    from clipshift.inference.predictor import Model
    from clipshift.inference.stream_state import StreamState


@dataclass(frozen=True, eq=False)
class Observation:
    """The answer at a tick.

    Attributes:
        time: Seconds, on the clock of the source.
        probabilities: float32 (K,), of the last `input.segments` ticks, or of all since the start, if fewer.
        frame_probabilities: float32 (K,), of this tick's frame alone, as a causal network knows its past; of a window
            the same as `probabilities`.
    """

    time: float
    probabilities: np.ndarray
    frame_probabilities: np.ndarray


def observe(
    model: Model,
    frames: Iterable[TimedFrame],
    rate: float,
    *,
    window: bool = False,
    longest_display: float = math.inf,
) -> Iterator[Observation]:
    """Answers along a video, in memory that does not grow with its length.

    A causal network takes one frame a tick, and what it keeps. With `window` any network answers at each tick for the
    last `input.segments` ticks, as for a clip of these frames; the first answer comes when there are so many. That
    costs `input.segments` times as much.

    Where ticks begin anew (the clock goes back, the source stood still), so does the network.

    Args:
        model: What answers.
        frames: In the order in which they are shown.
        rate: Frames a second that the network sees.
        window: Whether it answers for a sliding window.
        longest_display: Seconds that a frame may be on display, as for
            [frames_at_rate][clipshift.video.timed.frames_at_rate].

    Yields:
        One observation a tick.

    Raises:
        ConfigError: The model takes from later frames, or several crops, and `window` is false.
        ExportError: It is an export that takes clips, and `window` is false.
        ValueError: The rate is not above 0, or a time is not finite.
    """
    return observe_ticks(model, frames_at_rate(frames, rate, longest_display=longest_display), rate, window=window)


def observe_ticks(
    model: Model,
    ticks: Iterable[TimedFrame],
    rate: float,
    *,
    window: bool = False,
    cut: Callable[[np.ndarray, float, float], np.ndarray] | None = None,
) -> Iterator[Observation]:
    """Answers as [observe][clipshift.inference.observing.observe] does, to frames that are at the ticks already.

    Args:
        model: What answers.
        ticks: A frame each, as of [frames_at_rate][clipshift.video.timed.frames_at_rate].
        rate: Ticks in a second.
        window: Whether it answers for a sliding window.
        cut: What is seen of the frames of a window, from its first to its last time; by default all of them.

    Yields:
        One observation a tick.

    Raises:
        ConfigError: As of `observe`.
        ExportError: As of `observe`.
    """
    if window:
        return _by_window(model, ticks, rate, cut)
    return _by_step(model, model.start(), ticks, rate)


def _by_step(model: Model, state: StreamState, ticks: Iterable[TimedFrame], rate: float) -> Iterator[Observation]:
    before: float | None = None
    for tick in ticks:
        if before is not None and not _follows(before, tick.time, rate):
            state = model.start()
        scores, state = model.step(tick.frame, state)
        before = tick.time
        yield Observation(tick.time, scores.probabilities, scores.frame_probabilities)


def _by_window(
    model: Model,
    ticks: Iterable[TimedFrame],
    rate: float,
    cut: Callable[[np.ndarray, float, float], np.ndarray] | None,
) -> Iterator[Observation]:
    recent: deque[TimedFrame] = deque(maxlen=model.spec.input.segments)
    for tick in ticks:
        same = not recent or recent[-1].frame.shape == tick.frame.shape
        if recent and not (same and _follows(recent[-1].time, tick.time, rate)):
            recent.clear()
        recent.append(tick)
        if len(recent) == recent.maxlen:
            frames_THWC = np.stack([each.frame for each in recent])
            if cut is not None:
                frames_THWC = cut(frames_THWC, recent[0].time, tick.time)
            logits = model.scorer.one_set(frames_THWC)
            probabilities = model.probabilities(logits)
            yield Observation(tick.time, probabilities, probabilities)


def _follows(before: float, time: float, rate: float) -> bool:
    """Whether a tick is the next one after another, and not the first of new ones."""
    return abs(time - before - 1 / rate) < 0.5 / rate


def rate_of(model: Model, rate: float | None = None) -> float:
    """The rate at which a model is to see frames: the told one, else its own (`input.rate`).

    Raises:
        ConfigError: None was told and the model has none, or it is not above 0.
    """
    return check_rate(model.spec.input.rate if rate is None else rate)


def rules_of(model: Model, rate: float) -> EventRules:
    """The event rules of a model: its own or, where it has none, the default ones.

    These have a lag of half a window: an answer is of the last `input.segments` ticks, and so of their middle.
    """
    if model.spec.events is not None:
        return model.spec.events
    return EventRules(lag=(model.spec.input.segments - 1) / 2 / rate)


def check_rate(rate: float | None) -> float:
    """The rate at which a network is to see frames.

    Raises:
        ConfigError: None was told, or it is not above 0.
    """
    if rate is None:
        raise ConfigError(
            "The model was trained on frames spread over whole clips, so it does not say how many it sees in a second.",
            where="rate",
            allowed="frames a second; of clips of 4 seconds and 8 frames that is 2",
        )
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError("There is no such rate.", where="rate", got=rate, allowed="frames a second, above 0")
    return rate
