"""The edge of the server: every request gets a number, an answer in JSON if it is refused, and a line in the log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from clipshift.files import to_json
from clipshift.serving.limits import ClientLeft, Refusal
from clipshift.serving.service import Times

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LEFT = 499
"""Nginx's number for a request whose client went away; it is only seen in the log."""
_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_LINGER_SECONDS = 2.0
_KEY = "clipshift.exchange"


@dataclass
class Exchange:
    """What is known of a request and its answer, when it is over.

    Attributes:
        id: As the client named it (`X-Request-ID`), or a new one.
        client: Address.
        method: Of HTTP.
        path: Without the query.
        route: The pattern of the path, for counting.
        status: Of the answer; 499: nobody was there to read it.
        seconds: From its first line to the end of the answer.
        bytes_in: Of the body, as far as it was read.
        bytes_out: Of the answer's body.
        model: Name of the model, where it was for one.
        reason: Why it was refused.
        times: In the parts of the server.
    """

    id: str
    client: str
    method: str
    path: str
    route: str = "other"
    status: int = 0
    seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    model: str | None = None
    reason: str | None = None
    times: Times = field(default_factory=Times)
    body_ended: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields of a line of the log."""
        told: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": self.id,
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }
        told |= {name: value for name, value in (("model", self.model), ("reason", self.reason)) if value is not None}
        if self.model is not None:
            told["parts"] = {name: round(seconds, 4) for name, seconds in vars(self.times).items()}
        return told


def exchange_of(request: Request) -> Exchange:
    """What is known of a request; handlers note there what they find."""
    exchange: Exchange = request.scope[_KEY]
    return exchange


class Edge:
    """An ASGI application around another one.

    Args:
        app: The other one; may raise a Refusal or ClientLeft.
        check: Is called with each request before anything else, and may raise a Refusal.
        over: Is told of each request when it is over.
    """

    def __init__(self, app: App, *, check: Callable[[Request], None], over: Callable[[Exchange], None]) -> None:
        self._app = app
        self._check = check
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        exchange = Exchange(
            _id_of(request),
            client=request.client.host if request.client else "",
            method=scope["method"],
            path=scope["path"],
            body_ended=not _has_body(request),
        )
        scope[_KEY] = exchange
        start = time.monotonic()
        ways = _Ways(exchange, scope, receive, send)
        try:
            await self._answer(request, ways)
        finally:
            exchange.seconds = time.monotonic() - start
            self._over(exchange)

    async def _answer(self, request: Request, ways: _Ways) -> None:
        exchange = ways.exchange
        try:
            self._check(request)
            await self._app(ways.scope, ways.receive, ways.send)
        except Refusal as refusal:
            exchange.reason = refusal.reason
            await _refuse(refusal, request, ways)
        except ClientLeft:
            exchange.status, exchange.reason = LEFT, "the client left"
        except asyncio.CancelledError:  # the time to finish is over
            exchange.reason = "the server ended"
            raise
        except Exception:
            exchange.reason = "an error of the server's own"
            _LOG.exception("Request %s met an error of clipshift's own.", exchange.id)
            if exchange.status:  # the answer has begun: the connection is cut
                raise
            await _refuse(
                Refusal(500, f"An error of the server's own; its log has it under {exchange.id}."), request, ways
            )


class _Ways:
    """ASGI's two ways, watched."""

    def __init__(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        self.exchange = exchange
        self.scope = scope
        self._receive = receive
        self._send = send

    async def receive(self) -> Any:  # noqa: ANN401 - ASGI's message
        message = await self._receive()
        if message["type"] == "http.request":
            self.exchange.bytes_in += len(message.get("body", b""))
            self.exchange.body_ended = not message.get("more_body", False)
        else:
            self.exchange.body_ended = True
        return message

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's message
        if message["type"] == "http.response.start":
            self.exchange.status = message["status"]
            headers = list(message.get("headers", []))
            headers += [(b"x-request-id", self.exchange.id.encode()), (b"x-content-type-options", b"nosniff")]
            if not any(name == b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.exchange.bytes_out += len(message.get("body", b""))
        await self._send(message)


async def _refuse(refusal: Refusal, request: Request, ways: _Ways) -> None:
    """Say why; what the client is still sending is read and dropped for a moment, or it would not read the answer."""
    body = (to_json(refusal.to_json()) + "\n").encode()
    unread = not ways.exchange.body_ended
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    if unread:
        headers["connection"] = "close"
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await ways.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await ways.send({"type": "http.response.body", "body": body, "more_body": unread})
    if unread:
        asks_first = request.headers.get("expect", "").lower() == "100-continue" and not ways.exchange.bytes_in
        if not asks_first:
            await _drop_rest(ways)
        await ways.send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drop_rest(ways: _Ways) -> None:
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while not ways.exchange.body_ended:
                await ways.receive()
    except TimeoutError:
        pass


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _id_of(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def log_line(exchange: Exchange) -> str:
    """A request as a line of JSON."""
    return json.dumps(exchange.to_json())
