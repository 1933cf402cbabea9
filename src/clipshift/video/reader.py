"""What is known about a clip before its frames are decoded, and how its frames are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from types import TracebackType

    import numpy as np

    from clipshift.remote import VideoPath


@dataclass(frozen=True)
class ClipInfo:
    """A clip's facts.

    Attributes:
        path: The file or folder.
        frames: How many frames decoding everything gives.
        width: Width in pixels as shown, after the rotation flag.
        height: Height in pixels as shown, after the rotation flag.
        fps: Mean frames per second; None for a frame folder or where a file does not say.
        seconds: Duration; None for a frame folder or where a file does not say.
        rotation: Degrees, clockwise, by which the stored frames are turned to be shown: 0, 90, 180 or 270.
        codec: FFmpeg's name of the compression ("h264", "mpeg4"); of a frame folder the image format ("jpeg", "png").
        pixel_aspect: Width of a pixel by its height, of the frames as they are read: 1 for square ones.
        video_streams: How many video streams the file has; of several, the one that players show is read.
    """

    path: VideoPath
    frames: int
    width: int
    height: int
    fps: float | None
    seconds: float | None
    rotation: int
    codec: str
    pixel_aspect: float = 1.0
    video_streams: int = 1


@dataclass(frozen=True)
class Stretch:
    """Part of a video, or all of it.

    Attributes:
        video: The whole video.
        start: Seconds since its first frame.
        end: Seconds since its first frame.
    """

    video: ClipReader
    start: float
    end: float


class ClipReader(Protocol):
    """An open clip; a context manager. One reader serves one thread at a time."""

    @property
    def frame_count(self) -> int:
        """How many frames decoding everything gives; `info` says the same, and may have to decode a frame for it."""

    @property
    def info(self) -> ClipInfo:
        """The clip's facts."""

    @property
    def bytes_per_frame(self) -> int:
        """About the bytes of a frame as `read` gives it, seldom less by a per cent, or more.

        No frame is decoded for it where headers tell.
        """

    @property
    def boundaries(self) -> np.ndarray:
        """When each frame begins to be shown, and when the last one ends: float64 (frames + 1,), seconds.

        They never fall, and count from the first frame of the file, also where the clip is a span of it.

        Raises:
            VideoError: A frame folder does not say.
        """

    @property
    def stretch(self) -> Stretch:
        """The video that the clip is, or is a span of.

        Raises:
            VideoError: A frame folder has no times.
        """

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Decodes the asked-for frames.

        Args:
            indices: Frame numbers, 0 <= i < info.frames, in any order, repeats allowed.

        Returns:
            uint8 (T, H, W, 3), RGB, in the order of `indices`.

        Raises:
            VideoError: A frame cannot be decoded.
            IndexError: An index lies outside the clip.
        """

    def frames(self, first: int = 0, count: int | None = None) -> Generator[np.ndarray]:
        """Decodes frames one after the other, and holds one at a time.

        Args:
            first: Number of the first one.
            count: How many; None: all up to the last one.

        Yields:
            uint8 (H, W, 3), RGB; the same as `read` gives.

        Raises:
            VideoError: A frame cannot be decoded.
        """

    def close(self) -> None:
        """Gives back the file handle and the decoder; may be called twice."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_indices(indices: Sequence[int], frames: int) -> list[int]:
    """Turns indices into plain integers, and refuses those outside a clip.

    Raises:
        IndexError: An index is negative or not below `frames`.
    """
    plain = [int(index) for index in indices]
    for index in plain:
        if not 0 <= index < frames:
            raise IndexError(f"frame {index} of a clip with {frames} frames")
    return plain
