"""Time lines over the server are those of the command line; who leaves, or takes too long, leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import clipshift
from clipshift.datasets.motion_streams import write_motion_streams
from clipshift.errors import ServerError, VideoError
from clipshift.serving.decoders import LongDecoder
from clipshift.serving.limits import ServerLimits
from tests.exporting.making import CAUSAL, save_model
from tests.serving.running import PATIENCE, Running, running, wait_until

RATE = 6
ADDRESS = "/v1/models/gate/timeline"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_motion_streams(tmp_path_factory.mktemp("served") / "streams", streams=1, seconds=10, size=32)
    return folder / "0000.mp4"


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("causal") / "model", model=CAUSAL)


@pytest.fixture(scope="module")
def server(causal: Path, gate: Path) -> Iterator[Running]:
    """A server of a causal network and of an export that takes clips, which makes one time line at a time."""
    with running(causal, gate, limits=ServerLimits(timelines=1)) as started:
        yield started


@contextmanager
def network_busy(server: Running) -> Iterator[None]:
    """While inside, the causal network has no place for a frame."""
    places = server.service.models["gate"].batcher._places
    asyncio.run_coroutine_threadsafe(places.acquire(), server.service.loop).result(PATIENCE)
    try:
        yield
    finally:
        server.call(places.release)


def long_decoders() -> list[int]:
    """Numbers of the processes that decode for a time line."""
    return [child.pid or 0 for child in multiprocessing.active_children() if child.name == LongDecoder.process_name]


def of_command_line(model: Path, video: Path, out: Path, *, window: bool) -> dict[str, Any]:
    """`segments.json`, without what depends on the place and the time."""
    clipshift.timeline(model, video, out=out, rate=RATE, window=window, device="cpu")
    return without_place(json.loads((out / "segments.json").read_text()))


def without_place(result: dict[str, Any]) -> dict[str, Any]:
    (line,) = result.pop("database").values()
    cause = result.pop("cause")
    for name in ("took", "engine"):
        del result[name]
    return {**result, **line, **{name: cause[name] for name in ("rate", "window", "rules", "classes")}}


@pytest.mark.parametrize(("name", "window"), [("gate", False), ("gate", True), ("gate1", True)])
def test_time_lines_are_those_of_the_command_line(
    name: str, window: bool, server: Running, causal: Path, gate: Path, video: Path, tmp_path: Path
) -> None:
    expected = of_command_line(gate if name == "gate1" else causal, video, tmp_path / "line", window=window)
    with clipshift.Client(server.server.address) as client:
        messages = list(client.timeline(video, name, rate=RATE, window=window))
    assert messages[0].value == {"seconds": 0.0, "of": pytest.approx(10.0)}
    assert [message.kind for message in messages].count("result") == 1
    result = messages[-1].value
    assert list(result["database"]) == [video.name]
    assert (result["cause"]["video"], result["cause"]["model"]["name"]) == (
        {"path": video.name, "bytes": video.stat().st_size},
        name,
    )
    assert without_place(result) == expected
    ends = {one.value["id"]: one.value for one in messages if one.kind == "event" and one.value["kind"] == "end"}
    assert {mark["id"]: mark["segment"] for mark in expected["annotations"]} == {
        number: [end["start"], end["end"]] for number, end in ends.items()
    }
    if name == "gate":
        assert ends


def test_asyncio_has_the_same(server: Running, video: Path) -> None:
    async def kinds() -> list[str]:
        async with clipshift.AsyncClient(server.server.address) as client:
            return [message.kind async for message in client.timeline(video.read_bytes(), "gate", rate=RATE)]

    told = asyncio.run(kinds())
    assert told[0] == "progress"
    assert told[-1] == "result"
    assert "event" in told


@pytest.mark.parametrize(
    ("name", "query", "status", "reason"),
    [
        ("gate", {}, 400, "The option 'rate' tells it."),
        ("gate", {"rate": "1000"}, 400, "'rate' is a number"),
        ("gate", {"rate": "0"}, 400, "'rate' is a number"),
        ("gate", {"rate": 6, "window": "yes"}, 400, "'window' is 0 or 1"),
        ("gate", {"rate": 6, "top": 1}, 400, "no option 'top'"),
        ("gate1", {"rate": 6}, 400, "'window=1' lets it"),
        ("gate", {"rate": 6}, 422, "not a video"),
        ("gate1", {"rate": 0.2, "window": 1, "name": "short"}, 422, "too short for one answer"),
    ],
)
def test_what_cannot_be_done_is_refused_before_there_is_an_answer(
    name: str, query: dict[str, Any], status: int, reason: str, server: Running, video: Path
) -> None:
    content = video.read_bytes() if "name" in query else b"no video at all"
    answer = server.client.post(f"/v1/models/{name}/timeline", params=query, content=content)
    if "name" in query:  # its length is known at its end only
        assert f'event: error\ndata: {{"path": "short", "error": "The video is {reason}' in answer.text
        with clipshift.Client(server.server.address) as client, pytest.raises(VideoError, match=reason):
            list(client.timeline(content, name, rate=0.2, window=True))
    else:
        assert answer.status_code == status
        assert reason in answer.json()["error"]
    wait_until(lambda: server.service.timelines.taken == 0)
    assert server.service.held.held == 0


def test_a_client_that_leaves_frees_its_place(server: Running, video: Path) -> None:
    with network_busy(server):
        with server.client.stream("POST", ADDRESS, params={"rate": RATE}, content=video.read_bytes()) as answer:
            assert answer.status_code == 200
            refused = server.client.post(ADDRESS, params={"rate": RATE}, content=video.read_bytes())
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
            assert "no more time lines" in refused.json()["error"]
        wait_until(lambda: server.service.timelines.taken == 0)
        wait_until(lambda: server.service.held.held == 0)
    wait_until(lambda: not long_decoders())
    with clipshift.Client(server.server.address) as client:
        assert list(client.timeline(video, "gate", rate=RATE))[-1].kind == "result"


def test_a_decoder_that_dies_ends_its_time_line_only(server: Running, video: Path) -> None:
    with clipshift.Client(server.server.address) as client:
        with network_busy(server):
            messages = client.timeline(video, "gate", rate=RATE)
            assert next(messages).kind == "progress"
            (pid,) = long_decoders()
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(VideoError, match="was killed"):
            list(messages)
        assert client.predict(video, "gate").classes


def test_time_lines_have_their_time(causal: Path, video: Path) -> None:
    with running(causal, limits=ServerLimits(timeline_seconds=0.2)) as server, network_busy(server):
        with (
            clipshift.Client(server.server.address) as client,
            pytest.raises(ServerError, match=r"within 0\.2 seconds"),
        ):
            list(client.timeline(video, rate=RATE))
        wait_until(lambda: server.service.timelines.taken == 0)
