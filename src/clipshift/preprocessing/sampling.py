"""Which frames of a clip a network sees: pure functions from a number of frames to indices.

The clip is cut into equal segments and one frame is taken from each (TSN, Wang et al. 2016, section 3.1).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from clipshift.config import MOST_CLIPS, Sampling, TrainSampling
from clipshift.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

WINDOW = 64
"""Frames that a dense clip spans: about two seconds and a half."""


def frame_sets(sampling: Sampling, frames: int, segments: int, clips: int = 1) -> list[list[int]]:
    """The sets of frames that a test takes of one video, by the rule that `input.sampling` names.

    Args:
        sampling: `middle` ([segment_middles][clipshift.preprocessing.sampling.segment_middles]), `middle_float`
            X
        frames: Number of frames of the video, at least 1.
        segments: Frames per set, at least 1.
        clips: Number of sets, at least 1.

    Returns:
        `clips` lists of `segments` indices, each 0 <= index < frames.

    Raises:
        ConfigError: The rule does not know so many sets of frames.
        ValueError: `frames` or `segments` is less than 1.
    """
    most = MOST_CLIPS.get(sampling)
    if most is not None and clips > most:
        raise ConfigError(
            "This rule of sampling does not say which frames so many clips of one video have.",
            where="clips",
            got=f"clips={clips} with input.sampling={sampling}",
            allowed="1" if most == 1 else f"1 to {most}",
            remedy="ask for fewer clips; more crops are another way to see more of a video",
        )
    if sampling == "middle":
        return [segment_middles(frames, segments, clip, clips) for clip in range(clips)]
    if sampling == "middle_float":
        return [float_middles(frames, segments, clip) for clip in range(clips)]
    if sampling == "dense":
        return dense_windows(frames, segments, clips)
    rules = {"middle_or_first": middles_or_first, "block_middle": block_middles, "ends": first_to_last}
    return [rules[sampling](frames, segments)]


def segment_middles(frames: int, segments: int, clip: int = 0, clips: int = 1) -> list[int]:
    """Takes the middle frame of each of `segments` equal parts; no randomness, for evaluation.

    In exact arithmetic frame `floor((i + (clip + 1/2) / clips) * frames / segments)` of segment i; with one clip
    `floor((i + 1/2) * frames / segments)`. Several clips lie evenly inside each segment. A clip with fewer frames than
    segments repeats frames, in order:

        segment_middles(80, 8)                   5 15 25 35 45 55 65 75
        segment_middles(80, 8, clip=0, clips=2)  2 12 22 32 42 52 62 72
        segment_middles(80, 8, clip=1, clips=2)  7 17 27 37 47 57 67 77
        segment_middles(5, 8)                    0  0  1  2  2  3  4  4
        segment_middles(1, 3)                    0  0  0

    Args:
        frames: Number of frames of the clip, at least 1.
        segments: Number of parts, at least 1.
        clip: Which of the sets of frames, 0 <= clip < clips.
        clips: How many sets are taken of one video.

    Returns:
        `segments` indices, each 0 <= index < frames, never falling.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    if not 0 <= clip < clips:
        raise ValueError(f"clip must be in [0, {clips}), got {clip}")
    return [(2 * (i * clips + clip) + 1) * frames // (2 * segments * clips) for i in range(segments)]


def float_middles(frames: int, segments: int, clip: int = 0) -> list[int]:
    """Takes the middle frame of each part in the floating point of mmaction2 and of MIT's TSM, both in test mode.

    With d = frames / segments in float64, frame `int(d / 2 + i d)` (mmaction2's `SampleFrames`, MIT's
    `_get_test_indices`). Where the exact middle is a whole number, rounding errors sometimes end just below it, one
    frame before `segment_middles`: with 25 segments in 7 of 100 lengths, with 3, 8, 16 and 32 segments never. The
    second clip is mmaction2's `twice_sample`: the parts' first frames, `int(i d)`.

        float_middles(30, 25)[12]   14   segment_middles: 15

    Args:
        frames: Number of frames of the video, at least 1.
        segments: Number of parts, at least 1.
        clip: 0: the middles; 1: the first frames.

    Returns:
        `segments` indices, each 0 <= index < frames, never falling.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    if clip not in (0, 1):
        raise ValueError(f"clip must be 0 or 1, got {clip}")
    part = frames / segments
    start = part / 2 if clip == 0 else 0.0
    return [int(start + part * i) for i in range(segments)]


def middles_or_first(frames: int, segments: int) -> list[int]:
    """Takes the middles of the parts, or nothing but the first frame of a video with at most `segments` frames.

    PaddleVideo's rule with `select_left` in its validation and test, and MIT's in its validation. The middles are
    those of `float_middles`.

        middles_or_first(131, 8)   8 24 40 57 73 90 106 122
        middles_or_first(8, 8)     0  0  0  0  0  0   0   0

    Args:
        frames: Number of frames of the video, at least 1.
        segments: Number of parts, at least 1.

    Returns:
        `segments` indices, each 0 <= index < frames, never falling.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    return float_middles(frames, segments) if frames > segments else [0] * segments


def block_middles(frames: int, segments: int) -> list[int]:
    """Takes the middles of parts of a whole number of frames, so that what is left over at the end is never seen.

    PaddleVideo's default in its validation and test: with d = frames // segments, frame `(d - 1) // 2 + i d`. A video
    with fewer frames than segments is taken frame by frame and begun again:

        block_middles(131, 8)   7 23 39 55 71 87 103 119
        block_middles(5, 8)     0  1  2  3  4  0   1   2

    Args:
        frames: Number of frames of the video, at least 1.
        segments: Number of parts, at least 1.

    Returns:
        `segments` indices, each 0 <= index < frames.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    size = frames // segments
    if size == 0:
        return [i % frames for i in range(segments)]
    return [(size - 1) // 2 + i * size for i in range(segments)]


def first_to_last(frames: int, segments: int) -> list[int]:
    """Takes frames at even distances, the first and the last one among them.

    With d = (frames - 1) / (segments - 1) in float64, frame `int(i d)`, and the last one exactly: PaddleVideo's
    `linspace`, which is numpy's, cut to whole numbers. A single frame is the first one.

        first_to_last(131, 8)   0 18 37 55 74 92 111 130
        first_to_last(5, 8)     0  0  1  1  2  2   3   4

    Args:
        frames: Number of frames of the video, at least 1.
        segments: Number of frames to take, at least 1.

    Returns:
        `segments` indices, each 0 <= index < frames, never falling.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    if segments == 1:
        return [0]
    step = (frames - 1) / (segments - 1)
    return [int(step * i) for i in range(segments - 1)] + [frames - 1]


def dense_windows(frames: int, segments: int, clips: int) -> list[list[int]]:
    """Takes frames at a fixed distance from windows of 64 frames that lie evenly over the video.

    The dense test of mmaction2 (`DenseSampleFrames`), of MIT's TSM and of PaddleVideo, all with ten windows: of the
    P = max(1, frames - 63) places where a window can begin, window k begins at floor(k (P - 1) / (clips - 1)), and its
    frames are 64 // segments apart. What lies beyond the end of a video shorter than the window is counted on from its
    start. A single window lies in the middle, which no published system takes.

        dense_windows(131, 8, 10)[0]     0  8 16 24 32  40  48  56
        dense_windows(131, 8, 10)[9]    67 75 83 91 99 107 115 123
        dense_windows(10, 8, 10)[0]      0  8  6  4  2   0   8   6

    Args:
        frames: Number of frames of the video, at least 1.
        segments: Frames per window, at least 1; more than 64 are one frame apart.
        clips: Number of windows, at least 1.

    Returns:
        `clips` lists of `segments` indices, each 0 <= index < frames.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}")
    last = max(0, frames - WINDOW)
    if clips == 1:
        return [_window(last // 2, frames, segments)]
    # numpy's linspace: a step in float64, and the end exactly.
    step = last / (clips - 1)
    starts = [int(step * k) for k in range(clips - 1)] + [last]
    return [_window(start, frames, segments) for start in starts]


def training_frames(sampling: TrainSampling, frames: int, segments: int, random: np.random.Generator) -> list[int]:
    """The frames that a training takes of one video, by the rule that `augment.sampling` names.

    Args:
        sampling: `random` ([segment_random][clipshift.preprocessing.sampling.segment_random]), `block_random`,
            `block_random_or_first` or `block_random_or_spread` (all three: `block_random`) or `dense` (`dense_random`).
        frames: Number of frames of the video, at least 1.
        segments: Frames to take, at least 1.
        random: Where the draws come from; exactly `segments` draws are made, whatever the rule and the video.

    Returns:
        `segments` indices, each 0 <= index < frames.

    Raises:
        ValueError: `frames` or `segments` is less than 1.
    """
    if sampling == "random":
        return segment_random(frames, segments, random)
    if sampling == "dense":
        return dense_random(frames, segments, random)
    short: dict[TrainSampling, Literal["again", "first", "spread"]]
    short = {"block_random": "again", "block_random_or_first": "first", "block_random_or_spread": "spread"}
    return block_random(frames, segments, random, short=short[sampling])


def segment_random(frames: int, segments: int, random: np.random.Generator) -> list[int]:
    """Takes one frame of each of `segments` equal parts at random; for training.

    Segment i is the frames `i * frames // segments` up to, but not with, `(i + 1) * frames // segments`, so that every
    frame can be drawn; an empty segment of a short clip gives its first frame. Segments of a clip:

        80 frames,  8 segments   [0, 10) [10, 20) ... [70, 80)
        11 frames,  4 segments   [0, 2) [2, 5) [5, 8) [8, 11)
         5 frames,  8 segments   0 0 1 1 2 3 3 4

    Args:
        frames: Number of frames of the clip, at least 1.
        segments: Number of parts, at least 1.
        random: Where the draws come from; exactly `segments` draws are made, whatever `frames` is.

    Returns:
        `segments` indices, each 0 <= index < frames, never falling.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    draws = random.random(segments)
    bounds = [i * frames // segments for i in range(segments + 1)]
    return [low + int(draw * max(1, high - low)) for (low, high), draw in zip(pairwise(bounds), draws, strict=True)]


def block_random(
    frames: int, segments: int, random: np.random.Generator, *, short: Literal["again", "first", "spread"]
) -> list[int]:
    """Takes one frame at random of each of `segments` parts of a whole number of frames; for training.

    With d = frames // segments, frame `i d + draw`, 0 <= draw < d; the frames % segments last frames are never drawn.
    This is PaddleVideo's, MIT's and mmaction2's rule (`SampleFrames`). They differ where there are fewer frames than
    segments: PaddleVideo's mid takes frame by frame and begins again, its left and MIT's code take the first only,
    mmaction2 spreads them: frame `round(i frames / segments)`, halves to the even one. That formula can give `frames`,
    which mmaction2 counts on from the start; here it is the last frame.

        short="again"     5 frames,  8 segments   0 1 2 3 4 0 1 2
        short="first"     5 frames,  8 segments   0 0 0 0 0 0 0 0
        short="spread"    5 frames,  8 segments   0 1 1 2 2 3 4 4

    Args:
        frames: Number of frames of the video, at least 1.
        segments: Number of parts, at least 1.
        random: Where the draws come from; exactly `segments` draws are made, whatever `frames` is.
        short: What is taken of a video with fewer frames than segments.

    Returns:
        `segments` indices, each 0 <= index < frames.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    draws = random.random(segments)
    size = frames // segments
    if size:
        return [i * size + int(draw * size) for i, draw in enumerate(draws)]
    if short == "again":
        return [i % frames for i in range(segments)]
    if short == "first":
        return [0] * segments
    return [min(round(i * frames / segments), frames - 1) for i in range(segments)]


def dense_random(frames: int, segments: int, random: np.random.Generator) -> list[int]:
    """Takes frames at a fixed distance from a window of 64 frames at a random place; for training.

    As `dense_windows`, from a start drawn of all P = max(1, frames - 63). The published systems draw from the first
    P - 1 of them, so that the last frame is never seen; here it is.

    Args:
        frames: Number of frames of the video, at least 1.
        segments: Frames of the window, at least 1; more than 64 are one frame apart.
        random: Where the draw comes from; `segments` draws are made, as by the other rules, and the first is used.

    Returns:
        `segments` indices, each 0 <= index < frames.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(frames, segments)
    draw = float(random.random(segments)[0])
    return _window(int(draw * max(1, frames - WINDOW + 1)), frames, segments)


def _window(start: int, frames: int, segments: int) -> list[int]:
    stride = max(1, WINDOW // segments)
    return [(start + i * stride) % frames for i in range(segments)]


def _check(frames: int, segments: int) -> None:
    if frames < 1 or segments < 1:
        raise ValueError(f"frames and segments must be at least 1, got {frames} and {segments}")
