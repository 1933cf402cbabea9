"""What scanners read from single packets, on bytes written by hand or taken from small clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from clipshift.video.bitstream import Irregular, PacketFacts, h264, make_scanner, mpeg4
from clipshift.video.bitstream.bits import Bits, split_units, unescape
from tests.video.making import make_video, pictures

if TYPE_CHECKING:
    from pathlib import Path


def _facts(path: Path) -> list[PacketFacts]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.codec.canonical_name
        scanner = make_scanner(codec, intra_only=False, extradata=stream.codec_context.extradata or b"")
        return [scanner.scan(bytes(packet)) for packet in container.demux(stream) if packet.size]


def test_bit_fields() -> None:
    bits = Bits(bytes([0b1_010_011_0, 0b0100_1_00_0, 0b0010_0000]))
    assert [bits.golomb() for _ in range(5)] == [0, 1, 2, 3, 0]
    bits = Bits(bytes([0b010_011_00, 0b100_00101, 0b1_0000000]))
    assert [bits.signed_golomb() for _ in range(4)] == [1, -1, 2, -2]
    assert bits.read(8) == 0x80
    with pytest.raises(Irregular, match="ends early"):
        bits.read(1)
    with pytest.raises(Irregular, match="impossible"):
        Bits(bytes(8)).golomb()


def test_units() -> None:
    assert list(split_units(b"\0\0\0\2ab\0\0\0\0\0\0\0\1c", 4)) == [b"ab", b"c"]
    assert list(split_units(b"\0\0\0\1ab\0\0\1c\0\0\0\1d", 0)) == [b"ab", b"c", b"d"]
    assert unescape(b"a\0\0\3\1\0\0\3\0\0\3b") == b"a\0\0\1\0\0\0\0b"
    with pytest.raises(Irregular, match="longer than its packet"):
        list(split_units(b"\0\0\0\5ab", 4))


def test_h264_tells_references_starts_and_order(tmp_path: Path) -> None:
    settings = "scenecut=0:bframes=3:b-adapt=0:b-pyramid=normal"
    path = make_video(tmp_path / "a.mp4", pictures(20), options={"g": "10", "x264-params": settings})
    facts = _facts(path)
    assert [number for number, fact in enumerate(facts) if fact.start] == [0, 10]
    # I P B(referred to) b b P B b b P | I ...
    assert "".join("-" if fact.unreferenced else "R" for fact in facts[:10]) == "RRR--RR--R"
    order = sorted(range(20), key=lambda number: facts[number].order or 0)
    assert order[:10] == [0, 3, 2, 4, 1, 7, 6, 8, 5, 9]


def test_h264_starts_only_where_an_exact_match_is_promised(tmp_path: Path) -> None:
    frames = pictures(40)
    common = "scenecut=0:bframes=2:b-adapt=0"
    open_gop = make_video(tmp_path / "a.mp4", frames, options={"g": "10", "x264-params": f"{common}:open-gop=1"})
    assert sum(fact.start for fact in _facts(open_gop)) == 4
    refreshed = make_video(tmp_path / "b.mp4", frames, options={"g": "10", "x264-params": f"{common}:intra-refresh=1"})
    with av.open(str(refreshed)) as container:
        # The file marks the beginnings of the gradual refresh as key frames, which they are not exactly.
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) > 1
    assert [number for number, fact in enumerate(_facts(refreshed)) if fact.start] == [0]


@pytest.mark.parametrize(
    ("message", "exact"),
    [
        (b"\6\6\1\xc0\x80", True),  # recovery_frame_cnt 0, exact_match_flag 1
        (b"\6\6\1\x80\x80", False),  # exact_match_flag 0
        (b"\6\6\1\x50\x80", False),  # recovery_frame_cnt 1
        (b"\6\5\3abc\6\1\xc0\x80", True),  # after another message
        (b"\6\xff\0\2ab\6\1\xc0\x80", True),  # after one with a long type
        (b"\6\5\3abc\x80", False),
        (b"\6\6\0", False),
    ],
)
def test_h264_recovery_points(message: bytes, exact: bool) -> None:
    try:
        assert h264._read_messages(message) == (exact, False)
    except Irregular:
        assert not exact


@pytest.mark.parametrize(
    ("codec", "message", "others"),
    [("h264", b"\6\x2f\1\x80\x80", b"\6\5\3abc\x80"), ("hevc", b"\x4e\1\x2f\1\x80\x80", b"\x4e\1\5\3abc\x80")],
)
def test_messages_that_turn_pictures(codec: str, message: bytes, others: bytes) -> None:
    for unit, uniform in ((others, True), (message, False)):
        scanner = make_scanner(codec, intra_only=False, extradata=b"")
        with pytest.raises(Irregular, match="without a picture"):
            scanner.scan(b"\0\0\1" + unit)
        assert scanner.uniform is uniform


def test_hevc_skips_only_in_the_highest_sub_layer(tmp_path: Path) -> None:
    if "libx265" not in av.codecs_available:
        pytest.skip("this build of FFmpeg cannot make HEVC")
    settings = "keyint=25:bframes=7:b-adapt=0:temporal-layers=3:log-level=none:scenecut=0"
    path = make_video(
        tmp_path / "a.mp4", pictures(50), codec="libx265", options={"preset": "veryfast", "x265-params": settings}
    )
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    layers: set[tuple[int, bool]] = set()
    for data, fact in zip(packets, _facts(path), strict=True):
        slices = [unit for unit in split_units(data, 4) if unit[0] >> 1 < 32]
        layers.add(((slices[0][1] & 7) - 1, fact.unreferenced))
    assert {layer for layer, _ in layers} == {0, 1, 2}
    assert {layer for layer, unreferenced in layers if unreferenced} == {2}
    # The same pictures in a lower sub-layer might be referred to by a higher one.
    with av.open(str(path)) as container:
        scanner = make_scanner(
            "hevc", intra_only=False, extradata=container.streams.video[0].codec_context.extradata or b""
        )
    for data in packets:
        lowered = b""
        for unit in split_units(data, 4):
            changed = unit[:1] + bytes([unit[1] & 0xF8 | 2]) + unit[2:] if unit[0] >> 1 < 32 else unit
            lowered += len(changed).to_bytes(4, "big") + changed
        assert not scanner.scan(lowered).unreferenced


def test_mpeg4_pictures_that_are_not_coded_are_not_shown(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", pictures(3), codec="mpeg4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        scanner = make_scanner("mpeg4", intra_only=False, extradata=stream.codec_context.extradata or b"")
    assert scanner.scan(packets[0]).start
    assert scanner.scan(b"\0\0\1\xb6" + bytes([0b01010000, 0b01011111])).shown == 0
    assert scanner.scan(packets[1]).shown == 1
    # No encoder's name announces packed pictures: FFmpeg does not look at the second one.
    assert scanner.scan(packets[2] + packets[2]).shown == 1
    with pytest.raises(Irregular, match="packed"):
        scanner.scan(b"\x7f")  # only DivX says so


def test_mpeg4_plain_pictures_are_told_as_all_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their first bytes alone, with the same answer as from all fields of their headers."""
    for bf in ("0", "2"):
        path = make_video(tmp_path / f"{bf}.avi", pictures(30), codec="mpeg4", options={"g": "12", "bf": bf})
        facts = _facts(path)
        with monkeypatch.context() as patch:
            patch.setattr(mpeg4.Mpeg4Scanner, "_know_plain", lambda _: None)
            assert _facts(path) == facts
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first, second, *_ = [bytes(packet) for packet in container.demux(stream) if packet.size]
        scanner = make_scanner("mpeg4", intra_only=False, extradata=stream.codec_context.extradata or b"")
    scanner.scan(first)
    assert second[4] >> 6 == 1
    assert scanner.scan(second).shown == 1
    # The same picture without a marker bit, and cut off within its header.
    with pytest.raises(Irregular, match="not understood"):
        scanner.scan(second[:4] + bytes([second[4] & ~0x10]) + second[5:])
    with pytest.raises(Irregular):
        scanner.scan(second[:5])


