"""`clipshift.Client` and `clipshift.AsyncClient`: answers of a server as if the model were here."""

from __future__ import annotations

import asyncio
import email.utils
import io
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx2
import numpy as np

from clipshift.errors import ConfigError, ServerError, VideoError
from clipshift.inference.predictions import Prediction

Video = str | Path | bytes
_PIECE = 256 * 1024
_sleep, _sleep_async = time.sleep, asyncio.sleep
_RETRIED = {429, 502, 503, 504}
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 60.0


class Client:
    """A client of `clipshift serve`; a context manager.

    Videos are sent piece by piece, and sent again, after the time that the server names, where it has no place for them
    (429, 503) or cannot be reached.

    Args:
        address: Of the server.
        token: That opens it.
        retries: How often a request is repeated.
        timeout: Seconds to wait for the server, at each step.
        certificate: File of the certificate that the server's is signed with, where the system does not know it.

    Raises:
        ConfigError: The address is none, or the certificate cannot be read.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        retries: int = 5,
        timeout: float = 60.0,
        certificate: str | Path | None = None,
    ) -> None:
        self._retries = retries
        self._client = httpx2.Client(**_options(address, token, timeout, certificate))

    def models(self) -> list[dict[str, Any]]:
        """What the server tells of its models: name, classes, frames, engine, SHA-256 of the weights.

        Raises:
            ServerError: It cannot be reached, or refuses.
        """
        models: list[dict[str, Any]] = self._ask("GET", "v1/models", None).json()["models"]
        return models

    def predict(self, video: Video, model: str | None = None, *, coverage: float | None = None) -> Prediction:
        """Classify one video.

        Args:
            video: A file, or the bytes of one.
            model: Name of a model; may be left out where the server has only one.
            coverage: Also give the set of classes that holds the right one at this rate, in (0, 1).

        Returns:
            The class probabilities, to six digits; the classes are in the order of theirs, best first.

        Raises:
            VideoError: The video cannot be read, here or there.
            ConfigError: There are several models, and none is named.
            ServerError: The server cannot be reached, has no place after all retries, or refuses.
        """
        clip = _Clip.of(video)
        name = model or _only(self.models())
        return _prediction(self._ask("POST", _address(name, clip, coverage), clip), clip)

    def timeline(
        self, video: Video, model: str | None = None, *, rate: float | None = None, window: bool = False
    ) -> Generator[TimelineMessage]:
        """Find what happens when in one video, told while it is found.

        Args:
            video: A file, or the bytes of one.
            model: Name of a model; may be left out where the server has only one.
            rate: Frames a second that the network sees; by default as the model says.
            window: Let the network answer for a sliding window of its last frames, which any network can.

        Yields:
            What the server tells, as it comes; the last message is the `result`. To leave the iteration ends the work.

        Raises:
            VideoError: The video cannot be read, here or there.
            ConfigError: There are several models, and none is named.
            ServerError: The server cannot be reached, has no place after all retries, or refuses.
        """
        clip = _Clip.of(video)
        address = _timeline_address(model or _only(self.models()), clip, rate, window=window)
        for attempt in range(self._retries + 1):
            with ExitStack() as stack:
                try:
                    file = stack.enter_context(clip.open())
                    response = stack.enter_context(self._client.stream("POST", address, content=file))
                    if response.status_code != 200:
                        response.read()
                except httpx2.TransportError as error:
                    wait = _wait_without_answer(error, self._client.base_url, attempt, self._retries)
                else:
                    if not _is_to_be_repeated(response, attempt, self._retries):
                        events = _Events(_checked(response, clip), clip)
                        try:
                            for line in response.iter_lines():
                                yield from events.take(line)
                        except httpx2.TransportError as error:
                            raise events.broken(error) from error
                        events.finish()
                        return
                    wait = _wait_told(response, attempt)
            _sleep(wait)

    def explain(
        self, video: Video, model: str | None = None, *, label: str | None = None, where: str = "auto"
    ) -> dict[str, Any]:
        """Find out which frames of a video, and what in them, speak for a class.

        Args:
            video: A file, or the bytes of one.
            model: Name of a model; may be left out where the server has only one.
            label: The class to explain; by default the most probable one.
            where: How places are found, as of [explain][clipshift.evaluation.explaining.explain.explain].

        Returns:
            What `explanation.json` of `clipshift explain` holds.

        Raises:
            VideoError: The video cannot be read, here or there.
            ConfigError: There are several models, and none is named.
            ServerError: The server cannot be reached, has no place after all retries, or refuses.
        """
        clip = _Clip.of(video)
        address = _explain_address(model or _only(self.models()), clip, label, where)
        explanation: dict[str, Any] = self._ask("POST", address, clip).json()
        return explanation

    def _ask(self, method: str, address: str, clip: _Clip | None) -> httpx2.Response:
        for attempt in range(self._retries + 1):
            try:
                if clip is None:
                    response = self._client.request(method, address)
                else:
                    with clip.open() as file:
                        response = self._client.request(method, address, content=file)
            except httpx2.TransportError as error:
                wait = _wait_without_answer(error, self._client.base_url, attempt, self._retries)
            else:
                if not _is_to_be_repeated(response, attempt, self._retries):
                    return _checked(response, clip)
                wait = _wait_told(response, attempt)
            _sleep(wait)
        raise AssertionError("the last attempt has an answer or an error")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class AsyncClient:
    """The same as [Client][clipshift.serving.client.Client], for asyncio; an asynchronous context manager.

    Args:
        address: Of the server.
        token: That opens it.
        retries: How often a request is repeated.
        timeout: Seconds to wait for the server, at each step.
        certificate: File of the certificate that the server's is signed with, where the system does not know it.

    Raises:
        ConfigError: The address is none, or the certificate cannot be read.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        retries: int = 5,
        timeout: float = 60.0,
        certificate: str | Path | None = None,
    ) -> None:
        self._retries = retries
        self._client = httpx2.AsyncClient(**_options(address, token, timeout, certificate))

    async def models(self) -> list[dict[str, Any]]:
        """As [Client.models][clipshift.serving.client.Client.models]."""
        models: list[dict[str, Any]] = (await self._ask("GET", "v1/models", None)).json()["models"]
        return models

    async def predict(self, video: Video, model: str | None = None, *, coverage: float | None = None) -> Prediction:
        """As [Client.predict][clipshift.serving.client.Client.predict]."""
        clip = _Clip.of(video)
        name = model or _only(await self.models())
        return _prediction(await self._ask("POST", _address(name, clip, coverage), clip), clip)

    async def timeline(
        self, video: Video, model: str | None = None, *, rate: float | None = None, window: bool = False
    ) -> AsyncGenerator[TimelineMessage]:
        """As [Client.timeline][clipshift.serving.client.Client.timeline]."""
        clip = _Clip.of(video)
        address = _timeline_address(model or _only(await self.models()), clip, rate, window=window)
        length = {"content-length": str(clip.size)}
        for attempt in range(self._retries + 1):
            async with AsyncExitStack() as stack:
                try:
                    sent = self._client.stream("POST", address, content=clip.pieces(), headers=length)
                    response = await stack.enter_async_context(sent)
                    if response.status_code != 200:
                        await response.aread()
                except httpx2.TransportError as error:
                    wait = _wait_without_answer(error, self._client.base_url, attempt, self._retries)
                else:
                    if not _is_to_be_repeated(response, attempt, self._retries):
                        events = _Events(_checked(response, clip), clip)
                        try:
                            async for line in response.aiter_lines():
                                for message in events.take(line):
                                    yield message
                        except httpx2.TransportError as error:
                            raise events.broken(error) from error
                        events.finish()
                        return
                    wait = _wait_told(response, attempt)
            await _sleep_async(wait)

    async def explain(
        self, video: Video, model: str | None = None, *, label: str | None = None, where: str = "auto"
    ) -> dict[str, Any]:
        """As [Client.explain][clipshift.serving.client.Client.explain]."""
        clip = _Clip.of(video)
        address = _explain_address(model or _only(await self.models()), clip, label, where)
        explanation: dict[str, Any] = (await self._ask("POST", address, clip)).json()
        return explanation

    async def _ask(self, method: str, address: str, clip: _Clip | None) -> httpx2.Response:
        for attempt in range(self._retries + 1):
            try:
                if clip is None:
                    response = await self._client.request(method, address)
                else:
                    length = {"content-length": str(clip.size)}
                    response = await self._client.request(method, address, content=clip.pieces(), headers=length)
            except httpx2.TransportError as error:
                wait = _wait_without_answer(error, self._client.base_url, attempt, self._retries)
            else:
                if not _is_to_be_repeated(response, attempt, self._retries):
                    return _checked(response, clip)
                wait = _wait_told(response, attempt)
            await _sleep_async(wait)
        raise AssertionError("the last attempt has an answer or an error")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


