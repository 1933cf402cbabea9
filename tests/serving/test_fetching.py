"""Clips by address: only where that is asked for, from hosts that are named, and never from private addresses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from clipshift.errors import ConfigError
from clipshift.serving.fetching import Fetcher, is_public
from clipshift.serving.limits import ServerLimits
from tests.serving.running import Running, running


class Files(BaseHTTPRequestHandler):
    """Gives one clip, a redirect to it, and what is too long."""

    def __init__(self, clip: bytes, seen: list[str], *arguments: object) -> None:
        self.clip, self.seen = clip, seen
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        if self.path.startswith("/clip.mp4"):
            self.answer(200, self.clip)
        elif self.path == "/long":
            self.answer(200, b"\0" * 1_048_577)
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"\0" * 2_000_000)
        elif self.path == "/redirect":
            self.answer(302, b"", location="/clip.mp4")
        else:
            self.answer(404, b"none")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def home(clip: Path) -> Iterator[tuple[int, list[str]]]:
    """A server of files: its port, and the paths that were asked for."""
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, clip.read_bytes(), seen))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port, seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(gate: Path, home: tuple[int, list[str]]) -> Iterator[Running]:
    """A server that may fetch from that one, although it is at a private address."""
    fetcher = Fetcher([f"localhost:{home[0]}"], is_allowed=lambda address: address in {"127.0.0.1", "::1"})
    with running(gate, limits=ServerLimits(max_megabytes=1), fetcher=fetcher) as started:
        yield started


def ask(server: Running, url: object) -> httpx2.Response:
    return server.client.post("/v1/models/gate/predict", json={"url": url})


def test_a_clip_is_fetched(server: Running, home: tuple[int, list[str]], clip: Path) -> None:
    answer = ask(server, f"http://localhost:{home[0]}/clip.mp4?key=1")
    assert answer.json() == {**server.predict(clip).json(), "path": "clip.mp4"}
    assert home[1][-1] == "/clip.mp4?key=1"


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/redirect", 422, "status 302"),
        ("/missing", 422, "status 404"),
        ("/long", 413, "longer than the 1048576 bytes"),
        ("/endless", 413, "longer than the 1048576 bytes"),
    ],
)
def test_redirects_are_not_followed_and_bytes_are_counted(
    path: str, status: int, reason: str, server: Running, home: tuple[int, list[str]]
) -> None:
    answer = ask(server, f"http://localhost:{home[0]}{path}")
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert home[1][-1] == path
    assert server.service.held.held == 0


def test_other_addresses_are_refused_before_anything_is_connected_to(
    server: Running, home: tuple[int, list[str]]
) -> None:
    port, seen = home
    before = len(seen)
    for url in (
        f"http://127.0.0.1:{port}/clip.mp4",
        "http://localhost/clip.mp4",
        f"http://localhost:{port}@example.org/clip.mp4",
        f"http://user@localhost:{port}/clip.mp4",
        f"ftp://localhost:{port}/clip.mp4",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "//localhost/clip.mp4",
    ):
        assert ask(server, url).status_code == 403, url
    for none in (5, None, ["http://localhost"], "http://localhost:99999999/", "x" * 9000):
        assert ask(server, none).status_code in {400, 403, 413}, none
    assert len(seen) == before


def test_a_name_that_leads_to_a_private_address_is_not_connected_to(
    gate: Path, home: tuple[int, list[str]], shared_server: Running
) -> None:
    before = len(home[1])
    with running(gate, fetcher=Fetcher([f"localhost:{home[0]}"])) as server:
        answer = ask(server, f"http://localhost:{home[0]}/clip.mp4")
    assert answer.status_code == 403
    assert "not of the open internet" in answer.json()["error"]
    assert len(home[1]) == before
    assert ask(shared_server, f"http://localhost:{home[0]}/clip.mp4").status_code == 403  # none are fetched by default


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        *(
            (address, False)
            for address in (
                "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104
                "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1",
                "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
            )
        ),
    ],
)  # fmt: skip
def test_which_addresses_are_of_the_open_internet(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_hosts_are_names() -> None:
    for host in ("http://example.org", "user@example.org", "*.example.org", ""):
        with pytest.raises(ConfigError, match="no name of a host"):
            Fetcher([host])
