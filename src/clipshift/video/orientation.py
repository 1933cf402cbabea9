"""Turning stored frames the way they are shown."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from av.sidedata.sidedata import Type

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay an image on the screen: an exchange of the axes, then mirrorings.

    Attributes:
        transposed: Rows become columns.
        mirrored: Left and right are then exchanged.
        flipped: Top and bottom are then exchanged.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @property
    def rotation(self) -> int:
        """Degrees, clockwise, of the turn; a mirror image is described as the turn that is left after a mirroring."""
        if self.transposed:
            return 90 if self.mirrored else 270
        return 180 if self.flipped else 0

    def apply(self, image_HWC: np.ndarray) -> np.ndarray:
        """A view of an image (H, W, C) as it is shown."""
        if self.transposed:
            image_HWC = image_HWC.transpose(1, 0, 2)
        return image_HWC[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]


def read_orientation(frame: VideoFrame) -> Orientation | None:
    """How a decoded frame is to be shown; None for a turn by other than quarters."""
    try:
        entries = cast("Iterable[SideData]", frame.side_data)
        matrix = next((data for data in entries if data.type is Type.DISPLAYMATRIX), None)
    except ValueError:  # a kind of side data that PyAV has no name for yet
        quarters = {0: "", 90: "tf", 180: "mf", -180: "mf", -90: "tm"}.get(frame.rotation)
        if quarters is None:
            return None
        return Orientation(transposed="t" in quarters, mirrored="m" in quarters, flipped="f" in quarters)
    return Orientation() if matrix is None else read_matrix(bytes(matrix))


def read_matrix(data: bytes) -> Orientation | None:
    """Reads a display matrix: nine int32 a b u c d v x y w, by which (p, q) is shown at (a p + c q, b p + d q).

    Args:
        data: The 36 bytes, in the machine's byte order, as FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX.

    Returns:
        The orientation; None where the matrix is none of the eight (a turn by other than quarters, a stretch).
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", data)
    largest = max(abs(a), abs(b), abs(c), abs(d))
    # Writers round: what is below a thousandth of the rest counts as nothing.
    a, b, c, d = (0 if abs(value) * 1000 < largest else value for value in (a, b, c, d))
    if a and d and not b and not c:
        return Orientation(mirrored=a < 0, flipped=d < 0)
    if b and c and not a and not d:
        return Orientation(transposed=True, mirrored=c < 0, flipped=b < 0)
    return None
