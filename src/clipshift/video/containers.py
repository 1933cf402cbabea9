"""Opening a video file safely, and telling a whole file from one that is cut off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import av
from av.stream import Discard

from clipshift.errors import VideoError
from clipshift.video.boxes import TooManyBoxesError, read_boxes

if TYPE_CHECKING:
    from collections.abc import Generator

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from clipshift.remote import VideoPath
    from clipshift.video.limits import Limits

# Formats that name other files or addresses (playlists, "concat" lists, image patterns) are left out: opening a clip
# must not reach beyond it.
_FORMATS = (
    "asf,av1,avi,dv,flv,gxf,h261,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,"
    "wtv,yuv4mpegpipe"
)


_NO_FRAMES = {"probesize": "32", "skip_frame": "all"}
"""One packet is read at opening, and not decoded."""

TELLING = {"mp4", "matroska"}
"""Kinds of file whose header tells the facts of the video stream."""

_DEMUXERS = {"mp4": "mov", "avi": "avi", "matroska": "matroska"}
"""FFmpeg's names of these kinds: to ask each of its formats whether it knows the file is a third of opening it."""


@dataclass(frozen=True)
class Structure:
    """The outermost structure of a file.

    Attributes:
        kind: "mp4", "avi", "matroska" or "" (another one).
        size: Bytes that the file has.
        announced: Bytes that it should have; None where it does not say.
        indexed: Whether the index that an MP4 file cannot do without is there.
        samples: Frames and pieces of sound that the tables of an MP4 file announce; FFmpeg makes room for all of them.
    """

    kind: str
    size: int
    announced: int | None = None
    indexed: bool = True
    samples: int = 0

    @property
    def short(self) -> bool:
        """Whether the file ends before its structure does."""
        return self.announced is not None and self.announced > self.size


def open_container(path: VideoPath, structure: Structure, limits: Limits, *, quick: bool) -> InputContainer:
    """Opens a file for reading; of its header everything is checked that can be checked before decoding.

    Args:
        path: The file.
        structure: Its outermost structure.
        limits: What the decoder refuses.
        quick: Whether what the header says is enough. Else FFmpeg decodes the first frames, for what only they tell.

    Raises:
        VideoError: The file is no video that can be read.
    """
    if structure.size == 0:
        raise VideoError("The file is empty.", where=path, got="0 bytes")
    if structure.kind == "mp4" and not structure.indexed:
        raise _cut_off(path, structure, "its index (moov) is missing")
    limits.check_samples(path, structure.samples)
    try:
        return av.open(
            f"file:{path}" if isinstance(path, Path) else path.open(),
            "r",
            format=_DEMUXERS.get(structure.kind),
            options={
                "format_whitelist": _FORMATS,
                "protocol_whitelist": "file",
                "max_pixels": decoder_pixels(limits),
                **(_NO_FRAMES if quick else {}),
            },
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, UnicodeError) as error:
        if structure.short:
            raise _cut_off(path, structure) from error
        other = isinstance(error, av.ArgumentError)  # FFmpeg knows the format, but it is none of ours
        raise VideoError(
            "The file is not a video that can be read.",
            where=path,
            got="an image, a playlist or another kind of file" if other else f"FFmpeg: {reason(error)}",
            remedy="check that the file plays, or take it from the list",
        ) from error


def video_streams(container: InputContainer, path: VideoPath | str) -> list[VideoStream]:
    """The video streams of a file; pictures that are attached to it, such as a cover, are none.

    Raises:
        VideoError: There is none.
    """
    videos = [stream for stream in container.streams.video if not _is_attached(stream)]
    if not videos:
        kinds = sorted({str(stream.type) for stream in container.streams})
        raise VideoError("The file has no video stream.", where=path, got=f"only {', '.join(kinds) or 'nothing'}")
    return videos


def choose_video(container: InputContainer, videos: list[VideoStream]) -> VideoStream:
    """The one of several video streams that players show.

    It is FFmpeg's choice (`av_find_best_stream`): the one that is marked as the default, else the one with more frames
    (up to five), bits per second, and frames, of those that FFmpeg decoded when it opened the file.
    """
    if len(videos) == 1:
        return videos[0]
    best = container.streams.best("video")
    if best is not None and any(best is stream for stream in videos):
        return cast("VideoStream", best)
    # FFmpeg lets an attached picture win against videos that are not marked: here it is no candidate.
    return max(videos, key=lambda stream: (_is_default(stream), stream.codec_context.bit_rate or 0))


