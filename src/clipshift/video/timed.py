"""Frames with the time at which they are shown, and the ones that a network sees of them at its own rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

TICK_TOLERANCE = 1e-6
"""Seconds within which times count as equal: time bases of containers do not hold a third of a second."""


class Timed(Protocol):
    """Something that is shown from a time on, in seconds."""

    @property
    def time(self) -> float:
        """Seconds, on the clock of its source."""


Shown = TypeVar("Shown", bound=Timed)


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """A frame and when it is shown.

    Attributes:
        time: Seconds, on the clock of its source; it is on display from then on until the next frame.
        frame: uint8 (H, W, 3), RGB.
    """

    time: float
    frame: np.ndarray


def frames_at_rate(
    frames: Iterable[TimedFrame], rate: float, *, longest_display: float = math.inf
) -> Iterator[TimedFrame]:
    """The frames on display at the ticks of [shown_at_rate][clipshift.video.timed.shown_at_rate], with their times."""
    for time, shown in shown_at_rate(frames, rate, longest_display=longest_display):
        yield TimedFrame(time, shown.frame)


def shown_at_rate(
    frames: Iterable[Shown], rate: float, *, longest_display: float = math.inf
) -> Iterator[tuple[float, Shown]]:
    """What is on display at the ticks t0 + k / rate, where t0 is the time of the first frame.

    At a tick that is the last frame whose time is not after it. So a source with more frames than ticks loses some, one
    with fewer shows some again, and a variable frame rate changes nothing. A tick is told when the frame after it is
    there, or the source ends; after the last frame there are no ticks.

    Ticks begin anew, at the next frame, where the time goes back, and where a frame would be on display for longer than
    `longest_display`: what a source that stands still last showed is not what happens meanwhile.

    Args:
        frames: In the order in which they are shown; decoded pictures are best converted after this choice.
        rate: Ticks in a second, above 0.
        longest_display: Seconds.

    Yields:
        The time of a tick, and what is on display at it.

    Raises:
        ValueError: The rate is not above 0, or a time is not finite.
    """
    if not (math.isfinite(rate) and rate > 0):
        raise ValueError(f"rate must be above 0, got {rate}")
    shown: Shown | None = None
    first, count = 0.0, 0
    for frame in frames:
        if not math.isfinite(frame.time):
            raise ValueError(f"the time of a frame must be finite, got {frame.time}")
        if shown is not None and frame.time < shown.time:
            shown = None  # the tick that was awaited never came
        while shown is not None and first + count / rate < frame.time - TICK_TOLERANCE:
            if first + count / rate > shown.time + longest_display + TICK_TOLERANCE:
                shown = None
                break
            yield first + count / rate, shown
            count += 1
        if shown is None:
            first, count = frame.time, 0
        shown = frame
    if shown is not None and first + count / rate <= shown.time + TICK_TOLERANCE:
        yield first + count / rate, shown