@dataclass(frozen=True)
class TimelineMessage:
    """What a server tells while it makes a time line.

    Attributes:
        kind: `progress`, `event` (an event begins, goes on or ends), or `result`, which is the last one.
        value: Of progress `seconds` that are done, `of` all (None where the video does not tell), and, once the network
            has answered, `label` and `score`; of an event the fields of an [Event][clipshift.temporal.events.Event]; of
            the result what `segments.json` of `clipshift timeline` holds.
    """

    kind: str
    value: dict[str, Any]


class _Events:
    """Server-sent events of a time line, line by line (the form that the server writes)."""

    def __init__(self, response: httpx2.Response, clip: _Clip) -> None:
        self._where = response.url.copy_with(query=None)
        self._clip = clip
        self._name = ""
        self._ended = False

    def take(self, line: str) -> Iterator[TimelineMessage]:
        """Takes a line, and gives the message that it completes."""
        field, _, text = line.partition(": ")
        if field == "event":
            self._name = text
        elif field == "data":
            value = json.loads(text)
            if self._name == "error":
                raise _refused(int(value["status"]), str(value["error"]), self._where, self._clip)
            self._ended = self._name == "result"
            yield TimelineMessage(self._name, value)

    def broken(self, error: Exception) -> ServerError:
        """For a connection that ended in the middle."""
        reason = str(error) or type(error).__name__
        return ServerError("The connection to the server broke.", where=self._where, got=reason)

    def finish(self) -> None:
        """Raises a ServerError if the result is missing."""
        if not self._ended:
            raise ServerError("The server ended before the time line did.", where=self._where)


