"""The client gives what the model would, comes again when it is told to, and says what went wrong."""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

import clipshift
from clipshift.errors import ConfigError, ServerError, VideoError
from clipshift.serving import client as module
from clipshift.serving.access import Tokens
from tests.serving.running import Running, running


def test_answers_are_those_of_the_model(shared_server: Running, gate: Path, clip: Path) -> None:
    expected = clipshift.load(gate, device="cpu").predict(clip).to_json()
    with clipshift.Client(shared_server.server.address) as client:
        assert client.predict(clip, "gate").to_json() == expected
        assert client.predict(clip.read_bytes(), "gate").to_json() == {**expected, "path": "clip"}
        assert [model["name"] for model in client.models()] == ["gate", "gate1"]
        with pytest.raises(ConfigError, match="several models"):
            client.predict(clip)


def test_asyncio_has_the_same(shared_server: Running, gate: Path, small_clips: Path) -> None:
    clips = sorted(small_clips.rglob("*.mp4"))
    model = clipshift.load(gate, device="cpu")

    async def all_at_once() -> list[clipshift.Prediction]:
        async with clipshift.AsyncClient(shared_server.server.address) as client:
            assert len(await client.models()) == 2
            return await asyncio.gather(*(client.predict(clip, "gate") for clip in clips))

    answers = asyncio.run(all_at_once())
    assert [each.to_json() for each in answers] == [model.predict(clip).to_json() for clip in clips]


def test_what_cannot_be_read_is_a_video_error(shared_server: Running, tmp_path: Path) -> None:
    with clipshift.Client(shared_server.server.address) as client:
        with pytest.raises(VideoError, match="not a video that can be read"):
            client.predict(b"no video", "gate")
        with pytest.raises(VideoError, match="cannot be read"):
            client.predict(tmp_path / "missing.mp4", "gate")
        with pytest.raises(ServerError, match="404: There is no"):
            client.predict(b"no video", "../other")


def test_tokens(gate: Path, clip: Path) -> None:
    with running(gate, tokens=Tokens(["0123456789abcdef"])) as server:
        with clipshift.Client(server.server.address, token="0123456789abcdef") as client:  # noqa: S106
            assert client.predict(clip).classes
        with clipshift.Client(server.server.address) as client, pytest.raises(ServerError, match="401: A token is"):
            client.predict(clip)


@contextmanager
def reluctant(*refusals: tuple[int, str | None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that refuses before it answers; gives its address, and the bodies that it got."""
    waiting, bodies = list(refusals), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            status, after = waiting.pop(0) if waiting else (200, None)
            body = b'{"path": "x", "label": "a", "probabilities": {"a": 0.75, "b": 0.25}, "error": "busy"}'
            self.send_response(status)
            if after is not None:
                self.send_header("retry-after", after)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_it_comes_again_after_the_time_that_it_is_told(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(module, "_sleep", waits.append)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    soon = email.utils.formatdate(time.time() + 40, usegmt=True)
    refusals = ((429, "7"), (503, "9999"), (429, soon), (502, None), (429, "nonsense"))
    with reluctant(*refusals) as (address, bodies), clipshift.Client(address) as client:
        assert client.predict(clip, "x").to_json()["probabilities"] == {"a": 0.75, "b": 0.25}
        assert bodies == [clip.read_bytes()] * 6
    first = list(waits)
    assert first[:2] == [7, 60]
    assert 0 < first[2] <= 40
    assert first[3:] == [4.0, 8.0]

    async def predict(address: str) -> None:
        async with clipshift.AsyncClient(address) as client:
            await client.predict(clip, "x")

    waits.clear()
    monkeypatch.setattr(module, "_sleep_async", sleep)
    with reluctant((429, "7"), (503, "0")) as (address, bodies):
        asyncio.run(predict(address))
        assert bodies == [clip.read_bytes()] * 3
    assert waits == [7, 0]


def test_at_last_it_gives_up(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_sleep", lambda _: None)
    with reluctant(*[(429, "1")] * 9) as (address, bodies), clipshift.Client(address, retries=2) as client:
        with pytest.raises(ServerError, match="429: busy"):
            client.predict(clip, "x")
        assert len(bodies) == 3
    with clipshift.Client(address, retries=1) as client, pytest.raises(ServerError, match="cannot be reached"):
        client.predict(clip, "x")


def test_the_programs_of_the_page_run(
    shared_server: Running,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = [each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Client(" in each]
    program = "\n".join(each for each in blocks if "tritonclient" not in each)
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "match.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    # Of a clip this short two frames a second are too few.
    names = {"http://127.0.0.1:8000": shared_server.server.address, '"gym"': '"gate"', "rate=2,": "rate=20,"}
    for name, own in names.items():
        assert name in program
        program = program.replace(name, own)
    exec(compile(program, "serving.md", "exec"), {})  # noqa: S102
    label = shared_server.predict(clip).json()["label"]
    assert capsys.readouterr().out.splitlines()[:2] == [label, f"clip.mp4 {label}"]


def test_addresses_that_are_none() -> None:
    for address in ("127.0.0.1:8000", "ftp://x", "http://", ""):
        with pytest.raises(ConfigError, match="no address"):
            clipshift.Client(address)
    with pytest.raises(ConfigError, match="certificate"):
        clipshift.Client(certificate="/nowhere.pem")
