"""H.264 (ITU-T H.264, 08/2021; section numbers are of that text)."""

from __future__ import annotations

from typing import NamedTuple

from clipshift.video.bitstream.bits import DISPLAY_ORIENTATION, Bits, messages, split_units, unescape
from clipshift.video.bitstream.facts import HeaderBook, Irregular, PacketFacts, place

_SLICE, _IDR_SLICE, _SEI, _SPS, _PPS = 1, 5, 6, 7, 8
_BREAKS = {2, 3, 4, 10, 11}  # data partitions; ends of a sequence, after which numbering begins anew
_FILLER = 12
_SLICES = {_SLICE, _IDR_SLICE}
_HEADERS = {_SPS, _PPS}
_RECOVERY_POINT = 6
_WITH_CHROMA_FORMAT = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_I_SLICES = {2, 7}
_SLICE_HEADER = 20  # bytes that hold the fields up to the order, of at most 90 bits, and what is inserted among them


class _Sps(NamedTuple):
    """The fields of a sequence parameter set (7.3.2.1.1) that slice headers and orders need."""

    frame_num_bits: int
    order_type: int
    order_bits: int
    pixels: int
    square: bool


class H264Scanner:
    """Scans H.264 packets, one access unit each.

    Decoding may start at an IDR picture, and at an I picture with a recovery point message that promises an exact match
    from its own picture on (D.2.8); gradual refresh is thereby excluded.
    """

    def __init__(self, extradata: bytes) -> None:
        self.uniform = True  # there is one sequence parameter set
        self.pixels, self.square = 0, False
        self._length_size = _length_size(extradata)
        outside: list[bytes] = []
        if self._length_size:
            outside = _configuration_units(extradata)
        elif extradata:
            outside = list(split_units(extradata, 0))
        self._sps_unit: bytes | None = None
        self._sps: _Sps | None = None
        for unit in outside:
            self._note_sps(unit)
        self._book = HeaderBook(frozenset(unit for unit in outside if unit[0] & 31 in _HEADERS))
        self._period = 0
        self._high = 0
        self._low = 0
        self._count = 0

    def scan(self, data: bytes) -> PacketFacts:
        """Reads one access unit; see [clipshift.video.bitstream.facts.Scanner][]."""
        headers: list[bytes] = []
        first_slice: bytes | None = None
        referenced = exact_recovery = False
        for unit in split_units(data, self._length_size):
            kind = unit[0] & 31
            if kind in _SLICES:
                referenced = referenced or bool(unit[0] & 0x60)
                if unit[1:2] >= b"\x80":  # first_mb_in_slice = 0: a picture begins
                    if first_slice is not None:
                        raise Irregular("a packet with several pictures")
                    first_slice = unit
            elif kind in _HEADERS:
                headers.append(unit)
                self._note_sps(unit)
            elif kind == _SEI:
                exact, turned = _read_messages(unit)
                exact_recovery = exact_recovery or exact
                self.uniform = self.uniform and not turned
            elif kind in _BREAKS:
                raise Irregular(f"a unit of type {kind}")
        if first_slice is None:
            raise Irregular("a packet without a picture")
        carried = frozenset(headers)
        self._book.add(carried)
        order, intra = self._place(first_slice)
        idr = first_slice[0] & 31 == _IDR_SLICE
        start = idr or (exact_recovery and intra)
        # Of a picture with nal_ref_idc = 0 no later one takes its number or order (7.4.3, 8.2.1).
        return PacketFacts(1, start, not referenced, order, carried, dispensable=not referenced and not carried)

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return self._book.complete(headers)

    def _note_sps(self, unit: bytes) -> None:
        if unit[0] & 31 != _SPS or unit == self._sps_unit:
            return
        if self._sps_unit is not None:
            raise Irregular("several sequence parameter sets")
        self._sps_unit = unit
        self._sps = _read_sps(unit)
        self.pixels, self.square = self._sps.pixels, self._sps.square

    def _place(self, unit: bytes) -> tuple[int, bool]:
        """Works out a picture's order (8.2.1) and whether it begins with an I slice, from its slice header (7.3.3)."""
        if self._sps is None:
            raise Irregular("no sequence parameter set")
        bits = Bits(unescape(unit[1:_SLICE_HEADER]))
        bits.read(1)  # first_mb_in_slice = 0
        intra = bits.golomb() in _I_SLICES
        bits.golomb()  # pic_parameter_set_id
        bits.read(self._sps.frame_num_bits)
        idr = unit[0] & 31 == _IDR_SLICE
        if idr:
            bits.golomb()  # idr_pic_id
            self._period += 1
            self._high = self._low = self._count = 0
        if self._sps.order_type == 2:
            self._count += 1
            return place(self._period, self._count), intra
        low = bits.read(self._sps.order_bits)
        wrap = 1 << self._sps.order_bits
        high = self._high
        if low < self._low and self._low - low >= wrap // 2:
            high += wrap
        elif low > self._low and low - self._low > wrap // 2:
            high -= wrap
        if unit[0] & 0x60:
            self._high, self._low = high, low
        return place(self._period, high + low), intra


