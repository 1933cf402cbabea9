"""Which frames of a clip a network sees: pure functions from a number of frames to indices.

The clip is cut into equal segments and one frame is taken from each (TSN, Wang et al. 2016, section 3.1).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def segment_middles(frames: int, segments: int, clip: int = 0, clips: int = 1) -> list[int]:
    """Takes the middle frame of each of `segments` equal parts; no randomness, for evaluation.

    In exact arithmetic frame `floor((i + (clip + 1/2) / clips) * frames / segments)` of segment i; with one clip
    `floor((i + 1/2) * frames / segments)`, as mmaction2's `SampleFrames` and MIT's TSM take them in test mode (whose
    floating point now and then falls one short of a whole number). Several clips lie evenly inside each segment. A clip
    with fewer frames than segments repeats frames, in order:

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


def _check(frames: int, segments: int) -> None:
    if frames < 1 or segments < 1:
        raise ValueError(f"frames and segments must be at least 1, got {frames} and {segments}")
