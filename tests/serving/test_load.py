"""Limits hold before work is done; decoders that die, clients that leave and full queues cost nobody else anything."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import httpx2
import pytest

from clipshift.errors import UserError
from clipshift.serving import server as module
from clipshift.serving.decoded import Wish
from clipshift.serving.decoder_process import BEGUN, run_decoder
from clipshift.serving.decoders import Decoder, DecoderEvents, Decoders
from clipshift.serving.limits import ClientLeft, HeldBytes, Refusal, ServerLimits
from clipshift.serving.models import EngineSettings
from clipshift.serving.uploads import Upload, receive_body
from tests.serving.running import PATIENCE, Running, running, wait_until
from tests.video.making import make_video, pictures

LIMITS = ServerLimits(max_megabytes=1, queue=2, held_megabytes=3)


@pytest.fixture(scope="module")
def server(gate: Path) -> Any:  # noqa: ANN401
    """A server with one decoder and one thread, where two requests work and two may wait."""
    with running(gate, limits=LIMITS) as started:
        yield started


class Clients:
    """Requests at the same time, each in a thread."""

    def __init__(self, server: Running, clip: Path) -> None:
        self._server = server
        self._clip = clip
        self._pool = ThreadPoolExecutor(8)

    def send(self, count: int) -> list[Future[httpx2.Response]]:
        return [self._pool.submit(self._server.predict, self._clip) for _ in range(count)]


def test_beyond_the_queue_requests_are_told_to_come_again(server: Running, clip: Path) -> None:
    clients = Clients(server, clip)
    with server.decoders_stopped():
        accepted = clients.send(4)
        wait_until(lambda: server.service.admission.inside == 4)
        refused = server.predict(clip)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert [each.result(PATIENCE).status_code for each in accepted] == [200] * 4
    assert server.service.admission.inside == 0
    assert server.service.held.held == 0


def test_a_client_that_leaves_frees_its_place(server: Running, clip: Path) -> None:
    head = f"POST /v1/models/gate/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {clip.stat().st_size}\r\n\r\n"
    with server.decoders_stopped():
        connections = [socket.create_connection(server.address) for _ in range(4)]
        for connection in connections:
            connection.sendall(head.encode() + clip.read_bytes())
        wait_until(lambda: server.service.admission.inside == 4)
        for connection in connections:
            connection.close()
        wait_until(lambda: server.service.admission.inside == 0)
        wait_until(lambda: sum(each.status == 499 for each in server.log) >= 4)
        # The process that still had a clip is ended: another one takes its place.
        assert server.predict(clip).status_code == 200


def test_a_decoder_that_is_killed_before_it_looks_at_a_clip_costs_no_request(server: Running, clip: Path) -> None:
    clients = Clients(server, clip)
    wait_until(lambda: len(server.service.decoders.pids) == 1)
    with server.decoders_stopped() as (pid,):
        answers = clients.send(2)
        wait_until(lambda: server.service.admission.inside == 2)
        os.kill(pid, signal.SIGKILL)
        assert [each.result(PATIENCE).status_code for each in answers] == [200, 200]
    wait_until(lambda: len(server.service.decoders.pids) == 1)
    assert server.service.decoders.pids != [pid]


def test_a_decoder_that_dies_of_a_clip_costs_one_request() -> None:
    died: list[str] = []
    ways = {
        "crash": "it crashed (SIGSEGV)",
        "kill": "it was killed (SIGKILL)",
        "time": "it took more than 10 seconds of processor time",
        "nonsense": "its answer was not one",
        "lie": "its answer was not one",
        "pickle": "its answer was not one",
    }

    async def all_ways() -> None:
        decoders = Decoders(1, ServerLimits(), DecoderEvents(died=died.append), work=die_as_told)
        await decoders.start()
        for way, reason in ways.items():
            with closing(Upload(HeldBytes(100), "a.mp4")) as upload:
                upload.write(way.encode())
                with pytest.raises(Refusal) as refused:
                    await decoders.decode(upload, Wish("middle", 8, 1, False, 100, 100, 1.0, 1000))
            assert (refused.value.status, refused.value.path) == (422, "a.mp4")
            assert refused.value.reason == f"The process that read the clip died: {reason}."
        await decoders.close()

    asyncio.run(all_ways())
    assert died == ["crash", "killed", "time", "nonsense", "nonsense", "nonsense"]


def die_as_told(connection: Connection, links: str, memory_bytes: int, processor_seconds: int) -> None:
    """A decoder that each clip is the end of, in the way that it says; in a process of its own."""
    connection.send_bytes(b'["nothing"]')
    connection.recv_bytes()
    clip = recv_handle(connection)
    connection.send_bytes(BEGUN)
    way = os.pread(clip, 100, 0).decode()
    info = '"width": 2, "height": 2, "fps": 1, "seconds": 1, "rotation": 0, "codec": "x"'
    answers = {
        "nonsense": b"[1, 2]",
        "lie": b'{"kind": "frames", "info": {"frames": 9, %s}, "shape": [9, 2, 2, 3]}' % info.encode(),
        "pickle": pickle.dumps({"kind": "frames"}),
    }
    signals = {"crash": "SIGSEGV", "kill": "SIGKILL", "time": "SIGXCPU"}
    if way in answers:
        connection.send_bytes(answers[way])
        signal.pause()
    os.kill(os.getpid(), signal.Signals[signals[way]])


def test_a_decoder_that_dies_while_it_has_nothing_to_do_costs_no_request(server: Running, clip: Path) -> None:
    for pid in server.service.decoders.pids:
        os.kill(pid, signal.SIGKILL)
    answer = server.predict(clip)
    assert answer.status_code == 200, answer.text


def end_at_once(connection: Connection, links: str, memory_bytes: int, processor_seconds: int) -> None:
    """A decoder that cannot be started; in a process of its own."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_decoders_that_end_or_cannot_be_started_leave_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be started") as error:
        Decoder(tmp_path, ServerLimits(), end_at_once)
    not_started = error.traceback[-1].frame.f_locals["self"]
    decoder = Decoder(tmp_path, ServerLimits(), run_decoder)
    decoder.kill()
    decoder.close()
    for each in (not_started, decoder):
        assert each._connection.closed
        assert each._process._last_words is None
    assert not any(tmp_path.iterdir())


