"""VP8, VP9, AV1, and codecs whose pictures stand alone."""

from __future__ import annotations

from clipshift.video.bitstream.bits import Bits
from clipshift.video.bitstream.facts import HeaderBook, Irregular, PacketFacts

_ALONE = PacketFacts(1, start=True)


class IntraScanner:
    """Scans codecs in which every packet is a picture that depends on no other."""

    uniform = False
    pixels = 0
    square = False

    def scan(self, data: bytes) -> PacketFacts:  # noqa: ARG002
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return _ALONE

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:  # noqa: ARG002
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return True


class Vp8Scanner:
    """Scans VP8 (RFC 6386, section 9.1); a key frame depends on nothing before it."""

    uniform = False
    pixels = 0
    square = False

    def scan(self, data: bytes) -> PacketFacts:
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return PacketFacts((data[0] >> 4) & 1, start=not data[0] & 1)

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:  # noqa: ARG002
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return True


class Vp9Scanner:
    """Scans VP9 (bitstream specification 0.6, section 6.2 and annex B); a key frame depends on nothing before it."""

    uniform = False
    pixels = 0
    square = False

    def scan(self, data: bytes) -> PacketFacts:
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        frames = [_vp9_frame(frame) for frame in _vp9_superframe(data)]
        shown = sum(is_shown for is_shown, _ in frames)
        if shown > 1:
            raise Irregular("a packet with several pictures")
        return PacketFacts(shown, start=frames[0] == (True, True))

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:  # noqa: ARG002
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return True


def _vp9_superframe(data: bytes) -> list[bytes]:
    marker = data[-1]
    size_bytes = ((marker >> 3) & 3) + 1
    count = (marker & 7) + 1
    index = len(data) - 2 - size_bytes * count
    if marker & 0xE0 != 0xC0 or index < 0 or data[index] != marker:
        return [data]
    frames = []
    position = 0
    for number in range(count):
        begin = index + 1 + number * size_bytes
        size = int.from_bytes(data[begin : begin + size_bytes], "little")
        frames.append(data[position : position + size])
        position += size
    if position > index or not all(frames):
        raise Irregular("a damaged superframe")
    return frames


def _vp9_frame(data: bytes) -> tuple[bool, bool]:
    """Whether a frame is shown, and whether it is a key frame."""
    bits = Bits(data[:2])
    if bits.read(2) != 2:
        raise Irregular("a damaged frame header")
    profile = bits.read(1) | bits.read(1) << 1
    if profile == 3:
        bits.read(1)
    if bits.read(1):  # show_existing_frame
        return True, False
    key = not bits.read(1)
    return bits.read(1) == 1, key


class Av1Scanner:
    """Scans AV1 (bitstream specification 1.0.0 with errata 1, section 5.3 on), one temporal unit a packet.

    Decoding may start at a shown key frame (7.21) whose packet brings the only sequence header that the stream has.
    """

    uniform = False
    pixels = 0
    square = False
    _SEQUENCE, _HEADER, _FRAME = 1, 3, 6

    def __init__(self) -> None:
        self._book = HeaderBook()

    def scan(self, data: bytes) -> PacketFacts:
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        headers: set[bytes] = set()
        frames: list[tuple[bool, bool]] = []
        for kind, payload in _av1_units(data):
            if kind == self._SEQUENCE:
                if payload[0] & 0x08:
                    raise Irregular("a still picture")  # reduced_still_picture_header
                headers.add(payload)
            elif kind in {self._HEADER, self._FRAME}:
                bits = Bits(payload[:1])
                if bits.read(1):  # show_existing_frame
                    frames.append((True, False))
                else:
                    key = bits.read(2) == 0
                    frames.append((bits.read(1) == 1, key))
        shown = sum(is_shown for is_shown, _ in frames)
        if not frames or shown > 1:
            raise Irregular("a packet without a picture, or with several")
        carried = frozenset(headers)
        self._book.add(carried)
        return PacketFacts(shown, start=frames[0] == (True, True) and bool(headers), headers=carried)

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return self._book.complete(headers)


def _av1_units(data: bytes) -> list[tuple[int, bytes]]:
    """Splits a temporal unit into (type, payload) of its open bitstream units."""
    units = []
    position = 0
    while position < len(data):
        header = data[position]
        position += 1
        if header & 0x04:  # obu_extension_flag
            if position >= len(data) or (data[position] >> 3) & 3:
                raise Irregular("spatial layers")
            position += 1
        size, shift = len(data) - position, 0
        if header & 0x02:  # obu_has_size_field
            size = 0
            while True:
                if position >= len(data) or shift > 56:
                    raise Irregular("a damaged unit")
                byte = data[position]
                position += 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
        payload = data[position : position + size]
        if len(payload) < size or (size == 0 and (header >> 3) & 15 in {1, 3, 6}):
            raise Irregular("a damaged unit")
        units.append(((header >> 3) & 15, payload))
        position += size
    return units
