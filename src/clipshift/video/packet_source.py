"""Where the packets of an open video come from: memory, the file after a seek, or the file from its beginning."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import av

from clipshift.video.containers import demux, same_stream
from clipshift.video.index import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from clipshift.video.index import PacketIndex

_SEEKABLE = {"mov", "matroska", "webm", "avi"}
"""Formats with an index of their own; in others a seek searches the bytes, and is not tried."""


class PacketSource:
    """Gives the packets of a stream again, from any number on, in the numbering of its index."""

    def __init__(
        self,
        open_again: Callable[[], InputContainer],
        container: InputContainer,
        stream: VideoStream,
        index: PacketIndex,
    ) -> None:
        self._open_again = open_again
        self._container = container
        self._stream = stream
        self._index = index
        self._again: tuple[InputContainer, VideoStream] | None = None

    @property
    def index(self) -> PacketIndex:
        """What is known of the packets."""
        return self._index

    def packets(self, start: int, stop: int) -> Generator[tuple[int, Packet[VideoStream]], None, None]:
        """Yields (number, packet) from packet `start` up to, but not with, packet `stop`."""
        if self._index.kept is not None:
            yield from enumerate(self._index.kept[start:stop], start)
            return
        container, stream = self._container, self._stream
        if self._again is not None:
            container, stream = self._again
        number = self._seek(container, stream, start)
        if number is None:
            container, stream = self._reopen()
            number = 0
        with closing(demux(container, stream)) as packets:
            for packet in packets:
                if not packet.size:
                    continue
                if number >= start:
                    yield number, packet
                number += 1
                if number >= stop:
                    return

    def close(self) -> None:
        """Closes what was opened in addition to the stream's own container."""
        if self._again is not None:
            self._again[0].close()
            self._again = None

    def _reopen(self) -> tuple[InputContainer, VideoStream]:
        self.close()
        container = self._open_again()
        self._again = container, same_stream(self._container, self._stream, container)
        return self._again

    def _seek(self, container: InputContainer, stream: VideoStream, start: int) -> int | None:
        """Seeks to packet `start` or one before it; the number of the packet that comes next, None for none.

        A seek is believed only after the packet that comes next was recognized by its place in the file and its time.
        """
        index = self._index
        if not _SEEKABLE & set(container.format.name.split(",")):
            return None
        for offset in (index.decoding_times[start], index.times[start]):
            if offset == UNKNOWN:
                continue
            try:
                container.seek(offset, stream=stream)
                with closing(demux(container, stream)) as packets:
                    number = index.find(next(packets))
                if number is not None and number <= start:
                    container.seek(offset, stream=stream)
                    return number
            except av.FFmpegError:
                continue
        return None