def test_bodies_that_are_too_long_are_refused_before_they_are_read(server: Running) -> None:
    with socket.create_connection(server.address, timeout=PATIENCE) as connection:  # nothing of the body is sent
        connection.sendall(b"POST /v1/models/gate/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1048577\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_bodies_without_a_length_are_counted_while_they_come(server: Running) -> None:
    piece = b"10000\r\n" + b"\0" * 65536 + b"\r\n"
    with socket.create_connection(server.address, timeout=PATIENCE) as connection:
        connection.sendall(b"POST /v1/models/gate/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(17):  # and no end
            connection.sendall(piece)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    wait_until(lambda: server.service.held.held == 0)


def test_uploads_together_are_bounded(server: Running, clip: Path) -> None:
    address, head = "/v1/models/gate/predict", b"HTTP/1.1\r\nhost: x\r\ncontent-length: 1048576\r\n\r\n"
    connections = [socket.create_connection(server.address, timeout=PATIENCE) for _ in range(3)]
    for connection in connections:  # slow clients: the last byte is missing
        connection.sendall(b"POST " + address.encode() + b" " + head + b"\0" * 1048575)
    wait_until(lambda: server.service.held.held == 3 * 1048575)
    refused = server.predict(clip)
    assert refused.status_code == 429
    assert "as many uploads as it may" in refused.json()["error"]
    for connection in connections:
        connection.close()
    wait_until(lambda: server.service.held.held == 0)
    assert server.predict(clip).status_code == 200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_seconds": 0.1}, "The clip lasts longer"),
        ({"max_frames": 7}, "more frames"),
        ({"max_pixels": 47 * 48}, "frames are larger"),
        ({"decode_megabytes": 16}, "need more memory"),
    ],
)
def test_clips_beyond_the_limits_are_refused(
    change: dict[str, Any], reason: str, gate: Path, clip: Path, tmp_path: Path
) -> None:
    with running(gate, limits=replace(LIMITS, **change)) as server:
        if "decode_megabytes" in change:
            clip = make_video(tmp_path / "large.mp4", pictures(8, width=960, height=640))
        answer = server.predict(clip)
    assert (answer.status_code, reason in answer.text) == (422, True), answer.text


def test_requests_and_decoders_have_their_time(gate: Path, clip: Path) -> None:
    class Hasty(ServerLimits):
        @property
        def decode_wall_seconds(self) -> float:
            return 0.2

    with running(gate, limits=Hasty()) as server:
        with server.decoders_stopped():
            answer = server.predict(clip)
            assert (answer.status_code, answer.json()["error"]) == (422, "Decoding took longer than 0.2 seconds.")
            assert answer.json()["path"] == clip.name
        with running(gate, limits=ServerLimits(request_seconds=0.2)) as other, other.decoders_stopped():
            assert other.predict(clip).status_code == 503


