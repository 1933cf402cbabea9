"""What a compressed picture says about itself before it is decoded.

A scanner reads the packets of one stream in decoding order and answers, from a few header bits, what a reader must know
to leave pictures out without changing those it wants: how many pictures the packet shows, whether decoding may start
there, whether no other picture depends on it, and its place in the order of showing. Whatever a scanner does not
understand fully it refuses with [Irregular][clipshift.video.bitstream.Irregular]; the clip is then decoded from its
first packet on, which is slower and always right.
"""

from __future__ import annotations

from clipshift.video.bitstream.facts import Irregular, PacketFacts, Scanner
from clipshift.video.bitstream.h264 import H264Scanner
from clipshift.video.bitstream.hevc import HevcScanner
from clipshift.video.bitstream.mpeg4 import Mpeg4Scanner
from clipshift.video.bitstream.others import Av1Scanner, IntraScanner, Vp8Scanner, Vp9Scanner

__all__ = ["Irregular", "PacketFacts", "Scanner", "make_scanner"]


def make_scanner(codec: str, *, intra_only: bool, extradata: bytes) -> Scanner:
    """Makes the scanner of a codec.

    Args:
        codec: FFmpeg's canonical name of the codec.
        intra_only: Whether every picture of this codec stands alone.
        extradata: The stream's headers that stand outside its packets.

    Raises:
        Irregular: There is no scanner for this codec, or the headers are beyond it.
    """
    if intra_only:
        return IntraScanner()
    match codec:
        case "h264":
            return H264Scanner(extradata)
        case "hevc":
            return HevcScanner(extradata)
        case "mpeg4":
            return Mpeg4Scanner(extradata)
        case "vp8":
            return Vp8Scanner()
        case "vp9":
            return Vp9Scanner()
        case "av1":
            return Av1Scanner()
        case _:
            raise Irregular(f"the codec {codec}")
