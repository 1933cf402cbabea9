"""A video with words in its pictures, written while they come, in memory that does not grow with its length."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clipshift.closing import Closing
from clipshift.errors import OutputError
from clipshift.video.containers import reason

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from clipshift.video.timed import TimedFrame

_CLOCK = 90_000
"""Ticks a second of the time stamps: MPEG's own."""
_SECONDS_A_GROUP = 2.0
"""From one key frame to the next, for players that jump; and what is lost where a program is killed."""
_LINES_A_PICTURE = 18
_SMALLEST_TEXT = 12
_LEAST_TEXT = 8
"""Pixels, where a line is wider than the picture."""


class AnnotatedVideo(Closing):
    """Writes MP4 with H.264; a context manager. The file has its name when it is closed.

    Args:
        path: The file, which must not be there.

    Raises:
        OutputError: It is there, or cannot be written, or there is no encoder.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        check_absent(self._path)
        self._partial = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._first = self._key = 0.0
        self._last = -1

    def write(self, frame: TimedFrame, lines: Sequence[str], *, marked: bool = False) -> None:
        """Adds a frame; one that is not later than the one before is left out.

        Args:
            frame: Scaled to the size of the first one, where it has another.
            lines: What stands in it, at the lower left.
            marked: Whether it stands out.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            stream = self._opened(frame)
            time = round((frame.time - self._first) * _CLOCK)
            if time <= self._last:
                return
            self._last = time
            picture = _with_text(Image.fromarray(frame.frame), lines, marked=marked)
            coded = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24").reformat(
                stream.width, stream.height, "yuv420p"
            )
            coded.pts, coded.time_base = time, Fraction(1, _CLOCK)
            if frame.time - self._key >= _SECONDS_A_GROUP or time == 0:
                coded.pict_type, self._key = av.video.frame.PictureType.I, frame.time
            self._mux(coded)
        except (av.FFmpegError, OSError) as error:
            raise self._not_written(error) from error

    def close(self) -> None:
        """Gives the file its name; nothing is left where no frame was written.

        Raises:
            OutputError: It cannot be written.
        """
        container, self._container = self._container, None
        if container is None:
            return
        try:
            with container:
                container.mux(self._stream.encode(None) if self._stream is not None else [])
            self._partial.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            with suppress(OSError):
                self._partial.unlink()
            raise self._not_written(error) from error

    def discard(self) -> None:
        """Leaves no file: what was written so far is not worth its name."""
        container, self._container = self._container, None
        if container is not None:
            with suppress(av.FFmpegError, OSError):
                container.close()
            with suppress(OSError):
                self._partial.unlink()

    def _opened(self, frame: TimedFrame) -> VideoStream:
        if self._stream is not None:
            return self._stream
        height, width = (max(2, side - side % 2) for side in frame.frame.shape[:2])
        # In pieces, each with its own index: one for all would grow, and be lost with the program.
        form = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "fflags": "+bitexact"}
        self._container = av.open(str(self._partial), "w", format="mp4", options=form)
        options = {"preset": "veryfast", "crf": "23", "bf": "0", "forced-idr": "1"}
        stream = self._container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._stream, self._first, self._key = stream, frame.time, frame.time
        return stream

    def _mux(self, coded: av.VideoFrame) -> None:
        if self._container is not None and self._stream is not None:
            self._container.mux(self._stream.encode(coded))

    def _not_written(self, error: Exception) -> OutputError:
        return OutputError(
            "The annotated video cannot be written.",
            where=self._path,
            got=reason(error),
            remedy="free disk space, or write to another place",
        )


def check_absent(path: str | Path) -> None:
    """See that a file that is to be written is not there, and that its folder is.

    Raises:
        OutputError: It is there, or the folder is not.
    """
    if os.path.lexists(path):
        raise OutputError("The output is there already.", where=path, remedy="name another file, or remove this one")
    if not Path(path).parent.is_dir():
        raise OutputError("The folder of the output does not exist.", where=Path(path).parent, remedy="make it")


def _with_text(picture: Image.Image, lines: Sequence[str], *, marked: bool) -> Image.Image:
    """The picture with lines at its lower left, on a ground on which they can be read."""
    if not lines:
        return picture
    size = max(_SMALLEST_TEXT, picture.height // _LINES_A_PICTURE)
    draw = ImageDraw.Draw(picture, "RGBA")
    text = "\n".join(lines)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=ImageFont.load_default(size))
    if right - left + size > picture.width:  # smaller, rather than cut off
        size = max(_LEAST_TEXT, int(size * picture.width / (right - left + size)))
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font)
    space = size // 3
    corner = (0, picture.height - (bottom - top) - 3 * space)
    ground = (200, 30, 30, 220) if marked else (0, 0, 0, 150)
    draw.rectangle((*corner, right - left + 3 * space, picture.height), fill=ground)
    draw.multiline_text((space - left, corner[1] + space - top), text, font=font, fill=(255, 255, 255, 255))
    return picture
