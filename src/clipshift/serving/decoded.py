"""The frames of a clip that a model takes, as another process decoded them, in the form of a clip."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipshift.closing import Closing
from clipshift.config import ModelSpec, ReadingConfig
from clipshift.datasets.clip import Clip
from clipshift.errors import VideoError
from clipshift.preprocessing.sampling import frame_sets
from clipshift.preprocessing.windows import spread_windows
from clipshift.video import ClipInfo
from clipshift.video.reader import Stretch


@dataclass(frozen=True)
class Wish:
    """What a decoder has to know of a model and its limits."""

    sampling: str
    segments: int
    clips: int
    square_pixels: bool
    max_pixels: int
    max_frames: int
    max_seconds: float
    frame_bytes: int
    """The most that all frames together may have."""
    rate: float | None = None
    """Frames a second, where the model has a rate."""
    times: bool = False
    """Whether the times of all frames are wanted, also where it has none."""

    @classmethod
    def of(cls, spec: ModelSpec, clips: int, frame_bytes: int) -> Wish:
        """The wish of a model for its usual frames."""
        settings, reading = spec.input, spec.reading
        return cls(
            sampling=settings.sampling,
            segments=settings.segments,
            clips=clips,
            square_pixels=settings.pixel_aspect == "apply",
            max_pixels=reading.max_pixels,
            max_frames=reading.max_frames,
            max_seconds=reading.max_seconds,
            frame_bytes=frame_bytes,
            rate=settings.rate,
        )

    @property
    def timed(self) -> bool:
        """Whether the times of frames are told."""
        return self.times or self.rate is not None

    def frames(self, frames: int, boundaries: np.ndarray | None) -> list[int]:
        """The indices that all sets of a video with so many frames hold, ascending.

        Args:
            frames: Number of frames.
            boundaries: When they begin, and the last one ends, float64 (frames + 1,); None where there is no rate.
        """
        if self.rate is None or boundaries is None:
            sets = frame_sets(self.sampling, frames, self.segments, self.clips)  # type: ignore[arg-type]
        else:
            end = float(boundaries[-1])
            sets = spread_windows(boundaries, 0.0, end, rate=self.rate, segments=self.segments, clips=self.clips)
        return sorted({index for indices in sets for index in indices})


@dataclass(frozen=True)
class LongWish:
    """What a decoder has to know for the frames of a long video, one after the other.

    Attributes:
        rate: Frames a second.
        longest_display: Seconds that a frame is shown at most.
        square_pixels: Whether frames are scaled to square pixels.
        max_pixels: Largest frame.
        max_seconds: Longest video.
    """

    rate: float
    longest_display: float
    square_pixels: bool
    max_pixels: int
    max_seconds: float


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a decoder gives.

    Attributes:
        info: The clip's facts.
        indices: Of the frames, ascending.
        frames_THWC: These frames, uint8, RGB.
    """

    info: ClipInfo
    indices: tuple[int, ...]
    frames_THWC: np.ndarray  # noqa: N815
    boundaries: np.ndarray | None = None
    """When all frames begin, and the last one ends, seconds, float64 (frames + 1,); None where nobody asked."""

    @property
    def times(self) -> list[float | None]:
        """When each frame is shown, in seconds from the first one, at the clip's mean rate; None where it has none."""
        fps = self.info.fps
        return [index / fps if fps else None for index in self.indices]


@dataclass(frozen=True, eq=False)
class DecodedClip(Clip):
    """A clip whose wanted frames are here: models read it as they read a file, by the same code."""

    decoded: Decoded | None = None

    @classmethod
    def named(cls, name: str, decoded: Decoded) -> DecodedClip:
        """The clip under the name that the client gave."""
        return cls(path=Path("upload"), name=name, label=None, decoded=decoded)

    def open(self, reading: ReadingConfig, *, square_pixels: bool = False, threads: int = 1) -> DecodedReader:  # noqa: ARG002
        """Open it: limits and the shape of pixels were seen to where it was decoded."""
        if self.decoded is None:
            raise ValueError("there are no frames")
        return DecodedReader(self.decoded)


class DecodedReader(Closing):
    """Gives decoded frames as a [ClipReader][clipshift.video.ClipReader]."""

    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._places = {index: place for place, index in enumerate(decoded.indices)}

    @property
    def frame_count(self) -> int:
        """How many frames the whole clip has."""
        return self.info.frames

    @property
    def info(self) -> ClipInfo:
        """The clip's facts."""
        return self._decoded.info

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of a frame."""
        return 3 * self.info.width * self.info.height

    @property
    def boundaries(self) -> np.ndarray:
        """When frames begin and the last one ends.

        Raises:
            VideoError: Nobody asked for it when it was decoded.
        """
        if self._decoded.boundaries is None:
            raise VideoError("The times of the clip's frames are not known.")
        return self._decoded.boundaries

    @property
    def stretch(self) -> Stretch:
        """All of it."""
        return Stretch(self, 0.0, float(self.boundaries[-1]))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The asked-for frames, uint8 (T, H, W, 3), RGB.

        Raises:
            IndexError: One of them was not decoded.
        """
        if tuple(indices) == self._decoded.indices:
            return self._decoded.frames_THWC
        missing = [index for index in indices if index not in self._places]
        if missing:
            raise IndexError(f"frame {missing[0]} was not decoded")
        return np.asarray(self._decoded.frames_THWC[[self._places[index] for index in indices]])

    def frames(self, first: int = 0, count: int | None = None) -> Generator[np.ndarray]:
        """Frames that are here, one after the other."""
        yield from self.read(range(first, self.frame_count if count is None else first + count))

    def close(self) -> None:
        """Nothing is open."""
