"""`clipshift.serve`: the server on the network."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipshift.console import complain, flush_stdout, say
from clipshift.datasets.clip import plural
from clipshift.errors import ConfigError
from clipshift.serving.access import check_exposure, read_tokens
from clipshift.serving.app import make_app
from clipshift.serving.exchange import App, Exchange, log_line
from clipshift.serving.fetching import Fetcher
from clipshift.serving.limits import ServerLimits
from clipshift.serving.models import EngineSettings, parse_names
from clipshift.serving.service import Service

if TYPE_CHECKING:
    from clipshift.device import Amp

_HEAD_SECONDS = 10.0
"""In which the head of a request has to be there."""
_UNREAD_MILLISECONDS = 30_000
"""After which a connection ends whose client does not take what was sent to it."""


class Connection(H11Protocol):
    """A connection that does not wait for ever: neither for the head of a request, nor for a client that reads."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        with suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD_MILLISECONDS)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._end_waiting()
        elif self._head is None:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._end_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _end_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


def serve(  # noqa: PLR0913
    *models: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServerLimits | None = None,
    decoders: int = 0,
    threads: int = 0,
    batch_size: int = 1,
    batch_delay: float = 5.0,
    device: str = "auto",
    amp: Amp = "fp32",
    drain_seconds: int = 30,
    token_file: str | Path | None = None,
    without_token: bool = False,
    certificate: str | Path | None = None,
    key: str | Path | None = None,
    url_hosts: Sequence[str] | None = None,
) -> None:
    """Answer over HTTP what `predict` answers, until a signal ends it. Linux only.

    SIGTERM and Ctrl-C let it finish what it has accepted; SIGHUP loads all models anew.

    Args:
        models: Run folders, model folders, exported models, or published weights by name; NAME=MODEL gives a name of
            your own for the addresses, which otherwise have the last part of the path.
        host: Address to listen on.
        port: 0: a free one.
        limits: Of requests.
        decoders: Processes that decode; 0: one a core.
        threads: Clips that networks work on side by side; 0: one a core.
        batch_size: Clips that may share a forward pass.
        batch_delay: Milliseconds that the first of them waits for others.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        drain_seconds: Time to finish at the end.
        token_file: File of tokens, one a line, of which each request needs one (Authorization: Bearer TOKEN); by
            default those of the environment variable CLIPSHIFT_TOKEN, if it is there.
        without_token: Listen without a token on an address that other machines can reach.
        certificate: File of the certificate for TLS (PEM), with those between it and a known one.
        key: File of its private key; by default in the file of the certificate.
        url_hosts: Hosts that clips may be fetched from by address, HOST or HOST:PORT; by default none are.

    Raises:
        ConfigError: An option has a value that is not allowed, or the address cannot be listened on.
        UserError: As of [load][clipshift.inference.predictor.load].
    """
    if not hasattr(signal, "SIGXCPU") or not hasattr(socket, "TCP_USER_TIMEOUT"):
        raise ConfigError("The server needs Linux, whose processes it confines.", remedy="run it in a container")
    limits = limits or ServerLimits()
    engine = EngineSettings(device, amp, threads, batch_size, batch_delay / 1000)
    named = parse_names(models)
    tokens = read_tokens(token_file)
    check_exposure(host, tokens, without_token=without_token)
    check_certificate(certificate, key)
    fetcher = Fetcher(url_hosts or ())
    listening = listen(host, port)
    with closing(listening):
        service = Service(named, limits, engine, decoders=decoders, fetcher=fetcher)
        app = make_app(service, tokens=tokens, over=_log)
        tls = {} if certificate is None else {"ssl_certfile": str(certificate), "ssl_keyfile": key and str(key)}
        server = Server(service, listening, app, drain_seconds=drain_seconds, **tls)
        server.run_until_signal()


def _log(exchange: Exchange) -> None:
    complain(log_line(exchange))


def check_certificate(certificate: str | Path | None, key: str | Path | None) -> None:
    """Raise a ConfigError if a certificate and its key cannot be used."""
    if certificate is None:
        if key is not None:
            raise ConfigError(
                "A key is of no use without its certificate.", where="key", remedy="add --certificate FILE"
            )
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # of which those of TLS are some
        raise ConfigError(
            "The certificate or its key cannot be used.",
            where=certificate,
            got=getattr(error, "strerror", None) or error,
        ) from error


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: It cannot listen there.
    """
    if not 0 <= port <= 65535:
        raise ConfigError("There is no such port.", where="port", got=port, allowed="0 to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            "The server cannot listen there.",
            where=f"{host}:{port}",
            got=getattr(error, "strerror", None) or error,
            remedy="add --port with another number, or end what has this one",
        ) from error


class Server(uvicorn.Server):
    """The server of a service.

    Args:
        service: Not yet started.
        listening: Where.
        app: Its application.
        drain_seconds: Time to finish at the end.
        tls: Options of uvicorn's.
    """

    def __init__(
        self,
        service: Service,
        listening: socket.socket,
        app: App,
        *,
        drain_seconds: int = 30,
        **tls: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                timeout_graceful_shutdown=drain_seconds,
                **tls,
            )
        )
        self._service = service
        self._listening = listening

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        host, port = self._listening.getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def run_until_signal(self) -> None:
        """Serve; SIGTERM and Ctrl-C end it, and this returns."""
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn sends itself the signal again when it is done
        try:
            self.run([self._listening])
        except KeyboardInterrupt:
            pass
        except SystemExit:
            if self._service.failure is not None:
                raise self._service.failure from None
            raise

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start what the service needs, take connections, and say so."""
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._service.reload_later)
        names = ", ".join(served.name for served in self._service.models)
        decoders = plural(self._service.decoders.count, "decoder")
        protections = ", ".join(self._service.decoders.protections)
        say(f"Serving {names} at {self.address} with {decoders}, kept in by {protections}")
        flush_stdout()
