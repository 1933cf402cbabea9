"""Damage to containers of video: of single bytes, and of the pieces (boxes, elements, chunks, packets) that they hold.

The trees of pieces are read from whole files (ISO/IEC 14496-12, RFC 8794, Microsoft's RIFF, ISO/IEC 13818-1).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

BOXES_WITH_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"mvex", b"moof", b"traf", b"udta", b"dinf"}
CHUNKS_WITH_CHUNKS = {b"RIFF", b"LIST"}
# Segment, SeekHead, Info, Tracks, TrackEntry, Video, Cluster, BlockGroup, Cues, CuePoint, CueTrackPositions.
ELEMENTS_WITH_ELEMENTS = {
    b"\x18\x53\x80\x67", b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b", b"\xae", b"\xe0",
    b"\x1f\x43\xb6\x75", b"\xa0", b"\x1c\x53\xbb\x6b", b"\xbb", b"\xb7", b"\x1a\x45\xdf\xa3",
}  # fmt: skip
TS_PACKET = 188

EXTREMES = (
    0,
    1,
    2,
    3,
    7,
    8,
    255,
    256,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 2,
    2**32 - 1,
    2**40,
    2**63,
    2**64 - 1,
)


@dataclass(frozen=True)
class Piece:
    """A stretch of a file with a size field.

    Attributes:
        start: Of its header.
        content: Where the header ends.
        end: Where the content ends.
        size_at: Where the size is written.
        size_width: Bytes of the size; 0 where it has none.
        style: "box" (counts the header), "chunk" (does not) or "element" (EBML, does not).
    """

    start: int
    content: int
    end: int
    size_at: int
    size_width: int
    style: str


def pieces_of(data: bytes) -> list[Piece]:
    """All pieces of a whole file, outer ones before those inside them; none for an unknown format."""
    if data[4:8] in {b"ftyp", b"styp", b"moov", b"wide"}:
        return list(_boxes(data, 0, len(data)))
    if data[:4] == b"RIFF":
        return list(_chunks(data, 0, len(data)))
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return list(_elements(data, 0, len(data)))
    if data[:1] == b"\x47" and data[TS_PACKET : TS_PACKET + 1] == b"\x47":
        starts = range(0, len(data) - TS_PACKET + 1, TS_PACKET)
        return [Piece(at, at + 4, at + TS_PACKET, at, 0, "packet") for at in starts]
    return []


def _boxes(data: bytes, start: int, end: int) -> Iterator[Piece]:
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        if length < 8 or start + length > end:
            return
        yield Piece(start, start + 8, start + length, start, 4, "box")
        if kind in BOXES_WITH_BOXES:
            yield from _boxes(data, start + 8, start + length)
        elif kind in {b"stsd", b"dref"}:
            yield from _boxes(data, start + 16, start + length)
        start += length


def _chunks(data: bytes, start: int, end: int) -> Iterator[Piece]:
    while start + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, start)
        stop = min(start + 8 + length, end)
        yield Piece(start, start + 8, stop, start + 4, 4, "chunk")
        if kind in CHUNKS_WITH_CHUNKS:
            yield from _chunks(data, start + 12, stop)
        start = stop + length % 2


def _elements(data: bytes, start: int, end: int) -> Iterator[Piece]:
    while start + 2 <= end:
        id_width = 9 - data[start].bit_length()
        size_at = start + id_width
        if size_at >= end or not data[size_at]:
            return
        width = 9 - data[size_at].bit_length()
        content = size_at + width
        length = int.from_bytes(data[size_at:content], "big") & ((1 << 7 * width) - 1)
        stop = end if length == (1 << 7 * width) - 1 else min(content + length, end)
        yield Piece(start, content, stop, size_at, width, "element")
        if data[start:size_at] in ELEMENTS_WITH_ELEMENTS:
            yield from _elements(data, content, stop)
        start = stop


def _size_field(piece: Piece, length: int) -> bytes:
    """The size field for a content of `length` bytes, cut to its width."""
    if piece.style == "element":
        bits = 7 * piece.size_width
        return ((length & ((1 << bits) - 1)) | 1 << bits).to_bytes(piece.size_width, "big")
    if piece.style == "box":
        return ((length + piece.content - piece.start) & 0xFFFFFFFF).to_bytes(4, "big")
    return (length & 0xFFFFFFFF).to_bytes(4, "little")


def replace_piece(data: bytes, pieces: list[Piece], piece: Piece, new: bytes, *, repair: bool) -> bytes:
    """Put other bytes in the place of a piece, and correct the sizes of those around it if `repair` says so."""
    result = bytearray(data)
    if repair:
        grown = len(new) - (piece.end - piece.start)
        for outer in pieces:
            if outer.size_width and outer.content <= piece.start and piece.end <= outer.end:
                field = _size_field(outer, outer.end - outer.content + grown)
                result[outer.size_at : outer.size_at + outer.size_width] = field
    result[piece.start : piece.end] = new
    return bytes(result)


def flip_bits(data: bytes, random: Random) -> bytes:
    result = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16, 64))):
        result[random.randrange(len(result))] ^= 1 << random.randrange(8)
    return bytes(result)


def cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def cut_out(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data))
    return data[:start] + data[start + random.choice((1, 4, 7, 64, 500)) :]


def insert_noise(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    return data[:at] + random.randbytes(random.choice((1, 4, 33, 512))) + data[at:]


def overwrite_number(data: bytes, random: Random) -> bytes:
    """An extreme number in a random place, aligned as numbers are."""
    width = random.choice((1, 2, 4, 8))
    at = random.randrange(max(1, len(data) - width)) // 2 * 2
    return _with_extreme(data, at, width, random)


def _with_extreme(data: bytes, at: int, width: int, random: Random) -> bytes:
    value = random.choice(EXTREMES) & ((1 << 8 * width) - 1)
    new = value.to_bytes(width, random.choice(("big", "big", "little")))
    return (data[:at] + new + data[at + width :])[: len(data)]


def _some_piece(data: bytes, random: Random) -> tuple[list[Piece], Piece] | None:
    pieces = pieces_of(data)
    return (pieces, random.choice(pieces)) if pieces else None


def swap_pieces(data: bytes, random: Random) -> bytes:
    found = _some_piece(data, random)
    if found is None:
        return cut_out(data, random)
    pieces, one = found
    two = random.choice(pieces)
    first, second = sorted((one, two), key=lambda piece: piece.start)
    if first.end > second.start:
        return flip_bits(data, random)
    repair = random.random() < 0.7
    one_bytes, two_bytes = data[first.start : first.end], data[second.start : second.end]
    data = replace_piece(data, pieces, second, one_bytes, repair=repair)
    return replace_piece(data, pieces, first, two_bytes, repair=repair)


def repeat_piece(data: bytes, random: Random) -> bytes:
    found = _some_piece(data, random)
    if found is None:
        return insert_noise(data, random)
    pieces, piece = found
    most = max(2, min(2000, 200_000 // max(1, piece.end - piece.start)))
    times = min(most, random.choice((2, 2, 3, 50, 2000)))
    return replace_piece(data, pieces, piece, data[piece.start : piece.end] * times, repair=random.random() < 0.7)


def drop_piece(data: bytes, random: Random) -> bytes:
    found = _some_piece(data, random)
    if found is None:
        return cut_out(data, random)
    return replace_piece(data, *found, b"", repair=random.random() < 0.7)


def nest_piece(data: bytes, random: Random) -> bytes:
    """A piece in itself, many times."""
    found = _some_piece(data, random)
    if found is None or not found[1].size_width:
        return insert_noise(data, random)
    pieces, piece = found
    header = data[piece.start : piece.content]
    at, whole = piece.size_at - piece.start, data[piece.start : piece.end]
    for _ in range(random.choice((1, 3, 20, 200))):
        whole = header[:at] + _size_field(piece, len(whole)) + header[at + piece.size_width :] + whole
    return replace_piece(data, pieces, piece, whole, repair=random.random() < 0.8)


def wrong_size(data: bytes, random: Random) -> bytes:
    found = _some_piece(data, random)
    if found is None or not found[1].size_width:
        return overwrite_number(data, random)
    _, piece = found
    length = piece.end - piece.content
    size = random.choice((0, 1, length - 1, length + 1, length // 2, 2 * length, *EXTREMES))
    return data[: piece.size_at] + _size_field(piece, size) + data[piece.size_at + piece.size_width :]


def spoil_piece(data: bytes, random: Random) -> bytes:
    """Extreme numbers or turned bits in one piece: small ones, which tell of the frames, are hit as often as large."""
    found = _some_piece(data, random)
    if found is None or found[1].end - found[1].content < 1:
        return overwrite_number(data, random)
    _, piece = found
    for _ in range(random.choice((1, 1, 2, 5))):
        near = min(piece.end, piece.content + random.choice((16, 64, 256, 1 << 30)))
        at = random.randrange(piece.content, near)
        if random.random() < 0.5:
            width = random.choice((1, 2, 4, 4, 8))
            at = piece.content + (at - piece.content) // width * width
            data = _with_extreme(data, at, width, random)
        else:
            data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    return data


MUTATIONS: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bits, cut, cut_out, insert_noise, overwrite_number, swap_pieces, repeat_piece, drop_piece, nest_piece,
    wrong_size, spoil_piece, spoil_piece, spoil_piece,
)  # fmt: skip


def damaged(data: bytes, random: Random) -> bytes:
    """A file with one to three kinds of damage."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if data:
            data = random.choice(MUTATIONS)(data, random)
    return data
