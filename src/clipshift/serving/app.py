"""All addresses of the server, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.routing import Route, Router

from clipshift.serving.exchange import Edge, Exchange
from clipshift.serving.limits import Refusal
from clipshift.serving.predicting import Predicting
from clipshift.serving.service import Service


def make_app(service: Service, *, over: Callable[[Exchange], None]) -> Edge:
    """The application of a service, which it starts and ends.

    Args:
        service: Not yet started.
        over: Is told of each request when it is over.
    """
    predicting = Predicting(service)
    routes = [
        Route("/v1/models", predicting.list_models, methods=["GET"]),
        Route("/v1/models/{name}", predicting.describe_model, methods=["GET"]),
        Route("/v1/models/{name}/predict", predicting.predict, methods=["POST"]),
    ]

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:  # noqa: ANN401, ARG001 - as Starlette calls it
        await service.start()
        try:
            yield
        finally:
            await service.close()

    router = Router(routes, default=_not_found, lifespan=lifespan, redirect_slashes=False)
    return Edge(router, check=_refuse_other_sites, over=over)


async def _not_found(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001 - as ASGI calls it
    raise Refusal(404, "There is nothing at this address.")


def _refuse_other_sites(request: Request) -> None:
    """Raise a Refusal for what a page of another site lets a browser send."""
    if request.method != "GET" and request.headers.get("sec-fetch-site") == "cross-site":
        raise Refusal(403, "Pages of other sites may not use this server.")
