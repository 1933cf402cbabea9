"""Videos with words in them: times, sizes, text, and what is left on the disk."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from clipshift.errors import OutputError
from clipshift.video.annotated import AnnotatedVideo, check_absent
from clipshift.video.timed import TimedFrame


def gray(time: float, height: int = 65, width: int = 97, value: int = 128) -> TimedFrame:
    return TimedFrame(time, np.full((height, width, 3), value, np.uint8))


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_times_are_kept_and_words_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    times = [5.0, 5.1, 5.25, 9.0, 9.0, 9.04]
    with AnnotatedVideo(path) as video:
        for number, time in enumerate(times):
            video.write(gray(time), ["fall 0.93", "wave"] if number % 2 else [], marked=number == 3)
        assert not path.exists()
    frames = decoded(path)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.25, 4.0, 4.04], abs=1e-4)
    assert [frame.key_frame for frame in frames] == [True, False, False, True, False]
    pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in frames]
    assert pictures[0].shape == (64, 96, 3)
    assert np.abs(pictures[0] - 128).max() < 12
    assert pictures[1][-30:, :60].max() > 200
    assert pictures[1][-30:, :60].min() < 90
    assert np.abs(pictures[1][:20] - 128).max() < 12
    red = pictures[3][-3, 3]
    assert red[0] > red[1] + 60
    assert list(tmp_path.iterdir()) == [path]


def test_frames_of_another_size_are_scaled(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "out.mp4") as video:
        video.write(gray(0.0), [])
        video.write(gray(1.0, 200, 100, value=30), [])
    assert [(frame.width, frame.height) for frame in decoded(tmp_path / "out.mp4")] == [(96, 64)] * 2


def test_what_was_written_before_an_error_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"

    def fail() -> None:
        with AnnotatedVideo(path) as video:
            video.write(gray(0.0), ["a"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(decoded(path)) == 1


def test_nothing_is_left_where_there_was_no_frame_and_nothing_is_written_over(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "out.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out.mp4").touch()
    with pytest.raises(OutputError, match="there already"):
        check_absent(tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="folder of the output"):
        check_absent(tmp_path / "no" / "out.mp4")
