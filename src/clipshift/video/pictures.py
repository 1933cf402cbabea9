"""From the frames that a decoder gives to pictures as they are shown: size, shape of pixels, orientation, colors."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.video.reformatter import VideoReformatter

from clipshift.errors import VideoError
from clipshift.video.containers import reason
from clipshift.video.decoder import REMEDY
from clipshift.video.orientation import Orientation, read_orientation

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from clipshift.remote import VideoPath
    from clipshift.video.limits import Limits


class Pictures:
    """What makes pictures of a clip's frames; the first frame tells how.

    Args:
        path: The clip, for errors.
        stream: Its stream.
        limits: How large a picture may be.
        threads: For the conversion of colors.
        square_pixels: Whether frames of other pixels are scaled in their width, so that pixels become square.
    """

    def __init__(
        self, path: VideoPath, stream: VideoStream, limits: Limits, *, threads: int, square_pixels: bool = False
    ) -> None:
        self._path, self._stream, self._limits = path, stream, limits
        self._threads = threads
        self._square_pixels = square_pixels
        self._reformatter = VideoReformatter()
        self._stored: tuple[int, int] | None = None
        self._width = 0
        self._pixel_aspect = Fraction(1)
        self._orientation = Orientation()

    @property
    def known(self) -> bool:
        """Whether a frame was seen."""
        return self._stored is not None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a picture; (0, 0) before the first frame."""
        width, height = self._width, (self._stored or (0, 0))[1]
        return (height, width) if self._orientation.transposed else (width, height)

    @property
    def rotation(self) -> int:
        """Degrees clockwise by which stored frames are turned."""
        return self._orientation.rotation

    @property
    def pixel_aspect(self) -> float:
        """Width of a picture's pixel by its height."""
        return float(1 / self._pixel_aspect if self._orientation.transposed else self._pixel_aspect)

    def check(self, frame: VideoFrame) -> None:
        """Note the first frame's shape, and hold the others against it.

        Raises:
            VideoError: A frame has another size than the first, is too large, or is to be turned by an odd angle.
        """
        if self._stored is None:
            self._note_first(frame)
        elif (frame.width, frame.height) != self._stored:
            raise VideoError(
                "The size of the frames changes within the video.",
                where=self._path,
                got=f"{frame.width}x{frame.height}",
                allowed=f"{self._stored[0]}x{self._stored[1]}, as the first frame",
                remedy="re-encode the file to one size",
            )

    def _note_first(self, frame: VideoFrame) -> None:
        self._limits.check_size(self._path, frame.width, frame.height)
        aspect = pixel_aspect(self._stream, frame.width)
        width = square_width(frame.width, aspect) if self._square_pixels else frame.width
        self._limits.check_size(self._path, width, frame.height)
        self._stored, self._width = (frame.width, frame.height), width
        self._pixel_aspect = Fraction(1) if self._square_pixels else aspect
        orientation = read_orientation(frame)
        if orientation is None:
            raise VideoError(
                "The video is to be shown turned by an angle that is not supported.",
                where=self._path,
                got=f"{-frame.rotation % 360} degrees clockwise",
                allowed="0, 90, 180 or 270",
                remedy="re-encode the file with the turn applied",
            )
        self._orientation = orientation

    def picture(self, frame: VideoFrame) -> np.ndarray:
        """A frame that was checked, in RGB as shown, uint8 (H, W, 3); a view.

        Raises:
            VideoError: There is no way from its colors to RGB.
        """
        width = None if self._width == frame.width else self._width
        how = None if width is None else "BICUBIC"
        try:
            picture = self._reformatter.reformat(
                frame, width=width, format="rgb24", interpolation=how, threads=self._threads
            )
            picture_HWC = picture.to_ndarray()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                "The colors of the video cannot be converted.",
                where=self._path,
                got=f"{frame.format.name}: {reason(error)}",
                remedy=REMEDY,
            ) from error
        return self._orientation.apply(picture_HWC)


class Converter:
    """What makes frames of pictures that may change their size, as those of live sources do.

    Args:
        source: What they are from, for people.
    """

    def __init__(self, source: str | Path) -> None:
        self._source = source
        self._reformatter = VideoReformatter()
        self._size = (0, 0)
        self._orientation = Orientation()

    def to_rgb(self, frame: VideoFrame, aspect: Fraction | None = None) -> np.ndarray:
        """The frame, uint8 (H, W, 3), RGB; a view.

        Args:
            frame: The picture.
            aspect: Width of a pixel by its height, where the picture is to be scaled in width to square ones.

        Raises:
            VideoError: Its colors cannot be converted, or it is to be shown turned by an angle that is not supported.
        """
        width = frame.width if aspect is None else square_width(frame.width, aspect)
        how = None if width == frame.width else "BICUBIC"
        try:
            picture_HWC = self._reformatter.reformat(
                frame, width, format="rgb24", interpolation=how, threads=1
            ).to_ndarray()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                "The colors of the video cannot be converted.",
                where=self._source,
                got=f"{frame.format.name}: {reason(error)}",
            ) from error
        if (frame.width, frame.height) != self._size:
            # Not for every frame: what PyAV makes to tell it stays in memory, a few bytes each.
            self._size, self._orientation = (frame.width, frame.height), self._told_orientation(frame)
        return self._orientation.apply(picture_HWC)

    def _told_orientation(self, frame: VideoFrame) -> Orientation:
        orientation = read_orientation(frame)
        if orientation is None:
            raise VideoError(
                "The video is to be shown turned by an angle that is not supported.",
                where=self._source,
                got=f"{-frame.rotation % 360} degrees clockwise",
                allowed="0, 90, 180 or 270",
            )
        return orientation


def pixel_aspect(stream: VideoStream, width: int) -> Fraction:
    """Width of a stored pixel by its height, by the container or else the decoder, once a frame was decoded.

    What does not change the width by a whole pixel counts as square: such ratios come from rounding the size.
    """
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return aspect if aspect and aspect > 0 and square_width(width, aspect) != width else Fraction(1)


def square_width(width: int, aspect: Fraction) -> int:
    """The width in square pixels of a picture whose pixels have this width by their height."""
    return max(1, round(width * aspect))
