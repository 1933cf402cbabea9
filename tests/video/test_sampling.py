from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from clipshift.video import segment_middles, segment_random

if TYPE_CHECKING:
    from pathlib import Path


def test_middles_of_the_docstring() -> None:
    assert segment_middles(80, 8) == [5, 15, 25, 35, 45, 55, 65, 75]
    assert segment_middles(80, 8, clip=0, clips=2) == [2, 12, 22, 32, 42, 52, 62, 72]
    assert segment_middles(80, 8, clip=1, clips=2) == [7, 17, 27, 37, 47, 57, 67, 77]
    assert segment_middles(5, 8) == [0, 0, 1, 2, 2, 3, 4, 4]
    assert segment_middles(1, 3) == [0, 0, 0]


@pytest.mark.parametrize("clips", [1, 2, 3, 10])
@pytest.mark.parametrize("segments", [1, 3, 8, 16])
def test_middles_lie_in_their_segments(segments: int, clips: int) -> None:
    for frames in [*range(1, 40), 131, 300, 1000]:
        for clip in range(clips):
            indices = segment_middles(frames, segments, clip, clips)
            assert len(indices) == segments
            for i, index in enumerate(indices):
                # Frame j is the time from j to j + 1: the wanted instant lies within the frame taken.
                instant = (i + (clip + 0.5) / clips) * frames / segments
                assert index <= instant + 1e-9
                assert instant < index + 1 + 1e-9
                assert 0 <= index < frames


def test_clips_taken_together_are_the_middles_of_finer_segments() -> None:
    together = sorted(index for clip in range(3) for index in segment_middles(97, 8, clip, 3))
    assert together == segment_middles(97, 24)


def test_middles_equal_mmaction2s_in_test_mode(shared: Path) -> None:
    table = json.loads((shared / "reference/preprocessing/frame_indices_mmaction2.json").read_text(encoding="utf-8"))
    lists = [
        (int(frames), int(name.removeprefix("test")), indices)
        for frames, by_name in table.items()
        for name, indices in by_name.items()
        if name.startswith("test")
    ]
    assert len(lists) > 50
    for frames, segments, theirs in lists:
        ours = segment_middles(frames, segments)
        for i in range(segments):
            # Where the exact middle is a whole number, mmaction2's floating point sometimes falls just below it.
            rounded_down = (2 * i + 1) * frames % (2 * segments) == 0 and segments == 25
            assert theirs[i] == ours[i] or (rounded_down and theirs[i] == ours[i] - 1), (frames, segments, i)


@pytest.mark.parametrize(("frames", "segments"), [(80, 8), (11, 4), (131, 8), (300, 16)])
def test_random_draws_every_frame_of_every_segment_and_no_other(frames: int, segments: int) -> None:
    random = np.random.default_rng(0)
    seen = [set[int]() for _ in range(segments)]
    for _ in range(600):
        for i, index in enumerate(segment_random(frames, segments, random)):
            seen[i].add(index)
    for i in range(segments):
        assert seen[i] == set(range(i * frames // segments, (i + 1) * frames // segments))


def test_random_on_short_clips_repeats_in_order() -> None:
    assert segment_random(5, 8, np.random.default_rng(0)) == [0, 0, 1, 1, 2, 3, 3, 4]
    assert segment_random(1, 3, np.random.default_rng(0)) == [0, 0, 0]


def test_random_is_a_function_of_its_generator() -> None:
    one, other = np.random.default_rng(7), np.random.default_rng(7)
    assert segment_random(300, 8, one) == segment_random(300, 8, other)
    # The number of draws does not depend on the clip: what is drawn next is the same after a short and a long one.
    segment_random(3, 8, one)
    segment_random(1000, 8, other)
    assert one.bit_generator.state["state"] == other.bit_generator.state["state"]


@pytest.mark.parametrize(("frames", "segments"), [(0, 8), (8, 0), (-1, 3)])
def test_arguments_out_of_range(frames: int, segments: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        segment_middles(frames, segments)
    with pytest.raises(ValueError, match="at least 1"):
        segment_random(frames, segments, np.random.default_rng(0))


def test_clip_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"clip must be in \[0, 2\)"):
        segment_middles(10, 2, clip=2, clips=2)
