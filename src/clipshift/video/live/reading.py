"""What a source shows: pictures with their places in the stream, one after the other, until it ends or fails.

Runs in a process of its own (`clipshift.video.live.feeding`), which is killed where a source keeps it waiting: so
nothing here needs a time-out.
"""

from __future__ import annotations

import math
import os
import time as clock
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

import av

from clipshift.errors import VideoError
from clipshift.video.containers import choose_video, decoder_pixels, demux, reason, video_streams
from clipshift.video.limits import Limits
from clipshift.video.live.addresses import Address
from clipshift.video.live.clock import StreamClock
from clipshift.video.live.losses import LossLog
from clipshift.video.live.recordings import LOOK_EVERY, Growing, is_complete, recording_after
from clipshift.video.long_file import LongFile
from clipshift.video.pictures import pixel_aspect

if TYPE_CHECKING:
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Transport = Literal["tcp", "udp"]

_LONGEST_WITHOUT_KEY = 10.0
"""Seconds after damage in which no key frame may come before pictures are believed again."""
_MOST_PROBING = 1_000_000
"""Microseconds of a live source that FFmpeg looks at before its first frame, and less where silence is short."""
_NETWORK_FORMATS = "mpegts,mpeg,matroska,webm,mov,flv,ogg,asf,h264,hevc,m4v,mjpeg,mpjpeg,mpegvideo,ivf,obu,avi,nut"
"""Formats that name other files or addresses are left out, except HLS, which is live video over HTTP."""

_GROWING_FORMATS = {
    ".ts": "mpegts",
    ".m2ts": "mpegts",
    ".mts": "mpegts",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".flv": "flv",
    ".mp4": "mov",
    ".mov": "mov",
}


Item = TypeVar("Item")


@dataclass(frozen=True)
class Break:
    """Something is missing in a source, or its pictures changed: what was before does not go on.

    Attributes:
        reason: `gap`, or `clock` where the clock of the source jumped.
        text: For people: what happened.
    """

    reason: Literal["gap", "clock"]
    text: str


class UntilBreak(Generic[Item]):
    """What comes up to a break, if there is one.

    Args:
        items: Go on behind it.

    Attributes:
        ended_by: The break; None before it, or where the items are at their end.
    """

    def __init__(self, items: Iterator[Item | Break]) -> None:
        self._items = items
        self.ended_by: Break | None = None

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            if isinstance(item, Break):
                self.ended_by = item
                return
            yield item


class Picture(NamedTuple):
    """A picture as decoded.

    Attributes:
        time: Seconds since the stream's beginning.
        made: When it was made, as far as is known: seconds of the monotonic clock.
        frame: The picture.
        aspect: Width of a pixel by its height.
    """

    time: float
    made: float
    frame: VideoFrame
    aspect: Fraction


@dataclass(frozen=True)
class ReadingOptions:
    """How a source is read.

    Attributes:
        begin: When the stream began, by the monotonic clock.
        after: Time of the stream's last frame, where this is not its first part.
        transport: Of RTSP.
        limits: Of the size of frames.
        patience: Seconds that a source may be silent; in a folder of recordings, before what comes does not follow
            what was.
        most_late: Seconds of backlog above which only key frames are decoded; None: all are, however late.
    """

    begin: float
    after: float | None = None
    transport: Transport = "tcp"
    limits: Limits = field(default_factory=Limits)
    patience: float = 10.0
    most_late: float | None = None


@dataclass
class Counts:
    """What happened while a source was read.

    Attributes:
        signs: Grows while the source is alive.
        skipped: Pictures that were not decoded, to catch up.
        damaged: Pictures and packets that were damaged, and what depends on them.
    """

    signs: int = 0
    skipped: int = 0
    damaged: int = 0


