"""Spans of videos: times of frames in files of every kind, and the frames that a span has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from clipshift.errors import VideoError
from clipshift.video import Limits, index, open_clip, opened_file
from clipshift.video.index_memory import IndexMemory, Remembered
from clipshift.video.span import frames_on_display
from clipshift.video.video_file import VideoFile
from tests.video.making import decode_all, make_folder, make_video, pictures

_FRAMES = 40
_VARIABLE = np.cumsum(np.random.default_rng(1).integers(5, 90, _FRAMES)).tolist()
_B = {"g": "10", "preset": "veryfast", "x264-params": "scenecut=0:bframes=3:b-pyramid=normal"}
_FILES: dict[str, dict[str, Any]] = {
    "b.mp4": {"options": _B},
    "variable.mp4": {"options": _B, "times": _VARIABLE},
    "variable.mkv": {"options": _B, "times": _VARIABLE},
    "broadcast.ts": {"options": _B},
    "h264_b.avi": {"options": _B},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "bare.h264": {"options": _B},
    "whole_decoding.mkv": {"codec": "ffv1"},
    "whole_decoding.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
}


def _shown(path: Path) -> np.ndarray:
    """When FFmpeg shows the frames of a file, from the first one on."""
    with av.open(str(path)) as container:
        times = np.array([frame.time for frame in container.decode(video=0)])
    return np.asarray(times - times[0])


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("name", _FILES)
def test_times_are_those_of_presentation(
    name: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / name, pictures(_FRAMES), **_FILES[name])
    if not kept:
        monkeypatch.setattr(index, "KEEP_BYTES", 0)
    expected = np.arange(_FRAMES) / 25 if path.suffix in (".avi", ".h264") else _shown(path)
    with open_clip(path) as reader:
        reader.read([3])  # decoding numbers packets anew
        assert reader.boundaries.shape == (_FRAMES + 1,)
        np.testing.assert_allclose(reader.boundaries[:-1], expected, rtol=0, atol=1e-4)
        assert 0 < reader.boundaries[-1] - reader.boundaries[-2] < 0.1


def test_a_span_has_the_frames_that_are_on_display(tmp_path: Path) -> None:
    path = make_video(tmp_path / "variable.mp4", pictures(_FRAMES), **_FILES["variable.mp4"])
    frames, times = decode_all(path), _shown(path)
    with VideoFile(path, limits=Limits(), threads=1) as whole:
        boundaries = whole.boundaries
    random = np.random.default_rng(0)
    spans = [tuple(sorted(random.uniform(0, times[-1], 2))) for _ in range(6)]
    for start, end in [*spans, (0.0, boundaries[-1]), (times[7], times[9]), (times[7] + 1e-3, times[7] + 2e-3)]:
        ends = boundaries[1:]
        expected = [i for i in range(_FRAMES) if times[i] < end - 1e-6 and ends[i] > start + 1e-6]
        with open_clip(path, span=(start, end)) as reader:
            assert reader.frame_count == reader.info.frames == len(expected)
            assert reader.info.seconds == pytest.approx(end - start)
            assert np.array_equal(reader.boundaries[:-1], boundaries[:-1][expected])
            for number, picture in zip(expected, reader.frames(), strict=True):
                assert np.array_equal(picture, frames[number])
            picked = reader.read([len(expected) - 1, 0])
            assert np.array_equal(picked, np.stack([frames[expected[-1]], frames[expected[0]]]))
            with pytest.raises(IndexError):
                reader.read([len(expected)])
            with pytest.raises(IndexError):
                reader.read([-1])


def test_a_span_is_decoded_by_seeking(tmp_path: Path) -> None:
    path = make_video(tmp_path / "b.mp4", pictures(_FRAMES), **_FILES["b.mp4"])
    with open_clip(path, span=(1.3, 1.5)) as reader:
        reader.read(range(reader.frame_count))
        video = reader.stretch.video
        assert isinstance(video, VideoFile)
        assert video.pictures_decoded <= 10  # of one group of pictures


@pytest.mark.parametrize("name", ["b.mp4", "variable.mkv", "broadcast.ts", "mpeg4_b.avi", "whole_decoding.mkv"])
def test_the_packets_of_a_long_video_are_read_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / name, pictures(_FRAMES), **_FILES[name])
    frames = decode_all(path)
    monkeypatch.setattr(index, "KEEP_BYTES", 0)  # as of a long one
    monkeypatch.setattr(opened_file, "_MEMORY", IndexMemory())
    reads: list[Path] = []

    def counted(packets: Iterable[Any], stream: VideoStream, *, limits: Limits, path: Path) -> index.PacketIndex:
        reads.append(path)
        return index.build_index(packets, stream, limits=limits, path=path)

    monkeypatch.setattr(opened_file, "build_index", counted)
    once = 0
    for start in (0.8, 0.2, 1.0):
        with open_clip(path, span=(start, start + 0.3)) as reader:
            first = reader.frame_count and int(frames_on_display(reader.stretch.video.boundaries[:-1], start))
            for number, picture in enumerate(reader.frames(), first):
                assert np.array_equal(picture, frames[number])
        once = once or len(reads)
        assert len(reads) == once
    with open_clip(path) as reader:  # whole clips are looked at anew
        assert len(reads) == 2 * once
    make_video(path, pictures(_FRAMES, seed=3), **_FILES[name])  # another file of the same name
    with open_clip(path, span=(0.8, 1.0)) as reader:
        assert len(reads) == 3 * once
        picture = reader.read([0])[0]
    assert any(np.array_equal(picture, other) for other in decode_all(path))


def test_what_was_not_used_for_longest_is_forgotten() -> None:
    memory = IndexMemory(most=25)
    keys = [(name, 1, 1, Limits()) for name in "abcd"]
    for key in keys[:2]:
        memory.put(key, Remembered(index.PacketIndex(packets=10, kept=None), quick=True))
    memory.get(keys[0])
    memory.put(keys[2], Remembered(index.PacketIndex(packets=10, kept=None), quick=True))
    memory.put(keys[3], Remembered(index.PacketIndex(packets=10), quick=True))  # its packets are in memory
    assert [memory.get(key) is not None for key in keys] == [True, False, True, False]


def test_spans_at_and_beyond_the_end(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", pictures(25))
    for span, frames in [((0.5, 0.5), 1), ((0.9, 1.05), 3), ((0.96, 1.0), 1)]:
        with open_clip(path, span=span) as reader:
            assert reader.frame_count == frames
    for span in [(1.0, 2.0), (0.5, 1.6), (3.0, 4.0)]:
        with pytest.raises(VideoError, match="beyond the end") as caught:
            open_clip(path, span=span)
        assert caught.value.where == str(path)
        assert "milliseconds" not in caught.value.what
    with pytest.raises(VideoError, match="milliseconds"):
        open_clip(path, span=(0.0, 900.0))


def test_folders_of_frames_have_no_times(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "frames", pictures(4))
    with pytest.raises(VideoError, match="does not say when") as caught:
        open_clip(folder, span=(0.0, 0.1))
    assert caught.value.where == str(folder)


def test_what_is_on_display() -> None:
    begins = np.array([0.0, 0.1, 0.4])
    assert frames_on_display(begins, np.array([-1.0, 0.0, 0.05, 0.1 - 1e-7, 0.3, 0.4, 9.0])).tolist() == [
        *(0, 0, 0, 1, 1, 2, 2),
    ]
