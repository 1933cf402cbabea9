"""Occlusion: what a model answers where a frame, or a place in all frames, is hidden.

From Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2, who slide a gray
square over a picture and watch the probability of the class. It needs answers only, so it serves networks and exported
files alike.

Layouts: F different frames that a model sees of a clip, T frames of one set, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from clipshift.config import Average
from clipshift.inference.scorer import average_views

Fill = Literal["neighbor", "mean", "blurred"]
"""What takes the place of a hidden frame: the nearest other one, the mean of all others, or the same, blurred."""
Answer = Callable[[np.ndarray], np.ndarray]
"""From one set of frames, uint8 (T, H, W, 3), to logits float32 (K,)."""

_BLUR = 1 / 8
"""Radius of the blur by the short side: of a thing that fills a quarter of the frame nothing but its color is left."""
_PATCH = 2
"""Sides of a hidden place in cells of the grid: what lies on the border of two cells is hidden whole by one of them."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model sees of a clip.

    Attributes:
        frames: The frames, each once, in the order of time: uint8 (F, H, W, 3), RGB.
        indices: (F,) their numbers in the file.
        times: (F,) when they begin, seconds since the first frame of the file; None where there are no times.
        sets: For each set of frames the T places among the F.
    """

    frames: np.ndarray
    indices: tuple[int, ...]
    times: tuple[float, ...] | None
    sets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Occlusion:
    """Answers with frames or places hidden, averaged over the sets of frames.

    Args:
        answer: The model.
        seen: What it sees.
        average: What is averaged over the sets.
    """

    answer: Answer
    seen: Seen
    average: Average = "logits"

    def whole(self) -> np.ndarray:
        """The answers with nothing hidden: logits float32 (S, K), of each set."""
        return np.stack([self.answer(self._frames(places)) for places in self.seen.sets])

    def without_frames(self, whole_SK: np.ndarray, fill: Fill) -> Iterator[np.ndarray]:
        """The answers with each of the F frames hidden, wherever it stands.

        Args:
            whole_SK: Of `whole`: sets in which a frame does not stand keep their answers.
            fill: What takes its place.

        Yields:
            Logits float32 (K,), F times.
        """
        for hidden in range(len(self.seen.frames)):
            rows = list(whole_SK)
            for number, places in enumerate(self.seen.sets):
                if hidden in places:
                    changed = self._frames(places)
                    changed[np.array(places) == hidden] = self._stand_in(hidden, places, fill)
                    rows[number] = self.answer(changed)
            yield average_views(rows, self.average)

    def without_places(self, rows: int, columns: int) -> Iterator[np.ndarray]:
        """The answers with a place hidden in all frames at once, by a blur.

        The picture is a grid of `rows` x `columns` cells; around the middle of each a rectangle is hidden, twice as
        high and wide as the cell.

        Yields:
            Logits float32 (K,), `rows` x `columns` times, row by row.
        """
        blurred_FHWC = np.stack([blurred(frame) for frame in self.seen.frames])
        height, width = self.seen.frames.shape[1:3]
        for row, column in np.ndindex(rows, columns):
            down, across = _stretch(row, rows, height), _stretch(column, columns, width)
            answers = []
            for places in self.seen.sets:
                changed = self._frames(places)
                changed[:, down, across] = blurred_FHWC[list(places)][:, down, across]
                answers.append(self.answer(changed))
            yield average_views(answers, self.average)

    def _frames(self, places: Sequence[int]) -> np.ndarray:
        """A copy."""
        return np.asarray(self.seen.frames[list(places)])

    def _stand_in(self, hidden: int, places: Sequence[int], fill: Fill) -> np.ndarray:
        frame_HWC = self.seen.frames[hidden]
        others = sorted({place for place in places if place != hidden})
        if fill == "blurred" or not others:
            return blurred(frame_HWC)
        if fill == "neighbor":  # of two as near the earlier one
            return np.asarray(self.seen.frames[min(others, key=lambda place: (abs(place - hidden), place))])
        return np.asarray(np.rint(self.seen.frames[others].mean(axis=0, dtype=np.float32)), np.uint8)


def blurred(frame_HWC: np.ndarray) -> np.ndarray:
    """A frame, uint8 (H, W, 3), of which only the colors of large areas are left."""
    radius = max(1.0, _BLUR * min(frame_HWC.shape[:2]))
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame_HWC)).filter(ImageFilter.GaussianBlur(radius)))


def _stretch(cell: int, cells: int, pixels: int) -> slice:
    """The pixels that are hidden around a cell along one axis; at least one."""
    middle, half = (cell + 0.5) * pixels / cells, _PATCH * pixels / cells / 2
    first = max(0, round(middle - half))
    return slice(first, max(first + 1, round(middle + half)))
