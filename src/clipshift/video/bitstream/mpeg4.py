"""MPEG-4 part 2 (ISO/IEC 14496-2): Xvid, DivX, FFmpeg's own; section numbers are of that text."""

from __future__ import annotations

import re
from typing import NamedTuple

from clipshift.video.bitstream.bits import Bits
from clipshift.video.bitstream.facts import Irregular, PacketFacts, place

_VOP = b"\0\0\1\xb6"
_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f]")
_GROUP = re.compile(rb"\x00\x00\x01\xb3(?s:.*?)(?=\x00\x00\x01|\Z)")
_DIVX = re.compile(rb"\x00\x00\x01\xb2DivX\d+(?:Build|b)\d+(p?)")
_NOTHING = b"\x7f"  # DivX for "the picture before stays"
_LARGEST_EMPTY = 19
_PLAIN_BYTES = 12
_I, _P, _B = 0, 1, 2


class _Picture(NamedTuple):
    kind: int
    coded: bool


class Mpeg4Scanner:
    """Scans MPEG-4 part 2.

    Old encoders packed a picture that refers both ways behind the one it refers to, in one packet, and sent an empty
    packet in its place later ("packed bitstream"). FFmpeg keeps the second picture and decodes it when the next packet
    comes; the scanner follows it and tells, for each packet, of the picture that is decoded when it comes. What follows
    other patterns than those of the known encoders is irregular.

    The headers before an I picture also choose how FFmpeg decodes (the encoder's name stands there), so a start must
    repeat those of the first packet.
    """

    uniform = True  # there is one set of headers, and nothing in it turns pictures

    def __init__(self, extradata: bytes) -> None:
        self.pixels, self.square = 0, False
        self._increment_bits = 0
        self._divx = False
        self._packed = False
        self._note_headers(extradata)
        self._first_headers: bytes | None = None
        self._plain, self._plain_mask = 1, 0  # no packet is known to be plain yet
        self._kept: _Picture | None = None
        self._references = 0
        self._between = 0

    def scan(self, data: bytes) -> PacketFacts:
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        if int.from_bytes(data[:_PLAIN_BYTES], "big") & self._plain_mask == self._plain:
            return self._reference(start=False)
        begin = data.find(_VOP)
        headers = _GROUP.sub(b"", data[:begin]) if begin > 0 else b""
        if self._first_headers is None:
            self._first_headers = headers
            self._note_headers(headers)
            self._know_plain()
        elif headers and headers != self._first_headers:
            raise Irregular("headers that change")
        pictures = self._pictures(data, begin)
        if self._kept is not None:
            return self._show_kept(data, pictures)
        if not pictures and self._divx and data == _NOTHING:
            return self._hidden()
        if len(pictures) == 2 and self._packed and pictures[0].kind != _B and pictures[1] == (_B, True):
            self._kept = pictures.pop()
        if len(pictures) != 1 or (self._kept is not None and not pictures[0].coded):
            raise Irregular("packed pictures, or a packet without one")
        kind, coded = pictures[0]
        if not coded:
            return self._hidden()
        if kind == _B:
            return self._between_references(skippable=True)
        # A decoder that starts here passes over a picture kept behind this one, and over what the next packet brings.
        return self._reference(start=kind == _I and headers == self._first_headers and self._kept is None)

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:  # noqa: ARG002
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return True

    def _show_kept(self, data: bytes, pictures: list[_Picture]) -> PacketFacts:
        """The kept picture is decoded now; this packet's own picture is kept in turn, or is an empty one."""
        empty = len(data) <= _LARGEST_EMPTY and not any(picture.coded for picture in pictures)
        if empty:
            self._kept = None
        elif len(pictures) == 1 and pictures[0] == (_B, True) and data.startswith(_VOP):
            self._kept = pictures[0]
        else:
            raise Irregular("packed pictures")
        # A decoder that skips the picture would not look at what the packet brings for the next one.
        return self._between_references(skippable=empty)

    def _know_plain(self) -> None:
        """Prepares `scan` to tell by its first bytes a coded P picture that is alone, as nearly all are (6.2.5).

        Behind the start code: the type P, no full second gone by, marker_bit, the time, marker_bit, vop_coded.
        """
        width = self._increment_bits
        if self._packed or not width:
            return
        rest = 8 * (_PLAIN_BYTES - 4) - width - 6
        self._plain = (int.from_bytes(_VOP, "big") << width + 6 | 0b01_0_1 << width + 2 | 0b11) << rest
        self._plain_mask = ((1 << 36) - 1 << width + 2 | 0b11) << rest

    def _reference(self, *, start: bool) -> PacketFacts:
        self._references += 1
        self._between = 0
        return PacketFacts(1, start, False, place(2 * self._references + 1, 0))

    def _between_references(self, *, skippable: bool) -> PacketFacts:
        # Shown before the reference that was sent before it.
        self._between += 1
        order = place(2 * self._references, self._between)
        return PacketFacts(1, start=False, unreferenced=skippable, order=order)

    def _hidden(self) -> PacketFacts:
        self._between += 1
        return PacketFacts(0, start=False, order=place(2 * self._references + 1, self._between))

    def _pictures(self, data: bytes, begin: int) -> list[_Picture]:
        """The pictures of a packet that are decoded, from their headers (6.2.5); the first one's is at `begin`.

        Where no encoder's name announces packed pictures, FFmpeg looks at nothing behind the first.
        """
        pictures = []
        while begin >= 0:
            pictures.append(self._picture(data[begin + 4 : begin + 16]))
            begin = data.find(_VOP, begin + 4) if self._packed else -1
        return pictures

    def _picture(self, header: bytes) -> _Picture:
        """Reads a picture's header behind its start code."""
        left = 8 * len(header) - 2
        if left < 0:
            raise Irregular("a header ends early")
        value = int.from_bytes(header, "big")
        kind, rest = value >> left, value & ((1 << left) - 1)
        # modulo_time_base: ones up to a zero, which is the first one of what is turned round.
        left = (rest ^ ((1 << left) - 1)).bit_length() - 1
        width = self._increment_bits
        left -= width + 3
        if left < 0 or not width:
            raise Irregular("a picture header that is not understood")
        fields = rest >> left  # marker_bit, vop_time_increment, marker_bit, vop_coded
        if not (fields >> (width + 2) & 1 and fields & 2):
            raise Irregular("a picture header that is not understood")
        return _Picture(kind, fields & 1 == 1)

    def _note_headers(self, headers: bytes) -> None:
        layer = _LAYER.search(headers)
        if layer is not None:
            self._increment_bits, self.pixels, self.square = _read_layer(headers[layer.end() :])
        divx = _DIVX.search(headers)
        if divx is not None:
            self._divx = True
            self._packed = divx[1] == b"p"


