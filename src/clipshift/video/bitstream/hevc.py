"""HEVC (ITU-T H.265, 08/2021; section numbers are of that text)."""

from __future__ import annotations

from typing import NamedTuple

from clipshift.video.bitstream.bits import DISPLAY_ORIENTATION, Bits, messages, split_units, unescape
from clipshift.video.bitstream.facts import HeaderBook, Irregular, PacketFacts, place

_VPS, _SPS, _PPS = 32, 33, 34
_SEI = {39, 40}
_IDR = {19, 20}
_CRA = 21
_LEADING = {6, 7, 8, 9}
_BREAKS = {16, 17, 18, 36, 37}  # broken links, ends of a sequence: leading pictures after them are not shown


class _Sps(NamedTuple):
    """The fields of a sequence parameter set (7.3.2.2) that slice headers and orders need."""

    highest_layer: int
    separate_planes: bool
    order_bits: int
    pixels: int


class HevcScanner:
    """Scans HEVC packets, one access unit each.

    Decoding may start at IDR and CRA pictures (3.69). A picture of the highest temporal sub-layer whose type says that
    its own sub-layer does not refer to it (Table 7-1, the even types below 16) is referred to by none.
    """

    def __init__(self, extradata: bytes) -> None:
        self.uniform = True  # there is one sequence parameter set
        self.pixels = 0
        self.square = False  # it stands too far behind
        self._length_size = 0
        outside: list[bytes] = []
        if len(extradata) > 22 and extradata[0] == 1:
            self._length_size = (extradata[21] & 3) + 1
            outside = _configuration_units(extradata)
        elif extradata:
            outside = list(split_units(extradata, 0))
        self._sps_unit: bytes | None = None
        self._sps: _Sps | None = None
        self._extra_bits: dict[int, tuple[bytes, int]] = {}
        headers = frozenset(unit for unit in outside if _kind(unit) in {_VPS, _SPS, _PPS})
        for unit in outside:
            self._note(unit)
        self._book = HeaderBook(headers)
        self._period = 0
        self._high = 0
        self._low = 0

    def scan(self, data: bytes) -> PacketFacts:
        """Reads one access unit; see [clipshift.video.bitstream.facts.Scanner][]."""
        headers: list[bytes] = []
        first_slice: bytes | None = None
        for unit in split_units(data, self._length_size):
            if len(unit) < 3 or _layer(unit) > 0:
                continue
            kind = _kind(unit)
            if kind in _BREAKS:
                raise Irregular(f"a unit of type {kind}")
            if kind < 32 and unit[2] >= 0x80:  # first_slice_segment_in_pic_flag
                if first_slice is not None:
                    raise Irregular("a packet with several pictures")
                first_slice = unit
            elif kind in {_VPS, _SPS, _PPS}:
                headers.append(unit)
                self._note(unit)
            elif kind in _SEI and any(message == DISPLAY_ORIENTATION for message, _ in messages(unit, 2)):
                self.uniform = False
        if first_slice is None:
            raise Irregular("a packet without a picture")
        carried = frozenset(headers)
        self._book.add(carried)
        order = self._place(first_slice)
        kind = _kind(first_slice)
        return PacketFacts(1, kind in _IDR or kind == _CRA, self._unreferenced(first_slice), order, carried)

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:
        """See [clipshift.video.bitstream.facts.Scanner][]."""
        return self._book.complete(headers)

    def _unreferenced(self, unit: bytes) -> bool:
        kind = _kind(unit)
        return kind < 16 and kind % 2 == 0 and self._sps is not None and _sub_layer(unit) >= self._sps.highest_layer

    def _note(self, unit: bytes) -> None:
        kind = _kind(unit)
        if kind == _SPS and unit != self._sps_unit:
            if self._sps_unit is not None:
                raise Irregular("several sequence parameter sets")
            self._sps_unit = unit
            self._sps = _read_sps(unit)
            self.pixels = self._sps.pixels
        elif kind == _PPS:
            bits = Bits(unescape(unit[2:]))
            number = bits.golomb()
            bits.golomb()  # pps_seq_parameter_set_id
            bits.read(1)  # dependent_slice_segments_enabled_flag
            if bits.read(1):  # output_flag_present_flag
                raise Irregular("pictures that are decoded but not shown")
            if self._extra_bits.setdefault(number, (unit, bits.read(3)))[0] != unit:
                raise Irregular("picture parameter sets that change")

    def _place(self, unit: bytes) -> int:
        """Works out a picture's order (8.3.1) from its slice header (7.3.6.1)."""
        if self._sps is None:
            raise Irregular("no sequence parameter set")
        kind = _kind(unit)
        bits = Bits(unescape(unit[2:40]))
        bits.read(1)  # first_slice_segment_in_pic_flag
        if 16 <= kind <= 23:
            bits.read(1)  # no_output_of_prior_pics_flag
        number = bits.golomb()
        if number not in self._extra_bits:
            raise Irregular("an unknown picture parameter set")
        if kind in _IDR:
            self._period += 1
            self._high = self._low = 0
            return place(self._period, 0)
        bits.read(self._extra_bits[number][1])
        bits.golomb()  # slice_type
        if self._sps.separate_planes:
            bits.read(2)
        low = bits.read(self._sps.order_bits)
        wrap = 1 << self._sps.order_bits
        high = self._high
        if low < self._low and self._low - low >= wrap // 2:
            high += wrap
        elif low > self._low and low - self._low > wrap // 2:
            high -= wrap
        own_layer_ignores_it = kind < 16 and kind % 2 == 0
        if _sub_layer(unit) == 0 and kind not in _LEADING and not own_layer_ignores_it:
            self._high, self._low = high, low
        return place(self._period, high + low)


def _kind(unit: bytes) -> int:
    return (unit[0] >> 1) & 63


def _layer(unit: bytes) -> int:
    return (unit[0] & 1) << 5 | unit[1] >> 3


def _sub_layer(unit: bytes) -> int:
    return (unit[1] & 7) - 1


def _configuration_units(extradata: bytes) -> list[bytes]:
    """The parameter sets of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1)."""
    units: list[bytes] = []
    position = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            unit = extradata[position + 2 : position + 2 + length]
            if len(unit) < 3:
                raise Irregular("a damaged configuration record")
            if _layer(unit) == 0:
                units.append(unit)
            position += 2 + length
    return units


def _read_sps(unit: bytes) -> _Sps:
    bits = Bits(unescape(unit[2:]))
    bits.read(4)  # sps_video_parameter_set_id
    highest_layer = bits.read(3)
    bits.read(1)  # sps_temporal_id_nesting_flag
    bits.read(96)  # general profile, tier and level (7.3.3)
    if highest_layer:
        present = [bits.read(2) for _ in range(8)][:highest_layer]
        for flags in present:
            bits.read(88 * (flags >> 1) + 8 * (flags & 1))
    bits.golomb()  # sps_seq_parameter_set_id
    separate_planes = bits.golomb() == 3 and bits.read(1) == 1
    pixels = bits.golomb() * bits.golomb()  # pic_width_in_luma_samples, pic_height_in_luma_samples
    if bits.read(1):  # conformance_window_flag
        for _ in range(4):
            bits.golomb()
    bits.golomb()  # bit_depth_luma_minus8
    bits.golomb()  # bit_depth_chroma_minus8
    return _Sps(highest_layer, separate_planes, bits.golomb() + 4, pixels)
