"""Time lines as server-sent events: what happens when in an upload, told while it is found, and whole at the end."""

from __future__ import annotations

import asyncio
import math
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from clipshift.config import EventRules
from clipshift.errors import UserError
from clipshift.files import to_json
from clipshift.inference.observing import Observation, observe_ticks, rate_of, rules_of
from clipshift.inference.video_scores import check_way, too_short
from clipshift.serving.asking import asked_model, flag, name_of, options_of
from clipshift.serving.decoded import LongWish
from clipshift.serving.decoders import DecoderDied, DecoderGone, LongDecoder
from clipshift.serving.exchange import exchange_of
from clipshift.serving.limits import Refusal
from clipshift.serving.models import ServedModel
from clipshift.serving.service import Service
from clipshift.serving.uploads import Upload
from clipshift.temporal import Event, Findings, advance, finish, start
from clipshift.timelines.result import Cause, Timeline, segments_json
from clipshift.video.timed import TimedFrame

_HIGHEST_RATE = 120.0
_PROGRESS_SECONDS = 0.5
_STILL_HERE_SECONDS = 10.0
"""After which something is sent where there is nothing to tell: proxies end connections that are silent."""
Message = tuple[str, dict[str, Any]]
"""Name and content of a server-sent event."""


@dataclass(frozen=True)
class TimelineOptions:
    """What the query of a time line asks for, and what follows from it for a model."""

    rate: float
    window: bool
    rules: EventRules
    name: str

    @classmethod
    def of(cls, request: Request, served: ServedModel) -> TimelineOptions:
        """The options, once they are checked.

        Raises:
            Refusal: One is unknown, or has a value that is not allowed, or the model cannot do it so (400).
        """
        given = options_of(request, "rate", "window", "name")
        rate = given.get("rate")
        if rate is not None and not (re.fullmatch(r"\d{1,3}(\.\d{1,9})?", rate) and 0 < float(rate) <= _HIGHEST_RATE):
            raise Refusal(400, f"The option 'rate' is a number above 0, of at most {_HIGHEST_RATE:g}.")
        window = flag(given, "window")
        try:
            check_way(served.model, window=window)
            seen = rate_of(served.model, None if rate is None else float(rate))
        except UserError as error:
            wanted = "'rate' tells it" if error.where == "rate" else "'window=1' lets it answer for a sliding window"
            raise Refusal(400, f"{error.what} The option {wanted}.") from error
        return cls(seen, window, rules_of(served.model, seen), name_of(given))


class Timelines:
    """The handler of `/v1/models/{name}/timeline`.

    Args:
        service: Of the server.
        receive_clip: Takes the upload of a request in.
    """

    def __init__(self, service: Service, receive_clip: Callable[..., Awaitable[None]]) -> None:
        self._service = service
        self._receive_clip = receive_clip

    async def make(self, request: Request) -> Response:
        """`POST /v1/models/{name}/timeline`: a clip as for a prediction, and its time line as server-sent events."""
        service, exchange = self._service, exchange_of(request)
        served = asked_model(service, request)
        options = TimelineOptions.of(request, served)
        service.timelines.check()  # before anything of the body is read
        with ExitStack() as stack:
            upload = stack.enter_context(closing(Upload(service.held, options.name)))
            await self._receive_clip(request, upload, exchange.times)
            stack.enter_context(service.timelines)
            making = stack.enter_context(closing(Making(service, served, upload, options)))
            first = await service.while_wanted(request.receive, making.begin())
            return EventStream(service, making, first, stack.pop_all())
        raise AssertionError("what is inside returns")


class EventStream(Response):
    """The answer: all messages of a work, and then what goes with it is closed.

    Args:
        service: Of the server.
        making: The work, begun.
        first: Its first message.
        stack: Is closed at the end.
    """

    def __init__(self, service: Service, making: Making, first: Message, stack: ExitStack) -> None:
        super().__init__(headers={"x-accel-buffering": "no"}, media_type="text/event-stream")
        del self.headers["content-length"]
        self._service, self._making, self._first, self._stack = service, making, first, stack

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG002 - as ASGI calls it
        """Answer."""
        with self._stack:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._service.while_wanted(receive, self._send_all(send), seconds=math.inf)

    async def _send_all(self, send: Any) -> None:  # noqa: ANN401
        deadline = time.monotonic() + self._service.limits.timeline_seconds
        message: Message | None = self._first
        while message is not None:
            await send({"type": "http.response.body", "body": _as_event(message), "more_body": True})
            try:
                message = await self._making.next(deadline)
            except Refusal as refusal:
                message = "error", {**refusal.to_json(), "status": refusal.status}
                await send({"type": "http.response.body", "body": _as_event(message), "more_body": True})
                break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _as_event(message: Message) -> bytes:
    name, value = message
    return b": still here\n\n" if not name else f"event: {name}\ndata: {to_json(value)}\n\n".encode()


