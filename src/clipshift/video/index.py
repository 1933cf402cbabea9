"""The index of a video's packets: which packet shows frame i, where decoding may start for it, what may be left out."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import av
import numpy as np

from clipshift.video.bitstream import Irregular, PacketFacts, Scanner, make_scanner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.packet import Packet
    from av.video.stream import VideoStream

    from clipshift.remote import VideoPath
    from clipshift.video.limits import Limits

KEEP_BYTES = 16 * 1024 * 1024
"""Packets of clips up to this size stay in memory, so that the file is read once."""

UNKNOWN = -1 << 63
"""Stands for a time or position that a packet does not have."""

TIMED_FORMATS = {"asf", "flv", "matroska", "mov", "mpeg", "mpegts", "ogg", "webm"}
"""Formats that store presentation times; in others (AVI) FFmpeg makes them up."""

_BATCH = 64
"""Packets that are noted together: taking each fact of all of them in turn costs half of packet after packet."""


def _numbers() -> array[int]:
    return array("q")


@dataclass
class Group:
    """A stretch of packets from a start to the last one that shows a wanted frame.

    Attributes:
        start: Number of the first packet.
        last: Number of the last packet.
        frames: The wanted frames' numbers, by the number of the packet that shows each.
    """

    start: int
    last: int
    frames: dict[int, int] = field(default_factory=dict)


@dataclass
class PacketIndex:
    """What one pass over the packets told; packets are numbered from 0 in decoding order.

    Attributes:
        uniform: Whether all frames are known to have one size and one orientation.
        pixels: Of each frame, at most; 0 where that is not known before one is decoded.
        square: Whether no header of a picture says that pixels are not square; False where that is not known.
        irregular: Why frames must be decoded from the first packet on; None where the short ways are exact. Only then
            `shown`, `ranks`, `starts` and `skippable` are complete.
        shown: Packet number of each frame, in the order of showing.
        ranks: Place of each packet's picture in the order of showing, hidden and discarded ones counted.
        starts: Numbers of the packets where decoding may start.
        skippable: For each packet 0 if other pictures depend on it; if none does, 1 where the decoder is to be told to
            skip it, 2 where the decoder need not see it.
        held_back: How many pictures the decoder holds back at least, to put them in order.
        times: Presentation time of each packet, in units of the stream's time base.
        decoding_times: Decoding time of each packet; empty where all are kept.
        positions: Byte position of each packet in the file; empty where all are kept.
        kept: All packets of a small clip; None for a large one.
        packets: How many packets the stream has.
        chunks: The same, with the empty ones and the mark of the end.
        size: Bytes of all packets.
        cut: Whether the last packet is incomplete.
        failure: What ended the reading before the end of the file.
        first_time: Earliest presentation time.
        last_time: Latest end of presentation.
        first_decoding: Decoding time of the first packet that has one.
        last_decoding: Decoding time of the last one.
    """

    uniform: bool = False
    pixels: int = 0
    square: bool = False
    irregular: str | None = None
    shown: array[int] = field(default_factory=_numbers)
    ranks: array[int] = field(default_factory=_numbers)
    starts: array[int] = field(default_factory=_numbers)
    skippable: bytearray = field(default_factory=bytearray)
    held_back: int = 0
    times: array[int] = field(default_factory=_numbers)
    decoding_times: array[int] = field(default_factory=_numbers)
    positions: array[int] = field(default_factory=_numbers)
    kept: list[Packet[VideoStream]] | None = field(default_factory=list)
    packets: int = 0
    chunks: int = 0
    size: int = 0
    cut: bool = False
    failure: Exception | None = None
    first_time: int | None = None
    last_time: int | None = None
    first_decoding: int | None = None
    last_decoding: int | None = None

    @property
    def decoding_ticks(self) -> int:
        """Units of the stream's time base from the decoding of the first packet to that of the last one."""
        return (
            0 if self.first_decoding is None or self.last_decoding is None else self.last_decoding - self.first_decoding
        )

    def find(self, packet: Packet[VideoStream]) -> int | None:
        """The number of a packet that was read anew; None where it is not recognized without doubt."""
        if packet.pos is None or self.positions.count(packet.pos) != 1:
            return None
        number = self.positions.index(packet.pos)
        return number if self.times[number] == packet.pts else None

    def groups(self, frames: list[int]) -> list[Group]:
        """Parts the wanted frames into stretches of packets that are decoded without a gap.

        Args:
            frames: Frame numbers, rising.
        """
        groups: list[Group] = []
        for frame in frames:
            packet = self.shown[frame]
            start = self._start_for(packet)
            if groups and start <= groups[-1].last:
                groups[-1].last = max(groups[-1].last, packet)
            else:
                groups.append(Group(start, packet))
            groups[-1].frames[packet] = frame
        return groups

    def _start_for(self, packet: int) -> int:
        """The last start from which a packet's picture comes out exactly.

        A picture that is sent after a start but shown before it may depend on what was sent before the start.
        """
        place = bisect_right(self.starts, packet) - 1
        while self.ranks[self.starts[place]] > self.ranks[packet]:
            place -= 1
        return self.starts[place]


