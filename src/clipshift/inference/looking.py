"""Which part of a long video is looked at: a region of the picture, or the way of a track."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipshift.config import Region
from clipshift.datasets.tracks import Facts, Track, region_of
from clipshift.video.region import cut_region
from clipshift.video.timed import TimedFrame

_AT_ENDS = 1e-6
"""Seconds by which rounding may put a tick before the start of a track or behind its end."""


@dataclass(frozen=True, eq=False)
class Look:
    """A part of a video; one of `region` and `track` is None.

    Attributes:
        region: The same all along.
        track: Of each window that which holds the track's boxes of its time; only in the time that the track has.
        margin: As of [region_of][clipshift.datasets.tracks.region_of].
    """

    region: Region | None = None
    track: Track | None = None
    margin: float = 0.0

    def along(self, ticks: Generator[TimedFrame]) -> Generator[TimedFrame]:
        """The frames that are seen: cut to the region, or whole in the time of the track."""
        with closing(ticks):
            for tick in ticks:
                if self.track is None:
                    frame = np.ascontiguousarray(cut_region(tick.frame[None], self.region)[0])
                    yield TimedFrame(tick.time, frame)
                elif tick.time > self.track.times[-1] + _AT_ENDS:
                    return
                elif tick.time >= self.track.times[0] - _AT_ENDS:
                    yield tick

    def window(self, frames_THWC: np.ndarray, first: float, last: float) -> np.ndarray:
        """What is seen of the frames of a window, from the first to the last one's time.

        Raises:
            VideoError: The track leaves the picture.
        """
        if self.track is None:
            return frames_THWC
        facts = Facts(frames_THWC.shape[2], frames_THWC.shape[1], np.inf)
        region, _ = region_of(self.track, (first, last), facts, self.margin)
        return np.ascontiguousarray(cut_region(frames_THWC, region))

    @property
    def seconds(self) -> float | None:
        """How long the track is; None where all of the video is looked at."""
        return None if self.track is None else float(self.track.times[-1] - self.track.times[0])

    def to_json(self) -> dict[str, Any]:
        """All that decides what is seen."""
        if self.track is None:
            return {"region": None if self.region is None else list(self.region)}
        boxes = hashlib.sha256(self.track.times.tobytes() + self.track.boxes.tobytes()).hexdigest()
        return {"track": self.track.name, "boxes_sha256": boxes, "track_margin": self.margin}
