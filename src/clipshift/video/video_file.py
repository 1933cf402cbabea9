"""Video files: the frames that are asked for, and as little decoding as that takes.

The frames are bit-identical to decoding the whole file and picking from the list. Two short ways are taken where the
packets prove that they do not change the result (`clipshift.video.bitstream` says when): groups of pictures that hold
no wanted frame are not touched, and of the others the pictures that no other depends on are left out by the decoder
itself (`skip_frame`, set packet by packet). Every other file is decoded from its first packet on, up to the last wanted
frame.

A frame is refused, not shown patched up, if the decoder reports it or one decoded before it in the same stretch as
damaged. What lies in stretches that are not touched is not looked at.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from clipshift.errors import VideoError
from clipshift.video.containers import (
    TELLING,
    check_header,
    check_whole,
    choose_video,
    decoder_pixels,
    demux,
    open_container,
    read_structure,
    reason,
    same_stream,
    video_streams,
)
from clipshift.video.decoder import REMEDY, FrameDecoder
from clipshift.video.index import PacketIndex, build_index, frame_stamps
from clipshift.video.orientation import Orientation, read_orientation
from clipshift.video.packet_source import PacketSource
from clipshift.video.reader import ClipInfo, Stretch, check_indices

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path
    from types import TracebackType

    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from clipshift.video.containers import Structure
    from clipshift.video.limits import Limits

_NO_RATE = 25.0
"""Frames a second of a file that has neither times nor a rate."""

_PIXELS_TOGETHER = 1 << 20
"""Frames up to so many pixels are converted in a row: each for itself would find the caches full of decoding."""


class VideoFile:
    """An open video file; see [clipshift.video.open_clip][].

    Attributes:
        irregular: Why frames are decoded from the first packet on; None where the short ways are taken.
    """

    def __init__(self, path: Path, *, limits: Limits, threads: int, square_pixels: bool = False) -> None:
        self._path = path
        opened = _open(path, limits)
        self._container: InputContainer | None = opened.container
        self._source: PacketSource | None = None
        try:
            stream, index = opened.stream, opened.index
            self._source = PacketSource(opened.again, opened.container, stream, index)
            context = stream.codec_context
            new_context = _Contexts(opened, limits, threads)
            self._decoder: FrameDecoder | None = FrameDecoder(path, new_context, self._source, index)
            self._reformatter = VideoReformatter()
            self._threads = threads
            self._limits = limits
            self._stream = stream
            self._square_pixels = square_pixels
            self._stored: tuple[int, int] | None = None
            self._read_width = 0
            self._pixel_aspect = Fraction(1)
            self._orientation = Orientation()
            self._uniform = index.uniform
            self._together = max(1, min(8, _PIXELS_TOGETHER // (context.width * context.height)))
            self.irregular = index.irregular
            self._decoded_times: list[int | None] = []
            self._boundaries: np.ndarray | None = None
            self._frame_count = self._count(self._decoder, index)
            self._stream_facts = _read_facts(opened, self._frame_count)
            limits.check_seconds(path, self._stream_facts.seconds)
        except BaseException:
            self.close()
            raise

    @property
    def frame_count(self) -> int:
        """How many frames decoding everything gives."""
        return self._frame_count

    @property
    def info(self) -> ClipInfo:
        """The clip's facts; the first frame is decoded for them, if none was read yet."""
        width, height = self._shown_size()
        facts = self._stream_facts
        return ClipInfo(
            path=self._path,
            frames=self._frame_count,
            width=width,
            height=height,
            fps=facts.fps,
            seconds=facts.seconds,
            rotation=self._orientation.rotation,
            codec=facts.codec,
            pixel_aspect=float(1 / self._pixel_aspect if self._orientation.transposed else self._pixel_aspect),
            video_streams=facts.video_streams,
        )

    @property
    def boundaries(self) -> np.ndarray:
        """When frames begin, and the last one ends; see [clipshift.video.ClipReader.boundaries][].

        By the times of presentation that the file stores, whatever its frame rate does; evenly spread where it stores
        none, or some that contradict the order of its frames.
        """
        if self._boundaries is None:
            if self._source is None:
                raise ValueError("the clip is closed")
            stamps = self._decoded_times or frame_stamps(self._source.index, self._stream)
            facts = self._stream_facts
            self._boundaries = _boundaries(stamps, self._stream.time_base, facts.fps, facts.seconds, self._frame_count)
        return self._boundaries

    @property
    def stretch(self) -> Stretch:
        """All of it."""
        return Stretch(self, 0.0, float(self.boundaries[-1]))

    @property
    def pictures_decoded(self) -> int:
        """How many pictures the decoder has given so far, wanted or not."""
        return 0 if self._decoder is None else self._decoder.pictures_decoded

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Decodes the asked-for frames; see [clipshift.video.ClipReader.read][]."""
        if self._decoder is None:
            raise ValueError("the clip is closed")
        wanted = check_indices(indices, self._frame_count)
        if not wanted:
            return np.empty((0, *self._shown_size()[::-1], 3), dtype=np.uint8)
        frames_THWC: np.ndarray | None = None
        places: dict[int, list[int]] = {}
        for place, index in enumerate(wanted):
            places.setdefault(index, []).append(place)
        # Where frames may differ in size or orientation, the first one tells those of the clip.
        needed = set(places) if self._uniform or self._stored is not None else {0, *places}
        found = 0
        with closing(self._decoder.frames(sorted(needed))) as frames:
            while together := list(islice(frames, self._together)):
                for index, frame in together:
                    self._check_size(frame)
                    found += 1
                    if index not in places:
                        continue
                    picture_HWC = self._picture(frame)
                    if frames_THWC is None:
                        frames_THWC = np.empty((len(wanted), *picture_HWC.shape), dtype=np.uint8)
                    for place in places[index]:
                        frames_THWC[place] = picture_HWC
        if frames_THWC is None or found < len(needed):
            raise self._ended()
        return frames_THWC

    def frames(self, first: int = 0, count: int | None = None) -> Generator[np.ndarray]:
        """Decodes frames one after the other; see [clipshift.video.ClipReader.frames][]."""
        if self._decoder is None:
            raise ValueError("the clip is closed")
        wanted = list(range(first, self._frame_count if count is None else first + count))
        # Where frames may differ in size or orientation, the first one tells those of the clip.
        ahead = [] if self._uniform or self._stored is not None or first == 0 else [0]
        found = 0
        with closing(self._decoder.frames([*ahead, *wanted])) as frames:
            for number, frame in frames:
                self._check_size(frame)
                if number >= first:
                    yield np.ascontiguousarray(self._picture(frame))
                    found += 1
        if found < len(wanted):
            raise self._ended()

    def close(self) -> None:
        """Gives back the file handle and the decoder; may be called twice."""
        # The decoder and its buffers go with the last reference to them, not when garbage is collected.
        self._decoder = None
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ended(self) -> VideoError:
        return VideoError(
            "The video ended before a wanted frame: the file changed while it was open.", where=self._path
        )

    def _count(self, decoder: FrameDecoder, index: PacketIndex) -> int:
        """Counts the frames: their packets, or where those do not tell, what decoding all of them gives."""
        count = 0 if index.irregular is not None else len(index.shown)
        if index.irregular is not None:
            with closing(decoder.all_frames()) as frames:
                for frame in frames:
                    self._check_size(frame)
                    self._decoded_times.append(frame.pts)
                    count += 1
        if count == 0:
            raise VideoError("The video has no frames.", where=self._path, got=f"{index.packets} packets")
        return count

    def _shown_size(self) -> tuple[int, int]:
        """Width and height as shown; the first frame is decoded if no frame was yet."""
        if self._stored is None:
            if self._decoder is None:
                raise ValueError("the clip is closed")
            with closing(self._decoder.frames([0])) as first:
                self._note_first(next(first)[1])
        width, height = self._read_width, (self._stored or (0, 0))[1]
        return (height, width) if self._orientation.transposed else (width, height)

    def _note_first(self, frame: VideoFrame) -> None:
        self._limits.check_size(self._path, frame.width, frame.height)
        aspect = _pixel_aspect(self._stream, frame.width)
        width = _square_width(frame.width, aspect) if self._square_pixels else frame.width
        self._limits.check_size(self._path, width, frame.height)
        self._stored, self._read_width = (frame.width, frame.height), width
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

    def _check_size(self, frame: VideoFrame) -> None:
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

    def _picture(self, frame: VideoFrame) -> np.ndarray:
        """Converts a frame to RGB as shown, uint8 (H, W, 3); a view."""
        width = None if self._read_width == frame.width else self._read_width
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


@dataclass(frozen=True)
class _StreamFacts:
    """What the container tells of a clip, and its packets' times."""

    fps: float | None
    seconds: float | None
    codec: str
    video_streams: int


