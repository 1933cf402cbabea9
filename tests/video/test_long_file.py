"""Long files: every picture once, in its turn, with its time; the same pictures as exact reading gives."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from clipshift.errors import VideoError
from clipshift.video import Limits, open_clip
from clipshift.video.long_file import LongFile, pictures_at
from clipshift.video.timed import shown_at_rate


def write(path: Path, times: list[int], *, first: int = 0, size: int = 64) -> Path:
    """A video whose pictures are at `times` hundredths of a second; no two are alike."""
    random = np.random.default_rng(7)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100, options={"g": "12", "bf": "2"})
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for time in times:
            frame = av.VideoFrame.from_ndarray(random.integers(0, 256, (size, size, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = first + time, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    times = [0, 10, 20, 25, 30, 70, 80, 90, 100, 200, 205, 210, *range(220, 520, 10)]
    return write(tmp_path_factory.mktemp("long") / "uneven.mkv", times), times


def test_pictures_are_those_of_exact_reading(uneven: tuple[Path, list[int]]) -> None:
    path, times = uneven
    with LongFile(path) as file:
        read = [(picture.time, file.to_rgb(picture)) for picture in file.pictures()]
        assert [round(100 * time) for time, _ in read] == times
        assert (file.pictures_read, file.left_out, file.cut_off) == (len(times), 0, False)
        assert file.end == pytest.approx(times[-1] / 100, abs=0.11)
    with open_clip(path) as clip:
        np.testing.assert_array_equal(np.stack([frame for _, frame in read]), clip.read(range(len(times))))


def test_real_files_in_many_containers(shared: Path) -> None:
    for path in sorted((shared / "videos" / "clips").iterdir()):
        with LongFile(path) as file, open_clip(path) as clip:
            pictures = list(file.pictures())
            assert len(pictures) == clip.frame_count, path.name
            for number in (0, len(pictures) // 2, len(pictures) - 1):
                np.testing.assert_array_equal(file.to_rgb(pictures[number]), clip.read([number])[0])
            if clip.info.seconds is not None:
                assert file.end == pytest.approx(clip.info.seconds, abs=0.1), path.name


def test_time_zero_is_the_first_picture(tmp_path: Path) -> None:
    """A transport stream's clock begins anywhere."""
    path = write(tmp_path / "late.ts", list(range(0, 100, 10)), first=5000)
    with LongFile(path) as file:
        assert [round(picture.time, 3) for picture in file.pictures()] == [k / 10 for k in range(10)]
        assert file.end == pytest.approx(1.0, abs=0.1)


def test_frames_at_moments(uneven: tuple[Path, list[int]]) -> None:
    path, _ = uneven
    moments = [0.0, 0.5, 1.99, 3.0, 4.99]
    with open_clip(path) as clip:
        expected = clip.read([0, 4, 8, 20, 39])
    for number, moment in enumerate(moments):
        [found] = pictures_at(path, [moment])
        np.testing.assert_array_equal(found, expected[number])
    np.testing.assert_array_equal(np.stack(pictures_at(path, moments)), expected)
    last, stays = pictures_at(path, [5.1, 60.0])
    np.testing.assert_array_equal(last, stays)


def test_damage_is_left_out_up_to_the_next_key_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.mp4", list(range(0, 480, 10)))
    with av.open(str(path)) as container:
        places = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start, size = places[14]  # the third packet of the second group of twelve
    content[start : start + size] = b"\xff" * size
    (tmp_path / "damaged.mp4").write_bytes(content)
    with LongFile(path) as whole, LongFile(tmp_path / "damaged.mp4") as file:
        clean = {round(picture.time, 3): whole.to_rgb(picture) for picture in whole.pictures()}
        left = {round(picture.time, 3): file.to_rgb(picture) for picture in file.pictures()}
        assert (file.left_out, whole.left_out) == (len(clean) - len(left), 0)
    assert 1 <= len(clean) - len(left) <= 12
    wrong = [time for time, frame in left.items() if not np.array_equal(clean[time], frame)]
    assert wrong == []


def test_a_file_that_is_cut_off_is_read_to_its_end(uneven: tuple[Path, list[int]], tmp_path: Path) -> None:
    content = uneven[0].read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
    with LongFile(tmp_path / "cut.mkv") as file:
        assert file.cut_off
        assert 10 < len(list(file.pictures())) < 42


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "folder").mkdir()
    for name, text in (
        ("empty.mp4", "empty"),
        ("text.mp4", "not a video"),
        ("folder", "no video file"),
        ("gone.mp4", "does not exist"),
    ):
        with pytest.raises(VideoError, match=text):
            LongFile(tmp_path / name)


def test_limits(uneven: tuple[Path, list[int]]) -> None:
    with LongFile(uneven[0], limits=Limits(max_pixels=64 * 64)) as file:
        assert len(list(file.pictures())) == 42
    with pytest.raises(VideoError, match="larger than"):
        LongFile(uneven[0], limits=Limits(max_pixels=1000))
    with pytest.raises(VideoError, match="longer than"):
        LongFile(uneven[0], limits=Limits(max_seconds=3))


def test_only_what_is_at_a_tick_is_converted(uneven: tuple[Path, list[int]]) -> None:
    with LongFile(uneven[0]) as file:
        shown = [(time, picture.time) for time, picture in shown_at_rate(file.pictures(), 2)]
    assert shown[:5] == [(0.0, 0.0), (0.5, 0.3), (1.0, 1.0), (1.5, 1.0), (2.0, 2.0)]
