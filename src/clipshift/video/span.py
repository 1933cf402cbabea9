"""A span of time of an open video, as a clip of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clipshift.closing import Closing
from clipshift.errors import VideoError
from clipshift.video.reader import ClipInfo, Stretch, check_indices
from clipshift.video.timed import TICK_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from clipshift.video.reader import ClipReader

Span = tuple[float, float]
"""Start and end, seconds since the first frame of the video."""

MILLISECONDS = 20.0
"""A span that ends so many times later than its video is likely given in milliseconds."""


def frames_on_display(begins: np.ndarray, times: np.ndarray | float) -> np.ndarray:
    """The frames on display at some times: of each the last one that began by then.

    Args:
        begins: When each frame begins, seconds, rising, float64 (frames,).
        times: Seconds; before the first frame that one counts, after the last one that one.

    Returns:
        int64, as many as `times`.
    """
    found = np.searchsorted(begins, np.asarray(times) + TICK_TOLERANCE, side="right") - 1
    return np.clip(found, 0, len(begins) - 1)


class SpanReader(Closing):
    """The frames of an open video that are on display in a span of it; see [clipshift.video.ClipReader][].

    These are the frame that is on display at the start, and those that begin before the end; at least one.

    Args:
        video: The whole video; closed with this.
        span: Start and end in seconds since its first frame. What lies beyond the end of the video is left out.

    Raises:
        VideoError: More than half of the span lies beyond the end of the video, or it has no times.
    """

    def __init__(self, video: ClipReader, span: Span) -> None:
        self._video = video
        start, end = span
        boundaries = video.boundaries
        ends = float(boundaries[-1])
        if start > ends - TICK_TOLERANCE or end - ends > (end - start) / 2:
            hint = "; are its times in milliseconds?" if end > MILLISECONDS * ends else ""
            raise VideoError(
                f"The span lies beyond the end of the video{hint or '.'}",
                got=f"{start:g} to {end:g} s, of a video of {ends:g} s",
            )
        self._span = start, min(end, ends)
        self._first = int(frames_on_display(boundaries[:-1], start))
        behind = int(np.searchsorted(boundaries[:-1], end - TICK_TOLERANCE, side="left"))
        self._count = max(1, behind - self._first)

    @property
    def frame_count(self) -> int:
        """How many frames the span has."""
        return self._count

    @cached_property
    def info(self) -> ClipInfo:
        """The facts of the video, with the number of frames and the length of the span."""
        start, end = self._span
        return replace(self._video.info, frames=self._count, seconds=end - start)

    @property
    def bytes_per_frame(self) -> int:
        """As of the video."""
        return self._video.bytes_per_frame

    @property
    def boundaries(self) -> np.ndarray:
        """When the frames begin and the last one ends, as in the whole video."""
        return self._video.boundaries[self._first : self._first + self._count + 1]

    @property
    def stretch(self) -> Stretch:
        """The video and the span of it."""
        return Stretch(self._video, *self._span)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Decodes the asked-for frames, which count from the first one of the span."""
        return self._video.read([self._first + index for index in check_indices(indices, self._count)])

    def frames(self, first: int = 0, count: int | None = None) -> Generator[np.ndarray]:
        """Decodes frames of the span one after the other, and holds one at a time."""
        return self._video.frames(self._first + first, self._count - first if count is None else count)

    def close(self) -> None:
        """Closes the video; may be called twice."""
        self._video.close()
