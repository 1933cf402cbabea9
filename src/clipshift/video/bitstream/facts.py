"""What a scanner tells of a packet."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Irregular(Exception):  # noqa: N818 - no fault of the file: it only rules out the short way
    """The stream uses something for which leaving pictures out is not proven to be exact."""


class PacketFacts(NamedTuple):
    """What one packet is.

    Attributes:
        shown: How many pictures it shows, 0 or 1.
        start: Whether decoding may begin with it: what is shown after it does not depend on what came before it.
        unreferenced: Whether no other picture depends on it.
        order: Sorts the pictures of the stream by showing; None where they are shown as they come.
        headers: The parameter sets that it carries.
        dispensable: Whether it is unreferenced, and a decoder that never sees the packet goes on as one that skips its
            picture.
    """

    shown: int
    start: bool
    unreferenced: bool = False
    order: int | None = None
    headers: frozenset[bytes] = frozenset()
    dispensable: bool = False


def place(sequence: int, number: int) -> int:
    """One number for a picture's place: first by coded sequence, then by its number within, |number| < 2^39."""
    return (sequence << 40) + number


class Scanner(Protocol):
    """Reads the packets of one stream in decoding order.

    Attributes:
        uniform: Whether nothing in the packets scanned so far can change the size or the orientation of the pictures.
        pixels: Width x height of the pictures as coded, of which all or fewer are shown; 0 where that is not read.
        square: Whether no header of a picture says that pixels are not square; False where that is not read.
    """

    uniform: bool
    pixels: int
    square: bool

    def scan(self, data: bytes) -> PacketFacts:
        """Reads one packet.

        Raises:
            Irregular: The packet is not understood, or breaks a rule that makes the short ways exact.
        """

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:
        """After all scans: whether a start that carries `headers` needs no parameter set of an earlier packet."""


class HeaderBook:
    """Keeps account of the parameter sets of a stream.

    A decoder that begins at a later packet knows the sets outside the packets and those of that packet. It agrees with
    one that began at the first packet if there are no others anywhere.
    """

    def __init__(self, outside: frozenset[bytes] = frozenset()) -> None:
        self._outside = outside
        self._all: set[bytes] = set(outside)

    def add(self, headers: frozenset[bytes]) -> None:
        """Notes the sets of one packet."""
        if headers:
            self._all |= headers

    def complete(self, headers: frozenset[bytes]) -> bool:
        """Whether the sets outside and `headers` are all that the stream has."""
        return self._all <= (self._outside | headers)
