"""Frames that are asked for again, or after damage: never other ones than those of a decoder that has just begun."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from clipshift.errors import VideoError
from clipshift.video import open_clip
from tests.video.making import decode_all, make_video, pictures


def _joined(path: Path, first: Path, second: Path) -> Path:
    """The pictures of two files of MPEG-4 in one: the headers of the first before all, of the second between."""
    with av.open(str(first)) as one, av.open(str(second)) as two, av.open(str(path), "w") as container:
        copy = container.add_stream_from_template(one.streams.video[0])
        number = 0
        for source in (one, two):
            for place, packet in enumerate(source.demux(video=0)):
                if packet.size:
                    headers = two.streams.video[0].codec_context.extradata if source is two and place == 0 else None
                    new = av.Packet((headers or b"") + bytes(packet))
                    new.stream, new.time_base, new.is_keyframe = copy, packet.time_base, packet.is_keyframe
                    assert packet.duration is not None
                    new.pts = new.dts = number * packet.duration
                    number += 1
                    container.mux(new)
    return path


def test_a_file_whose_headers_change_is_read_again_by_its_first_headers(tmp_path: Path) -> None:
    options = {"g": "4", "bf": "0", "qmin": "9", "qmax": "9"}
    frames_THWC = pictures(6)
    plain = make_video(tmp_path / "plain.mp4", frames_THWC, codec="mpeg4", options=options)
    other = make_video(tmp_path / "other.mp4", frames_THWC, codec="mpeg4", options=options | {"mpeg_quant": "1"})
    path = _joined(tmp_path / "joined.mp4", plain, other)
    expected = decode_all(path)
    assert len(expected) == 12
    with open_clip(path) as clip:
        for _ in range(2):
            assert all((frame == right).all() for frame, right in zip(clip.frames(), expected, strict=True))
            for number in (11, 0, 3):
                assert np.array_equal(clip.read([number])[0], expected[number])


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_nothing_is_shown_in_the_place_of_a_key_frame_that_is_damaged(tmp_path: Path, codec: str) -> None:
    whole = make_video(
        tmp_path / "whole.mpg", pictures(8), codec=codec, options={"g": "4", "bf": "2"}, format_name=codec
    )
    with av.open(str(whole)) as container:
        first = next(bytes(packet) for packet in container.demux(video=0))
    data = whole.read_bytes()
    slices = first.index(b"\0\0\1\1") + 5
    start = data.index(first) + slices
    path = tmp_path / "damaged.mpg"
    path.write_bytes(data[:start] + bytes(byte | 0x81 for byte in data[start : start + 40]) + data[start + 40 :])
    with pytest.raises(VideoError, match="a frame cannot be decoded"), open_clip(path) as clip:
        clip.read([clip.frame_count - 1])


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_what_comes_before_the_first_key_frame_is_passed_over(tmp_path: Path, codec: str) -> None:
    whole = make_video(
        tmp_path / "whole.mpg", pictures(8), codec=codec, options={"g": "4", "bf": "2"}, format_name=codec
    )
    data = whole.read_bytes()
    second = data.index(b"\0\0\1\0", data.index(b"\0\0\1\0") + 4)  # the second picture, which is no key frame
    path = tmp_path / "cut.mpg"
    path.write_bytes(data[second:])
    with open_clip(path) as clip:
        assert 0 < clip.frame_count < 8
        assert len(list(clip.frames())) == clip.frame_count
