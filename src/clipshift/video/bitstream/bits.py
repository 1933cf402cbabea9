"""Reading bit fields of compressed headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipshift.video.bitstream.facts import Irregular

if TYPE_CHECKING:
    from collections.abc import Iterator

DISPLAY_ORIENTATION = 47
"""Type of the message that turns pictures, in H.264 (D.1.27) and HEVC (D.2.15)."""


class Bits:
    """Reads unsigned fields from the highest bit on; past the end it raises `Irregular`."""

    __slots__ = ("_left", "_rest")

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "big")  # what was not read yet, in `_left` bits
        self._left = 8 * len(data)

    def read(self, width: int) -> int:
        """Reads a field of `width` bits."""
        left = self._left - width
        if left < 0:
            raise Irregular("a header ends early")
        rest = self._rest
        field = rest >> left
        self._rest = rest - (field << left)
        self._left = left
        return field

    def golomb(self) -> int:
        """Reads an unsigned Exp-Golomb code, ue(v) (ITU-T H.264, section 9.1)."""
        rest = self._rest
        zeros = self._left - rest.bit_length()
        if zeros > 32:
            raise Irregular("a header holds an impossible number")
        left = self._left - 2 * zeros - 1
        if left < 0:
            raise Irregular("a header ends early")
        code = rest >> left
        self._rest = rest - (code << left)
        self._left = left
        return code - 1

    def signed_golomb(self) -> int:
        """Reads a signed Exp-Golomb code, se(v) (ITU-T H.264, section 9.1.1)."""
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def unescape(unit: bytes) -> bytes:
    """Takes out the emulation prevention bytes of a NAL unit (ITU-T H.264, section 7.4.1)."""
    return unit.replace(b"\0\0\3", b"\0\0")


def split_units(data: bytes, length_size: int) -> Iterator[bytes]:
    """Splits a packet into its NAL units.

    Args:
        data: The packet.
        length_size: Bytes of the length before each unit (1, 2 or 4); 0 where start codes part the units.

    Raises:
        Irregular: A length points beyond the packet.
    """
    if length_size == 0:
        yield from _split_start_codes(data)
        return
    position, end = 0, len(data)
    while position < end:
        begin = position + length_size
        position = begin + int.from_bytes(data[position:begin], "big")
        if position > end:
            raise Irregular("a unit is longer than its packet")
        if position > begin:
            yield data[begin:position]


def _split_start_codes(data: bytes) -> Iterator[bytes]:
    begin = data.find(b"\0\0\1")
    while begin >= 0:
        end = data.find(b"\0\0\1", begin + 3)
        unit = data[begin + 3 : end if end >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        begin = end


def messages(unit: bytes, header: int) -> Iterator[tuple[int, bytes]]:
    """Splits a message unit (SEI; ITU-T H.264, 7.3.2.3; H.265, 7.3.2.4) into (type, payload) of its messages.

    Args:
        unit: The unit.
        header: Bytes of the unit's own header.
    """
    data = unescape(unit[header:])
    position = 0
    while position + 2 <= len(data) and data[position] != 0x80:
        numbers = []
        for _ in range(2):  # payload type, payload size
            number = 0
            while position < len(data) and data[position] == 255:
                number += 255
                position += 1
            numbers.append(number + (data[position] if position < len(data) else 0))
            position += 1
        yield numbers[0], data[position : position + numbers[1]]
        position += numbers[1]
