"""Servers of video on the loopback interface that do what broken ones do, each connection as it is told."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from typing import Any

import av
import numpy as np

RATE = 20
SIZE = (48, 32)
DARK, BRIGHT = 40, 200

Behavior = Callable[[socket.socket, threading.Event], None]


def encode(
    gray: int | Sequence[int],
    frames: int,
    *,
    first: float = 0.0,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    form: str = "mpegts",
    spread: int = 0,
) -> list[bytes]:
    """Gray frames, with noise of this spread, in a container that is cut after each; a group of pictures has five."""
    random = np.random.default_rng(0)
    file = io.BytesIO()
    grays = [gray] * frames if isinstance(gray, int) else gray
    pieces, done = [], 0
    options = {"flush_packets": "1"}  # MPEG-TS would otherwise wait for some packets before it writes any
    with av.open(_Unseekable(file), "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p" if codec == "libx264" else stream.codec_context.codec.video_formats[0].name
        stream.gop_size = 5
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for number in range(frames):
            picture = grays[number] + random.integers(-spread, spread + 1, (size[1], size[0], 3))
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(first * RATE) + number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            pieces.append(file.getvalue()[done:])
            done = len(file.getvalue())
        container.mux(stream.encode(None))
    pieces.append(file.getvalue()[done:])
    return pieces


def encode_sound(seconds: int = 3) -> bytes:
    """MPEG-TS with sound alone."""
    file = io.BytesIO()
    with av.open(_Unseekable(file), "w", format="mpegts") as container:
        stream: Any = container.add_stream("mp2", rate=44100)
        for number in range(seconds * 38):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152 * 2), np.int16), format="s16", layout="stereo")
            frame.rate, frame.pts, frame.time_base = 44100, number * 1152, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


class _Unseekable:
    """A file that is only written on and on."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return self._file.write(data)


def plays(pieces: Sequence[bytes], *, at_once: int = 0, then: Behavior | None = None) -> Behavior:
    """Sends a piece a frame, the first ones without a pause; then closes, or does something else."""

    def behave(connection: socket.socket, over: threading.Event) -> None:
        for number, piece in enumerate(pieces):
            connection.sendall(piece)
            if number >= at_once and over.wait(1 / RATE):
                return
        if then is not None:
            then(connection, over)

    return behave


def is_mute(connection: socket.socket, over: threading.Event) -> None:
    """Keeps the connection, and says nothing more."""
    over.wait()


def over_http(behavior: Behavior, head: str = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n") -> Behavior:
    def behave(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head.encode())
        behavior(connection, over)

    return behave


@contextmanager
def server(*behaviors: Behavior) -> Iterator[int]:
    """A server whose first connection does what the first behavior says, and so on; the last one serves all others.

    Yields:
        Its port.
    """
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket, behavior: Behavior) -> None:
        with connection, suppress(OSError):
            behavior(connection, over)

    def accept() -> None:
        number = 0
        with suppress(OSError):
            while not over.is_set():
                connection, _ = listener.accept()
                behavior = behaviors[min(number, len(behaviors) - 1)]
                thread = threading.Thread(target=serve, args=(connection, behavior))
                thread.start()
                threads.append(thread)
                number += 1

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [accepting, *threads]:
            thread.join()


def unused_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether a condition came true in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False
