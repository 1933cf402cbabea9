"""Reading some frames gives the bits that decoding everything gives, whatever the codec and the container."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from clipshift.errors import VideoError
from clipshift.preprocessing.sampling import segment_middles
from clipshift.video import ClipReader, Limits, index, open_clip
from clipshift.video.decoder import packet_of
from clipshift.video.video_file import VideoFile
from tests.video.making import decode_all, make_video, pictures, with_late_beginning, with_packed_pictures

if TYPE_CHECKING:
    from pathlib import Path

_FRAMES = 64


def _x264(settings: str) -> dict[str, str]:
    return {"g": "20", "preset": "veryfast", "x264-params": f"scenecut=0:{settings}"}


def _x265(settings: str) -> dict[str, str]:
    return {"preset": "ultrafast", "x265-params": f"keyint=20:min-keyint=20:scenecut=0:log-level=none:{settings}"}


_VPX = {"g": "20", "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "12", "auto-alt-ref": "1"}
_TIMES = np.cumsum(np.random.default_rng(1).integers(5, 90, _FRAMES)).tolist()

# Clips whose packets tell enough for the short ways ...
_REGULAR: dict[str, dict[str, Any]] = {
    "h264_pyramid.mp4": {"options": _x264("bframes=3:b-pyramid=normal")},
    "h264_flat_b.mp4": {"options": _x264("bframes=2:b-pyramid=none")},
    "h264_open_gop.mp4": {"options": _x264("bframes=3:open-gop=1")},
    "h264_refresh.mp4": {"options": _x264("bframes=0:intra-refresh=1")},
    "h264_baseline.mp4": {"options": {**_x264("bframes=0"), "profile": "baseline"}},
    "h264_fragments.mp4": {
        "options": _x264("bframes=3"),
        "container_options": {"movflags": "frag_keyframe+empty_moov"},
    },
    "h264_variable_rate.mp4": {"options": _x264("bframes=3"), "times": _TIMES},
    "h264_10_bits.mp4": {"options": _x264("bframes=3"), "pix_fmt": "yuv420p10le"},
    "h264_open_gop.mkv": {"options": _x264("bframes=3:open-gop=1")},
    "h264_variable_rate.mkv": {"options": _x264("bframes=3"), "times": _TIMES},
    "h264_live.mkv": {"options": _x264("bframes=3"), "container_options": {"live": "1"}},
    "h264_without_times.avi": {"options": _x264("bframes=3")},
    "h264_broadcast.ts": {"options": _x264("bframes=3:open-gop=1")},
    "h264.flv": {"options": _x264("bframes=3")},
    "h264_bare.h264": {"options": _x264("bframes=3")},
    "hevc.mp4": {"codec": "libx265", "options": _x265("bframes=3:open-gop=0")},
    "hevc_open_gop.mp4": {"codec": "libx265", "options": _x265("bframes=3:open-gop=1")},
    "hevc_layers.mp4": {
        "codec": "libx265",
        "options": {
            **_x265("bframes=7:b-adapt=0:temporal-layers=3"),
            "preset": "veryfast",
        },
    },
    "hevc_leading.mp4": {"codec": "libx265", "options": _x265("bframes=3:open-gop=0:radl=2")},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg4_b.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "vp8.webm": {"codec": "libvpx", "options": _VPX},
    "vp9.webm": {"codec": "libvpx-vp9", "options": _VPX},
    "av1.webm": {"codec": "libsvtav1", "options": {"g": "20", "preset": "12"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
# ... and clips that must be decoded from their beginning, with a part of the reason.
_IRREGULAR: dict[str, tuple[str, dict[str, Any]]] = {
    "h264_interlaced.mp4": ("interlaced", {"options": _x264("bframes=3:interlaced=1")}),
    "h264_444.mp4": ("4:4:4", {"options": _x264("bframes=3"), "pix_fmt": "yuv444p"}),
    "mpeg2.mpg": ("codec mpeg2video", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "mpeg2.mkv": ("codec mpeg2video", {"codec": "mpeg2video", "options": {"bf": "2"}}),
    "wmv2.asf": ("codec wmv2", {"codec": "wmv2"}),
    "ffv1.mkv": ("codec ffv1", {"codec": "ffv1"}),
}


def _check(reader: ClipReader, reference: list[np.ndarray]) -> None:
    frames = len(reference)
    assert reader.info.frames == frames
    random = np.random.default_rng(5)
    wanted = [
        segment_middles(frames, 8),
        [frames - 1],
        [0],
        [frames - 1, 0, frames // 2, 0],
        [i % frames for i in (23, 22, 19, 20, 21, 18)],
        *[random.integers(0, frames, 3).tolist() for _ in range(4)],
        list(range(frames)),
    ]
    for indices in wanted:
        frames_THWC = reader.read(indices)
        assert frames_THWC.dtype == np.uint8
        assert frames_THWC.shape == (len(indices), *reference[0].shape)
        for place, i in enumerate(indices):
            assert np.array_equal(frames_THWC[place], reference[i]), (indices, i)


def _available(codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg cannot make {codec}")


@pytest.mark.parametrize("name", _REGULAR)
def test_regular_clips(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _available(_REGULAR[name].get("codec", "libx264"))
    path = make_video(tmp_path / name, pictures(_FRAMES), **_REGULAR[name])
    reference = decode_all(path)
    assert len(reference) == _FRAMES
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert reader.irregular is None
        _check(reader, reference)
    # The same where the packets are not kept in memory but sought in the file.
    monkeypatch.setattr(index, "KEEP_BYTES", 0)
    with open_clip(path) as reader:
        _check(reader, reference)
    with open_clip(path, threads=3) as reader:
        _check(reader, reference)


@pytest.mark.parametrize("square_pixels", [False, True])
@pytest.mark.parametrize(
    ("name", "decoded"),
    [
        ("h264_pyramid.mp4", 0),
        ("h264_without_times.avi", 0),
        ("h264_open_gop.mkv", 0),
        ("h264_broadcast.ts", 0),
        ("hevc.mp4", 0),
        ("mpeg4.avi", 0),
        ("mpeg4_b.mp4", 0),
        ("vp8.webm", 1),
        ("mjpeg.avi", 1),
    ],
)
def test_headers_tell_how_large_frames_are(name: str, decoded: int, square_pixels: bool, tmp_path: Path) -> None:
    _available(_REGULAR[name].get("codec", "libx264"))
    path = make_video(tmp_path / name, pictures(9)[:, :50, :90], **_REGULAR[name])
    with open_clip(path, square_pixels=square_pixels) as reader:
        assert isinstance(reader, VideoFile)
        told = reader.bytes_per_frame
        if name == "hevc.mp4" and square_pixels:  # HEVC's shape of pixels is not read, and this container is silent
            decoded = 1
        assert reader.pictures_decoded == decoded
        assert 3 * 50 * 90 <= told <= 3 * 64 * 96
        assert reader.read([8]).nbytes == 3 * 50 * 90 == reader.bytes_per_frame


@pytest.mark.parametrize("name", _IRREGULAR)
def test_clips_that_need_decoding_from_the_beginning(name: str, tmp_path: Path) -> None:
    why, how = _IRREGULAR[name]
    _available(how.get("codec", "libx264"))
    path = make_video(tmp_path / name, pictures(_FRAMES), **how)
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert why in (reader.irregular or "")
        _check(reader, decode_all(path))


@pytest.mark.parametrize("bf", ["1", "2", "3"])
def test_packed_pictures(bf: str, tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.avi", pictures(_FRAMES), codec="mpeg4", options={"g": "16", "bf": bf})
    path = with_packed_pictures(tmp_path / "packed.avi", plain)
    reference = decode_all(path)
    assert len(reference) == _FRAMES
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert reader.irregular is None
        _check(reader, reference)


def test_packed_pictures_that_nothing_announces(tmp_path: Path) -> None:
    """FFmpeg decodes the first picture of a packet only."""
    plain = make_video(tmp_path / "plain.avi", pictures(_FRAMES), codec="mpeg4", options={"g": "16", "bf": "2"})
    path = with_packed_pictures(tmp_path / "packed.avi", plain, announced=False)
    reference = decode_all(path)
    assert len(reference) < _FRAMES
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert reader.irregular is None
        _check(reader, reference)


@pytest.mark.parametrize("frames", [1, 7, 20, 33])
def test_frames_that_an_edit_list_leaves_out_do_not_count(frames: int, tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", pictures(_FRAMES), options=_x264("bframes=3"))
    path = with_late_beginning(tmp_path / "late.mp4", whole, frames)
    reference = decode_all(path)
    assert len(reference) == _FRAMES - frames
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert reader.irregular is None
        _check(reader, reference)


def test_only_the_needed_pictures_are_decoded(tmp_path: Path) -> None:
    path = make_video(tmp_path / "clip.mp4", pictures(_FRAMES), options=_x264("bframes=3:b-pyramid=none:b-adapt=0"))
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert reader.frame_count == _FRAMES
        assert reader.pictures_decoded == 0
        # The groups of pictures begin with frames 40 and 60, and nothing after these is needed.
        reader.read([60, 40])
        assert reader.pictures_decoded == 2
        # Whatever frame was read has told the size.
        assert (reader.info.width, reader.info.height) == (96, 64)
        assert reader.pictures_decoded == 2
        # In the group from 20 on: the I, the P pictures 24, 28 and 32, and the B picture itself. That 32 is shown after
        # it, but damage of 32 would be its own, too.
        before = reader.pictures_decoded
        reader.read([30])
        assert reader.pictures_decoded - before == 5


@pytest.mark.parametrize("name", ["h264_pyramid.mp4", "mjpeg.avi"])
def test_what_a_clip_is_before_and_after_its_frames(name: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / name, pictures(_FRAMES), **_REGULAR[name])
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert (reader.frame_count, reader.pictures_decoded) == (_FRAMES, 0)
        assert reader.read([]).shape == (0, 64, 96, 3)
        assert reader.pictures_decoded == 1
        first = reader.info
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        frames_THWC = reader.read([7, 50])
        if name.startswith("mjpeg"):
            # Its packets do not prove that all frames are of one size: the first one is looked at too, once.
            assert reader.pictures_decoded == 3
        assert reader.info == first
        before = reader.pictures_decoded
        assert np.array_equal(reader.read([7])[0], frames_THWC[0])
        assert reader.pictures_decoded == before + 1 or name.startswith("h264")
    with pytest.raises(ValueError, match="closed"):
        reader.read([0])


def test_headers_that_change(tmp_path: Path) -> None:
    path = tmp_path / "both.h264"
    content = b""
    for crf in ("20", "35"):
        options = {**_x264("bframes=2"), "crf": crf}
        content += make_video(tmp_path / f"{crf}.h264", pictures(30), options=options).read_bytes()
    path.write_bytes(content)
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert reader.irregular == "headers that change"
        _check(reader, decode_all(path))


@pytest.mark.parametrize("lands", [None, 10_000], ids=["not recognized", "too late"])
def test_seeks_that_go_wrong_are_noticed(lands: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "clip.mp4", pictures(_FRAMES), options=_x264("bframes=3"))
    monkeypatch.setattr(index, "KEEP_BYTES", 0)
    monkeypatch.setattr(index.PacketIndex, "find", lambda *_: lands)
    with open_clip(path) as reader:
        _check(reader, decode_all(path))


def test_the_decoder_must_hold_back_enough_pictures() -> None:
    # Sent as I P b b: the P comes before two pictures that are shown before it, each of them after one picture.
    assert index._delay_suffices(array("q", [0, 3, 1, 2]), 1)
    # With a pyramid (I P B b b) the b pictures come after the P and the B.
    assert not index._delay_suffices(array("q", [0, 4, 2, 1, 3]), 1)
    assert index._delay_suffices(array("q", [0, 4, 2, 1, 3]), 2)
    assert not index._delay_suffices(array("q", [1, 0]), 0)
    assert index._delay_suffices(array("q", range(9)), 0)


def test_a_wrong_order_of_times_is_not_believed(tmp_path: Path) -> None:
    """An MP4 file whose times were made up from the order of sending, as copies out of AVI files have them."""
    plain = make_video(tmp_path / "plain.mp4", pictures(_FRAMES), options=_x264("bframes=3"))
    path = tmp_path / "copied.mp4"
    with av.open(str(plain)) as origin, av.open(str(path), "w") as container:
        stream = origin.streams.video[0]
        copy = container.add_stream_from_template(stream)
        for packet in origin.demux(stream):
            if packet.size:
                packet.pts = packet.dts
                packet.stream = copy
                container.mux(packet)
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert "times" in (reader.irregular or "")
        _check(reader, decode_all(path))


@pytest.mark.parametrize("settings", ["bframes=3", "bframes=3:open-gop=1", "bframes=0:intra-refresh=1"])
def test_recordings_that_begin_in_the_middle(settings: str, tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.ts", pictures(_FRAMES), options=_x264(settings)).read_bytes()
    path = tmp_path / "late.ts"
    path.write_bytes(whole[len(whole) // 3 // 188 * 188 :])
    with VideoFile(path, limits=Limits(), threads=1) as reader:
        assert reader.irregular == "a first packet that is no start"
        assert reader.info.frames < _FRAMES
        _check(reader, decode_all(path))


def _x264_long(settings: str) -> dict[str, Any]:
    options = {"g": "48", "preset": "veryfast", "x264-params": f"scenecut=0:b-adapt=0:{settings}"}
    return {"codec": "libx264", "options": options}


_LONG_GROUPS: dict[str, dict[str, Any]] = {
    "pyramid.mp4": _x264_long("bframes=3:b-pyramid=normal:ref=4"),
    "only_p.mkv": _x264_long("bframes=0"),
    "open_gop.ts": _x264_long("bframes=2:open-gop=1"),
    "bare.h264": _x264_long("bframes=3"),
    "vp9.webm": {"codec": "libvpx-vp9", "options": _VPX | {"g": "48"}},
}


@pytest.mark.parametrize("name", _LONG_GROUPS)
def test_pictures_that_are_decoded_at_once(name: str, tmp_path: Path) -> None:
    _available(_LONG_GROUPS[name]["codec"])
    path = make_video(tmp_path / name, pictures(_FRAMES), **_LONG_GROUPS[name])
    reference = decode_all(path)
    with VideoFile(path, limits=Limits(), threads=2) as reader:
        assert reader.irregular is None
        _check(reader, reference)
        assert reader._decoder is not None
        assert max(reader._decoder._contexts) > 1


def test_damage_is_found_alike_however_many_pictures_are_decoded_at_once(tmp_path: Path) -> None:
    how = {"g": "64", "preset": "veryfast", "x264-params": "scenecut=0:bframes=1"}
    path = make_video(tmp_path / "whole.mkv", pictures(_FRAMES), options=how)
    content, wanted = path.read_bytes(), segment_middles(_FRAMES, 8)
    random, found = np.random.default_rng(4), set[str]()
    for _ in range(25):
        damaged = bytearray(content)
        for place in random.integers(2000, len(content) - 500, 2):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        one, several = (_outcome(path, wanted, threads) for threads in (1, 3))
        assert one == several
        found.add(type(one).__name__)
    assert found == {"bytes", "str"}


def test_packets_for_the_decoders_threads_are_not_pythons() -> None:
    data = np.arange(20, dtype=np.uint8).tobytes()
    before = sys.getrefcount(data)
    packet = packet_of(data)
    assert bytes(packet) == data
    assert sys.getrefcount(data) == before
    python, held = av.Packet(data), sys.getrefcount(data)
    assert held > before, "there is nothing to be afraid of any more"
    del python


@pytest.mark.parametrize("threads", [1, 3])
def test_damage_in_what_is_shown_later_is_found(threads: int, tmp_path: Path) -> None:
    """A picture that refers both ways is shown before the later one that it refers to."""
    how = {"g": "64", "preset": "veryfast", "x264-params": "scenecut=0:bframes=1:b-adapt=0"}
    path = make_video(tmp_path / "a.mkv", pictures(_FRAMES), options=how)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    shown = sorted(range(_FRAMES), key=lambda number: packets[number].pts or 0)
    frame = max(i for i in range(_FRAMES - 1) if shown[i] == shown[i + 1] + 1)
    _damage(path, packets[shown[frame + 1]], frame + 1)
    sent_before = [i for i in range(_FRAMES) if shown[i] < shown[frame + 1]]
    with open_clip(path, threads=threads) as reader:
        assert len(reader.read(sent_before)) == len(sent_before) > 40
        for indices in ([frame], [3, frame]):
            with pytest.raises(VideoError, match=rf"at frame {frame} \(from 0\): errors that the decoder reports"):
                reader.read(indices)


def _damage(path: Path, packet: av.Packet[Any], frame: int) -> None:
    """Spoils a packet so that the decoder reports its frame, and none that is shown before."""
    content, data = path.read_bytes(), bytes(packet)
    begin = content.index(data) + len(data) // 2
    for seed in range(20):
        spoiled = np.random.default_rng(seed).bytes(len(data) // 4)
        path.write_bytes(content[:begin] + spoiled + content[begin + len(spoiled) :])
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            reported = [number for number, each in enumerate(container.decode(video=0)) if each.is_corrupt]
        if reported[:1] == [frame]:
            return
    raise AssertionError("the decoder sees no damage")


def _outcome(path: Path, wanted: list[int], threads: int) -> bytes | str:
    try:
        with open_clip(path, threads=threads) as reader:
            return reader.read(wanted).tobytes()
    except (VideoError, IndexError) as error:  # of a container whose structure was hit, there may be fewer frames
        return str(error)
