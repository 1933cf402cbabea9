"""The decoding of wanted frames: which packets are fed to the decoder, and which of them it may skip."""

from __future__ import annotations

from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import av

from clipshift.errors import VideoError
from clipshift.video.bitstream.h264 import empty_packet
from clipshift.video.containers import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

    from clipshift.remote import VideoPath
    from clipshift.video.index import Group, PacketIndex
    from clipshift.video.packet_source import PacketSource

REMEDY = "replace or re-encode the file, or take it from the list"

_UNSEEN = 2
"""Of a packet that the decoder need not see (`PacketIndex.skippable`)."""


_SIDE_BY_SIDE = {"h264", "vp9"}
"""Codecs of which several pictures may be decoded at once: of MPEG-4 damage would be missed, others gain nothing."""

_FEWEST = 12
"""Pictures of a group below which threads take longer to get going than they save."""

_MOST_HELD_BACK = 16
"""Pictures that a decoder holds back at most."""


def pictures_side_by_side(codec: str, index: PacketIndex, cores: int) -> int:
    """How many pictures of a stream are decoded at once: one, where more are not proven to come out alike.

    Of an H.264 picture that is still being decoded, another thread may take the marks before damage is among them. With
    as many more pictures held back as there are threads, each is done when it comes out. Of VP9 damage is an error of
    the packet, and errors come in the order of packets.

    Args:
        codec: FFmpeg's canonical name of the codec.
        index: The stream's packets.
        cores: How many may be used.
    """
    if codec not in _SIDE_BY_SIDE or index.irregular is not None or cores < 2:
        return 1
    # Pictures take differently long: with two more than cores none waits, and above eight nothing is gained.
    threads = min(cores + 2, 8)
    return threads if index.held_back + threads <= _MOST_HELD_BACK else 1


class FrameDecoder:
    """Decodes frames of one stream.

    Args:
        path: The file, for errors.
        new_context: Makes decoders, for so many pictures at once.
        source: The stream's packets.
        index: What is known of them.
        side_by_side: How many pictures are decoded at once, where that is worth it; the frames are the same.

    Attributes:
        pictures_decoded: How many pictures the decoder has given so far, wanted or not.
    """

    def __init__(
        self,
        path: VideoPath,
        new_context: Callable[[int], VideoCodecContext],
        source: PacketSource,
        index: PacketIndex,
        *,
        side_by_side: int = 1,
    ) -> None:
        self._path = path
        self._new_context = new_context
        self._contexts: dict[int, VideoCodecContext] = {}
        """By the number of pictures that they decode at once."""
        self._source = source
        self._index = index
        self._side_by_side = side_by_side
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
        context = self._restarted(1)
        shown = 0
        passes_over = True
        with closing(self._source.packets(0, self._index.packets)) as packets:
            for packet in chain((packet for _, packet in packets), [None]):
                passes_over = passes_over and shown == 0 and packet is not None and not packet.is_keyframe
                try:
                    frames = context.decode(packet)
                except (av.FFmpegError, OSError) as error:
                    if passes_over:
                        continue
                    raise self._damaged(shown, reason(error)) from error
                shown += len(frames)
                self.pictures_decoded += len(frames)
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
        """Yields the wanted frames of a group."""
        given: set[int] = set()
        if self._side_by_side > 1 and self._is_long(group):
            try:
                for number, frame in self._decoded(group, self._restarted(self._side_by_side)):
                    given.add(number)
                    yield number, frame
            except VideoError:
                pass  # again by one thread, which tells where the damage is
            else:
                return
        for number, frame in self._decoded(group, self._restarted(1)):
            if number not in given:
                yield number, frame

    def _is_long(self, group: Group) -> bool:
        """Whether so many pictures of a group are decoded that threads for them are worth it."""
        count = self._index.skippable[group.start : group.last + 1].count(0)
        return count >= max(_FEWEST, self._index.held_back + self._side_by_side)

    def _decoded(self, group: Group, context: VideoCodecContext) -> Generator[tuple[int, VideoFrame], None, None]:
        """Yields the wanted frames of a group: a loop that runs for every packet, and calls little."""
        wanted, left = group.frames, dict(group.frames)
        behind, last = self._shown_behind(group), {group.last: wanted[group.last]}
        skippable, decode = self._index.skippable, context.decode
        before = self._index.ranks[group.start] - 1
        skipping = 0
        try:
            with closing(self._source.packets(group.start, group.last + 1)) as packets:
                for sent, packet in chain(packets, self._ending(group, context)):
                    skip = skippable[sent] if sent not in wanted else 0
                    if skip == _UNSEEN:
                        continue
                    if skip != skipping:
                        context.skip_frame = "NONREF" if skip else "DEFAULT"
                        skipping = skip
                    if packet is not None:
                        # Decoders hand the time of a packet on to its picture: its number tells the pictures apart.
                        packet.pts = sent
                    frames = decode(packet)
                    self.pictures_decoded += len(frames)
                    for frame in frames:
                        before = self._check_order(frame, group, before, left or last)
                        number = frame.pts
                        behind.discard(number)
                        if number in left:
                            yield left.pop(number), frame
                        if not left and not behind:
                            return
        except (av.FFmpegError, OSError) as error:
            raise self._damaged(_first(left or last), reason(error)) from error
        if left:
            raise self._damaged(_first(left), "no picture")

    def _shown_behind(self, group: Group) -> set[int | None]:
        """The pictures that the last one sent may depend on, and that are shown behind all wanted ones.

        A picture that refers both ways comes out before the later one that it refers to, whose damage is its own, too.
        """
        ranks, skippable = self._index.ranks, self._index.skippable
        highest = max(ranks[number] for number in group.frames)
        nearest = range(max(group.start, group.last - _MOST_HELD_BACK), group.last)
        return {number for number in nearest if ranks[number] > highest and not skippable[number]}

    def _ending(
        self, group: Group, context: VideoCodecContext
    ) -> Generator[tuple[int, Packet[Any] | None], None, None]:
        """What makes a decoder give the pictures that it holds back, once none of them is being decoded any more."""
        if context.thread_count > 1 and context.codec.canonical_name == "h264":
            # A thread gets a packet only when its last one is done.
            empty = packet_of(empty_packet(context.extradata or b""))
            context.skip_frame = "NONREF"
            for _ in range(context.thread_count):
                yield group.last, empty
            context.skip_frame = "DEFAULT"
        yield group.last, None

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

    def _restarted(self, side_by_side: int) -> VideoCodecContext:
        """A decoder that holds no pictures."""
        context = self._contexts.get(side_by_side)
        # A decoder that was emptied still knows the headers that it has seen, and of a file whose headers change it
        # would read the first pictures by the last ones.
        if context is None or (context.is_open and self._index.irregular is not None):
            context = self._contexts[side_by_side] = self._new_context(side_by_side)
        context.skip_frame = "DEFAULT"
        if context.is_open:
            context.flush_buffers()
        return context

    def _damaged(self, number: int, found: str) -> VideoError:
        return VideoError(
            "The video is damaged: a frame cannot be decoded.",
            where=self._path,
            got=f"at frame {number} (from 0): {found}",
            remedy=REMEDY,
        )


def packet_of(data: bytes) -> Packet[Any]:
    """A packet in FFmpeg's own memory.

    What `av.Packet(data)` makes is Python's: the decoder's thread that is the last to let go of it asks for the
    interpreter, which waits for that thread when the decoder is freed, and both wait for ever.
    """
    packet: Packet[Any] = av.Packet(len(data))
    packet.update(data)
    return packet


def _first(frames: dict[int, int]) -> int:
    return min(frames.values(), default=0)
