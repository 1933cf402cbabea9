"""A source whatever happens to it: read in a process that is killed and started again where the source fails."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field

from clipshift.errors import UserError
from clipshift.video.limits import Limits
from clipshift.video.live.addresses import Address
from clipshift.video.live.feeding import Ended, Failed, FeedOptions, FrameHeader, Tallies
from clipshift.video.live.reading import Break, ReadingOptions, Transport
from clipshift.video.live.session import Session, Stop
from clipshift.video.timed import TimedFrame

_STEPS = 4
"""Tries again come after a 2^4th part of the time-out, then twice that, and so on up to the time-out."""


@dataclass(frozen=True)
class SourceOptions:
    """How a source is read.

    Attributes:
        rate: Frames a second that are wanted, as [frames_at_rate][clipshift.video.timed.frames_at_rate] gives them;
            None: all that there are.
        longest_display: Seconds for which a frame is on display at most.
        most_lag: Seconds of frames that may wait, before all but the newest are left out.
        every_frame: No frame is left out, however late it comes. None: of files, folders and pipes.
        transport: Of RTSP.
        timeout: Seconds of silence after which a live source is opened again, and the longest wait before that.
        tries: How often in a row a live source is opened before that is an error. None: once at first, without end
            when it has shown something.
        limits: Of the size of frames.
        square_pixels: Whether frames whose pixels are not square are scaled in width, as players do.
    """

    rate: float | None = None
    longest_display: float = math.inf
    most_lag: float = 1.0
    every_frame: bool | None = None
    transport: Transport = "tcp"
    timeout: float = 10.0
    tries: int | None = None
    limits: Limits = field(default_factory=Limits)
    square_pixels: bool = False


@dataclass
class SourceState:
    """What happened to a source so far, and where it stands.

    Attributes:
        frames: Frames given.
        dropped: Frames that were left out, as they would have come too late.
        damaged: Pictures that were damaged, or depended on such, and were left out.
        breaks: How often something was missing, or what was shown changed.
        down: Whether the source is away.
    """

    frames: int = 0
    dropped: int = 0
    damaged: int = 0
    breaks: int = 0
    down: bool = False
    _before: Tallies = field(default=Tallies(), repr=False)
    _made: tuple[float, float] | None = field(default=None, repr=False)

    def made_at(self, time_s: float) -> float | None:
        """When a moment of the stream was, in seconds since 1970; None where that is not known."""
        if self._made is None:
            return None
        stream_time, made = self._made
        return time.time() - (time.monotonic() - made) + (time_s - stream_time)

    def lag_now(self) -> float | None:
        """Seconds since the last frame that was given was made, as far as is known; None where that is not live."""
        return None if self._made is None else max(0.0, time.monotonic() - self._made[1])

    def note_frame(self, header: FrameHeader, *, live: bool) -> None:
        """Takes in what is said with a frame."""
        self.frames += 1
        self.dropped = self._before.dropped + header.tallies.dropped
        self.damaged = self._before.damaged + header.tallies.damaged
        if live:
            self._made = (header.time, header.made)

    def note_new_session(self) -> None:
        """What was counted goes on from here."""
        self._before = Tallies(0, self.dropped, self.damaged)


class LiveSource:
    """The frames of a source.

    Args:
        address: The source.
        options: How it is read.
        stop: Ends the frames.
        log: Is told in one line of everything that goes wrong, and when it goes on.

    Attributes:
        state: What happened so far.
        end: Time until which the last frame of a file is shown, once the file is at its end; else None.
    """

    def __init__(
        self,
        address: Address,
        options: SourceOptions,
        *,
        stop: Stop | None = None,
        log: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._address, self._options, self._log = address, options, log
        self._stop = Stop() if stop is None else stop
        self._begin = time.monotonic()
        self._last: float | None = None
        self.state = SourceState()
        self.end: float | None = None

    def frames(self) -> Generator[TimedFrame | Break]:
        """Yields frames, and what breaks them, until the source is at its end or the stream is to end.

        The process that reads ends with the iteration, also when that is left early and the iterator closed.

        Raises:
            VideoError: The source cannot be read, or not any more.
        """
        failures, lost = 0, None
        while not self._stop.asked:
            try:
                with closing(self._session()) as session, closing(self._of(session)) as items:
                    for item in items:
                        if lost is not None and isinstance(item, TimedFrame):
                            self._say(f"it is back after {time.monotonic() - lost:.1f} s")
                        if isinstance(item, TimedFrame):
                            failures, lost, self.state.down = 0, None, False
                        yield item
                return
            except UserError as error:
                failures += 1
                if self._gives_up(failures):
                    raise
                if lost is None:
                    lost, self.state.down = time.monotonic(), True
                    yield self._broken(Break("gap", f"{_in_one_line(error)} It is opened again."))
            self._stop.pause(self._options.timeout * min(1.0, 2.0 ** (failures - 1 - _STEPS)))

    def _session(self) -> Session:
        every = not self._address.live if self._options.every_frame is None else self._options.every_frame
        most_lag = None if every else self._options.most_lag
        reading = ReadingOptions(
            begin=self._begin,
            after=self._last,
            transport=self._options.transport,
            limits=self._options.limits,
            patience=self._options.timeout,
            most_late=most_lag,
        )
        options = FeedOptions(
            reading=reading,
            square_pixels=self._options.square_pixels,
            rate=self._options.rate,
            longest_display=self._options.longest_display,
            most_held=most_lag,
            beat=min(1.0, self._options.timeout / 4),
        )
        self.state.note_new_session()
        # A file may take long to open, and who writes to a pipe may take any time.
        timeout = self._options.timeout if self._address.live else None
        return Session(self._address, options, timeout, self._stop)

    def _of(self, session: Session) -> Generator[TimedFrame | Break]:
        """Yields what a process sends."""
        while (got := session.next()) is not None:
            message, frame = got
            if isinstance(message, Ended):
                self.end = message.time
                return
            if isinstance(message, Failed):
                raise message.error
            if isinstance(message, Break):
                yield self._broken(message)
            elif isinstance(message, FrameHeader) and frame is not None:
                self._last = message.time
                self.state.note_frame(message, live=self._address.live)
                yield TimedFrame(message.time, frame)

    def _broken(self, what: Break) -> Break:
        self.state.breaks += 1
        self._say(what.text)
        return what

    def _gives_up(self, failures: int) -> bool:
        if not self._address.live:
            return True
        if self._options.tries is None:
            return self.state.frames == 0
        return failures >= self._options.tries

    def _say(self, text: str) -> None:
        self._log(f"{self._address.shown}: {text}")


def _in_one_line(error: UserError) -> str:
    return error.what if error.got is None else f"{error.what.rstrip('.')}: {error.got}."
