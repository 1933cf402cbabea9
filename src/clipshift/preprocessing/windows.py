"""Which frames of an open clip a network sees: spread over the clip, or in a window of time at a rate of its own.

With `input.rate` the rhythm is that of a clock: frame i of a window is the one on display at `first + i / rate`, by the
times of presentation, whatever the frame rate of the video, and whether that varies or not. It is the rule by which a
stream is seen ([frames_at_rate][clipshift.video.timed.frames_at_rate]).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from clipshift.config import InputConfig, TrainSampling
from clipshift.preprocessing.sampling import frame_sets, training_frames
from clipshift.video.span import frames_on_display

if TYPE_CHECKING:
    from clipshift.video import ClipReader


def choose_test_frames(reader: ClipReader, settings: InputConfig, clips: int = 1) -> tuple[ClipReader, list[list[int]]]:
    """The sets of frames that a test takes of a clip.

    Args:
        reader: The clip.
        settings: `segments`, and `rate` or `sampling`.
        clips: Number of sets.

    Returns:
        What is read from (of a span the whole video, where windows are taken), and `clips` lists of `segments` indices
        into it.

    Raises:
        ConfigError: The rule of sampling does not know so many sets.
        VideoError: There is a rate, and the clip has no times.
    """
    if settings.rate is None:
        return reader, frame_sets(settings.sampling, reader.frame_count, settings.segments, clips)
    part = reader.stretch
    return part.video, spread_windows(
        part.video.boundaries, part.start, part.end, rate=settings.rate, segments=settings.segments, clips=clips
    )


def choose_training_frames(
    reader: ClipReader,
    sampling: TrainSampling,
    settings: InputConfig,
    random: np.random.Generator,
    *,
    by_middle: bool = False,
) -> tuple[ClipReader, list[int]]:
    """The frames that a training takes of a clip.

    Args:
        reader: The clip.
        sampling: The rule where there is no rate.
        settings: `segments` and `rate`.
        random: Where the draws come from; exactly `segments` draws are made.
        by_middle: With a rate: whether all windows are taken whose middle lies in the span, in place of those that lie
            in it.

    Returns:
        What is read from (of a span the whole video, where a window is taken), and `segments` indices into it.

    Raises:
        VideoError: There is a rate, and the clip has no times.
    """
    if settings.rate is None:
        return reader, training_frames(sampling, reader.frame_count, settings.segments, random)
    part = reader.stretch
    # As many draws as by the other rules, so that what is drawn after them stays the same.
    draw = float(random.random(settings.segments)[0])
    boundaries, start, end = part.video.boundaries, part.start, part.end
    if by_middle:
        start, end = _reach_of_middles(start, end, float(boundaries[-1]), settings)
    return part.video, _window(boundaries, start, end, settings.rate, settings.segments, draw)


def spread_windows(
    boundaries: np.ndarray, start: float, end: float, *, rate: float, segments: int, clips: int = 1
) -> list[list[int]]:
    """Windows of time, evenly over a span: the frames that are on display at the ticks of each.

    A window of S ticks reaches from its first to its last one, (S - 1) / rate seconds. Where the span is longer, first
    ticks lie in the middles of `clips` equal parts of the room that is left; one window lies in the middle of the span,
    and of a span of S / rate seconds the ticks are the middles of its S equal parts, as with `input.sampling=middle`.
    A span that is shorter lies within the window, which then reaches beyond it on both sides, into the video; at the
    ends of the video the window is moved inside. Of a video that is shorter than the window, the last frame stays on
    display for all ticks behind it.

    Args:
        boundaries: When the frames of the video begin, and the last one ends, seconds, float64 (frames + 1,).
        start: Of the span, seconds.
        end: Of the span, seconds.
        rate: Ticks in a second, above 0.
        segments: Ticks of a window, at least 1.
        clips: Number of windows, at least 1.

    Returns:
        `clips` lists of `segments` indices, each 0 <= index < frames, never falling.
    """
    places = [(2 * clip + 1) / (2 * clips) for clip in range(clips)]
    return [_window(boundaries, start, end, rate, segments, place) for place in places]


def sets_of_array(frames: int, settings: InputConfig, clips: int = 1) -> list[list[int]]:
    """The sets of frames that a test takes of decoded frames without times: those count as having come at the rate.

    Args:
        frames: Number of frames, at least 1.
        settings: `segments`, and `rate` or `sampling`.
        clips: Number of sets.

    Raises:
        ConfigError: The rule of sampling does not know so many sets.
    """
    rate = settings.rate
    if rate is None:
        return frame_sets(settings.sampling, frames, settings.segments, clips)
    boundaries = np.arange(frames + 1) / rate
    end = float(boundaries[-1])
    return spread_windows(boundaries, 0.0, end, rate=rate, segments=settings.segments, clips=clips)


def _reach_of_middles(start: float, end: float, video_end: float, settings: InputConfig) -> tuple[float, float]:
    """From where to where the windows reach whose middles lie in a span; those that lie in the video, if there are."""
    half = (settings.segments - 1) / 2 / (settings.rate or math.inf)
    first, last = max(start, half), min(end, video_end - half)
    return (first - half, last + half) if first < last else (start - half, end + half)


def _window(boundaries: np.ndarray, start: float, end: float, rate: float, segments: int, place: float) -> list[int]:
    """The frames of the window at a place in [0, 1) of all that a span has room for, or, if shorter, that hold it."""
    reach = (segments - 1) / rate
    first = start + (end - start - reach) * place
    first = max(0.0, min(first, float(boundaries[-1]) - reach))
    ticks = first + np.arange(segments) / rate
    return [int(frame) for frame in frames_on_display(boundaries[:-1], ticks)]
