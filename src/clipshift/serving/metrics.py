"""What a server counts, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from clipshift.serving.exchange import Exchange
from clipshift.serving.service import Service

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The numbers of one service."""

    def __init__(self, service: Service) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._service = service
        self._requests = Counter(
            "clipshift_requests", "Requests by their answer.", ["route", "model", "status"], registry=registry
        )
        self._seconds = Histogram(
            "clipshift_request_seconds", "From first line to last byte.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._parts = Histogram(
            "clipshift_part_seconds",
            "Of answered clips: upload, queue, decode, network.",
            ["part"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._received = Counter("clipshift_received_bytes", "Of bodies.", registry=registry)
        self._sent = Counter("clipshift_sent_bytes", "Of bodies of answers.", registry=registry)
        self._deaths = Counter("clipshift_decoder_deaths", "Decoders that ended early.", ["reason"], registry=registry)
        self._starts = Counter("clipshift_decoder_starts", "Decoders that were started.", registry=registry)
        self._models = Gauge(
            "clipshift_model_loaded_timestamp_seconds",
            "When a model was loaded.",
            ["model", "sha256", "engine"],
            registry=registry,
        )
        self._gauge("clipshift_waiting", "Requests that wait.", lambda: service.admission.waiting)
        self._gauge("clipshift_inside", "Requests that wait or are worked on.", lambda: service.admission.inside)
        self._gauge("clipshift_uploads", "Bodies that come in.", lambda: service.uploading.taken)
        self._gauge("clipshift_held_bytes", "Of bodies in memory.", lambda: service.held.held)
        self._gauge("clipshift_decoders", "Processes that decode.", lambda: len(service.decoders.pids))
        service.decoders.events.died = lambda reason: self._deaths.labels(reason).inc()
        service.decoders.events.started = self._starts.inc

    def _gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        Gauge(name, about, registry=self._registry).set_function(value)

    def count(self, exchange: Exchange) -> None:
        """Count a request that is over."""
        self._requests.labels(exchange.route, exchange.model or "", str(exchange.status)).inc()
        self._seconds.labels(exchange.route).observe(exchange.seconds)
        self._received.inc(exchange.bytes_in)
        self._sent.inc(exchange.bytes_out)
        if exchange.times.network and exchange.status == 200:  # a time line's parts go side by side
            for part, seconds in vars(exchange.times).items():
                self._parts.labels(part).observe(seconds)

    async def show(self, request: Request) -> Response:  # noqa: ARG002 - as Starlette calls it
        """`GET /metrics`."""
        self._models.clear()
        for served in self._service.models:
            self._models.labels(served.name, served.sha256, served.model.engine).set(served.loaded)
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})
