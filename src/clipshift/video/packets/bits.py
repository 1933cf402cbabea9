"""Reading bit fields of compressed headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipshift.video.packets.facts import Irregular

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bits:
    """Reads unsigned fields from the highest bit on; past the end it raises `Irregular`."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, width: int) -> int:
        """Reads a field of `width` bits."""
        self._left -= width
        if self._left < 0:
            raise Irregular("a header ends early")
        return (self._value >> self._left) & ((1 << width) - 1)

    def golomb(self) -> int:
        """Reads an unsigned Exp-Golomb code, ue(v) (ITU-T H.264, section 9.1)."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise Irregular("a header holds an impossible number")
        return (1 << zeros) - 1 + self.read(zeros)

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
    position = 0
    while position < len(data):
        begin = position + length_size
        position = begin + int.from_bytes(data[position:begin], "big")
        if position > len(data):
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
