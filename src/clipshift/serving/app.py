"""All addresses of the server, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from clipshift.serving.access import Tokens
from clipshift.serving.exchange import Edge, Exchange, exchange_of
from clipshift.serving.explaining import Explaining
from clipshift.serving.limits import Refusal
from clipshift.serving.metrics import Metrics
from clipshift.serving.open_inference import OpenInference
from clipshift.serving.pages import show_docs, show_file, show_page
from clipshift.serving.predicting import Predicting
from clipshift.serving.service import Service
from clipshift.serving.timelines import Timelines

Handler = Callable[[Request], Awaitable[Response]]


def make_app(service: Service, *, tokens: Tokens | None = None, over: Callable[[Exchange], None]) -> Edge:
    """The application of a service, which it starts and ends.

    Args:
        service: Not yet started.
        tokens: That open it; by default it is open.
        over: Is told of each request when it is over.
    """
    allowed = tokens or Tokens([])
    predicting, inference, metrics = Predicting(service), OpenInference(service), Metrics(service)
    timelines = Timelines(service, predicting.receive_clip)
    explaining = Explaining(service, predicting.receive_clip)
    routes = [
        _route("GET", "/v1/models", predicting.list_models),
        _route("GET", "/v1/models/{name}", predicting.describe_model),
        _route("POST", "/v1/models/{name}/predict", predicting.predict),
        _route("POST", "/v1/models/{name}/timeline", timelines.make),
        _route("POST", "/v1/models/{name}/explain", explaining.explain),
        _route("POST", "/v1/models/{name}/reload", predicting.reload if allowed else _closed),
        _route("GET", "/", show_page),
        _route("GET", "/docs", show_docs),
        _route("GET", "/page/{file}", show_file),
        _route("GET", "/openapi.json", predicting.describe),
        _route("GET", "/metrics", metrics.show),
        _route("GET", "/v2", inference.server),
        _route("GET", "/v2/health/live", inference.live),
        _route("GET", "/v2/health/ready", inference.ready),
        _route("POST", "/v2/repository/index", inference.index),
    ]
    for start in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            _route("GET", start, inference.model),
            _route("GET", f"{start}/config", inference.config),
            _route("GET", f"{start}/ready", inference.model_ready),
            _route("POST", f"{start}/infer", inference.infer),
        ]

    def check(request: Request) -> None:
        _refuse_other_sites(request)
        allowed.check(request)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "Compressed bodies are not taken: their size would not be known before the work.")

    def count_and_tell(exchange: Exchange) -> None:
        metrics.count(exchange)
        over(exchange)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:  # noqa: ANN401, ARG001 - as Starlette calls it
        await service.start()
        try:
            yield
        finally:
            await service.close()

    router = Router(routes, default=_not_found, lifespan=lifespan, redirect_slashes=False)
    return Edge(router, check=check, over=count_and_tell)


def _route(method: str, path: str, handler: Handler) -> Route:
    async def handle(request: Request) -> Response:
        exchange_of(request).route = path
        return await handler(request)

    return Route(path, handle, methods=[method], name=f"{method} {path}")


async def _closed(request: Request) -> Response:  # noqa: ARG001 - as Starlette calls it
    raise Refusal(403, "Models are loaded anew by SIGHUP, or with a token: the server has none.")


async def _not_found(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001 - as ASGI calls it
    raise Refusal(404, "There is nothing at this address.")


def _refuse_other_sites(request: Request) -> None:
    """Raise a Refusal for what a page of another site lets a browser send."""
    if request.method != "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        raise Refusal(403, "Pages of other sites may not use this server.")
