from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipshift.datasets.tools.near_duplicates import find_near_duplicates, look_of
from clipshift.preprocessing.sampling import segment_middles
from clipshift.video import decode, probe
from tests.datasets.clips import moving_frames


def test_another_clip_of_the_same_scene_is_not_a_copy() -> None:
    scene = moving_frames(1, width=96, height=72, seed=4)[0].astype(int)
    looks = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        frames = np.repeat(scene[None], 8, axis=0)
        for frame in frames:
            x, y = random.integers(0, 70), random.integers(0, 50)
            frame[y : y + 20, x : x + 12] += 60
        looks.append(look_of(np.clip(frames, 0, 255).astype(np.uint8)))
    assert find_near_duplicates(looks, [4.0] * 6) == []
    assert [(p.first, p.second) for p in find_near_duplicates([*looks, looks[2]], [4.0] * 7)] == [(2, 6)]
    assert find_near_duplicates([*looks, looks[2]], [4.0] * 6 + [4.5]) == []


def test_still_clips_are_left_out() -> None:
    look = look_of(np.repeat(moving_frames(1, seed=4), 8, axis=0))
    faint = np.random.default_rng(0).random(look.shape) < 0.3
    assert find_near_duplicates([look + faint, look + faint], [1.0, 1.0]) == []
    assert len(find_near_duplicates([look + 4 * faint, look + 4 * faint], [1.0, 1.0])) == 1


def test_pairs_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [look_of(moving_frames(8, seed=seed)) for seed in range(12)]
    seconds = [1 + 0.003 * number for number in range(12)]
    monkeypatch.setattr("clipshift.datasets.tools.near_duplicates._BLOCK", 3)
    pairs = find_near_duplicates([*looks, looks[0], looks[7]], [*seconds, seconds[0], seconds[7]])
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 12), (7, 13)]
    assert pairs[0].score == pytest.approx(1)


def test_no_false_alarm_between_real_clips_of_one_scene(shared: Path) -> None:
    folder = shared / "videos" / "ucf101_5class" / "val"
    paths = [path for name in ("WallPushups", "JumpingJack") for path in sorted((folder / name).iterdir())]
    looks, seconds = [], []
    for path in paths:
        info = probe(path)
        looks.append(look_of(decode(path, segment_middles(info.frames, 8))))
        seconds.append(info.seconds or 0.0)
    assert len(paths) == 12
    assert find_near_duplicates(looks, seconds) == []
