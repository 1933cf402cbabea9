"""What a server is made of, and the way of a request through it: a place, a decoder, the network, the answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from clipshift.errors import UserError
from clipshift.inference.predictions import Prediction
from clipshift.parallel.prefetch import available_cores
from clipshift.serving.admission import Admission
from clipshift.serving.batching import engine_threads
from clipshift.serving.decoded import Decoded, DecodedClip
from clipshift.serving.decoders import DecoderEvents, Decoders
from clipshift.serving.fetching import Fetcher
from clipshift.serving.limits import MEBIBYTE, ClientLeft, HeldBytes, Refusal, ServerLimits
from clipshift.serving.models import EngineSettings, Models, ServedModel
from clipshift.serving.uploads import Receive, Upload

_LOG = logging.getLogger(__name__)
_LARGE = 32 * MEBIBYTE
"""Bytes of frames that all cores do not answer: they would be no sooner, and a second session would take memory."""
_MOST_DECODER_THREADS = 4
"""Of one decoder: each takes address space, of which a decoder has a limit, and more hardly shorten a clip."""
Result = TypeVar("Result")


@dataclass
class Times:
    """Seconds that a request spent in each part of the server, as far as it came."""

    upload: float = 0.0
    queue: float = 0.0
    decode: float = 0.0
    network: float = 0.0

    def header(self) -> str:
        """HTTP's `Server-Timing`, in milliseconds."""
        return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in vars(self).items())


@contextmanager
def timed(times: Times, part: str) -> Generator[Callable[[], None]]:
    """Measure a part of a request: until what this gives is called, else until the end, however that comes."""
    start, ended = time.monotonic(), False

    def end() -> None:
        nonlocal ended
        if not ended:
            setattr(times, part, time.monotonic() - start)
            ended = True

    try:
        yield end
    finally:
        end()


@dataclass(frozen=True, eq=False)
class Answer:
    """A prediction and what it was made of."""

    prediction: Prediction
    decoded: Decoded


@dataclass
class Places:
    """How many of something go on at once; those that are too many are refused.

    Attributes:
        most: So many may.
        what: Their name in the plural.
        retry_seconds: After which a place can be hoped for.
        taken: So many do.
    """

    most: int
    what: str = "uploads"
    retry_seconds: int = 2
    taken: int = field(default=0)

    def check(self) -> None:
        """Raise a Refusal (429) if there is no place."""
        if self.taken >= self.most:
            headers = {"Retry-After": str(self.retry_seconds)}
            raise Refusal(429, f"The server takes no more {self.what} at the moment.", headers=headers)

    def __enter__(self) -> None:
        self.check()
        self.taken += 1

    def __exit__(self, *error: object) -> None:
        self.taken -= 1