def build_index(
    packets: Iterable[Packet[VideoStream]], stream: VideoStream, *, limits: Limits, path: VideoPath
) -> PacketIndex:
    """Reads all packets of a stream, without decoding any.

    Args:
        packets: The stream's packets from the beginning of the file.
        stream: The stream.
        limits: Reading stops with an error as soon as the frames exceed it.
        path: The file, for errors.

    Raises:
        VideoError: The clip has more packets than `limits` allow frames.
    """
    index = PacketIndex()
    notes = _Notes()
    try:
        codec = stream.codec_context.codec
        extradata = stream.codec_context.extradata or b""
        notes.scanner = make_scanner(codec.canonical_name, intra_only=bool(codec.intra_only), extradata=extradata)
    except (Irregular, IndexError) as error:
        index.irregular = str(error)
    try:
        for batch in _batches(packets):
            index.chunks += len(batch)
            # An empty packet is the mark of the end, or a dropped frame of an AVI file.
            pictures = [packet for packet in batch if packet.size]
            if pictures:
                count = min(index.packets + len(pictures), limits.max_frames + 1)
                limits.check_frames(path, count, at_least=True)
                _note_packets(index, pictures)
                notes.add(index, pictures)
    except (av.FFmpegError, OSError) as error:
        index.failure = error
        return index
    if index.irregular is None:
        formats = stream.container.format.name.split(",")
        index.irregular = notes.finish(
            index,
            decoder_delay=stream.codec_context.reorder_depth,
            times_are_stored=not TIMED_FORMATS.isdisjoint(formats),
        )
    return index


def frame_stamps(index: PacketIndex, stream: VideoStream) -> np.ndarray:
    """When each frame is shown, in units of the stream's time base, int64; of a regular index.

    Formats that store no times of presentation (AVI) have ticks in the order of decoding: a picture is shown a constant
    delay after its turn, so that the n-th frame has the n-th tick. `UNKNOWN` stands for a time that a packet lacks.
    """
    shown = np.array(index.shown, dtype=np.int64)
    if not TIMED_FORMATS.isdisjoint(stream.container.format.name.split(",")):
        return np.asarray(np.array(index.times, dtype=np.int64)[shown])
    if index.kept is not None:
        ticks = [UNKNOWN if (tick := packet.dts) is None else tick for packet in index.kept]
    else:
        ticks = list(index.decoding_times)
    return np.sort(np.array(ticks, dtype=np.int64)[shown])


def _batches(packets: Iterable[Packet[VideoStream]]) -> Iterator[list[Packet[VideoStream]]]:
    """Packets in lists; an error of reading comes after what was read before it."""
    packets = iter(packets)
    while True:
        batch: list[Packet[VideoStream]] = []
        try:
            batch.extend(islice(packets, _BATCH))
        except (av.FFmpegError, OSError):
            yield batch  # what was read before the error is in it
            raise
        if not batch:
            return
        yield batch