@dataclass(frozen=True)
class _Clip:
    """A video that can be sent as often as needed."""

    name: str
    size: int
    file: Path | bytes

    @classmethod
    def of(cls, video: Video) -> _Clip:
        if isinstance(video, bytes):
            return cls("clip", len(video), video)
        try:
            path = Path(video)
            return cls(str(video), path.stat().st_size, path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VideoError("The clip cannot be read.", where=video, got=reason) from error

    def open(self) -> BinaryIO:
        if isinstance(self.file, bytes):
            return io.BytesIO(self.file)
        try:
            return self.file.open("rb")
        except OSError as error:
            raise VideoError("The clip cannot be read.", where=self.name, got=error.strerror) from error

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes, read in a thread: a slow disk does not hold up the others."""
        with self.open() as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece


def _options(address: str, token: str | None, timeout: float, certificate: str | Path | None) -> dict[str, Any]:
    url = httpx2.URL(address if address.endswith("/") else f"{address}/")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError("This is no address of a server.", got=address, allowed="http://HOST:PORT, or https")
    options: dict[str, Any] = {"base_url": url, "timeout": timeout}
    if token is not None:
        options["headers"] = {"authorization": f"Bearer {token}"}
    if certificate is not None:
        import ssl

        try:
            options["verify"] = ssl.create_default_context(cafile=str(certificate))
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError("The certificate cannot be read.", where=certificate, got=reason) from error
    return options


def _address(model: str, clip: _Clip, coverage: float | None) -> str:
    return _clip_address(model, "predict", clip) + ("" if coverage is None else f"&coverage={coverage:.9f}")


def _timeline_address(model: str, clip: _Clip, rate: float | None, *, window: bool) -> str:
    more = ("" if rate is None else f"&rate={rate:.9f}") + ("&window=1" if window else "")
    return _clip_address(model, "timeline", clip) + more


def _explain_address(model: str, clip: _Clip, label: str | None, where: str) -> str:
    more = f"&where={quote(where, safe='')}" + ("" if label is None else f"&label={quote(label, safe='')}")
    return _clip_address(model, "explain", clip) + more


def _clip_address(model: str, what: str, clip: _Clip) -> str:
    name = quote(Path(clip.name).name.encode(errors="surrogateescape"))
    return f"v1/models/{quote(model, safe='')}/{what}?name={name}"


def _only(models: list[dict[str, Any]]) -> str:
    names = [str(model["name"]) for model in models]
    if len(names) != 1:
        raise ConfigError("The server has several models: one must be named.", where="model", allowed=names)
    return names[0]


def _is_to_be_repeated(response: httpx2.Response, attempt: int, retries: int) -> bool:
    return response.status_code in _RETRIED and attempt < retries


def _wait_told(response: httpx2.Response, attempt: int) -> float:
    """Seconds that the server asks to wait for: a number or a date (RFC 9110, section 10.2.3)."""
    told = response.headers.get("retry-after", "")
    if told.isdecimal() and len(told) < 9:
        return min(float(told), _LONGEST_WAIT)
    try:
        seconds = email.utils.parsedate_to_datetime(told).timestamp() - time.time()
    except ValueError:
        return _usual_wait(attempt)
    return min(max(0.0, seconds), _LONGEST_WAIT)


def _wait_without_answer(error: httpx2.TransportError, address: object, attempt: int, retries: int) -> float:
    if attempt >= retries:
        reason = str(error) or type(error).__name__
        raise ServerError("The server cannot be reached.", where=address, got=reason) from error
    return _usual_wait(attempt)


def _usual_wait(attempt: int) -> float:
    return float(min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT))


def _checked(response: httpx2.Response, clip: _Clip | None) -> httpx2.Response:
    if response.status_code == 200:
        return response
    try:
        reason = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        reason = response.text[:200] or response.reason_phrase
    raise _refused(response.status_code, reason, response.url.copy_with(query=None), clip)


def _refused(status: int, reason: str, where: httpx2.URL, clip: _Clip | None) -> VideoError | ServerError:
    if status == 422 and clip is not None:
        return VideoError(reason, where=clip.name)
    return ServerError("The server refuses.", where=where, got=f"{status}: {reason}")


def _prediction(response: httpx2.Response, clip: _Clip) -> Prediction:
    value = response.json()
    ranked: dict[str, float] = value["probabilities"]
    return Prediction(
        clip.name,
        tuple(ranked),
        np.array(list(ranked.values()), dtype=np.float32),
        value.get("coverage"),
        tuple(value.get("class_set", ())),
    )
