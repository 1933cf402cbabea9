"""The part of the picture that a model looks at: `input.region`, cut out of frames before everything else.

Its edges are computed in whole numbers, so that exported graphs come to the same pixels.
"""

from __future__ import annotations

import numpy as np

from clipshift.config import Region

PARTS = 1_000_000
"""Edges are rounded to such parts of the picture."""


def edges(start: float, length: float) -> tuple[int, int]:
    """The first and the last edge of a region along one axis, in parts of `PARTS`."""
    return round(start * PARTS), min(PARTS, round((start + length) * PARTS))


def pixel_edges(start: float, length: float, pixels: int) -> tuple[int, int]:
    """The pixels of a region along one axis, from the first one up to the last one, which is left out.

    An edge e lies at floor(e x pixels + 1/2); a region that is thinner than a pixel has one.

    Args:
        start: In [0, 1), of the picture.
        length: In (0, 1].
        pixels: Of the whole picture, at least 1.
    """
    first, last = edges(start, length)
    begin = min((2 * first * pixels + PARTS) // (2 * PARTS), pixels - 1)
    return begin, max((2 * last * pixels + PARTS) // (2 * PARTS), begin + 1)


def pixel_box(region: Region | None, height: int, width: int) -> tuple[int, int, int, int]:
    """A region of a picture of some size, as left, top, right and bottom in pixels; None: all of it."""
    if region is None:
        return 0, 0, width, height
    x, y, across, down = region
    left, right = pixel_edges(x, across, width)
    top, bottom = pixel_edges(y, down, height)
    return left, top, right, bottom


def cut_region(frames_THWC: np.ndarray, region: Region | None) -> np.ndarray:
    """The region of frames, uint8 (T, h, w, 3): a view of those given."""
    left, top, right, bottom = pixel_box(region, *frames_THWC.shape[1:3])
    return frames_THWC[:, top:bottom, left:right]
