"""A video file that is opened: its container, the stream that is meant, its packets, and decoders for it."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

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
from clipshift.video.decoder import REMEDY
from clipshift.video.index import PacketIndex, build_index
from clipshift.video.index_memory import IndexMemory, Key, Remembered, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

    from clipshift.remote import VideoPath
    from clipshift.video.containers import Structure
    from clipshift.video.limits import Limits


@dataclass(frozen=True)
class OpenedFile:
    """An open video file, of which all packets were looked at.

    Attributes:
        container: To be closed by who opened it.
        stream: The video stream that is read.
        index: Its packets.
        again: Opens another container of the file in the same way.
        video_streams: How many the file has.
        quick: Whether its header was enough to open it.
    """

    container: InputContainer
    stream: VideoStream
    index: PacketIndex
    again: Callable[[], InputContainer]
    video_streams: int
    quick: bool


_MEMORY = IndexMemory()


def open_file(path: VideoPath, limits: Limits, *, remember: bool = False) -> OpenedFile:
    """Opens a file and reads its packets; of its frames none is decoded where they prove not to be needed.

    Args:
        path: The file.
        limits: What is too large to be read.
        remember: Whether what the packets tell may come from an earlier opening of this file, and is kept for later
            ones.

    Raises:
        VideoError: It is no video, is damaged, or exceeds the limits.
    """
    key = key_of(path, limits) if remember else None
    known = None if key is None else _MEMORY.get(key)
    structure = read_structure(path)
    if known is not None:
        return _open_once(path, structure, limits, quick=known.quick, index=known.index)
    if structure.kind in TELLING:
        opened = _open_once(path, structure, limits, quick=True)
        if opened.index.irregular is None and opened.stream.average_rate:
            return _remembered(opened, key)
        opened.container.close()
    return _remembered(_open_once(path, structure, limits, quick=False), key)


def _remembered(opened: OpenedFile, key: Key | None) -> OpenedFile:
    if key is not None:
        _MEMORY.put(key, Remembered(opened.index, opened.quick))
    return opened


def _open_once(
    path: VideoPath, structure: Structure, limits: Limits, *, quick: bool, index: PacketIndex | None = None
) -> OpenedFile:
    again = partial(open_container, path, structure, limits, quick=quick)
    container = again()
    try:
        videos = video_streams(container, path)
        if quick and len(videos) > 1:  # which one is meant, their first frames tell
            container.close()
            return _open_once(path, structure, limits, quick=False, index=index)
        stream = choose_video(container, videos)
        check_header(stream, container, path, limits)
        if index is None:
            index = _read_index(container, stream, structure, limits, path)
        return OpenedFile(container, stream, index, again, len(videos), quick)
    except BaseException:
        container.close()
        raise


def _read_index(
    container: InputContainer, stream: VideoStream, structure: Structure, limits: Limits, path: VideoPath
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


class Contexts:
    """Gives decoders of a stream: that of the open container first, then those of containers opened for them."""

    def __init__(self, opened: OpenedFile, limits: Limits) -> None:
        self._opened, self._limits = opened, limits
        self._first = True

    def __call__(self, threads: int = 1) -> VideoCodecContext:
        """One that nobody has used.

        Args:
            threads: Pictures that are decoded side by side.
        """
        context = self._opened.stream.codec_context
        if not self._first:
            with self._opened.again() as container:
                context = same_stream(self._opened.container, self._opened.stream, container).codec_context
        self._first = False
        _configure(context, self._limits)
        if threads > 1:
            context.thread_count = threads
            context.thread_type = "FRAME"
            if context.codec.canonical_name == "h264":
                # A picture comes out so late that the thread that decodes it has surely told of damage.
                held_back = self._opened.index.held_back + threads
                context.options = {**context.options, "has_b_frames": str(held_back)}
        return context


def _configure(context: VideoCodecContext, limits: Limits) -> None:
    context.thread_count = 1
    context.options = {"max_pixels": decoder_pixels(limits)}
    if context.codec.canonical_name != "h264":
        # Errors end the decoding. H.264's decoder reports its damaged frames by itself, and would also take offence at
        # references to what lies before the place where decoding started.
        context.options = {**context.options, "err_detect": "explode"}