def empty_packet(extradata: bytes) -> bytes:
    """A packet of a stream that holds filler data (7.3.2.7) and no picture."""
    unit = bytes([_FILLER, 0xFF, 0x80])
    size = _length_size(extradata)
    return (len(unit).to_bytes(size, "big") if size else b"\0\0\0\1") + unit


def _length_size(extradata: bytes) -> int:
    """Bytes that tell the length of each unit (ISO/IEC 14496-15, 5.3.3.1); 0 where start codes part the units."""
    if extradata[:1] != b"\x01":
        return 0
    return (extradata[4] & 3) + 1 if len(extradata) > 4 else 4


def _configuration_units(extradata: bytes) -> list[bytes]:
    """The parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    units: list[bytes] = []
    position = 5
    for mask in (31, 255):
        count = extradata[position] & mask if position < len(extradata) else 0
        position += 1
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            unit = extradata[position + 2 : position + 2 + length]
            if not unit:
                raise Irregular("a damaged configuration record")
            units.append(unit)
            position += 2 + length
    return units


def _read_sps(unit: bytes) -> _Sps:
    bits = Bits(unescape(unit[1:]))
    profile = bits.read(8)
    bits.read(16)  # constraint flags, level_idc
    bits.golomb()  # seq_parameter_set_id
    if profile in _WITH_CHROMA_FORMAT:
        # FFmpeg decodes 4:4:4 of old x264 versions by a note that only the first packet carries.
        if bits.golomb() == 3:
            raise Irregular("4:4:4 color")
        bits.golomb()  # bit_depth_luma_minus8
        bits.golomb()  # bit_depth_chroma_minus8
        bits.read(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.read(1):
            _skip_scaling_lists(bits)
    frame_num_bits = bits.golomb() + 4
    order_type = bits.golomb()
    if order_type == 1:
        raise Irregular("picture order count of type 1")
    order_bits = bits.golomb() + 4 if order_type == 0 else 0
    bits.golomb()  # max_num_ref_frames
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    blocks = (bits.golomb() + 1) * (bits.golomb() + 1)  # pic_width_in_mbs_minus1, pic_height_in_map_units_minus1
    if not bits.read(1):  # frame_mbs_only_flag
        raise Irregular("interlaced pictures")
    return _Sps(frame_num_bits, order_type, order_bits, 256 * blocks, _has_square_pixels(bits))


def _has_square_pixels(bits: Bits) -> bool:
    """Whether the rest of a sequence parameter set tells of square pixels, or of none (7.3.2.1.1, E.1.1)."""
    try:
        bits.read(1)  # direct_8x8_inference_flag
        if bits.read(1):  # frame_cropping_flag
            for _ in range(4):
                bits.golomb()
        told = bits.read(1) and bits.read(1)  # vui_parameters_present_flag, aspect_ratio_info_present_flag
        return not told or bits.read(8) < 2
    except Irregular:  # nothing else hangs on it
        return False


def _skip_scaling_lists(bits: Bits) -> None:
    """Passes over the scaling matrix of a sequence parameter set (7.3.2.1.1.1)."""
    for number in range(8):
        if not bits.read(1):
            continue
        last = following = 8
        for _ in range(16 if number < 6 else 64):
            if following:
                following = (last + bits.signed_golomb()) % 256
            last = following or last


def _read_messages(unit: bytes) -> tuple[bool, bool]:
    """Reads a message unit (7.3.2.3).

    Returns:
        Whether it holds a recovery point (D.1.8) at its own picture with an exact match, and whether it turns pictures.
    """
    exact = turned = False
    for kind, payload in messages(unit, 1):
        if kind == _RECOVERY_POINT:
            bits = Bits(payload)
            exact = bits.golomb() == 0 and bits.read(1) == 1
        turned = turned or kind == DISPLAY_ORIENTATION
    return exact, turned