def same_stream(container: InputContainer, stream: VideoStream, again: InputContainer) -> VideoStream:
    """The stream of a container in the same file opened again."""
    number = next(i for i, other in enumerate(container.streams.video) if other is stream)
    return again.streams.video[number]


def _is_attached(stream: VideoStream) -> bool:
    return bool(stream.disposition & stream.disposition.attached_pic)


def _is_default(stream: VideoStream) -> bool:
    return bool(stream.disposition & stream.disposition.default)


def check_header(stream: VideoStream, container: InputContainer, path: VideoPath, limits: Limits) -> None:
    """Checks what the header says of a video stream's size and duration.

    Raises:
        VideoError: Its codec is unknown, or it exceeds `limits`.
    """
    if stream.codec_context is None:
        raise VideoError("The video's codec is unknown.", where=path)
    limits.check_size(path, stream.codec_context.width, stream.codec_context.height)
    seconds: float | None = None
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        seconds = container.duration / av.time_base
    limits.check_seconds(path, seconds)


def decoder_pixels(limits: Limits) -> str:
    """The decoder's own bound, which keeps a size that only the stream tells from taking all memory.

    It counts the coded frame, which is larger than the one shown; the exact bound is checked on what is shown.
    """
    return str(2 * limits.max_pixels + 65536)


def demux(container: InputContainer, stream: VideoStream) -> Generator[Packet[VideoStream], None, None]:
    """Yields the packets of a stream from where the container stands; to be closed. No other stream's are read."""
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    return cast("Generator[Packet[VideoStream], None, None]", container.demux(stream))


def check_whole(path: VideoPath, structure: Structure, *, stream: VideoStream, chunks: int, cut: bool) -> None:
    """Refuses a file that ends before the frames that it announces.

    A file counts as cut off where its outermost structure is longer than the file and frames are missing: an MP4 file
    whose index names more samples than there are, an AVI file whose header counts more, any Matroska file.

    Args:
        path: The file.
        structure: Its outermost structure.
        stream: Its video stream, all packets read.
        chunks: How many packets were read.
        cut: Whether the last one was incomplete.

    Raises:
        VideoError: Frames are missing at the end.
    """
    if not structure.short:
        return
    announced = len(stream.index_entries) if structure.kind == "mp4" else stream.frames
    if cut or chunks < announced or structure.kind == "matroska":
        frames = f"{max(0, chunks - cut)} frames" + (f" of {announced}" if announced else "")
        raise _cut_off(path, structure, frames)


def _cut_off(path: VideoPath, structure: Structure, detail: str | None = None) -> VideoError:
    size = f"{structure.size} bytes" + (f" of {structure.announced}" if structure.short else "")
    return VideoError(
        "The file is cut off, or was never finished.",
        where=path,
        got=size if detail is None else f"{size}; {detail}",
        remedy="fetch or encode the file again, or take it from the list",
    )


def reason(error: Exception) -> str:
    """What FFmpeg or the system says of an error, without its file name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def read_structure(path: VideoPath) -> Structure:
    """Reads the outermost structure of a file: a few headers, whatever its length.

    Raises:
        VideoError: The file cannot be read.
    """
    try:
        with path.open("rb", buffering=0) if isinstance(path, Path) else path.open() as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(12)
            if head[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}:
                return _read_mp4(file, size, path)
            if head[:4] == b"RIFF" and head[8:] == b"AVI ":
                return Structure("avi", size, 8 + int.from_bytes(head[4:8], "little"))
            if head[:4] == b"\x1a\x45\xdf\xa3":
                file.seek(4)
                return Structure("matroska", size, _segment_end(file))
            return Structure("", size)
    except OSError as error:
        raise VideoError("The file cannot be read.", where=path, got=error.strerror or str(error)) from error


def _read_mp4(file: BinaryIO, size: int, path: VideoPath) -> Structure:
    try:
        boxes = read_boxes(file, size)
    except TooManyBoxesError as error:
        raise VideoError("The file is split into more boxes than any video.", where=path) from error
    return Structure("mp4", size, boxes.end, boxes.indexed, boxes.samples)


def _segment_end(file: BinaryIO) -> int | None:
    """Where the segment of a Matroska file ends (RFC 8794, section 4; RFC 9559, section 5.1); after the EBML mark."""
    header = _element_size(file)
    if header is None:
        return None
    file.seek(header, 1)
    if file.read(4) != b"\x18\x53\x80\x67":
        return None
    length = _element_size(file)
    return None if length is None else file.tell() + length


def _element_size(file: BinaryIO) -> int | None:
    """Reads a variable-length size; None for the reserved value "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else value
