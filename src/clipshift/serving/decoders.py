"""The processes that decode, as the server sees them: each has one clip at a time, and may die of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from math import ceil, isfinite
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any

import numpy as np

from clipshift.errors import UserError
from clipshift.parallel.spawning import explain_death, memory_kills, worker_context
from clipshift.serving.decoded import Decoded, LongWish, Wish
from clipshift.serving.decoder_process import BEGUN, link_of, receive_pixels, run_decoder
from clipshift.serving.limits import MEBIBYTE, Refusal, ServerLimits
from clipshift.serving.long_decoder_process import run_long_decoder
from clipshift.serving.uploads import Upload
from clipshift.video import ClipInfo
from clipshift.video.timed import TimedFrame

_LOG = logging.getLogger(__name__)
_MOST_HEADER = 64 * 1024
_CLIPS_EACH = 1000
"""After so many clips a process makes way for a new one: what a decoder leaks, it does not keep."""
_GRACE = 0.5
"""Seconds that a decoder may finish in when its client has left; it costs less than a new process."""
_MOST_STRETCH = 4
"""Times as many pixels as the file's that frames may have whose pixels were not square."""
_PAUSE = 1.0
"""Seconds before a process that could not be started is tried again."""


Work = Callable[[Connection, str, int, int], None]
"""What a process does: as [run_decoder][clipshift.serving.decoder_process.run_decoder]."""


class DecoderDied(Exception):  # noqa: N818 - an outcome
    """A decoder ended while it had a clip.

    Args:
        cause: Part of a sentence.
        reason: One word, for counting: `crash`, `memory`, `time`, `killed`, `nonsense`.
    """

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.reason = reason


class DecoderGone(Exception):  # noqa: N818 - an outcome
    """A decoder had ended before it got a clip."""


class Decoder:
    """One process; its methods block.

    Raises:
        UserError: It could not be started.
    """

    process_name = "decoder"

    def __init__(self, folder: Path, limits: ServerLimits, work: Work) -> None:
        context = worker_context()
        self._killed_before = memory_kills()
        self._limits = limits
        self._connection, there = context.Pipe()
        self._links = tempfile.mkdtemp(dir=folder)
        arguments = (there, self._links, limits.decode_megabytes * MEBIBYTE, limits.decode_seconds)
        self._process = context.Process(target=work, args=arguments, daemon=True, name=self.process_name)
        self._process.start()
        there.close()
        self.clips = 0
        try:
            self.protections: list[str] = json.loads(self._connection.recv_bytes(_MOST_HEADER))
        except (EOFError, OSError) as error:
            death = explain_death(self._process, self._killed_before)
            self.close()
            raise UserError("A decoder process cannot be started.", got=death.cause, remedy=death.remedy) from error

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid or 0

    @property
    def usable(self) -> bool:
        """Whether it can take another clip."""
        return not self._connection.closed and self.alive

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def ask(self, descriptor: int, name: str, wish: Wish, threads: int = 1) -> Decoded:
        """Decode what lies in an open file.

        Args:
            descriptor: Of the file; the process gets one of its own.
            name: What the client calls it, for its ending.
            wish: Which frames.
            threads: Cores that it may use.

        Raises:
            Refusal: The clip cannot be read, or not as asked.
            DecoderDied: The process died of it, or in the meantime.
            DecoderGone: It died before it had looked at it.
        """
        begun = self._hand_over(descriptor, name, wish, threads=threads)
        with self._explained():
            if not begun:
                raise ValueError("no beginning")
            header = self._header(name)
            if header["kind"] != "frames":
                raise ValueError("another kind")
            return self._receive(header, name, wish)

    def _hand_over(self, descriptor: int, name: str, wish: Wish | LongWish, **how: int) -> bool:
        """Give the process a clip; whether it has said that it begins."""
        self.clips += 1
        asked = {"link": link_of(name), "wish": asdict(wish), **how}
        try:
            self._connection.send_bytes(json.dumps(asked).encode())
            send_handle(self._connection, descriptor, self.pid)
            return self._connection.recv_bytes(_MOST_HEADER) == BEGUN
        except (EOFError, OSError) as error:
            self._connection.close()
            raise DecoderGone from error

    @contextmanager
    def _explained(self) -> Generator[None]:
        """Raise a DecoderDied for a process that ends while inside, or says what cannot be."""
        try:
            yield
        except (EOFError, OSError) as error:
            raise self._death() from error
        except (ValueError, KeyError, TypeError) as error:
            self._connection.close()
            self.kill()
            raise DecoderDied("its answer was not one", "nonsense") from error

    def _header(self, name: str) -> dict[str, Any]:
        header: dict[str, Any] = json.loads(self._connection.recv_bytes(_MOST_HEADER))
        if header["kind"] in {"video", "request", "bug"}:
            raise _refusal(header, name)
        return header

    def _receive(self, header: dict[str, Any], name: str, wish: Wish) -> Decoded:
        """The frames, once what the header says of them can be true."""
        frames, height, width, channels = shape = tuple(int(size) for size in header["shape"])
        info = ClipInfo(path=Path(name), **header["info"])
        most = self._limits.max_frames
        if (
            not 0 < info.frames <= most
            or min(shape) < 1
            or channels != 3
            or (height, width) != (info.height, info.width)
        ):
            raise ValueError("sizes")
        boundaries = self._receive_times(info.frames) if wish.timed else None
        indices = tuple(wish.frames(info.frames, boundaries))
        if frames != len(indices) or frames * height * width * 3 > wish.frame_bytes:
            raise ValueError("number of frames")
        frames_THWC = np.empty(shape, dtype=np.uint8)
        receive_pixels(self._connection, frames_THWC)
        return Decoded(info, indices, frames_THWC, boundaries)

    def _receive_times(self, frames: int) -> np.ndarray:
        boundaries = np.empty(frames + 1, dtype=np.float64)
        receive_pixels(self._connection, boundaries)
        if not np.isfinite(boundaries).all() or (np.diff(boundaries) < 0).any():
            raise ValueError("times")
        return boundaries

    def _death(self) -> DecoderDied:
        self._connection.close()
        self._process.join(1)
        if self._process.is_alive():  # it closed its end
            self.kill()
        code = self._process.exitcode
        if code == -signal.SIGXCPU:
            return DecoderDied(f"it took more than {self._limits.decode_seconds} seconds of processor time", "time")
        if code == -signal.SIGKILL and memory_kills() == self._killed_before:
            return DecoderDied("it was killed (SIGKILL)", "killed")
        return DecoderDied(explain_death(self._process, self._killed_before).cause, "crash")

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """End the process, and give back what it is known by."""
        self._process.kill()
        self._process.join(5)
        self._connection.close()
        shutil.rmtree(self._links, ignore_errors=True)
        with suppress(ValueError):  # it does not end: a process in the kernel's hands
            self._process.close()


