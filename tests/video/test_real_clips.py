"""The same on real clips: UCF-101, UT-Interaction, surveillance cameras, phones, Kinetics."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pytest

from clipshift.preprocessing.sampling import segment_middles, segment_random
from clipshift.video import Limits, decode, index, is_video_file, probe
from clipshift.video.video_file import VideoFile
from tests.video.making import decode_all

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from pathlib import Path


EVERY = int(os.environ.get("CLIPSHIFT_EVERY_CLIP", "6"))
"""One in so many is tried of the clips of a folder, which are of one kind. The figure in the README is of all."""


def _clips(shared: Path) -> list[Path]:
    clips = sorted(path for path in (shared / "videos").rglob("*") if is_video_file(path))
    assert len(clips) > 200
    others = [path for path in clips if path.parent.name == "clips"]  # each of another kind
    folders = groupby(clips, key=lambda path: path.parent)
    return sorted({*others, *(clip for _, inside in folders for clip in list(inside)[::EVERY])})


def _check(path: Path) -> str | None:
    """Compares frames with decoding everything; why the clip was decoded from the beginning, if it was."""
    reference = decode_all(path)
    frames = len(reference)
    random = np.random.default_rng(len(reference))
    with VideoFile(path, limits=Limits(), threads=1) as clip:
        assert clip.info.frames == frames, path
        assert (clip.info.height, clip.info.width) == reference[0].shape[:2], path
        for indices in (
            segment_middles(frames, 8),
            segment_random(frames, 8, random),
            [frames - 1, 0],
            [int(random.integers(frames))],
        ):
            for i, picture in zip(indices, clip.read(indices), strict=True):
                assert np.array_equal(picture, reference[i]), (path, indices, i)
        return clip.irregular


def test_all_clips(shared: Path) -> None:
    for path in _clips(shared):
        assert _check(path) is None, path


def test_headers_of_all_kinds(shared: Path) -> None:
    folder = shared / "videos"
    archery = probe(folder / "clips/archery_320x240_mpeg4_131f.avi")
    assert (archery.frames, archery.width, archery.height, archery.fps, archery.codec) == (131, 320, 240, 25.0, "mpeg4")
    assert archery.seconds == pytest.approx(5.24)
    camera = probe(folder / "clips/ntu_rgbd.avi")
    assert (camera.frames, camera.width, camera.height, camera.codec) == (103, 1920, 1080, "h264")
    for path in sorted((folder / "basketball/val").rglob("*.mp4")):
        phone = probe(path)
        assert phone.height > phone.width
        assert 5 <= phone.frames <= 10


def test_h264_in_avi_is_not_read_by_its_made_up_times(shared: Path) -> None:
    path = shared / "videos/clips/ntu_rgbd.avi"
    reference = decode_all(path)[:12]
    assert np.array_equal(decode(path, range(12)), np.stack(reference))


def test_seeking_in_a_clip_that_is_not_kept_in_memory(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "KEEP_BYTES", 0)
    for name in ("kinetics_340x256_h264_300f.mp4", "flipping_a_pancake.mkv", "archery_320x240_mpeg4_131f.avi"):
        path = shared / "videos/clips" / name
        frames = probe(path).frames
        indices = [frames - 1, 3, frames // 2]
        reference = decode_all(path)
        for i, picture in zip(indices, decode(path, indices), strict=True):
            assert np.array_equal(picture, reference[i])


def test_several_threads_each_with_its_own_reader(shared: Path) -> None:
    path = shared / "videos/clips/arm_wrestling_340x256_h264_280f.mp4"
    wanted = [segment_middles(280, 8, clip, 4) for clip in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda indices: decode(path, indices), wanted))
    for indices, frames_THWC in zip(wanted, together, strict=True):
        assert np.array_equal(frames_THWC, decode(path, indices))