def _read_facts(opened: _Opened, frames: int) -> _StreamFacts:
    stream, index = opened.stream, opened.index
    fps = None if not stream.average_rate else float(stream.average_rate)
    seconds: float | None = None
    if opened.container.format.name == "avi":
        fps = _rate_of_ticks(stream, index, frames) or fps
    elif index.first_time is not None and index.last_time is not None and stream.time_base is not None:
        seconds = float((index.last_time - index.first_time) * stream.time_base) or None
    if seconds is None and fps is not None:
        seconds = frames / fps
    return _StreamFacts(fps, seconds, stream.codec_context.codec.canonical_name, opened.video_streams)


def _boundaries(
    stamps: Sequence[int | None], unit: Fraction | None, fps: float | None, seconds: float | None, frames: int
) -> np.ndarray:
    """When frames begin, and the last one ends, float64 (frames + 1,), from their times in units of the time base."""
    known = [stamp for stamp in stamps if stamp is not None]
    if unit is None or len(known) != frames or any(one >= other for one, other in pairwise(known)):
        step = (seconds / frames if seconds else 0.0) or 1 / (fps or _NO_RATE)
        return np.arange(frames + 1, dtype=np.float64) * step
    # From whole numbers, so that times of one file never differ by where the counting began.
    begins = np.array([float((stamp - known[0]) * unit) for stamp in known])
    step = begins[-1] / (frames - 1) if frames > 1 else 1 / (fps or _NO_RATE)
    return np.append(begins, seconds if seconds is not None and seconds > begins[-1] else begins[-1] + step)


