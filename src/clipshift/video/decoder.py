"""The decoding of wanted frames: which packets are fed to the decoder, and which of them it may skip."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING

import av

from clipshift.errors import VideoError
from clipshift.video.containers import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from clipshift.remote import VideoPath
    from clipshift.video.index import Group, PacketIndex
    from clipshift.video.packet_source import PacketSource

REMEDY = "replace or re-encode the file, or take it from the list"


class FrameDecoder:
    """Decodes frames of one stream.

    Attributes:
        pictures_decoded: How many pictures the decoder has given so far, wanted or not.
    """

    def __init__(
        self, path: VideoPath, new_context: Callable[[], VideoCodecContext], source: PacketSource, index: PacketIndex
    ) -> None:
        self._path = path
        self._new_context = new_context
        self._context = new_context()
        self._source = source
        self._index = index
        self.pictures_decoded = 0

    def frames(self, wanted: list[int]) -> Generator[tuple[int, VideoFrame], None, None]:
        """Yields (number, frame) for the wanted frame numbers, which must rise.

        Raises:
            VideoError: A wanted frame, or one that it may depend on, cannot be decoded.
        """
        if self._index.irregular is not None:
            yield from self._pick(wanted)
            return
        for group in self._index.groups(wanted):
            yield from self._group(group)

    def all_frames(self) -> Generator[VideoFrame, None, None]:
        """Yields every frame of the file: its packets decoded one after the other.

        What the decoder cannot read before the first key frame belongs to pictures whose beginning was cut away, as in
        recordings of broadcasts, and is passed over. From a key frame on it is damage: decoders of MPEG-1 and MPEG-2
        go on without a key frame that they refused, and show what depends on it from gray pictures or old memory.

        Raises:
            VideoError: A packet cannot be decoded, and is not passed over.
        """
        self._restart()
        shown = 0
        passes_over = True
        with closing(self._source.packets(0, self._index.packets)) as packets:
            for packet in chain((packet for _, packet in packets), [None]):
                passes_over = passes_over and shown == 0 and packet is not None and not packet.is_keyframe
                try:
                    frames = self._decode(packet)
                except (av.FFmpegError, OSError) as error:
                    if passes_over:
                        continue
                    raise self._damaged(shown, reason(error)) from error
                shown += len(frames)
                yield from frames

    def _pick(self, wanted: list[int]) -> Generator[tuple[int, VideoFrame], None, None]:
        left = set(wanted)
        with closing(self.all_frames()) as frames:
            for number, frame in enumerate(frames):
                if frame.is_corrupt:
                    raise self._damaged(number, "errors that the decoder reports and hides")
                if number in left:
                    yield number, frame
                    left.remove(number)
                    if not left:
                        return

    def _group(self, group: Group) -> Generator[tuple[int, VideoFrame], None, None]:
        """Yields the wanted frames of a group: a loop that runs for every packet, and calls little."""
        self._restart()
        wanted, left = group.frames, dict(group.frames)
        skippable, context, decode = self._index.skippable, self._context, self._context.decode
        before = self._index.ranks[group.start] - 1
        skipping = 0
        try:
            with closing(self._source.packets(group.start, group.last + 1)) as packets:
                for sent, packet in chain(packets, [(group.last, None)]):
                    skip = skippable[sent] and sent not in wanted
                    if skip != skipping:
                        context.skip_frame = "NONREF" if skip else "DEFAULT"
                        skipping = skip
                    if packet is not None:
                        # Decoders hand the time of a packet on to its picture: its number tells the pictures apart.
                        packet.pts = sent
                    frames = decode(packet)
                    self.pictures_decoded += len(frames)
                    for frame in frames:
                        before = self._check_order(frame, group, before, left)
                        number = frame.pts
                        if number in left:
                            yield left.pop(number), frame
                            if not left:
                                return
        except (av.FFmpegError, OSError) as error:
            raise self._damaged(_first(left), reason(error)) from error
        raise self._damaged(_first(left), "no picture")

    def _check_order(self, frame: VideoFrame, group: Group, before: int, left: dict[int, int]) -> int:
        """Refuses a picture that is damaged or out of its turn; the rank of what was shown last, `before` till now.

        Raises:
            VideoError: The frames that are left of the group cannot be trusted.
        """
        number = frame.pts
        if number is None or not group.start <= number <= group.last:
            raise self._damaged(_first(left), "a picture of no known packet")
        rank = self._index.ranks[number]
        if rank < self._index.ranks[group.start]:
            return before  # sent after the start but shown before it: not decodable from here, and not wanted from here
        if rank <= before:
            raise self._damaged(_first(left), "pictures in an order that their headers contradict")
        if frame.is_corrupt:
            raise self._damaged(_first(left), "errors that the decoder reports and hides")
        return rank

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        frames = self._context.decode(packet)
        self.pictures_decoded += len(frames)
        return frames

    def _restart(self) -> None:
        self._context.skip_frame = "DEFAULT"
        if not self._context.is_open:
            return
        if self._index.irregular is None:
            self._context.flush_buffers()
        else:
            # A decoder that was emptied still knows the headers that it has seen, and of a file whose headers change it
            # would read the first pictures by the last ones.
            self._context = self._new_context()

    def _damaged(self, number: int, found: str) -> VideoError:
        return VideoError(
            "The video is damaged: a frame cannot be decoded.",
            where=self._path,
            got=f"at frame {number} (from 0): {found}",
            remedy=REMEDY,
        )


def _first(frames: dict[int, int]) -> int:
    return min(frames.values(), default=0)