class Service:
    """A server without its network: models, decoders, the queue.

    Args:
        named: Models by name, as of [parse_names][clipshift.serving.models.parse_names].
        limits: Of requests.
        engine: How networks are run.
        decoders: Processes that decode; 0: one a core.
        events: Are told of decoders.
        fetcher: Fetches clips by address; by default none are.

    Raises:
        UserError: A model cannot be loaded.
    """

    def __init__(
        self,
        named: dict[str, str],
        limits: ServerLimits,
        engine: EngineSettings,
        *,
        decoders: int = 0,
        events: DecoderEvents | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        self.fetcher = fetcher or Fetcher(())
        self.limits = limits
        self.threads = engine_threads(engine.thread_count)
        self.models = Models(named, engine, limits, self.threads)
        self.decoders = Decoders(decoders or available_cores(), limits, events)
        working = self.decoders.count + engine.thread_count + engine.batch_size - 1
        self._decoder_threads = min(self.decoders.count, engine.thread_count, _MOST_DECODER_THREADS)
        self._working = asyncio.Semaphore(working)
        self.admission = Admission(working, limits.queue)
        self.held = HeldBytes(limits.held_megabytes * MEBIBYTE)
        self.uploading = Places(limits.uploads)
        self.timelines = Places(limits.timelines, "time lines", retry_seconds=10)
        self.timeline_threads = engine_threads(limits.timelines)
        self.explanations = Places(limits.explanations, "explanations", retry_seconds=10)
        self.explain_threads = engine_threads(limits.explanations)
        self.ready = False
        self.failure: UserError | None = None
        self.reloads = 0
        self._reloading: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start what runs beside.

        Raises:
            UserError: A decoder cannot be started; it is in `failure`, too.
        """
        self.loop = asyncio.get_running_loop()
        try:
            await self.decoders.start()
        except UserError as error:
            self.failure = error
            raise
        self.ready = True

    async def close(self) -> None:
        """End what runs beside."""
        self.ready = False
        await self.decoders.close()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.timeline_threads.shutdown(wait=False, cancel_futures=True)
        self.explain_threads.shutdown(wait=False, cancel_futures=True)

    def model(self, name: str) -> ServedModel:
        """The model of a name, for the whole of a request.

        Raises:
            Refusal: There is none (404).
        """
        if name not in self.models:
            known = ", ".join(served.name for served in self.models)
            raise Refusal(404, f"There is no model of this name; there are: {known}.")
        return self.models[name]

    async def reload(self, name: str) -> ServedModel:
        """Load a model anew, beside the old one, and let requests that begin from now on have it.

        Raises:
            UserError: It cannot be loaded; the old one stays.
        """
        return await asyncio.get_running_loop().run_in_executor(None, self.models.reload, name)

    def reload_later(self) -> None:
        """Load all models anew, one after the other; those that cannot be stay as they are, and the log says why."""
        task = asyncio.get_running_loop().create_task(self._reload_all())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload_all(self) -> None:
        for served in self.models:
            try:
                await self.reload(served.name)
            except UserError as error:
                _LOG.error("%s stays as it was: %s", served.name, error)
            else:
                _LOG.warning("%s is loaded anew.", served.name)
        self.reloads += 1

    @asynccontextmanager
    async def place(self, times: Times) -> AsyncGenerator[None]:
        """A place among those that are worked on, once it is free.

        Raises:
            Refusal: There is not even one to wait in (429).
        """
        with self.admission.place(), timed(times, "queue") as began:
            async with self._working:
                began()
                yield

    async def predict(self, served: ServedModel, upload: Upload, times: Times) -> Answer:
        """Classify an upload: the same numbers as `clipshift predict`.

        Raises:
            Refusal: There is no place (429), or the clip cannot be read (422).
        """
        async with self.place(times):
            with timed(times, "decode"):
                threads = self._decoder_threads if self._alone else 1
                decoded = await self.decoders.decode(upload, served.wish, threads)
            upload.close()
            with timed(times, "network"):
                alone = self._alone and decoded.frames_THWC.nbytes <= _LARGE
                scored = await served.score(DecodedClip.named(upload.name, decoded), alone=alone)
        if scored.logits is None:
            raise Refusal(422, scored.error or "", path=upload.name)
        return Answer(served.model.answer(upload.name, scored.logits, scored.familiarity), decoded)

    @property
    def _alone(self) -> bool:
        """Whether one request has the server for itself: what it waits for is done by all cores."""
        return self.admission.inside == 1 and not self.timelines.taken and not self.explanations.taken

    async def while_wanted(self, receive: Receive, work: Awaitable[Result], *, seconds: float | None = None) -> Result:
        """Do work for a client whose request is read to its end, as long as that client is there and within the time.

        Args:
            receive: ASGI's.
            work: What is to be done; is cancelled where it is given up.
            seconds: The time; by default that of a request.

        Raises:
            ClientLeft: It went away; the work is given up.
            Refusal: The work took too long (503).
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_departure(receive))
        both = {working, leaving}
        seconds = self.limits.request_seconds if seconds is None else seconds
        try:
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if leaving.done():
                raise ClientLeft
            reason = f"The answer was not there within {seconds:g} seconds."
            raise Refusal(503, reason, headers={"Retry-After": "5"})
        finally:
            for each in both:
                each.cancel()
            await asyncio.wait(both)


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
