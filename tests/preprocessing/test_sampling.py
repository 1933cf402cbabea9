from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from clipshift.errors import ConfigError
from clipshift.preprocessing.sampling import (
    block_middles,
    dense_windows,
    first_to_last,
    float_middles,
    frame_sets,
    middles_or_first,
    segment_middles,
    segment_random,
    training_frames,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clipshift.config import Sampling, TrainSampling

TRAINING: list[TrainSampling] = [
    "random",
    "block_random",
    "block_random_or_first",
    "block_random_or_spread",
    "dense",
]
RULES: list[Callable[[int, int], list[int]]] = [float_middles, middles_or_first, block_middles, first_to_last]


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


def test_other_rules_of_the_docstrings() -> None:
    assert (float_middles(30, 25)[12], segment_middles(30, 25)[12]) == (14, 15)
    assert float_middles(5, 8, clip=1) == [0, 0, 1, 1, 2, 3, 3, 4]
    assert middles_or_first(131, 8) == [8, 24, 40, 57, 73, 90, 106, 122]
    assert middles_or_first(8, 8) == [0] * 8
    assert middles_or_first(9, 8) == segment_middles(9, 8)
    assert block_middles(131, 8) == [7, 23, 39, 55, 71, 87, 103, 119]
    assert block_middles(5, 8) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert first_to_last(131, 8) == [0, 18, 37, 55, 74, 92, 111, 130]
    assert first_to_last(5, 8) == [0, 0, 1, 1, 2, 2, 3, 4]
    assert first_to_last(131, 1) == [0]


@pytest.mark.parametrize("segments", [1, 3, 8, 25])
@pytest.mark.parametrize("rule", RULES)
def test_rules_stay_inside_the_video(rule: Callable[[int, int], list[int]], segments: int) -> None:
    for frames in [*range(1, 70), 131, 300, 99_999]:
        indices = rule(frames, segments)
        assert len(indices) == segments
        assert all(0 <= index < frames for index in indices)
        if rule is not block_middles or frames >= segments:
            assert indices == sorted(indices)


@pytest.mark.parametrize("segments", [3, 8, 10, 16, 25, 32])
def test_floating_point_moves_whole_middles_at_most(segments: int) -> None:
    moved = 0
    for frames in range(1, 1001):
        exact, rounded = segment_middles(frames, segments), float_middles(frames, segments)
        for i in range(segments):
            whole = (2 * i + 1) * frames % (2 * segments) == 0
            assert rounded[i] == exact[i] or (whole and rounded[i] == exact[i] - 1)
        moved += exact != rounded
    assert (moved > 0) is (segments in (10, 25))


def test_rules_by_name() -> None:
    assert frame_sets("middle", 97, 8, clips=3) == [segment_middles(97, 8, clip, 3) for clip in range(3)]
    assert frame_sets("middle_float", 30, 25, clips=2) == [float_middles(30, 25), float_middles(30, 25, clip=1)]
    assert frame_sets("middle_or_first", 7, 8) == [middles_or_first(7, 8)]
    assert frame_sets("block_middle", 131, 8) == [block_middles(131, 8)]
    assert frame_sets("ends", 131, 8) == [first_to_last(131, 8)]


@pytest.mark.parametrize(
    ("sampling", "clips", "allowed"),
    [("middle_float", 3, "1 to 2"), ("middle_or_first", 2, "1"), ("block_middle", 2, "1"), ("ends", 10, "1")],
)
def test_rules_that_do_not_know_so_many_clips(sampling: Sampling, clips: int, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"clips={clips} with input.sampling={sampling}") as caught:
        frame_sets(sampling, 131, 8, clips)
    assert caught.value.allowed == allowed
    assert "fewer clips" in str(caught.value.remedy)


def test_frames_are_mmaction2s_in_test_mode(shared: Path) -> None:
    table = json.loads((shared / "reference/preprocessing/frame_indices_mmaction2.json").read_text(encoding="utf-8"))
    lists, inexact = 0, []
    for text, by_name in table.items():
        frames = int(text)
        for segments in (3, 8, 16, 25):
            theirs = by_name[f"test{segments}"]
            assert frame_sets("middle_float", frames, segments) == [theirs], (frames, segments)
            middles, starts = frame_sets("middle_float", frames, segments, clips=2)
            assert middles + starts == by_name[f"twice{segments}"]
            if segment_middles(frames, segments) != theirs:
                inexact.append((frames, segments))
            lists += 1
    assert lists == 96
    # Exact arithmetic differs where the floating point falls just below a whole number.
    assert inexact == [(30, 25), (280, 25)]


def test_frames_are_paddlevideos_in_validation_and_test(shared: Path) -> None:
    table = json.loads((shared / "reference/preprocessing/frame_indices_paddlevideo.json").read_text(encoding="utf-8"))
    names: dict[str, Sampling] = {"mid": "block_middle", "left": "middle_or_first", "linspace": "ends"}
    lists = [entry for entry in table if entry["mode"] in names]
    assert len(lists) == 360
    for entry in lists:
        assert frame_sets(names[entry["mode"]], entry["n"], entry["num_seg"]) == [entry["idx"]], entry


def test_dense_windows_of_the_docstring() -> None:
    windows = frame_sets("dense", 131, 8, clips=10)
    assert windows == dense_windows(131, 8, 10)
    assert (windows[0], windows[9]) == ([0, 8, 16, 24, 32, 40, 48, 56], [67, 75, 83, 91, 99, 107, 115, 123])
    assert dense_windows(10, 8, 10)[0] == [0, 8, 6, 4, 2, 0, 8, 6]
    assert dense_windows(131, 8, 1) == [[33, 41, 49, 57, 65, 73, 81, 89]]
    assert dense_windows(200, 100, 2)[0] == list(range(100))
    with pytest.raises(ValueError, match="clips must be at least 1"):
        dense_windows(131, 8, 0)


def test_dense_windows_are_mmaction2s(shared: Path) -> None:
    table = json.loads((shared / "reference/preprocessing/frame_indices_mmaction2.json").read_text(encoding="utf-8"))
    for text, by_name in table.items():
        for segments in (3, 8, 16, 25):
            windows = frame_sets("dense", int(text), segments, clips=10)
            assert list(itertools.chain(*windows)) == by_name[f"dense{segments}"], (text, segments)


def test_dense_windows_are_paddlevideos(shared: Path) -> None:
    table = json.loads((shared / "reference/preprocessing/frame_indices_paddlevideo.json").read_text(encoding="utf-8"))
    lists = [entry for entry in table if entry["mode"] == "dense"]
    assert len(lists) == 240
    for entry in lists:
        windows = frame_sets("dense", entry["n"], entry["num_seg"], clips=10)
        # Frame files are numbered from 1. For videos, whose frames are not, PaddleVideo adds the 1 as well.
        assert [index + 1 for index in itertools.chain(*windows)] == entry["idx"], entry


class Drawn(np.random.Generator):
    """Gives the uniform numbers that make a rule draw given whole numbers below `size`."""

    def __init__(self, values: np.ndarray, size: int) -> None:
        super().__init__(np.random.PCG64(0))
        self._uniform = (values + 0.5) / size

    def random(self, size: int) -> np.ndarray:  # type: ignore[override]
        return np.resize(self._uniform, size)


def test_training_frames_are_mmaction2s_for_the_same_draws(shared: Path) -> None:
    table = json.loads((shared / "reference/preprocessing/frame_indices_mmaction2.json").read_text(encoding="utf-8"))
    different = []
    for text, by_name in table.items():
        frames = int(text)
        for segments, seed in itertools.product((3, 8, 16, 25), (0, 1)):
            size = max(1, frames // segments)
            draws = np.random.RandomState(seed).randint(size, size=segments)
            found = training_frames("block_random_or_spread", frames, segments, Drawn(draws, size))
            theirs = by_name[f"train{segments}_seed{seed}"]
            if found != theirs:
                # Where rounding gave the number of frames, they go on from the start.
                at = [i for i in range(segments) if found[i] != theirs[i]]
                assert {(found[i], theirs[i]) for i in at} == {(frames - 1, 0)}
                assert frames < segments
                different.append((frames, segments))
            starts = max(1, frames - 63)
            start = np.random.RandomState(seed).randint(starts - 1) if starts > 1 else 0
            found = training_frames("dense", frames, segments, Drawn(np.array([start]), starts))
            assert found == by_name[f"traindense{segments}_seed{seed}"]
    assert len(set(different)) == 14


def test_training_frames_of_short_videos() -> None:
    short = {rule: training_frames(rule, 5, 8, np.random.default_rng(0)) for rule in TRAINING}
    assert short == {
        "random": [0, 0, 1, 1, 2, 3, 3, 4],
        "block_random": [0, 1, 2, 3, 4, 0, 1, 2],
        "block_random_or_first": [0] * 8,
        "block_random_or_spread": [0, 1, 1, 2, 2, 3, 4, 4],
        "dense": [0, 3, 1, 4, 2, 0, 3, 1],
    }


@pytest.mark.parametrize("rule", TRAINING)
def test_training_frames_stay_inside_and_draw_equally_often(rule: TrainSampling) -> None:
    reference = np.random.default_rng(0)
    reference.random(8)
    for frames in [1, 2, 7, 8, 9, 63, 64, 65, 131, 300]:
        random = np.random.default_rng(0)
        indices = training_frames(rule, frames, 8, random)
        assert len(indices) == 8
        assert all(0 <= index < frames for index in indices)
        assert random.bit_generator.state == reference.bit_generator.state
    with pytest.raises(ValueError, match="at least 1"):
        training_frames(rule, 0, 8, np.random.default_rng(0))


def test_which_frames_a_training_can_see() -> None:
    seen: dict[str, set[int]] = {rule: set() for rule in TRAINING}
    random = np.random.default_rng(0)
    for rule in TRAINING:
        for _ in range(3000):
            seen[rule].update(training_frames(rule, 83, 8, random))
    assert seen["random"] == set(range(83))
    # Ten frames to a part: three are left over.
    blocks = [seen[rule] for rule in TRAINING[1:4]]
    assert blocks == [set(range(80))] * 3
    # Starts 0 to 19, and 56 frames from a window's first frame to its last one taken.
    assert seen["dense"] == {start + 8 * i for start in range(20) for i in range(8)}


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
    for rule in RULES:
        with pytest.raises(ValueError, match="at least 1"):
            rule(frames, segments)


def test_clip_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"clip must be in \[0, 2\)"):
        segment_middles(10, 2, clip=2, clips=2)
    with pytest.raises(ValueError, match="clip must be 0 or 1, got 2"):
        float_middles(10, 2, clip=2)