class LongDecoder(Decoder):
    """A process of its own for one long video, whose frames come one after the other; its methods block.

    Args:
        folder: For names of its clip.
        limits: Of a server; its time is that of a time line.

    Raises:
        UserError: It could not be started.
    """

    process_name = "long decoder"

    def __init__(self, folder: Path, limits: ServerLimits) -> None:
        super().__init__(folder, replace(limits, decode_seconds=ceil(limits.timeline_seconds)), run_long_decoder)
        self.told_seconds: float | None = None
        self.end = 0.0
        self.frames = 0
        self.notes: tuple[str, ...] = ()

    def frames_at_rate(self, descriptor: int, name: str, wish: LongWish) -> Generator[TimedFrame | None]:
        """Decode what lies in an open file.

        Args:
            descriptor: Of the file; the process gets one of its own.
            name: What the client calls it, for its ending.
            wish: Which frames.

        Yields:
            None when it is open, and `told_seconds` is known; then a frame for each tick. At the end `end`, `frames`
            and `notes` are known.

        Raises:
            Refusal: The video cannot be read.
            DecoderDied: The process died of it, or in the meantime.
            DecoderGone: It died before it had looked at it.
        """
        begun, before = self._hand_over(descriptor, name, wish), 0.0
        while True:
            with self._explained():
                header = self._header(name)
                kind = header["kind"] if begun else None
                if kind == "open":
                    self.told_seconds = None if header["seconds"] is None else _finite(header["seconds"])
                elif kind == "end":
                    self.end, self.frames = _finite(header["end"]), int(header["frames"])
                    self.notes = tuple(str(note)[:1000] for note in header["notes"][:10])
                    return
                elif kind != "tick" or _finite(header["time"]) < before:
                    raise ValueError("another kind")
                tick = self._receive_frame(header, wish) if kind == "tick" else None
            yield tick
            before = tick.time if tick is not None else before

    def _receive_frame(self, header: dict[str, Any], wish: LongWish) -> TimedFrame:
        height, width = (int(size) for size in header["shape"])
        if min(height, width) < 1 or height * width > wish.max_pixels * _MOST_STRETCH:
            raise ValueError("sizes")
        frame_HWC = np.empty((height, width, 3), dtype=np.uint8)
        receive_pixels(self._connection, frame_HWC)
        return TimedFrame(float(header["time"]), frame_HWC)


def _finite(value: Any) -> float:  # noqa: ANN401 - what a decoder said
    number = float(value)
    if not isfinite(number):
        raise ValueError("no number")
    return number


def _refusal(header: dict[str, Any], name: str) -> Exception:
    what, got = str(header["what"])[:4000], header["got"]
    if header["kind"] == "bug":
        _LOG.error("A decoder met an error of clipshift's own.\n%s", what)
        return Refusal(
            500, "The clip could not be read, by an error of the server's own, which is in its log.", path=name
        )
    reason = " ".join((what if got is None else f"{what} ({str(got)[:4000]})").split())
    return Refusal(422 if header["kind"] == "video" else 400, reason, path=name)