def test_vpx_frames_that_are_not_shown() -> None:
    vp8 = make_scanner("vp8", intra_only=False, extradata=b"")
    assert vp8.scan(bytes([0b10000, 0])) == PacketFacts(1, start=True)
    assert vp8.scan(bytes([0b00001, 0])) == PacketFacts(0, start=False)
    vp9 = make_scanner("vp9", intra_only=False, extradata=b"")
    key, hidden, shown = b"\x82\0", b"\x84\0", b"\x86\0"
    assert vp9.scan(key) == PacketFacts(1, start=True)
    assert vp9.scan(hidden) == PacketFacts(0, start=False)
    assert vp9.scan(hidden + shown + b"\xc1\x02\x02\xc1") == PacketFacts(1, start=False)
    with pytest.raises(Irregular, match="several pictures"):
        vp9.scan(shown + shown + b"\xc1\x02\x02\xc1")
    with pytest.raises(Irregular, match="damaged"):
        vp9.scan(b"\x00\x00")


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg4", "vp8", "vp9", "av1"])
def test_damaged_packets_are_irregular_or_understood(codec: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        data = random.bytes(int(random.integers(1, 60)))
        for extradata in (b"", b"\1" + data):
            try:
                facts = make_scanner(codec, intra_only=False, extradata=extradata).scan(data)
                assert facts.shown in {0, 1}
            except (Irregular, IndexError):
                pass


def test_unknown_codecs_are_irregular() -> None:
    with pytest.raises(Irregular, match="the codec theora"):
        make_scanner("theora", intra_only=False, extradata=b"")
    assert make_scanner("mjpeg", intra_only=True, extradata=b"").scan(b"x").start
