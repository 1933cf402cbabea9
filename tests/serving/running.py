"""Servers in a thread of the test, and waiting for what happens in them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from clipshift.serving.access import Tokens
from clipshift.serving.app import make_app
from clipshift.serving.exchange import Exchange
from clipshift.serving.fetching import Fetcher
from clipshift.serving.limits import ServerLimits
from clipshift.serving.models import EngineSettings
from clipshift.serving.server import Server, listen
from clipshift.serving.service import Service

PATIENCE = 60.0
"""Seconds after which something that must happen has not: far more than a busy machine needs."""


@dataclass
class Running:
    """A server that answers."""

    service: Service
    server: Server
    client: httpx2.Client
    log: list[Exchange] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """For sockets."""
        url = httpx2.URL(self.server.address)
        return url.host, url.port or 0

    def predict(self, clip: Path | bytes, **query: str | int) -> httpx2.Response:
        """Sends a clip as a form."""
        name, data = (clip.name, clip.read_bytes()) if isinstance(clip, Path) else ("clip", clip)
        return self.client.post("/v1/models/gate/predict", params=query, files={"video": (name, data)})

    def routes(self) -> set[tuple[str, str]]:
        """Methods and paths."""
        routes = self.server.config.app._app.routes  # type: ignore[union-attr]
        return {(method, route.path) for route in routes for method in route.methods - {"HEAD"}}

    def call(self, function: Callable[[], object]) -> None:
        """Lets the server's thread call a function."""
        self.service.loop.call_soon_threadsafe(function)

    @contextmanager
    def decoders_stopped(self) -> Iterator[list[int]]:
        """While inside, decoders take no step: requests stay where they are. Gives their processes' numbers."""
        stopped = self.service.decoders.pids
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield stopped
        finally:
            for pid in set(stopped) & set(self.service.decoders.pids):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def running(
    *models: Path,
    limits: ServerLimits | None = None,
    engine: EngineSettings | None = None,
    decoders: int = 1,
    tokens: Tokens | None = None,
    fetcher: Fetcher | None = None,
    **tls: str,
) -> Iterator[Running]:
    """A server of models, whose names are gate, gate1 ..., at a free port."""
    named = {f"gate{number or ''}": str(model) for number, model in enumerate(models)}
    settings = engine or EngineSettings(threads=1)
    service = Service(named, limits or ServerLimits(), settings, decoders=decoders, fetcher=fetcher)
    listening = listen("127.0.0.1", 0)
    log: list[Exchange] = []
    server = Server(service, listening, make_app(service, tokens=tokens, over=log.append), drain_seconds=5, **tls)
    address = server.address
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        wait_until(lambda: server.started)
        with httpx2.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
            yield Running(service, server, client, log)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


def wait_until(true: Callable[[], bool]) -> None:
    """Waits for what must become true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.01)