def _rate_of_ticks(stream: VideoStream, index: PacketIndex, frames: int) -> float | None:
    """The mean rate of the pictures of an AVI file; None for fewer than two.

    Its header has the rate of ticks alone, which FFmpeg gives as the mean rate, too. A tick without a picture has an
    empty chunk: H.264 is often written with two ticks for each picture, and copies of other files with hundreds.
    """
    ticks = index.decoding_ticks
    if frames < 2 or not ticks or stream.time_base is None:
        return None
    return float((frames - 1) / (ticks * stream.time_base))


def _pixel_aspect(stream: VideoStream, width: int) -> Fraction:
    """Width of a stored pixel by its height, by the container or else the decoder, once a frame was decoded.

    What does not change the width by a whole pixel counts as square: such ratios come from rounding the size.
    """
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return aspect if aspect and aspect > 0 and _square_width(width, aspect) != width else Fraction(1)


def _square_width(width: int, aspect: Fraction) -> int:
    return max(1, round(width * aspect))


class _Contexts:
    """Gives decoders of a stream: that of the open container first, then those of containers opened for them."""

    def __init__(self, opened: _Opened, limits: Limits, threads: int) -> None:
        self._opened, self._limits, self._threads = opened, limits, threads
        self._first = True

    def __call__(self) -> VideoCodecContext:
        context = self._opened.stream.codec_context
        if not self._first:
            with self._opened.again() as container:
                context = same_stream(self._opened.container, self._opened.stream, container).codec_context
        self._first = False
        _configure(context, self._limits, self._threads)
        return context


def _configure(context: VideoCodecContext, limits: Limits, threads: int) -> None:
    context.thread_count = threads
    if threads > 1:
        context.thread_type = "AUTO"
    context.options = {"max_pixels": decoder_pixels(limits)}
    if context.codec.canonical_name != "h264":
        # Errors end the decoding. H.264's decoder reports its damaged frames by itself, and would also take offence at
        # references to what lies before the place where decoding started.
        context.options = {**context.options, "err_detect": "explode"}


@dataclass(frozen=True)
class _Opened:
    """A container, its video stream and the index of that; `again` opens another one in the same way."""

    container: InputContainer
    stream: VideoStream
    index: PacketIndex
    again: Callable[[], InputContainer]
    video_streams: int


def _open(path: Path, limits: Limits) -> _Opened:
    """Opens a file and reads its packets; of its frames none is decoded where they prove not to be needed."""
    structure = read_structure(path)
    if structure.kind in TELLING:
        opened = _open_once(path, structure, limits, quick=True)
        if opened.index.irregular is None and opened.stream.average_rate:
            return opened
        opened.container.close()
    return _open_once(path, structure, limits, quick=False)


def _open_once(path: Path, structure: Structure, limits: Limits, *, quick: bool) -> _Opened:
    again = partial(open_container, path, structure, limits, quick=quick)
    container = again()
    try:
        videos = video_streams(container, path)
        if quick and len(videos) > 1:  # which one is meant, their first frames tell
            container.close()
            return _open_once(path, structure, limits, quick=False)
        stream = choose_video(container, videos)
        check_header(stream, container, path, limits)
        index = _read_index(container, stream, structure, limits, path)
        return _Opened(container, stream, index, again, len(videos))
    except BaseException:
        container.close()
        raise


def _read_index(
    container: InputContainer, stream: VideoStream, structure: Structure, limits: Limits, path: Path
) -> PacketIndex:
    with closing(demux(container, stream)) as packets:
        index = build_index(packets, stream, limits=limits, path=path)
    failure = index.failure
    chunks = index.chunks - (failure is None)
    check_whole(path, structure, stream=stream, chunks=chunks, cut=index.cut or failure is not None)
    if failure is not None:
        raise VideoError(
            "The video's packets cannot be read.", where=path, got=f"FFmpeg: {reason(failure)}", remedy=REMEDY
        ) from failure
    return index
