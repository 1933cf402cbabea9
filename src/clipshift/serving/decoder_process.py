"""The process that decodes: one clip after the other, each from memory that only it was handed.

Request and answer are JSON and pixels. Nothing of an answer is unpickled or run: a decoder that a clip has taken over
can lie about that clip's frames, and nothing more.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import numpy as np

from clipshift.errors import UserError, VideoError
from clipshift.parallel.spawning import take_signals
from clipshift.serving.confinement import allow_processor_seconds, confine
from clipshift.serving.decoded import Wish
from clipshift.video import VIDEO_SUFFIXES, Limits, open_clip

BEGUN = b"begun"
"""Is said before a clip is touched: who dies before that did not die of it."""
_LINK_NAMES = ("clip", *(f"clip{suffix}" for suffix in sorted(VIDEO_SUFFIXES)))


def make_links(folder: Path, descriptor: int) -> None:
    """Fill a folder with names of what a process has under this number: the clip that it was handed.

    FFmpeg looks at the ending of a name where the bytes leave open what a file is.
    """
    for name in _LINK_NAMES:
        (folder / name).symlink_to(f"/proc/self/fd/{descriptor}")


def link_of(name: str) -> str:
    """The link with the ending of a client's name for a clip."""
    link = f"clip{Path(name).suffix.lower()}"
    return link if link in _LINK_NAMES else "clip"


def run_decoder(connection: Connection, links: str, memory_bytes: int, processor_seconds: int) -> None:
    """Answer requests until the other end is closed.

    Args:
        connection: To who asks.
        links: A folder of its own, for names of its clip.
        memory_bytes: As for `confine`.
        processor_seconds: For each clip.
    """
    ending = _EndAfterClip()
    nothing, clip = begin(connection, links, memory_bytes, ending.on_signal)
    while not ending.wanted:
        try:
            asked = json.loads(connection.recv_bytes())
            received = recv_handle(connection)
            ending.busy = True
            connection.send_bytes(BEGUN)
        except (EOFError, OSError):
            return
        os.dup2(received, clip)
        os.close(received)
        allow_processor_seconds(processor_seconds)
        header, arrays = _answer(Path(links) / asked["link"], Wish(**asked["wish"]), asked["threads"])
        os.dup2(nothing, clip)
        try:
            connection.send_bytes(json.dumps(header).encode())
            for array in arrays:
                send_pixels(connection, array)
        except OSError:
            return
        ending.busy = False


def send_pixels(connection: Connection, array: np.ndarray) -> None:
    """Send the bytes of an array, whose number the other end knows."""
    left = np.ascontiguousarray(array).data.cast("B")
    while left:
        left = left[os.write(connection.fileno(), left) :]


def receive_pixels(connection: Connection, array: np.ndarray) -> None:
    """Fill an array with bytes as they come: those of large frames are copied once, and not as often as messages are.

    Raises:
        EOFError: The other end was closed before.
    """
    left = array.data.cast("B")
    while left:
        count = os.readv(connection.fileno(), [left])
        if not count:
            raise EOFError
        left = left[count:]


def begin(connection: Connection, links: str, memory_bytes: int, on_end: Any) -> tuple[int, int]:  # noqa: ANN401
    """Make a new process one that decodes, and say so.

    Args:
        connection: To who asks.
        links: A folder of its own, for names of its clip.
        memory_bytes: As for `confine`.
        on_end: What SIGTERM is to do.

    Returns:
        The numbers of two open files: one that is empty, and the one that the links name.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, on_end)
    take_signals()
    # Numbers that are free here: a process begins with some of its parent's, which may be any.
    nothing, clip = (os.open(os.devnull, os.O_RDONLY) for _ in range(2))
    make_links(Path(links), clip)
    connection.send_bytes(json.dumps(confine(memory_bytes)).encode())
    return nothing, clip


def failure_header(error: Exception) -> dict[str, Any]:
    """What is told of an error."""
    match error:
        case UserError():
            kind = "video" if isinstance(error, VideoError) else "request"
            return {"kind": kind, "what": error.what, "got": error.got}
        case MemoryError():
            return {"kind": "video", "what": "The clip needs more memory than a decoder has.", "got": None}
    # A bug: it is told where people look, and the next clip is decoded.
    return {"kind": "bug", "what": "".join(traceback.format_exception(error))[-4000:], "got": None}


class _EndAfterClip:
    """What SIGTERM means, which may reach all processes of a service: the clip that was begun is finished."""

    busy = False
    wanted = False

    def on_signal(self, number: int, frame: object) -> None:  # noqa: ARG002 - as Python calls it
        self.wanted = True
        if not self.busy:
            os._exit(0)


def _answer(path: Path, wish: Wish, threads: int) -> tuple[dict[str, Any], tuple[np.ndarray, ...]]:
    try:
        return _decode(path, wish, threads)
    except Exception as error:
        return failure_header(error), ()


def _decode(path: Path, wish: Wish, threads: int) -> tuple[dict[str, Any], tuple[np.ndarray, ...]]:
    limits = Limits(max_pixels=wish.max_pixels, max_frames=wish.max_frames, max_seconds=wish.max_seconds)
    with open_clip(path, limits=limits, threads=threads, square_pixels=wish.square_pixels) as reader:
        info = reader.info
        boundaries = reader.boundaries if wish.timed else None
        wanted = wish.frames(info.frames, boundaries)
        needed = len(wanted) * info.width * info.height * 3
        if needed > wish.frame_bytes:
            raise VideoError(
                "The frames that the model takes of this clip need more memory than the server allows.",
                got=f"{len(wanted)} frames of {info.width}x{info.height}: {needed} bytes",
                allowed=f"{wish.frame_bytes} bytes",
            )
        frames_THWC = reader.read(wanted)
    facts = {
        "frames": info.frames,
        "width": info.width,
        "height": info.height,
        "fps": info.fps,
        "seconds": info.seconds,
        "rotation": info.rotation,
        "codec": info.codec,
        "pixel_aspect": info.pixel_aspect,
        "video_streams": info.video_streams,
    }
    header = {"kind": "frames", "info": facts, "shape": list(frames_THWC.shape)}
    return header, (frames_THWC,) if boundaries is None else (boundaries, frames_THWC)
