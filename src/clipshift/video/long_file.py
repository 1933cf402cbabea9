"""Long video files, from the first picture to the last: each is decoded once, and nothing grows with their number.

[open_clip][clipshift.video.open_clip] knows all packets of a file, so that it can give any frame exactly. Here the
pictures come in their turn, with their times, and what is not looked at is not converted to RGB either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from clipshift.closing import Closing
from clipshift.errors import VideoError
from clipshift.video.containers import (
    check_header,
    choose_video,
    decoder_pixels,
    demux,
    open_container,
    read_structure,
    video_streams,
)
from clipshift.video.index import TIMED_FORMATS
from clipshift.video.limits import Limits
from clipshift.video.pictures import Converter, pixel_aspect
from clipshift.video.timed import TimedFrame, shown_at_rate

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_NO_RATE = 25.0
"""Frames a second of a file that has neither times nor a rate."""
_MOST_HELD_BACK = 16
"""Pictures that a decoder puts into another order, at most (H.264, HEVC)."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        time: Seconds since the first picture of the file; never below those of the picture before.
        frame: As decoded; a [LongFile][clipshift.video.long_file.LongFile] converts it.
    """

    time: float
    frame: VideoFrame


class LongFile(Closing):
    """An open video file whose pictures are read once, in their turn; to be used in a `with` statement.

    What is damaged, and what may depend on it up to the next key frame, is left out and counted: of hours of a
    recording a damaged second is no reason to see nothing.

    Args:
        path: The file.
        limits: What is larger is refused before it is decoded.
        threads: Threads of the decoder.
        square_pixels: Whether frames whose pixels are not square are scaled in width, as players do.

    Attributes:
        seconds: Length as the file tells it; None where it does not.
        end: Seconds since the first picture until which the last one that was read is shown.
        pictures_read: Pictures that were given so far.
        left_out: Damaged pictures and packets so far, with what depends on them.
        cut_off: Whether the file ends before its structure does.

    Raises:
        VideoError: The file is missing, no video, or larger than `limits`.
    """

    def __init__(
        self, path: Path, *, limits: Limits | None = None, threads: int = 1, square_pixels: bool = False
    ) -> None:
        self._path, self._limits, self._square_pixels = path, limits or Limits(), square_pixels
        check_is_file(path)
        structure = read_structure(path)
        self.cut_off = structure.short
        self._container = open_container(path, structure, self._limits, quick=False)
        try:
            self._stream = choose_video(self._container, video_streams(self._container, path))
            check_header(self._stream, self._container, path, self._limits)
        except BaseException:
            self._container.close()
            raise
        context = self._stream.codec_context
        context.thread_count = threads
        if threads > 1:
            context.thread_type = "AUTO"
        context.options = {"max_pixels": decoder_pixels(self._limits)}
        self._converter = Converter(path)
        self.seconds = self._told_seconds()
        self.end = 0.0
        self.pictures_read = self.left_out = 0
        self._stamp = self._time = self._offset = 0.0
        self._step = 1 / float(self._stream.average_rate or _NO_RATE)
        self._times_are_stored = not TIMED_FORMATS.isdisjoint(self._container.format.name.split(","))
        # The k-th picture that is shown has the k-th tick: as many wait as a decoder may hold back.
        self._ticks: deque[int] = deque(maxlen=_MOST_HELD_BACK + threads)

    def pictures(self) -> Generator[Picture]:
        """Decodes the file.

        Yields:
            Pictures in the order of showing. Where the clock of the file goes back, as in recordings that were joined,
            the time goes on without a gap.

        Raises:
            VideoError: There is no picture, or one is larger than the limits.
        """
        damage = _Damage()
        with closing(demux(self._container, self._stream)) as packets:
            for packet in chain(self._readable(packets), [None]):
                for frame in self._decoded(packet, damage):
                    ticks = self._ticks_of(frame)
                    if damage.hides(frame):
                        self.left_out += 1
                        continue
                    self._limits.check_size(self._path, frame.width, frame.height)
                    yield self._placed(frame, ticks)
        if not self.pictures_read:
            got = f"{self.left_out} damaged" if self.left_out else None
            raise VideoError("The video has no picture that can be decoded.", where=self._path, got=got)

    def pictures_near(self, time: float) -> Generator[Picture]:
        """Decodes the file from the key frame before a time on; from the beginning where its format has no index.

        Args:
            time: Seconds since the first picture.

        Yields:
            As `pictures`.
        """
        with closing(self.pictures()) as pictures:
            next(pictures)  # its time is the zero of all others
        if self._stream.time_base is not None:
            self._container.seek(int((max(time, 0.0) - self._offset) / self._stream.time_base), stream=self._stream)
        self._stamp = -self._offset
        self._ticks.clear()
        yield from self.pictures()

    def frames_at_rate(self, rate: float, *, longest_display: float) -> Generator[TimedFrame]:
        """Decodes the file, and converts what is on display at the ticks of a rate.

        Args:
            rate: Ticks in a second.
            longest_display: As for [shown_at_rate][clipshift.video.timed.shown_at_rate].

        Yields:
            A frame for each tick.

        Raises:
            VideoError: As of `pictures` and `to_rgb`.
        """
        with closing(self.pictures()) as pictures:
            for time, picture in shown_at_rate(pictures, rate, longest_display=longest_display):
                yield TimedFrame(time, self.to_rgb(picture))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of what was read so far: damage that was left out, an end that is missing."""
        damage = f"{self.left_out} damaged pictures were left out"
        end = "the file is cut off: what was to follow is missing"
        return (damage,) * bool(self.left_out) + (end,) * self.cut_off

    def pixel_aspect(self, picture: Picture) -> Fraction:
        """Width of a pixel of a picture by its height."""
        return pixel_aspect(self._stream, picture.frame.width)

    def to_rgb(self, picture: Picture) -> np.ndarray:
        """A picture as it is shown, uint8 (H, W, 3), RGB.

        Raises:
            VideoError: It cannot be converted, or is to be shown turned by an angle that is not supported.
        """
        aspect = self.pixel_aspect(picture) if self._square_pixels else None
        return np.ascontiguousarray(self._converter.to_rgb(picture.frame, aspect))

    def close(self) -> None:
        """Gives back the file; may be called twice."""
        self._container.close()

    def _told_seconds(self) -> float | None:
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base

    def _readable(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[Packet[VideoStream]]:
        """Packets up to the end, or to where the file cannot be read any further, which counts as damage."""
        try:
            yield from (packet for packet in packets if packet.size)
        except (av.FFmpegError, OSError):
            self.left_out += 1

    def _decoded(self, packet: Packet[VideoStream] | None, damage: _Damage) -> list[VideoFrame]:
        if packet is not None and packet.is_corrupt:
            damage.seen = True
        if packet is not None and packet.dts is not None and not self._times_are_stored:
            self._ticks.append(packet.dts)
        try:
            return self._stream.codec_context.decode(packet)
        except (av.FFmpegError, OSError):
            self.left_out += 1
            damage.seen = True
            return []

    def _ticks_of(self, frame: VideoFrame) -> int | None:
        """When a picture is shown, in the stream's unit; None if that is not known."""
        if self._times_are_stored:
            return frame.pts
        return self._ticks.popleft() if self._ticks else None

    def _placed(self, frame: VideoFrame, ticks: int | None) -> Picture:
        unit = self._stream.time_base
        stamp = self._stamp + self._step if ticks is None or unit is None else float(ticks * unit)
        if not self.pictures_read:
            self._offset = -stamp
        elif stamp > self._stamp:
            self._step = stamp - self._stamp
        elif stamp < self._stamp:
            self._offset = self._time + self._step - stamp
        self._stamp, time = stamp, stamp + self._offset
        self._time = time
        self.pictures_read += 1
        lasts = float(frame.duration * unit) if frame.duration and unit is not None else self._step
        self.end = time + lasts
        self._limits.check_seconds(self._path, time)
        return Picture(time, frame)


class _Damage:
    """Whether a picture may depend on one that was damaged."""

    def __init__(self) -> None:
        self.seen = False

    def hides(self, frame: VideoFrame) -> bool:
        """Whether a picture is to be left out."""
        if frame.is_corrupt:
            self.seen = True
        elif frame.key_frame:
            self.seen = False
        return self.seen


def pictures_at(path: Path, times: Sequence[float], *, limits: Limits | None = None) -> list[np.ndarray]:
    """The frames on display at some moments of a long file, for people to look at.

    Args:
        path: The file.
        times: Seconds since its first picture, rising.
        limits: What is larger is refused.

    Returns:
        uint8 (H, W, 3) each, RGB; after the end the last frame.

    Raises:
        VideoError: It cannot be read.
    """
    found: list[np.ndarray] = []
    with LongFile(path, limits=limits) as file:
        shown: Picture | None = None
        with closing(file.pictures_near(times[0] if times else 0.0)) as pictures:
            for picture in pictures:
                while shown is not None and len(found) < len(times) and picture.time > times[len(found)]:
                    found.append(file.to_rgb(shown))
                if len(found) == len(times):
                    break
                shown = picture
        if shown is not None:
            found += [file.to_rgb(shown) for _ in times[len(found) :]]
    return found


def check_is_file(path: Path) -> None:
    """Raise a VideoError for a path that no file can be read from in its turn.

    Raises:
        VideoError: It does not exist, or is a folder, a pipe or a device.
    """
    try:
        if path.is_file():
            return
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise VideoError(
            "The video cannot be read.", where=path, got=getattr(error, "strerror", None) or error
        ) from error
    if not exists:
        raise VideoError("The video does not exist.", where=path)
    raise VideoError(
        "This is no video file, so its frames have no times.",
        where=path,
        got="a folder" if path.is_dir() else "neither a file nor a folder",
        allowed="a video file",
    )
