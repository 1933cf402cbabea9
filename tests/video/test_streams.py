"""Which of several video streams is read, the shape of its pixels, and its rate."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from PIL import Image

from clipshift.errors import VideoError
from clipshift.video import Limits, index, open_clip, probe
from tests.video.making import decode_all, make_streams, make_video, pictures, with_matrix

if TYPE_CHECKING:
    from pathlib import Path

COVER = Disposition.attached_pic


def _chosen_by_ffmpeg(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert isinstance(best, VideoStream)
        best.codec_context.thread_count = 1
        number = list(container.streams.video).index(best)
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=number)]


def _check_like(path: Path, expected: list[np.ndarray]) -> None:
    with open_clip(path) as clip:
        assert clip.frame_count == len(expected)
        assert (clip.info.height, clip.info.width) == expected[0].shape[:2]
        assert np.array_equal(clip.read(range(len(expected))), np.stack(expected))
        assert np.array_equal(clip.read([len(expected) - 1]), expected[-1:])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("kept", [True, False], ids=["in_memory", "from_the_file"])
def test_the_default_stream_is_read(tmp_path: Path, suffix: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    preview, film = pictures(30, width=32, height=32, seed=1), pictures(20, width=96, height=64)
    streams = [(preview, Disposition(0)), (film, Disposition.default)]
    path = make_streams(tmp_path / f"a.{suffix}", streams)
    if not kept:
        monkeypatch.setattr(index, "KEEP_BYTES", 0)
    expected = _chosen_by_ffmpeg(path)
    assert expected[0].shape == (64, 96, 3)
    _check_like(path, expected)
    assert probe(path).video_streams == 2
    # The same two streams, the first one marked.
    first = make_streams(tmp_path / f"b.{suffix}", [(preview, Disposition.default), (film, Disposition(0))])
    assert probe(first).width == 32
    _check_like(first, _chosen_by_ffmpeg(first))


def test_of_unmarked_streams_ffmpegs_choice_is_read(tmp_path: Path) -> None:
    few, many = pictures(2, width=32, height=32), pictures(20, width=96, height=64)
    for name, frames in (("a", (few, many)), ("b", (many, few))):
        path = make_streams(tmp_path / f"{name}.mkv", [(each, Disposition(0)) for each in frames])
        expected = _chosen_by_ffmpeg(path)
        assert len(expected) == 20
        _check_like(path, expected)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cover_is_never_read(tmp_path: Path, suffix: str) -> None:
    cover, film = pictures(1, width=128, height=128), pictures(12)
    path = tmp_path / f"a.{suffix}"
    if suffix == "mp4":
        make_streams(path, [(cover, COVER), (film, Disposition(0))])
    else:
        with av.open(str(make_video(tmp_path / "film.mkv", film))) as source, av.open(str(path), "w") as container:
            copy = container.add_stream_from_template(source.streams.video[0])
            image = BytesIO()
            Image.fromarray(cover[0]).save(image, "JPEG")
            container.add_attachment("cover.jpg", "image/jpeg", image.getvalue())
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    container.mux(packet)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    info = probe(path)
    assert (info.frames, info.width, info.height, info.video_streams) == (12, 96, 64, 1)


def test_a_cover_alone_is_no_video(tmp_path: Path) -> None:
    path = make_streams(tmp_path / "a.mp4", [(pictures(1), COVER)])
    with pytest.raises(VideoError, match="no video stream"):
        probe(path)


def _squared(path: Path, width: int) -> np.ndarray:
    """What FFmpeg's scaler makes of every frame: `-vf scale=WIDTH:ih:flags=bicubic`."""
    scaler = VideoReformatter()
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = list(container.decode(video=0))
        squared = [scaler.reformat(each, width=width, format="rgb24", interpolation="BICUBIC") for each in frames]
        return np.stack([frame.to_ndarray() for frame in squared])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize(("aspect", "width"), [(Fraction(64, 45), 137), (Fraction(8, 9), 85)])
def test_pixels_that_are_not_square(tmp_path: Path, name: str, aspect: Fraction, width: int) -> None:
    path = make_video(tmp_path / name, pictures(9), pixel_aspect=aspect)
    stored = decode_all(path)
    with open_clip(path) as clip:
        assert np.array_equal(clip.read(range(len(stored))), np.stack(stored))
        assert (clip.info.width, clip.info.height) == (96, 64)
        assert clip.info.pixel_aspect == pytest.approx(float(aspect))
    expected = _squared(path, width)
    with open_clip(path, square_pixels=True) as clip:
        assert 0.99 * 3 * width * 64 <= clip.bytes_per_frame <= 1.01 * 3 * max(width, 96) * 64
        assert (clip.info.width, clip.info.height, clip.info.pixel_aspect) == (width, 64, 1)
        assert clip.bytes_per_frame == 3 * width * 64
        assert np.array_equal(clip.read([8, 2, 2]), expected[[8, 2, 2]])
        assert np.array_equal(np.stack(list(clip.frames())), expected)
    with open_clip(path, square_pixels=True, threads=2) as clip:
        assert np.array_equal(clip.read([8]), expected[[8]])


@pytest.mark.parametrize("aspect", [Fraction(1), Fraction(0), Fraction(201, 200)])
def test_square_pixels_change_nothing(tmp_path: Path, aspect: Fraction) -> None:
    """A ratio that does not change the width by a pixel comes from rounding a size."""
    path = make_video(tmp_path / "a.mp4", pictures(9), pixel_aspect=aspect)
    with open_clip(path, square_pixels=True) as clip:
        assert np.array_equal(clip.read(range(9)), np.stack(decode_all(path)))
        assert clip.info.pixel_aspect == 1
    assert probe(path).pixel_aspect == 1


def test_pixels_of_a_turned_video(tmp_path: Path) -> None:
    path = with_matrix(
        tmp_path / "b.mp4", make_video(tmp_path / "a.mp4", pictures(9), pixel_aspect=Fraction(2)), 0, 1, -1, 0
    )
    assert (probe(path).width, probe(path).height, probe(path).pixel_aspect) == (64, 96, 0.5)
    with open_clip(path, square_pixels=True) as clip:
        assert clip.read([0]).shape == (1, 192, 64, 3)
        assert (clip.info.width, clip.info.height) == (64, 192)
        assert np.array_equal(clip.read([3])[0], np.rot90(_squared(tmp_path / "a.mp4", 192)[3], -1))


def test_the_size_in_square_pixels_is_bounded(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", pictures(9), pixel_aspect=Fraction(64, 45))
    limits = Limits(max_pixels=8000)
    assert probe(path, limits=limits).width * 64 == 6144
    with (
        open_clip(path, square_pixels=True, limits=limits) as clip,
        pytest.raises(VideoError, match="larger than the configuration allows"),
    ):
        clip.read([0])


@pytest.mark.parametrize("ticks", [1, 2, 24])
def test_the_rate_of_avi_counts_pictures_and_not_ticks(tmp_path: Path, ticks: int) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, 25 * ticks)
        for number, picture in enumerate(pictures(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = ticks * number, Fraction(1, 25 * ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(tmp_path / "a.avi")) as container:
        assert container.streams.video[0].average_rate == 25 * ticks  # what FFmpeg shows as the mean rate
    info = probe(tmp_path / "a.avi")
    assert (info.frames, info.fps, info.seconds) == (20, 25.0, 0.8)


def test_the_rate_of_avi_with_pictures_out_of_order(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", pictures(21), codec="mpeg4", options={"bf": "2", "g": "9"})
    assert (probe(path).fps, probe(path).seconds) == (25.0, 0.84)
