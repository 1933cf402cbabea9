"""What the container of a video file and the times of its packets tell: rate, length, when each frame is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clipshift.video.index import UNKNOWN

if TYPE_CHECKING:
    from fractions import Fraction

    from av.video.stream import VideoStream

    from clipshift.video.index import PacketIndex
    from clipshift.video.opened_file import OpenedFile

_NO_RATE = 25.0
"""Frames a second of a file that has neither times nor a rate."""


@dataclass(frozen=True)
class StreamFacts:
    """What the container and the times of its packets tell of a clip; the fields are those of `ClipInfo`."""

    fps: float | None
    seconds: float | None
    codec: str
    video_streams: int


def read_facts(opened: OpenedFile, frames: int) -> StreamFacts:
    """What the container tells, of a clip of so many frames."""
    stream, index = opened.stream, opened.index
    fps = None if not stream.average_rate else float(stream.average_rate)
    seconds: float | None = None
    if opened.container.format.name == "avi":
        fps = _rate_of_ticks(stream, index, frames) or fps
    elif index.first_time is not None and index.last_time is not None and stream.time_base is not None:
        seconds = float((index.last_time - index.first_time) * stream.time_base) or None
    if seconds is None and fps is not None:
        seconds = frames / fps
    return StreamFacts(fps, seconds, stream.codec_context.codec.canonical_name, opened.video_streams)


def frame_boundaries(stamps: np.ndarray, unit: Fraction | None, facts: StreamFacts, frames: int) -> np.ndarray:
    """When frames begin, and the last one ends.

    Args:
        stamps: The frames' times in units of the time base, int64; `UNKNOWN` where one is not known.
        unit: The time base, in seconds.
        facts: Of the clip.
        frames: How many there are.

    Returns:
        float64 (frames + 1,), seconds since the first frame; evenly spread where the times are not known, or contradict
        the order of the frames.
    """
    fps, seconds = facts.fps, facts.seconds
    if unit is None or len(stamps) != frames or (stamps == UNKNOWN).any() or (np.diff(stamps) <= 0).any():
        step = (seconds / frames if seconds else 0.0) or 1 / (fps or _NO_RATE)
        return np.arange(frames + 1, dtype=np.float64) * step
    # Whole numbers up to the last division: each time is the nearest float, wherever the counting of a file began.
    begins = (stamps - stamps[0]) * unit.numerator / unit.denominator
    step = begins[-1] / (frames - 1) if frames > 1 else 1 / (fps or _NO_RATE)
    return np.append(begins, seconds if seconds is not None and seconds > begins[-1] else begins[-1] + step)


def _rate_of_ticks(stream: VideoStream, index: PacketIndex, frames: int) -> float | None:
    """The mean rate of the pictures of an AVI file; None for fewer than two.

    Its header has the rate of ticks alone, which FFmpeg gives as the mean rate, too. A tick without a picture has an
    empty chunk: H.264 is often written with two ticks for each picture, and copies of other files with hundreds.
    """
    ticks = index.decoding_ticks
    if frames < 2 or not ticks or stream.time_base is None:
        return None
    return float((frames - 1) / (ticks * stream.time_base))
