"""The region of a clip in which something moves, from differences of its frames: `input.region=motion`.

All sums are of whole numbers, so that the same frames give the same region on every machine. Needs no PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clipshift.video.region import cut_region, squared_region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipshift.config import InputConfig, Region

_CELLS = 96
"""Cells along the longer side of the picture, each a mean of its pixels: fine enough for a person, and quick."""
_FLOOR, _FAINT = 2, 10
"""Differences up to so many times the median cell's are noise, or the camera; and so is one part in so many of the
largest: else what compression changes in still cells, faint but everywhere, outweighs something small that moves."""
_LEFT_OUT = 40
"""One part in so many of all that moves may lie beyond each edge of the box, so that a far flicker counts little."""
_MARGIN, _LEAST = 0.25, 0.4
"""How much wider and higher than what moves the region is; and its least side, of the picture's shorter one."""


def motion_region(frames_THWC: np.ndarray) -> Region | None:
    """The region of some frames in which most changes between one and the next.

    Frames become means of cells; the differences of successive ones, less those of the whole picture (light), are
    summed over the clip, and what the median cell has twice over, the noise, is taken away, and then a tenth of the
    largest, what is faint. The box holds 19 of 20 parts of the rest in width and in height, is made a quarter wider and
    higher, and then square in pixels.

    Args:
        frames_THWC: uint8 (T, H, W, 3), RGB, in the order of time.

    Returns:
        Left, top, width and height as shares of the picture; None where nothing stands out: of one frame, of equal
        ones, or where everything moves alike.
    """
    return region_of_cells(cell_means(frames_THWC), *frames_THWC.shape[1:3])


def region_of_cells(cells_THW: np.ndarray, height: int, width: int) -> Region | None:
    """As `motion_region`, of the cells of the frames, int64 (T, h, w), and the size of their picture."""
    heat_HW = _heat(cells_THW)
    if heat_HW is None:
        return None
    bounds = [_bounds(heat_HW.sum(axis=axis), length) for axis, length in ((0, width), (1, height))]
    low, high = (np.array([bound[end] for bound in bounds], dtype=np.float64) for end in (0, 1))
    size = np.array([width, height], dtype=np.float64)
    return squared_region(low, high, size, margin=_MARGIN, least=_LEAST * float(size.min()))


def seen_frames(frames_THWC: np.ndarray, settings: InputConfig) -> tuple[np.ndarray, InputConfig]:
    """The frames of a clip as the rest of preprocessing is to see them, with its settings.

    Args:
        frames_THWC: All frames that are taken of the clip, uint8 (T, H, W, 3), in the order of time.
        settings: Of the network's input.

    Returns:
        The frames, and settings whose region is none where they are cut to what moves in them; else both as given.
    """
    if settings.region != "motion":
        return frames_THWC, settings
    return cut_region(frames_THWC, motion_region(frames_THWC)), settings.model_copy(update={"region": None})


def _heat(cells_THW: np.ndarray) -> np.ndarray | None:
    """How much changes in each cell, int64 (h, w); None where nothing stands out."""
    if len(cells_THW) < 2:
        return None
    changes_THW = np.diff(cells_THW, axis=0)
    changes_THW -= _middle(changes_THW.reshape(len(changes_THW), -1))[:, None, None]
    heat_HW = np.abs(changes_THW).sum(axis=0)
    heat_HW = np.maximum(heat_HW - _FLOOR * _middle(heat_HW.reshape(1, -1))[0], 0)
    heat_HW = np.maximum(heat_HW - heat_HW.max() // _FAINT, 0)
    return heat_HW if heat_HW.any() else None


def cell_means(frames_THWC: np.ndarray) -> np.ndarray:
    """Means of cells of equal size, of all colors together, in 16th of a level: int64 (T, h, w)."""
    _, height, width, _ = frames_THWC.shape
    step = -(-max(height, width) // _CELLS)
    rows, columns = np.arange(0, height, step), np.arange(0, width, step)
    sums_THWC = np.add.reduceat(frames_THWC, columns, axis=2, dtype=np.uint32)
    sums_THW = np.add.reduceat(sums_THWC.sum(axis=3, dtype=np.uint32), rows, axis=1).astype(np.int64)
    counts_HW = np.outer(np.diff([*rows, height]), np.diff([*columns, width])) * 3
    return np.asarray(16 * sums_THW // counts_HW)


def _middle(values_NM: np.ndarray) -> np.ndarray:
    """The upper median of each row, a whole number."""
    return np.sort(values_NM, axis=1)[:, values_NM.shape[1] // 2]


def _bounds(sums: Sequence[int] | np.ndarray, length: int) -> tuple[int, int]:
    """The first and last pixel of a side, between which nearly all of what moves lies."""
    sums = np.asarray(sums)
    step = -(-length // len(sums))
    below, above = np.cumsum(sums), np.cumsum(sums[::-1])
    first = int(np.argmax(below * _LEFT_OUT > below[-1]))
    last = len(sums) - int(np.argmax(above * _LEFT_OUT > above[-1]))
    return first * step, min(last * step, length)