def _read_layer(layer: bytes) -> tuple[int, int, bool]:
    """Width of the time field of picture headers, pixels, whether these are square, from a layer header (6.2.3)."""
    bits = Bits(layer[:40])
    bits.read(9)  # random_accessible_vol, video_object_type_indication
    if bits.read(1):  # is_object_layer_identifier
        bits.read(7)
    aspect = bits.read(4)  # aspect_ratio_info
    if aspect == 15:  # extended
        bits.read(16)
    if bits.read(1):  # vol_control_parameters
        bits.read(3)
        if bits.read(1):  # vbv_parameters
            bits.read(79)
    if bits.read(2):  # video_object_layer_shape
        raise Irregular("shapes other than a rectangle")
    bits.read(1)
    increment_bits = max(1, (bits.read(16) - 1).bit_length())
    return increment_bits, _read_pixels(bits, increment_bits), aspect < 2


def _read_pixels(bits: Bits, increment_bits: int) -> int:
    try:
        bits.read(1)
        if bits.read(1):  # fixed_vop_rate
            bits.read(increment_bits)
        width, height = bits.read(14), bits.read(14)  # marker_bit, video_object_layer_width; the same of the height
    except Irregular:  # nothing else hangs on it
        return 0
    return (width & 0x1FFF) * (height & 0x1FFF)
