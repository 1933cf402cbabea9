"""The process that reads a source: it decodes as fast as it can or must, and sends a frame when it is asked for one.

It may hang in FFmpeg, a driver or the resolution of a name, and is killed then; it says that it is alive as long as
something comes.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from clipshift.errors import UserError, VideoError
from clipshift.parallel.spawning import take_signals
from clipshift.video.live.addresses import Address
from clipshift.video.live.backlog import Backlog
from clipshift.video.live.losses import take_log
from clipshift.video.live.reading import Break, Counts, Picture, PictureSource, ReadingOptions, UntilBreak
from clipshift.video.pictures import Converter
from clipshift.video.timed import shown_at_rate


@dataclass(frozen=True)
class FeedOptions:
    """What the process sends.

    Attributes:
        reading: How the source is read.
        square_pixels: Whether frames of other pixels are scaled in width, as players do.
        rate: Frames a second: those on display at even distances, with the times of these. None: all.
        longest_display: Seconds for which a frame is on display at most.
        most_held: Seconds of frames that wait at most, before all but the newest are left out; None: all wait.
        beat: Seconds after which a request that waits is answered with a sign of life.
    """

    reading: ReadingOptions
    square_pixels: bool = False
    rate: float | None = None
    longest_display: float = math.inf
    most_held: float | None = None
    beat: float = 1.0


class Tallies(NamedTuple):
    """What happened since the source was opened."""

    signs: int = 0
    dropped: int = 0
    damaged: int = 0


class Ready(NamedTuple):
    """The process has begun: from now on it is the source that is waited for."""


class Alive(NamedTuple):
    """There is no frame yet."""

    tallies: Tallies


class FrameHeader(NamedTuple):
    """A frame, whose bytes follow: uint8 of this shape."""

    time: float
    made: float
    shape: tuple[int, int, int]
    tallies: Tallies


class Ended(NamedTuple):
    """The source is at its end; until when its last picture is shown, if that is known."""

    time: float | None


class Failed(NamedTuple):
    """The source cannot be read any further."""

    error: UserError


_Backlog = Backlog[Picture | Break | Ended | Failed]
Message = Ready | Alive | FrameHeader | Break | Ended | Failed


def feed(address: Address, options: FeedOptions, connection: Connection, pipe: int | None) -> None:
    """What the process does.

    Args:
        address: The source.
        options: What is sent.
        connection: On which something comes for each frame that is wanted, and the frames go.
        pipe: The descriptor to read from, where an open file of the parent is the source.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    source = PictureSource(address, options.reading, pipe, take_log())
    backlog = _Backlog(options.most_held)
    threading.Thread(target=_read, args=(address, source, options, backlog), daemon=True).start()
    with suppress(EOFError, OSError):  # the parent went away, or wants no more
        _send(address, options, connection, backlog, source.counts)
    os._exit(0)  # the other thread may hang


def _read(address: Address, source: PictureSource, options: FeedOptions, backlog: _Backlog) -> None:
    """The thread that decodes."""
    try:
        items = source.pictures()
        while True:
            part = UntilBreak(items)
            for picture in _at_rate(part, options):
                backlog.put(picture, picture.time)
            if part.ended_by is None:
                break
            backlog.put(part.ended_by)
        backlog.put(Ended(source.end))
    except UserError as error:
        backlog.put(Failed(error))
    except Exception as error:  # a fault of the program; its text may have the URL
        backlog.put(Failed(VideoError("Reading the source failed.", where=address.shown, got=type(error).__name__)))


def _at_rate(pictures: Iterable[Picture], options: FeedOptions) -> Iterator[Picture]:
    """Chooses before anything is converted what is on display at the ticks, by the rule of files."""
    if options.rate is None:
        yield from pictures
        return
    for time, picture in shown_at_rate(pictures, options.rate, longest_display=options.longest_display):
        yield picture._replace(time=time)


def _send(
    address: Address,
    options: FeedOptions,
    connection: Connection,
    backlog: _Backlog,
    counts: Counts,
) -> None:
    """The thread that answers to requests, until there is nothing more to say."""
    converter = Converter(address.shown)
    connection.send(Ready())
    while True:
        connection.recv_bytes()
        while (item := backlog.take(options.beat)) is None:
            connection.send(Alive(_tallies(backlog, counts)))
        if not isinstance(item, Picture):
            connection.send(item)
            if not isinstance(item, Break):
                connection.recv_bytes()  # waits for the parent to close
            continue
        try:
            frame_HWC = np.ascontiguousarray(
                converter.to_rgb(item.frame, item.aspect if options.square_pixels else None)
            )
        except VideoError as error:
            connection.send(Failed(error))
            continue
        height, width, channels = frame_HWC.shape
        connection.send(FrameHeader(item.time, item.made, (height, width, channels), _tallies(backlog, counts)))
        connection.send_bytes(frame_HWC.reshape(-1).data)


def _tallies(backlog: _Backlog, counts: Counts) -> Tallies:
    return Tallies(counts.signs, backlog.dropped + counts.skipped, counts.damaged)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
