"""Fetching against a server on this machine that breaks off, dawdles, changes its mind, and lies."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request

import pytest

from clipshift import download
from clipshift.cli.models import models
from clipshift.errors import ConfigError, DownloadError, UserError, WeightsError
from clipshift.weights import cache
from clipshift.weights.published import PublishedWeights, published_weights

DATA = random.Random(7).randbytes(600_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
OTHER = random.Random(8).randbytes(600_000)
NAME = "weights.pdparams"
_LONGEST_WAIT = 1800.0
"""Seconds that a test would wait for what has to come, before it fails."""

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives the next answer of the script, or serves the file properly."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers.items()))
        script = self.server.script
        (script.popleft() if script else serve())(self)

    def begin(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: deque[Answer] = deque()
        self.asked: list[dict[str, str]] = []
        self.left = threading.Semaphore(0)
        """Released for each client that had enough."""
        self.url = f"http://127.0.0.1:{self.server_address[1]}/{NAME}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


def serve(
    data: bytes = DATA,
    *,
    tag: str | None = '"one"',
    until: int | None = None,
    ranges: bool = True,
    if_range: bool = True,
    kind: str = "application/octet-stream",
) -> Answer:
    """Answer with a file, or with its rest; `until` is where the connection breaks."""

    def answer(handler: Handler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "")) if ranges else None
        same = not if_range or handler.headers.get("If-Range") == tag
        start = int(asked.group(1)) if asked is not None and same else 0
        headers: dict[str, object] = {"Content_Length": len(data) - start, "Content_Type": kind}
        if tag is not None:
            headers["ETag"] = tag
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.begin(206 if start else 200, **headers)
        handler.wfile.write(data[start:until])

    return answer


def status(code: int, **headers: object) -> Answer:
    return lambda handler: handler.begin(code, Content_Length=0, **headers)


def stand_still(after: int | None = None) -> Answer:
    """Say nothing, or not more than so many bytes of the file, until the client has had enough and hangs up."""

    def wait(handler: Handler) -> None:
        if after is not None:
            serve(until=after)(handler)
            handler.wfile.flush()
        handler.connection.settimeout(_LONGEST_WAIT)
        with suppress(ConnectionError):
            assert handler.connection.recv(1) == b""
        handler.server.left.release()

    return wait


def hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


class Room(NamedTuple):
    server: Server
    entry: PublishedWeights
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / NAME

    def left(self) -> set[str]:
        """What lies in the cache."""
        return {path.name for path in self.folder.iterdir()}

    def ranges(self) -> list[str | None]:
        """The part that each request asked for."""
        return [asked.get("Range") for asked in self.server.asked]

    def fetch(self, entry: PublishedWeights | None = None, **options: Any) -> Path:  # noqa: ANN401 - those of cache.fetch
        options = {"pause": 0.01, "timeout": 5.0, "https_only": False, **options}
        return cache.fetch(entry or self.entry, **options)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.setenv("CLIPSHIFT_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Room(server, replace(published_weights()["pptsm-r50-k400"], url=server.url), tmp_path / "weights")
    server.shutdown()
    server.server_close()
    thread.join()


def test_file_is_fetched_once_and_recorded(room: Room) -> None:
    told: list[tuple[int, int | None]] = []
    path = room.fetch(progress=lambda done, total: told.append((done, total)))
    assert path == room.file == cache.cached_file(room.entry)
    assert path.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    record = json.loads((room.folder / f"{NAME}.json").read_text(encoding="utf-8"))
    assert record == {"url": room.server.url, "sha256": DIGEST, "size": len(DATA), "fetched": True}
    assert room.fetch() == path
    assert len(room.server.asked) == 1
    assert room.left() == {NAME, f"{NAME}.json"}


def test_broken_connection_is_continued(room: Room) -> None:
    room.server.script.extend([serve(until=200_000), serve(until=450_000)])
    assert room.fetch().read_bytes() == DATA
    assert room.ranges() == [None, "bytes=200000-", "bytes=450000-"]
    assert [asked.get("If-Range") for asked in room.server.asked] == [None, '"one"', '"one"']


def test_later_call_continues(room: Room) -> None:
    room.server.script.append(serve(until=200_000))
    with pytest.raises(DownloadError, match=r"ended after 200000 of 600000 bytes(.|\n)*goes on from there"):
        room.fetch(attempts=1)
    assert room.left() == {f"{NAME}.part", f"{NAME}.part.json"}
    assert room.fetch().read_bytes() == DATA
    assert room.ranges() == [None, "bytes=200000-"]
    assert room.left() == {NAME, f"{NAME}.json"}


def test_progress_resets_the_count_of_failures(room: Room) -> None:
    room.server.script.extend(serve(until=100_000 * part) for part in range(1, 6))
    assert room.fetch(attempts=2).read_bytes() == DATA
    assert len(room.server.asked) == 6


def test_time_of_change_serves_where_there_is_no_tag(room: Room) -> None:
    changed = "Tue, 24 Nov 2026 12:00:00 GMT"

    def first(handler: Handler) -> None:
        handler.begin(200, Content_Length=len(DATA), ETag='W/"weak"', Last_Modified=changed)
        handler.wfile.write(DATA[:100_000])

    room.server.script.extend([first, serve(tag=changed)])
    assert room.fetch().read_bytes() == DATA
    assert room.server.asked[1]["If-Range"] == changed


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(serve(OTHER, ranges=False, tag=None), id="server without ranges"),
        pytest.param(serve(OTHER, tag='"two"'), id="file changed"),
        pytest.param(serve(OTHER[:150_000], tag='"two"'), id="file changed and is shorter now"),
        pytest.param(serve(OTHER, tag='"two"', if_range=False), id="file changed, server does not know If-Range"),
        pytest.param(status(416), id="nothing to continue"),
    ],
)
def test_parts_of_two_versions_are_never_joined(room: Room, second: Answer) -> None:
    room.server.script.extend([serve(until=200_000), second, serve(OTHER, tag='"two"')])
    assert room.fetch().read_bytes() in {OTHER, OTHER[:150_000]}


def test_without_marks_the_download_starts_anew(room: Room) -> None:
    room.server.script.extend([serve(until=200_000, tag=None)])
    assert room.fetch().read_bytes() == DATA
    assert room.ranges() == [None, None]


def test_whole_part_of_a_killed_download_is_not_fetched_again(room: Room) -> None:
    room.folder.mkdir()
    part = room.folder / f"{NAME}.part"
    download.download(room.server.url, part, https_only=False)
    assert room.fetch().read_bytes() == DATA
    assert len(room.server.asked) == 1


def test_part_of_another_address_is_not_continued(room: Room) -> None:
    room.folder.mkdir()
    room.server.script.append(serve(OTHER, until=200_000))
    with pytest.raises(DownloadError):
        download.download(f"{room.server.url}?old", room.folder / f"{NAME}.part", attempts=1, https_only=False)
    assert room.fetch().read_bytes() == DATA
    assert room.ranges() == [None, None]


def test_length_may_be_unknown(room: Room) -> None:
    def answer(handler: Handler) -> None:
        handler.begin(200)
        handler.wfile.write(DATA)

    told: list[int | None] = []
    room.server.script.append(answer)
    assert room.fetch(progress=lambda _done, total: told.append(total)).read_bytes() == DATA
    assert set(told) == {None}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(status(500), id="500"),
        pytest.param(status(503, Retry_After=0), id="503 with the time to come again"),
        pytest.param(status(429, Retry_After="Tue, 24 Nov 2026 12:00:00 GMT"), id="429"),
        pytest.param(hang_up, id="no answer"),
    ],
)
def test_passing_faults_are_tried_again(room: Room, fault: Answer) -> None:
    room.server.script.extend([fault, fault])
    assert room.fetch().read_bytes() == DATA
    assert len(room.server.asked) == 3


def test_standstills_are_left_and_tried_again(room: Room) -> None:
    room.server.script.extend([stand_still(), stand_still(after=200_000)])
    # On a busy machine good answers may be late, too: they are tried again like the others.
    assert room.fetch(timeout=0.2, attempts=1000).read_bytes() == DATA
    assert all(room.server.left.acquire(timeout=_LONGEST_WAIT) for _ in range(2))
    assert "bytes=200000-" in room.ranges()


def test_lasting_fault_ends_after_the_attempts(room: Room) -> None:
    room.server.script.extend([status(500)] * 9)
    with pytest.raises(DownloadError, match=r"failed 3 times in a row(.|\n)*500 Internal Server Error"):
        room.fetch(attempts=3)
    assert len(room.server.asked) == 3


def test_waits_double(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    room.server.script.extend([status(500)] * 3 + [status(503, Retry_After=7000)])
    room.fetch(pause=1.0, attempts=5)
    assert waits == [1.0, 2.0, 4.0, 60.0]


@pytest.mark.parametrize("code", [403, 404, 410])
def test_refusals_are_not_tried_again(room: Room, code: int) -> None:
    room.server.script.append(status(code))
    with pytest.raises(DownloadError, match=f"does not give the file(.|\n)*{re.escape(room.server.url)}(.|\n)*{code}"):
        room.fetch()
    assert len(room.server.asked) == 1
    assert room.left() == set()


def test_announced_bytes_that_never_come(room: Room) -> None:
    room.server.script.extend([serve(DATA[:1000] + b"", until=500)] * 5)
    with pytest.raises(DownloadError, match="ended after 500 of 1000 bytes"):
        room.fetch(attempts=2)


def test_more_bytes_than_announced_are_not_taken(room: Room) -> None:
    def answer(handler: Handler) -> None:
        handler.begin(200, Content_Length=1000)
        handler.wfile.write(DATA)

    room.server.script.append(answer)
    with pytest.raises(WeightsError, match=f"not the published one(.|\n)*{DIGEST}"):
        room.fetch(replace(room.entry, sha256=DIGEST))
    assert room.left() == set()


def test_size_of_the_table_is_compared_before_anything_is_received(room: Room) -> None:
    with pytest.raises(DownloadError, match=r"another size(.|\n)*600000 bytes(.|\n)*7 bytes"):
        room.fetch(replace(room.entry, size=7))
    assert room.left() == set()
    assert room.fetch(replace(room.entry, size=len(DATA))).read_bytes() == DATA


def test_wrong_bytes_are_refused_and_removed(room: Room) -> None:
    room.server.script.append(serve(OTHER))
    right = replace(room.entry, sha256=DIGEST)
    with pytest.raises(WeightsError) as caught:
        room.fetch(right)
    assert caught.value.got == f"SHA-256 {hashlib.sha256(OTHER).hexdigest()}"
    assert caught.value.allowed == f"SHA-256 {DIGEST}"
    assert "was removed" in str(caught.value.remedy)
    assert room.left() == set()
    assert room.fetch(right).read_bytes() == DATA


@pytest.mark.parametrize(("digits", "right"), [(DIGEST[:8], True), ("00000000", False)])
def test_digits_in_the_names_of_mmaction2(room: Room, digits: str, right: bool) -> None:
    url = room.server.url.replace(NAME, f"net_20260101-{digits}.pth")
    entry = replace(published_weights()["tsm-r50-8f-k400-mmaction2"], url=url)
    if right:
        assert room.fetch(entry).name == f"net_20260101-{digits}.pth"
    else:
        with pytest.raises(WeightsError, match=r"SHA-256 00000000\.\.\."):
            room.fetch(entry)


def test_web_page_in_place_of_the_file(room: Room) -> None:
    page = b"<!DOCTYPE html><html>Please sign in</html>"
    room.server.script.extend([serve(page, kind="text/html; charset=utf-8"), serve(b"\n " + page), serve(b"")])
    with pytest.raises(DownloadError, match="web page in place of the file"):
        room.fetch()
    with pytest.raises(WeightsError, match=r"web page and no file of weights(.|\n)*<!DOCTYPE"):
        room.fetch()
    with pytest.raises(WeightsError, match="The file is empty"):
        room.fetch()
    assert room.left() == set()


def test_redirections_are_followed(room: Room) -> None:
    room.server.script.extend([status(302, Location="/elsewhere/1"), status(301, Location=room.server.url)])
    assert room.fetch().read_bytes() == DATA
    assert len(room.server.asked) == 3


def test_endless_redirections_end(room: Room) -> None:
    room.server.script.extend([status(302, Location=room.server.url)] * 30)
    with pytest.raises(DownloadError, match="302"):
        room.fetch()


def test_only_encrypted_addresses(room: Room) -> None:
    with pytest.raises(DownloadError, match="https only"):
        room.fetch(https_only=True)
    assert room.server.asked == []
    redirects = download._Redirects(https_only=True)
    asked = Request("https://example.org/a")
    with pytest.raises(DownloadError, match=r"without encryption(.|\n)*http://example\.org/b"):
        redirects.redirect_request(asked, BytesIO(), 302, "Found", Message(), "http://example.org/b")  # type: ignore[arg-type]
    followed = redirects.redirect_request(asked, BytesIO(), 302, "Found", Message(), "https://example.org/b")  # type: ignore[arg-type]
    assert followed is not None
    assert followed.full_url == "https://example.org/b"


def test_without_network_the_error_says_what_to_do(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_names(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    with pytest.raises(DownloadError) as caught:
        cache.fetch("pptsm-r50-k400")
    text = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert published_weights()["pptsm-r50-k400"].url in text
    assert "Temporary failure in name resolution" in text
    assert f"put it at {room.folder / 'ppTSM_k400_uniform.pdparams'}" in text
    assert "clipshift convert FILE --to FOLDER" in text


def test_refused_connections_are_tried_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # bound, but nobody listens
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/{NAME}"
        with pytest.raises(DownloadError, match="Connection refused"):
            room.fetch(replace(room.entry, url=url), attempts=3)
    assert len(waits) == 2


def test_full_disk_is_noticed_before_the_download(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(room.folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(DownloadError, match=r"not enough room(.|\n)*0 MB free(.|\n)*at least 1 MB"):
        room.fetch()


def test_file_put_there_by_hand_is_taken(room: Room) -> None:
    room.folder.mkdir()
    room.file.write_bytes(DATA)
    assert room.fetch() == room.file
    assert room.server.asked == []
    room.file.write_bytes(OTHER)
    with pytest.raises(WeightsError, match=rf"damaged or replaced(.|\n)*delete .*{NAME}\.json"):
        room.fetch()
    assert room.file.exists()


def test_wrong_file_put_there_by_hand_is_refused_and_left(room: Room) -> None:
    room.folder.mkdir()
    room.file.write_bytes(OTHER)
    with pytest.raises(
        WeightsError, match=f"not the published one(.|\n)*put the file from {re.escape(room.server.url)}"
    ):
        room.fetch(replace(room.entry, sha256=DIGEST))
    with pytest.raises(WeightsError, match="not as long as"):
        room.fetch(replace(room.entry, size=7))
    assert room.left() == {NAME}


def test_damaged_file_is_removed_and_fetched_anew(room: Room) -> None:
    room.fetch()
    room.file.write_bytes(DATA[:-1] + b"!")
    with pytest.raises(WeightsError, match="the same command fetches it again"):
        room.fetch()
    assert room.fetch().read_bytes() == DATA


def test_other_file_at_the_same_address_is_not_trusted(room: Room) -> None:
    room.fetch().unlink()
    room.server.script.append(serve(OTHER))
    with pytest.raises(WeightsError, match=rf"not the one that was fetched from there before(.|\n)*{NAME}\.json"):
        room.fetch()
    assert room.left() == {f"{NAME}.json"}


def test_many_ask_for_the_same_file_at_once(room: Room) -> None:
    together = threading.Barrier(4)

    def ask() -> Path:
        together.wait(timeout=_LONGEST_WAIT)
        return room.fetch()

    with ThreadPoolExecutor(4) as pool:
        paths = [task.result() for task in [pool.submit(ask) for _ in range(4)]]
    assert set(paths) == {room.file}
    assert room.file.read_bytes() == DATA
    assert len(room.server.asked) == 1


def test_unusable_cache(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLIPSHIFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be used(.|\n)*CLIPSHIFT_CACHE=FOLDER"):
        room.fetch()


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, ".cache/clipshift"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/clipshift"),
        ("linux", {"CLIPSHIFT_CACHE": "~/mine"}, "mine"),
        ("darwin", {}, "Library/Caches/clipshift"),
        ("win32", {}, "AppData/Local/clipshift/cache"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/clipshift/cache"),
    ],
)
def test_cache_folder(
    platform: str, variables: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLIPSHIFT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache.cache_folder() == tmp_path / folder


def test_names_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIPSHIFT_CACHE", str(tmp_path))
    assert cache.cached_file("pptsm-r50-k400") == tmp_path / "weights" / "ppTSM_k400_uniform.pdparams"
    assert cache.cached_model_folder("pptsm-r50-k400") == tmp_path / "models" / "pptsm-r50-k400"
    for ask in (cache.cached_file, cache.cached_model_folder, cache.fetch):
        with pytest.raises(ConfigError, match="nearest names: pptsm-r50-k400"):
            ask("pptsm-r50-k40")


def test_command_line(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    models()
    listed = capsys.readouterr().out
    assert re.search(r"^tsm-mobilenetv2 ", listed, re.MULTILINE)
    assert re.search(r"^pptsm-r50-k400 +PP-TSM on ResNet-50-D, 8 frames, Kinetics-400, 74.54 %$", listed, re.MULTILINE)
    models("tsm-r50-8f-k400-mmaction2")
    described = capsys.readouterr().out
    entry = published_weights()["tsm-r50-8f-k400-mmaction2"]
    for part in (
        entry.url,
        "Apache-2.0",
        "73.18 %, top 5 90.56 % (1 clip of 8 frames, 10 crops of 224 px)",
        "64d69186",
    ):
        assert part in described
    assert f"{room.folder / entry.file_name} (not fetched yet)" in described
    room.folder.mkdir()
    (room.folder / "ppTSM_k400_uniform.pdparams").write_bytes(DATA)
    models("pptsm-r50-k400", fetch=True)
    assert capsys.readouterr().out.strip() == str(room.folder / "ppTSM_k400_uniform.pdparams")


@pytest.mark.parametrize(
    ("typo", "allowed"),
    [("tsm-r50-8f-k400-mitt", "nearest names of published weights: tsm-r50-8f-k400-mit,"), ("resnet5O", "resnet50")],
)
def test_typos_on_the_command_line(typo: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        models(typo)
    assert allowed in str(caught.value.allowed)
