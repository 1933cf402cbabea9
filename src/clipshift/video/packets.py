"""What a compressed picture says about itself before it is decoded.

A scanner reads the packets of one stream in decoding order and answers, from a few header bits, what the reader must
know to leave pictures out without changing those it wants:

- how many pictures the packet will show (one, or none);
- whether decoding may start there: nothing after it in time depends on anything before it;
- whether no other picture depends on it, so that a decoder told to skip such pictures may leave it out;
- its place in the order of showing, where the stream itself tells (H.264 and HEVC picture order counts).

Whatever a scanner does not understand fully it refuses with [Irregular][clipshift.video.packets.Irregular]; the clip is
then decoded from its first packet on, which is slower and always right.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Irregular", "PacketFacts", "Scanner", "make_scanner"]


class Irregular(Exception):  # noqa: N818 - not an error of the file: it only rules out the short way
    """The stream uses something for which leaving pictures out is not proven to be exact."""


class PacketFacts(NamedTuple):
    """What one packet is; see the module's text."""

    shown: int
    start: bool
    unreferenced: bool
    order: tuple[int, int] | None = None
    """Sorts the pictures of the stream by showing: (number of the coded sequence, picture order count)."""
    headers: frozenset[bytes] = frozenset()
    """The parameter sets that the packet carries."""


class Scanner(Protocol):
    """Reads the packets of one stream in decoding order."""

    def scan(self, data: bytes) -> PacketFacts:
        """Reads one packet.

        Raises:
            Irregular: The packet is not understood, or breaks the rules that make short ways exact.
        """

    def start_is_complete(self, headers: frozenset[bytes]) -> bool:
        """Whether a start that carries `headers` needs no parameter set from earlier packets; after all scans."""


def make_scanner(codec: str, *, intra_only: bool, extradata: bytes) -> Scanner:
    """Makes the scanner of a codec.

    Args:
        codec: FFmpeg's canonical name of the codec.
        intra_only: Whether every picture of this codec stands alone.
        extradata: The stream's out-of-band headers.

    Raises:
        Irregular: There is no scanner for this codec, or the headers are beyond it.
    """
    # Here, because these modules need the names above.
    from clipshift.video.packets_mpeg4 import Mpeg4Scanner  # noqa: PLC0415