@dataclass
class DecoderEvents:
    """What is told of decoders.

    Attributes:
        died: With the one word of why.
        started: With nothing.
    """

    died: Callable[[str], None] = lambda _: None
    started: Callable[[], None] = lambda: None


class Decoders:
    """As many decoders as may work side by side.

    Args:
        count: Of processes.
        limits: Of each.
        events: Are told of deaths.
        work: What each does; a function of a module.
    """

    def __init__(
        self, count: int, limits: ServerLimits, events: DecoderEvents | None = None, *, work: Work = run_decoder
    ) -> None:
        self.count = count
        self._limits = limits
        self.events = events or DecoderEvents()
        self._work = work
        self._folder: Path | None = None
        self._idle: asyncio.Queue[Decoder] = asyncio.Queue()
        self._all: set[Decoder] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(2 * count, thread_name_prefix="decoder")
        self._closed = False
        self._busy = 0
        self.protections: list[str] = []

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes that are there; may be asked for in any thread."""
        return [decoder.pid for decoder in tuple(self._all) if decoder.alive]

    @property
    def busy(self) -> int:
        """How many have a clip."""
        return self._busy

    @property
    def folder(self) -> Path:
        """For names of clips."""
        if self._folder is None:
            raise ValueError("not started")
        return self._folder

    async def start(self) -> None:
        """Start all processes.

        Raises:
            UserError: One cannot be started.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="clipshift-clips-"))
        started = await asyncio.gather(*(self._start() for _ in range(self.count)))
        self.protections = started[0].protections
        for decoder in started:
            self._idle.put_nowait(decoder)

    async def close(self) -> None:
        """End all processes."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for decoder in self._all:
            decoder.kill()
        for decoder in list(self._all):
            decoder.close()
        self._all.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def decode(self, upload: Upload, wish: Wish, threads: int = 1) -> Decoded:
        """Decode an upload, as soon as a process is free.

        A caller that is cancelled is free at once; its decoder has half a second to finish.

        Args:
            upload: The clip.
            wish: Which frames.
            threads: Cores that its process may use.

        Raises:
            Refusal: The clip cannot be read: 422 with the reason, also where its decoder died or took too long.
        """
        while True:
            with suppress(DecoderGone):  # that one is replaced: another one gets the clip
                return await self._decode(upload, wish, threads)

    async def _decode(self, upload: Upload, wish: Wish, threads: int) -> Decoded:
        decoder = await self._idle.get()
        descriptor = os.dup(upload.descriptor)  # the upload may be closed before the process is through with it
        loop = asyncio.get_running_loop()
        self._busy += 1
        work = loop.run_in_executor(self._threads, decoder.ask, descriptor, upload.name, wish, threads)
        try:
            await asyncio.wait({work}, timeout=self._limits.decode_wall_seconds)
            late = not work.done()
        except asyncio.CancelledError:
            self._later(self._settle(decoder, work, descriptor, "left", _GRACE))
            raise
        if late:
            self._later(self._settle(decoder, work, descriptor, "time", 0.0))
            raise Refusal(
                422, f"Decoding took longer than {self._limits.decode_wall_seconds:g} seconds.", path=upload.name
            )
        os.close(descriptor)
        self._give_back(decoder)
        try:
            return work.result()
        except DecoderDied as death:
            self.events.died(death.reason)
            raise Refusal(422, f"The process that read the clip died: {death.cause}.", path=upload.name) from death
        except DecoderGone:
            self.events.died("killed")
            raise

    async def _settle(
        self, decoder: Decoder, work: asyncio.Future[Decoded], descriptor: int, reason: str, grace: float
    ) -> None:
        """After a request that is over before its decoder is: wait a little for it, or end it."""
        await asyncio.wait({work}, timeout=grace)
        if not work.done():
            decoder.kill()
            self.events.died(reason)
            await asyncio.wait({work})
        work.exception()  # nobody asks for it any more
        os.close(descriptor)
        self._give_back(decoder)

    def _give_back(self, decoder: Decoder) -> None:
        self._busy -= 1
        if self._closed:
            return
        if decoder.usable and decoder.clips < _CLIPS_EACH:
            self._idle.put_nowait(decoder)
        else:
            self._later(self._replace(decoder))

    async def _replace(self, decoder: Decoder) -> None:
        loop = asyncio.get_running_loop()
        self._all.discard(decoder)
        await loop.run_in_executor(self._threads, decoder.close)
        while not self._closed:
            try:
                self._idle.put_nowait(await self._start())
            except (UserError, OSError) as error:
                _LOG.error("%s", error)
                await asyncio.sleep(_PAUSE)
            else:
                return

    async def _start(self) -> Decoder:
        loop = asyncio.get_running_loop()
        decoder = await loop.run_in_executor(self._threads, Decoder, self.folder, self._limits, self._work)
        self._all.add(decoder)
        self.events.started()
        return decoder

    def _later(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