class PictureSource:
    """The pictures of one opening of a source.

    Args:
        address: The source.
        options: How it is read.
        pipe: The descriptor to read from, where an open file of the parent is the source.
        losses: Tells what FFmpeg says of lost packets.

    Attributes:
        counts: What happened so far.
        end: Time until which the last picture of a file is shown, once it was read; else None.
    """

    def __init__(
        self, address: Address, options: ReadingOptions, pipe: int | None = None, losses: LossLog | None = None
    ) -> None:
        self._address, self._options, self._pipe = address, options, pipe
        self._losses = losses or LossLog()
        self._clock = StreamClock(live=address.live, begin=options.begin, after=options.after)
        self.counts = Counts()
        self.end: float | None = None

    def pictures(self) -> Generator[Picture | Break]:
        """Yields pictures until the source ends.

        Raises:
            VideoError: It cannot be opened or read, or shows no video.
        """
        if self._address.kind == "folder":
            yield from self._recordings(Path(self._address.location))
            return
        if self._address.kind == "file":
            yield from self._file(Path(self._address.location))
            return
        options, location, form = _opening(self._address, self._options, self._pipe)
        with self._opened(location, options, form) as container:
            yield from self._decoded(container)
            if self._address.live and not _is_finite(container, self._address):
                raise VideoError("The source ended.", where=self._address.shown)

    def _file(self, path: Path) -> Generator[Picture]:
        """Yields the pictures of a file as `timeline` sees them."""
        with LongFile(path, limits=self._options.limits) as file:
            for picture in file.pictures():
                self._sign()
                self.counts.damaged = file.left_out
                yield Picture(picture.time, clock.monotonic(), picture.frame, file.pixel_aspect(picture))
            self.end = file.end

    @contextmanager
    def _opened(
        self, file: str | Growing, options: dict[str, str], form: str | None = None
    ) -> Iterator[InputContainer]:
        try:
            container = av.open(file, "r", form, options, metadata_errors="replace")
        except (av.FFmpegError, OSError, UnicodeError, ValueError) as error:
            raise _not_opened(self._address, error) from None  # the error's own text has the URL
        with container:
            yield container

    def _recordings(self, folder: Path) -> Generator[Picture | Break]:
        """Yields the pictures of the newest recording, and of all that come after it."""
        last: Path | None = None
        while True:
            path = self._next_recording(folder, last)
            grows = not is_complete(path)
            self._clock.begin_part()
            try:
                yield from self._recording(path, grows)
            except (VideoError, OSError) as error:
                if grows:  # it may be too short yet, or be readable only when it is finished
                    self._sign()
                    clock.sleep(LOOK_EVERY)
                    continue
                why = error.got if isinstance(error, VideoError) else error.strerror
                yield Break("gap", f"the recording {path.name} cannot be read: {why or error}")
            last = path

    def _recording(self, path: Path, grows: bool) -> Generator[Picture | Break]:
        """Yields the pictures of a recording, until it is complete and at its end."""
        options, _, _ = _opening(self._address, self._options, None)
        if not grows:
            with self._opened(str(path), options) as container:
                yield from self._decoded(container)
            return
        waited = _Silence(self._options.patience, self._sign)
        growing = Growing(path, partial(is_complete, path), waited.passes)
        # Of a file that grows there may not be enough yet for FFmpeg to tell its format.
        form = _GROWING_FORMATS.get(path.suffix.lower())
        with closing(growing), self._opened(growing, options, form) as container:
            shown = False
            for picture in self._decoded(container):
                if waited.ended() and shown:
                    yield Break("gap", f"nothing was recorded for {self._options.patience:g} s")
                shown = True
                yield picture

    def _next_recording(self, folder: Path, last: Path | None) -> Path:
        while True:
            try:
                path = recording_after(folder, last)
            except OSError as error:
                raise VideoError("The folder cannot be read.", where=folder, got=error.strerror) from error
            if path is not None:
                return path
            self._sign()
            clock.sleep(LOOK_EVERY)

    def _sign(self) -> None:
        self.counts.signs += 1

    def _video(self, container: InputContainer) -> VideoStream:
        place = self._address.shown
        stream = choose_video(container, video_streams(container, place))
        if stream.codec_context is None:
            raise VideoError("The video's codec is unknown.", where=place)
        return stream

    def _decoded(self, container: InputContainer) -> Generator[Picture | Break]:
        """Yields the pictures of a container; what is damaged, and all that may depend on it, is left out."""
        stream = self._video(container)
        damage = _Damage()
        catching_up = _CatchingUp(self._options.most_late)
        blindness = _Blindness(self._options.patience if self._address.live else math.inf)
        size: tuple[int, int] | None = None
        for packet in self._packets(container, stream):
            arrival = clock.monotonic()
            self._sign()
            self.counts.skipped += catching_up.skips(packet)
            frames = self._frames(packet, damage)
            if blindness.lasts(arrival, seen=bool(frames)) and not catching_up.on:
                raise VideoError("Nothing of what comes can be decoded.", where=self._address.shown)
            for frame in frames:
                placed = self._clock.place(frame.time, arrival)
                catching_up.note(stream.codec_context, placed.late)
                if placed.jumped:
                    yield Break("clock", "the clock of the source jumped")
                if damage.hides(frame, placed.time):
                    self.counts.damaged += 1
                    continue
                self._options.limits.check_size(self._address.shown, frame.width, frame.height)
                if size not in {None, (frame.width, frame.height)}:
                    yield Break("gap", f"frames are {frame.width}x{frame.height} now")
                size = frame.width, frame.height
                yield Picture(placed.time, arrival - placed.late, frame, pixel_aspect(stream, frame.width))

    def _packets(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
        try:
            yield from demux(container, stream)
        except (av.FFmpegError, OSError) as error:
            raise VideoError("The source failed.", where=self._address.shown, got=reason(error)) from None

    def _frames(self, packet: Packet[VideoStream], damage: _Damage) -> list[VideoFrame]:
        try:
            return packet.decode()
        except (av.FFmpegError, OSError):
            self.counts.damaged += 1
            damage.seen = True
            return []
        finally:
            if packet.is_corrupt or self._losses.seen:
                damage.seen, self._losses.seen = True, False


class _Silence:
    """Whether nothing was added to a recording for long."""

    def __init__(self, patience: float, sign: Callable[[], None]) -> None:
        self._patience, self._sign = patience, sign
        self._since: float | None = None
        self._last = 0.0

    def passes(self) -> None:
        """It is silent; called at least once a second while it is."""
        self._sign()
        now = clock.monotonic()
        if self._since is None or now - self._last > 1:
            self._since = now
        self._last = now

    def ended(self) -> bool:
        """Whether it was silent for longer than it should be since this was last asked."""
        since, self._since = self._since, None
        return since is not None and self._last - since > self._patience


class _Damage:
    """Whether a picture may depend on one that was damaged."""

    def __init__(self) -> None:
        self.seen = False
        self._since: float | None = None

    def hides(self, frame: VideoFrame, time: float) -> bool:
        """Whether a picture is to be left out."""
        if frame.is_corrupt:
            self.seen = True
        elif frame.key_frame or (self._since is not None and time - self._since > _LONGEST_WITHOUT_KEY):
            self.seen = False
        if not self.seen:
            self._since = None
        elif self._since is None:
            self._since = time
        return self.seen


class _Blindness:
    """Whether packets come for long, and no pictures: the codec is another one, without a word.

    Args:
        patience: Seconds; three times as long for the first picture, as key frames may be rare.
    """

    def __init__(self, patience: float) -> None:
        self._patience = 3 * patience
        self._usual = patience
        self._since: float | None = None

    def lasts(self, arrival: float, *, seen: bool) -> bool:
        """Whether it lasts too long at a packet, of which pictures were seen or not."""
        if seen:
            self._patience, self._since = self._usual, None
        elif self._since is None:
            self._since = arrival
        return self._since is not None and arrival - self._since > self._patience


class _CatchingUp:
    """Leaves out all but key frames while the decoder is too late.

    Attributes:
        on: Whether it does.
    """

    def __init__(self, most_late: float | None) -> None:
        self._most_late = most_late
        self.on = False

    def note(self, context: CodecContext, late: float) -> None:
        """How late a picture was."""
        if self._most_late is None:
            return
        on = late > (self._most_late / 2 if self.on else self._most_late)
        if on != self.on:
            context.skip_frame = "NONKEY" if on else "DEFAULT"
            self.on = on

    def skips(self, packet: Packet[VideoStream]) -> bool:
        """Whether the decoder will leave a packet out."""
        return bool(self.on and packet.size and not packet.is_keyframe)


def _opening(address: Address, options: ReadingOptions, pipe: int | None) -> tuple[dict[str, str], str, str | None]:
    """FFmpeg's options, its name of the source, and the format if it is known."""
    settings = {"max_pixels": decoder_pixels(options.limits)}
    if address.live or address.kind == "folder":
        settings["analyzeduration"] = str(min(_MOST_PROBING, int(options.patience / 4 * 1e6)))
    if address.kind == "rtsp":
        # Sound would only move the clock of the pictures when the server tells how the two belong together.
        settings |= {"rtsp_transport": options.transport, "allowed_media_types": "video", "buffer_size": "4194304"}
        return settings, address.location, None
    if address.kind == "http":
        allowed = {"format_whitelist": f"{_NETWORK_FORMATS},hls", "protocol_whitelist": "http,https,tls,tcp,crypto"}
        return settings | allowed, address.location, None
    if address.kind == "camera":
        return settings, address.location, "v4l2"
    settings["format_whitelist"] = _NETWORK_FORMATS
    if address.kind == "pipe":
        number = os.open(address.location, os.O_RDONLY) if pipe is None else pipe  # waits for who writes
        return settings | {"protocol_whitelist": "pipe"}, f"pipe:{number}", None
    return settings, address.location, None


def _is_finite(container: InputContainer, address: Address) -> bool:
    """Whether what is read over HTTP is a file, which has an end."""
    return address.kind == "http" and bool(container.duration or container.size > 0)


def _not_opened(address: Address, error: Exception) -> VideoError:
    remedies = {
        "rtsp": "check address, user and password with another player; behind some routers only transport tcp works",
        "http": "check the address with another player",
        "camera": "check that the camera is plugged in, and that this user may read it (group video)",
    }
    refused = isinstance(error, ConnectionRefusedError)
    return VideoError(
        "The connection is refused." if refused else "The source cannot be opened.",
        where=address.shown,
        got=None if refused else reason(error) if isinstance(error, OSError | av.FFmpegError) else type(error).__name__,
        remedy="check host and port, and that the server runs" if refused else remedies.get(address.kind),
    )
