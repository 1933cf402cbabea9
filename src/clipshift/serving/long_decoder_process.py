"""The process that decodes one long video, whose frames go out one after the other; it ends with it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Generator
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import numpy as np

from clipshift.serving.confinement import allow_processor_seconds
from clipshift.serving.decoded import LongWish
from clipshift.serving.decoder_process import BEGUN, begin, failure_header, send_pixels
from clipshift.video.limits import Limits
from clipshift.video.long_file import LongFile


def run_long_decoder(connection: Connection, links: str, memory_bytes: int, processor_seconds: int) -> None:
    """Decode the one video that is asked for; who asks takes its time, and this waits.

    Args:
        connection: To who asks.
        links: A folder of its own, for names of its video.
        memory_bytes: As for `confine`.
        processor_seconds: For all of it.
    """
    # What SIGTERM reaches with the whole service is finished; the server ends this process when it does not want it.
    _, clip = begin(connection, links, memory_bytes, signal.SIG_IGN)
    try:
        asked = json.loads(connection.recv_bytes())
        received = recv_handle(connection)
        connection.send_bytes(BEGUN)
        os.dup2(received, clip)
        os.close(received)
        allow_processor_seconds(processor_seconds)
        for header, array in _messages(Path(links) / asked["link"], LongWish(**asked["wish"])):
            connection.send_bytes(json.dumps(header).encode())
            if array is not None:
                send_pixels(connection, array)
    except (EOFError, OSError):
        return  # nobody is there


def _messages(path: Path, wish: LongWish) -> Generator[tuple[dict[str, Any], np.ndarray | None]]:
    try:
        yield from _decode(path, wish)
    except Exception as error:
        yield failure_header(error), None


def _decode(path: Path, wish: LongWish) -> Generator[tuple[dict[str, Any], np.ndarray | None]]:
    limits = Limits(max_pixels=wish.max_pixels, max_seconds=wish.max_seconds)
    with LongFile(path, limits=limits, square_pixels=wish.square_pixels) as file:
        yield {"kind": "open", "seconds": file.seconds}, None
        for tick in file.frames_at_rate(wish.rate, longest_display=wish.longest_display):
            yield {"kind": "tick", "time": tick.time, "shape": tick.frame.shape[:2]}, tick.frame
        yield {"kind": "end", "end": file.end, "frames": file.pictures_read, "notes": file.notes}, None
