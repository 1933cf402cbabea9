"""One process that reads a source, seen from the program that wants its frames."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection, Pipe
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from clipshift.errors import UserError, VideoError
from clipshift.parallel.spawning import explain_death, memory_kills, worker_context
from clipshift.video.live.addresses import Address
from clipshift.video.live.feeding import Alive, FeedOptions, FrameHeader, Message, Ready, feed

_MOST_STARTING = 120.0
"""Seconds in which a new process must begin, on a machine that is short of everything."""
_MOST_ENDING = 0.5
"""Seconds that a killed process is waited for; one that hangs in a driver ends when the driver lets it."""


class Stop:
    """Ends the waiting for frames: from another thread, or where a signal is handled."""

    def __init__(self) -> None:
        self.asked = False
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        """What wakes up who waits for frames."""

    def ask(self) -> None:
        """Let the stream end now."""
        self.asked = True
        self.inbox.put(None)  # such a queue may be used while a signal is handled

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the stream is to end."""
        until = time.monotonic() + seconds
        while not self.asked and (left := until - time.monotonic()) > 0:
            with suppress(Empty):
                self.inbox.get(timeout=left)


class Session:
    """A process that reads a source; to be closed.

    Args:
        address: The source.
        options: What it sends.
        timeout: Seconds of silence after which the source counts as dead; None: it may be silent.
        stop: Ends the waiting.

    Raises:
        UserError: The process cannot be started.
    """

    def __init__(self, address: Address, options: FeedOptions, timeout: float | None, stop: Stop) -> None:
        self._address, self._timeout, self._stop = address, timeout, stop
        self._killed_before = memory_kills()
        self._signs, self._ready, self._asked = -1, False, False
        self._connection, theirs = Pipe()
        pipe = None if address.descriptor is None else _Descriptor(os.dup(address.descriptor))
        try:
            self._process = worker_context().Process(target=feed, args=(address, options, theirs, pipe), daemon=True)
            self._process.start()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, OSError):
                raise UserError("The process that reads the source cannot be started.", got=error.strerror) from error
            raise
        finally:
            theirs.close()
            if pipe is not None:
                os.close(pipe.number)
        # A process that stands still in the middle of a frame must not hold up who waits for it.
        self._receiver = threading.Thread(target=_receive, args=(self._connection, stop.inbox), daemon=True)
        self._receiver.start()

    def next(self) -> tuple[Message, np.ndarray | None] | None:
        """What comes next, a frame (H, W, 3) with its header; None where the stream is to end.

        Raises:
            VideoError: Nothing came for too long, or the process died.
        """
        if not self._asked:
            self._asked = True
            with suppress(OSError):  # it died: what it said before is still read
                self._connection.send_bytes(b"next")
        deadline = self._deadline()
        while not self._stop.asked:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                got = self._stop.inbox.get(timeout=left)
            except Empty:
                raise self._silent() from None
            if not isinstance(got, tuple) or got[0] is not self._connection:
                continue  # of a process before this one, or a reason to look at `asked`
            _, message, frame = got
            if message is None:
                raise self._died()
            if self._lives(message):
                deadline = self._deadline()
            if not isinstance(message, Ready | Alive):
                self._asked = False
                return message, frame
        return None

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.join(_MOST_ENDING)
        self._receiver.join(_MOST_ENDING)
        if not self._receiver.is_alive():
            self._connection.close()

    def _deadline(self) -> float | None:
        seconds = self._timeout if self._ready else _MOST_STARTING
        return None if seconds is None else time.monotonic() + seconds

    def _lives(self, message: Message) -> bool:
        """Whether a message tells that the source is alive, or that it is waited for from now on."""
        if isinstance(message, Ready):
            self._ready = True
            return True
        if isinstance(message, Alive | FrameHeader):
            more = message.tallies.signs > self._signs
            self._signs = message.tallies.signs
            return more
        return True

    def _silent(self) -> VideoError:
        if not self._ready:
            return VideoError("The process that reads the source does not begin.", where=self._address.shown)
        return VideoError(
            "Nothing comes from the source.", where=self._address.shown, got=f"{self._timeout:g} s of silence"
        )

    def _died(self) -> VideoError:
        death = explain_death(self._process, self._killed_before)
        return VideoError(
            "The process that reads the source died.", where=self._address.shown, got=death.cause, remedy=death.remedy
        )


class _Descriptor:
    """An open file that a new process gets, under the same number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detach, (reduction.DupFd(self.number),)


def _detach(duplicate: Any) -> int:  # noqa: ANN401 - of a class that Python does not name
    return int(duplicate.detach())


def _receive(connection: Connection, inbox: SimpleQueue[Any]) -> None:
    """The thread that receives; its last message is None."""
    try:
        while True:
            message = connection.recv()
            frame = None
            if isinstance(message, FrameHeader):
                frame = np.empty(message.shape, dtype=np.uint8)
                connection.recv_bytes_into(frame.reshape(-1).data)
            inbox.put((connection, message, frame))
    except Exception:  # the process ended, perhaps in the middle of a message
        inbox.put((connection, None, None))