def test_a_slow_body_is_given_up() -> None:
    messages = [{"type": "http.request", "body": b"x", "more_body": True}] * 3

    async def receive() -> Any:  # noqa: ANN401
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    taken: list[bytes] = []
    with pytest.raises(Refusal, match="too slowly") as error:
        asyncio.run(receive_body(receive, 100, None, taken.append, grace=0.05))
    assert error.value.status == 408
    assert taken == [b"x"] * 3


def test_a_body_that_is_cut_off_is_no_request() -> None:
    async def receive() -> Any:  # noqa: ANN401
        return {"type": "http.disconnect"}

    with pytest.raises(ClientLeft):
        asyncio.run(receive_body(receive, 100, None, lambda _: None))


def test_bytes_that_are_held_are_counted() -> None:
    held = HeldBytes(10)
    held.take(6)
    with pytest.raises(Refusal, match="holds as many"):
        held.take(5)
    held.give_back(6)
    held.take(10)


def test_clips_share_batches_while_the_engine_is_busy(gate: Path, clip: Path) -> None:
    engine = EngineSettings(threads=1, batch_size=4, batch_seconds=PATIENCE)  # only full batches go
    with running(gate, engine=engine) as server:
        answers = [each.result(PATIENCE) for each in Clients(server, clip).send(4)]
        alone = running(gate)
        with alone as other:
            expected = other.predict(clip).json()
    for answer in answers:
        assert answer.json()["probabilities"] == pytest.approx(expected["probabilities"], abs=2e-6)


def test_a_model_is_replaced_as_a_whole(gate: Path, small_model: Path, clip: Path, tmp_path: Path) -> None:
    place = shutil.copytree(gate, tmp_path / "place")
    with running(place) as server:
        before = server.client.get("/v1/models/gate").json()
        shutil.rmtree(place)
        place.mkdir()
        (place / "model.json").write_text("half a mod", encoding="utf-8")
        server.call(server.service.reload_later)
        wait_until(lambda: server.service.reloads == 1)
        assert server.client.get("/v1/models/gate").json() == before
        assert server.predict(clip).status_code == 200
        shutil.rmtree(place)
        shutil.copytree(small_model, place)
        server.call(server.service.reload_later)
        wait_until(lambda: server.service.reloads == 2)
        after = server.client.get("/v1/models/gate").json()
        assert after["sha256"] != before["sha256"]
        assert "PyTorch" in after["engine"]
        assert server.predict(clip).status_code == 200


def test_clients_that_are_slow_or_never_read_are_cut_off_and_nobody_else_waits(
    gate: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HEAD_SECONDS", 0.5)
    monkeypatch.setattr(module, "_UNREAD_MILLISECONDS", 500)
    with running(gate) as server:
        connections = server.server.server_state.connections
        slow = socket.create_connection(server.address, timeout=PATIENCE)
        slow.sendall(b"POST /v1/models/gate/predict HTTP/1.1\r\nhost: x\r\nx-slow:")  # and no end of the head
        unread = socket.socket()
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.connect(server.address)
        unread.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)  # more than all buffers hold
        wait_until(lambda: any(each.path == "/openapi.json" for each in server.log))
        assert server.predict(clip).status_code == 200
        assert slow.recv(100) == b""
        wait_until(lambda: len(connections) == 1)  # of the client that reads
        assert server.predict(clip).status_code == 200
        for connection in (slow, unread):
            connection.close()


CROWDED = """
import json, os, sys
from pathlib import Path
from tempfile import mkdtemp
from clipshift.serving.decoded import Wish
from clipshift.serving.decoders import Decoder
from clipshift.serving.decoder_process import run_decoder
from clipshift.serving.limits import ServerLimits

if __name__ == "__main__":
    clip = os.memfd_create("clip")
    os.write(clip, Path(sys.argv[1]).read_bytes())
    wish, shapes = Wish("middle", 8, 1, False, 10**6, 1000, 100.0, 10**8), []
    for most in range(4, 44, 2):
        while os.open(os.devnull, os.O_RDONLY) < most:
            pass
        if most < 30 and most % 8:
            continue
        decoder = Decoder(Path(mkdtemp(dir=sys.argv[2])), ServerLimits(), run_decoder)
        shapes += [decoder.ask(clip, "a.mp4", wish).frames_THWC.shape for _ in range(2)]
        decoder.close()
    print(json.dumps(shapes))
"""


def test_a_server_with_many_open_files_has_decoders_all_the_same(clip: Path, tmp_path: Path) -> None:
    """What a process hands to a decoder has any number; the clip's must be none of these."""
    command = [sys.executable, "-c", CROWDED, str(clip), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shapes = json.loads(done.stdout)
    assert shapes == [[8, 48, 48, 3]] * len(shapes)
    assert len(shapes) > 10