class Making:
    """A time line that is made in a thread, with a decoder of its own; closing it ends both.

    Args:
        service: Of the server.
        served: The model.
        upload: The video; open until this is closed.
        options: Of the request.
    """

    def __init__(self, service: Service, served: ServedModel, upload: Upload, options: TimelineOptions) -> None:
        self._service, self._served, self._options = service, served, options
        self._name, self._size = upload.name, upload.size
        self._descriptor = os.dup(upload.descriptor)
        self._loop = asyncio.get_running_loop()
        self._messages: asyncio.Queue[Message | Exception | None] = asyncio.Queue()
        self._decoder: LongDecoder | None = None
        self._lock = threading.Lock()
        self._unwanted = False
        self._told = 0.0
        self._thread = service.timeline_threads.submit(self._run)

    async def begin(self) -> Message:
        """The first message, once the video is open.

        Raises:
            Refusal: It cannot be read.
        """
        while not (message := await self.next(math.inf) or ("", {}))[0]:
            pass  # a busy machine starts the decoder
        return message

    async def next(self, deadline: float) -> Message | None:
        """The next message; of an empty name where there is none for a while, None at the end.

        Args:
            deadline: By `time.monotonic`.

        Raises:
            Refusal: The video cannot be read, or the time is over (503).
        """
        left = deadline - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(left, _STILL_HERE_SECONDS))):
                message = await self._messages.get()
        except TimeoutError:
            if left > _STILL_HERE_SECONDS:
                return "", {}
            seconds = self._service.limits.timeline_seconds
            raise Refusal(503, f"The time line was not there within {seconds:g} seconds.", path=self._name) from None
        if isinstance(message, Exception):
            raise message
        return message

    def close(self) -> None:
        """End what is not finished; does not wait for it."""
        with self._lock:
            self._unwanted = True
            if self._decoder is not None:
                self._decoder.kill()
        if self._thread.cancel():
            os.close(self._descriptor)

    def _run(self) -> None:
        """In the thread."""
        end: Exception | None = None
        try:
            self._put(("result", self._make()))
        except DecoderDied as death:
            if not self._unwanted:
                self._service.decoders.events.died(death.reason)
            end = Refusal(422, f"The process that read the clip died: {death.cause}.", path=self._name)
        except DecoderGone:
            end = Refusal(503, "The process that was to read the clip was gone.", headers={"Retry-After": "2"})
        except Exception as error:  # a Refusal, or a bug, which the request tells
            end = error
        finally:
            os.close(self._descriptor)
            with self._lock:
                decoder, self._decoder = self._decoder, None
            if decoder is not None:
                decoder.close()
            self._put(end)

    def _put(self, message: Message | Exception | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    def _make(self) -> dict[str, Any]:
        served, options, began = self._served, self._options, time.perf_counter()
        model, spec = served.model, served.model.spec
        decoder = self._start_decoder()
        state, findings = start(options.rules, model.classes), Findings()
        observed = False
        for observation in observe_ticks(model, self._ticks(decoder), options.rate, window=options.window):
            observed = True
            probabilities = np.asarray(observation.probabilities, np.float32)  # as files of scores hold them
            messages, state = advance(state, observation.time, probabilities)
            self._tell(messages, findings)
            self._tell_progress(observation, decoder)
        if not observed:
            needed = spec.input.segments if options.window else 1
            error = too_short(self._name, decoder.end, needed, options.rate)
            raise Refusal(422, f"{error.what} ({error.got})", path=self._name)
        self._tell(finish(state, decoder.end)[0], findings)
        took = time.perf_counter() - began
        line = Timeline(
            self._name, Path(), tuple(findings.events), decoder.end, decoder.frames, decoder.notes, took=took
        )
        return self._result(line)

    def _result(self, line: Timeline) -> dict[str, Any]:
        """As `segments.json`, but for what the server does not know, or clients may not."""
        served, options = self._served, self._options
        identity = {"name": served.name, "sha256": served.sha256}
        cause = Cause(
            self._name, self._size, 0, identity, options.rate, options.window, options.rules, served.model.classes
        )
        result = segments_json(line, cause, served.model.engine)
        del result["cause"]["video"]["modified"]
        return result

    def _start_decoder(self) -> LongDecoder:
        decoder = LongDecoder(self._service.decoders.folder, self._service.limits)
        with self._lock:
            self._decoder = decoder
            if self._unwanted:
                decoder.kill()
        self._service.decoders.events.started()
        return decoder

    def _ticks(self, decoder: LongDecoder) -> Generator[TimedFrame]:
        """Frames for the network, each with a place among the forward passes until the next one is asked for."""
        options, spec = self._options, self._served.model.spec
        wish = LongWish(
            options.rate,
            options.rules.most_gap,
            spec.input.pixel_aspect == "apply",
            spec.reading.max_pixels,
            spec.reading.max_seconds,
        )
        for tick in decoder.frames_at_rate(self._descriptor, self._name, wish):
            if tick is None:
                self._put(("progress", {"seconds": 0.0, "of": decoder.told_seconds}))
                continue
            with self._served.batcher.place_in(self._loop):
                yield tick

    def _tell(self, messages: list[Event], findings: Findings) -> None:
        findings.note(messages)
        for message in messages:
            self._put(("event", asdict(message)))

    def _tell_progress(self, observation: Observation, decoder: LongDecoder) -> None:
        now = time.monotonic()
        if now >= self._told + _PROGRESS_SECONDS:
            self._told = now
            best = int(observation.probabilities.argmax())
            progress = {
                "seconds": observation.time,
                "of": decoder.told_seconds,
                "label": self._served.model.classes[best],
                "score": round(float(observation.probabilities[best]), 6),
            }
            self._put(("progress", progress))