def _note_packets(index: PacketIndex, packets: list[Packet[VideoStream]]) -> None:
    index.packets += len(packets)
    index.size += sum([packet.size for packet in packets])
    index.cut = packets[-1].is_corrupt
    times = [UNKNOWN if (time := packet.pts) is None else time for packet in packets]
    index.times.extend(times)
    shown = [
        (time, time + (packet.duration or 0))
        for time, packet in zip(times, packets, strict=True)
        if time != UNKNOWN and not packet.is_discard
    ]
    if shown:
        starts, ends = zip(*shown, strict=True)
        index.first_time = min(starts) if index.first_time is None else min(index.first_time, *starts)
        index.last_time = max(ends) if index.last_time is None else max(index.last_time, *ends)
    if index.first_decoding is None:
        index.first_decoding = next((time for packet in packets if (time := packet.dts) is not None), None)
    last = packets[-1].dts
    index.last_decoding = index.last_decoding if last is None else last
    if index.kept is None:
        _note_places(index, packets)
        return
    index.kept += packets
    if index.size > KEEP_BYTES:
        _note_places(index, index.kept)
        index.kept = None


def _note_places(index: PacketIndex, packets: list[Packet[VideoStream]]) -> None:
    index.decoding_times.extend([UNKNOWN if (time := packet.dts) is None else time for packet in packets])
    index.positions.extend([UNKNOWN if (place := packet.pos) is None else place for packet in packets])


class _Notes:
    """What is gathered about the packets only until the index is complete."""

    def __init__(self) -> None:
        self.scanner: Scanner | None = None
        self._turned = False
        self._facts: list[PacketFacts] = []
        self._discarded = bytearray()

    def add(self, index: PacketIndex, packets: list[Packet[VideoStream]]) -> None:
        """Scans packets, as long as the stream is regular."""
        if index.irregular is not None:
            return
        try:
            self._scan(packets)
        except (Irregular, IndexError) as error:
            index.irregular = str(error)

    def _scan(self, packets: list[Packet[VideoStream]]) -> None:
        if self.scanner is None:
            raise Irregular("headers that change")
        for packet in packets:
            for side in packet.iter_sidedata():  # seldom any; asking for one by its name would take longer
                if side.data_type == "new_extradata":
                    raise Irregular("headers that change")
                self._turned = self._turned or side.data_type == "display_matrix"
        scan = self.scanner.scan
        self._facts += [scan(bytes(packet)) for packet in packets]
        self._discarded += bytes([packet.is_discard for packet in packets])

    def finish(self, index: PacketIndex, *, decoder_delay: int, times_are_stored: bool) -> str | None:
        """Puts the packets in the order of showing; says what speaks against trusting it, or None."""
        facts = self._facts
        starts = [number for number, fact in enumerate(facts) if fact.start]
        if self.scanner is None or not starts or starts[0] != 0:
            return "a first packet that is no start"
        complete = self.scanner.start_is_complete
        index.starts.extend(number for number in starts if complete(facts[number].headers))
        if not index.starts or index.starts[0] != 0:
            return "headers that change"
        # Decoders of codecs that send no order show every picture as it comes.
        orders = [number if fact.order is None else fact.order for number, fact in enumerate(facts)]
        if len(set(orders)) < index.packets:
            return "two pictures at one place in the order"
        by_order = sorted(range(index.packets), key=orders.__getitem__)
        if by_order[0] != 0:
            return "pictures before the first start"
        index.ranks = array("q", bytes(8 * index.packets))
        for rank, packet in enumerate(by_order):
            index.ranks[packet] = rank
        index.uniform = self.scanner.uniform and not self._turned
        index.pixels, index.square = self.scanner.pixels, self.scanner.square
        # A decoder that holds back fewer pictures than the order needs would drop some.
        if not _delay_suffices(index.ranks, decoder_delay):
            return "pictures further out of order than the decoder holds back"
        # Where the file stores times they must tell the same: a second witness against a mistake of ours.
        times = index.times
        visible = [number for number in by_order if facts[number].shown]
        if times_are_stored and any(times[one] >= times[other] for one, other in pairwise(visible)):
            return "times that contradict the order of the pictures"
        discarded = self._discarded
        index.shown.extend([number for number in visible if not discarded[number]])
        index.skippable.extend([fact.unreferenced + fact.dispensable for fact in facts])
        index.held_back = decoder_delay
        return None


def _delay_suffices(ranks: array[int], delay: int) -> bool:
    """Whether no picture comes after more than `delay` pictures that are shown later."""
    seen: list[int] = []
    for rank in ranks:
        if not seen or rank > seen[-1]:
            seen.append(rank)
            continue
        place = bisect_right(seen, rank)
        if len(seen) - place > delay:
            return False
        seen.insert(place, rank)  # at most `delay` places from the end
    return True
