"""The part of the picture that is looked at, of a model (`input.region`) or of a clip: cut out before everything else.

Its edges are computed in whole numbers, so that exported graphs come to the same pixels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clipshift.closing import Closing
from clipshift.config import Region
from clipshift.video.reader import ClipInfo, Stretch

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from clipshift.video.reader import ClipReader

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


def squared_region(low: np.ndarray, high: np.ndarray, size: np.ndarray, *, margin: float, least: float = 1.0) -> Region:
    """A region around a box: wider and higher by a margin, then square in pixels, around the same middle.

    What would reach beyond the picture is moved inside; where the square is larger than the picture, it is cut.

    Args:
        low: Left and upper edge of the box, pixels, float64 (2,).
        high: Its right and lower edge.
        size: Width and height of the picture.
        margin: Share of width and height, half of it on each side.
        least: Side of the square at least, pixels.

    Returns:
        Left, top, width and height as shares of the picture, in whole millionths, so that names tell them exactly.
    """
    side = max(least, float((high - low).max()) * (1 + margin))
    sides = np.minimum(side, size)
    first = np.clip((low + high - sides) / 2, 0, size - sides)
    begin = np.floor(first / size * PARTS).astype(int)
    wide = np.minimum(np.ceil(sides / size * PARTS).astype(int), PARTS - begin)
    x, y, width, height = (float(part) / PARTS for part in (*begin, *wide))
    return x, y, width, height


class RegionReader(Closing):
    """A part of the picture of an open clip; see [clipshift.video.ClipReader][].

    Args:
        clip: The clip; closed with this.
        region: What is looked at. Without squared pixels and with them it is the same part.
    """

    def __init__(self, clip: ClipReader, region: Region) -> None:
        self._clip = clip
        self._region = region

    @property
    def frame_count(self) -> int:
        """How many frames the clip has."""
        return self._clip.frame_count

    @cached_property
    def info(self) -> ClipInfo:
        """The facts of the clip, with the width and height of the region."""
        info = self._clip.info
        left, top, right, bottom = pixel_box(self._region, info.height, info.width)
        return replace(info, width=right - left, height=bottom - top)

    @property
    def bytes_per_frame(self) -> int:
        """As of the whole picture, of which it is a part."""
        return self._clip.bytes_per_frame

    @property
    def boundaries(self) -> np.ndarray:
        """When the frames begin and the last one ends, as in the clip."""
        return self._clip.boundaries

    @property
    def stretch(self) -> Stretch:
        """The same region of the whole video, and the part in time that the clip is."""
        part = self._clip.stretch
        whole = self if part.video is self._clip else RegionReader(part.video, self._region)
        return replace(part, video=whole)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Decodes the asked-for frames and gives the region of them, in memory of its own."""
        return np.ascontiguousarray(cut_region(self._clip.read(indices), self._region))

    def frames(self, first: int = 0, count: int | None = None) -> Generator[np.ndarray]:
        """Decodes frames one after the other, and gives the region of each."""
        for frame in self._clip.frames(first, count):
            yield np.ascontiguousarray(cut_region(frame[None], self._region)[0])

    def close(self) -> None:
        """Closes the clip; may be called twice."""
        self._clip.close()
