"""`clipshift serve` as a process: without PyTorch, with signals, and with mistakes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from clipshift.errors import ConfigError
from clipshift.serving.models import parse_names
from clipshift.serving.server import listen
from tests.serving.running import PATIENCE, wait_until

PROGRAM = """
import sys

BARRED = {"torch", "torchvision", "timm", "safetensors", "torchmetrics", "onnx", "onnxscript", "jinja2", "matplotlib"}

class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARRED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Barrier())
from clipshift.cli import main
main()
"""


@pytest.fixture
def process(gate: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, "serve", f"door={gate}", "--port", "0", "--decoders", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        yield started
        started.kill()


def address_of(process: subprocess.Popen[str]) -> httpx2.URL:
    assert process.stdout is not None
    found = re.search(r"Serving door at (http://127\.0\.0\.1:\d+) with 1 decoder", process.stdout.readline())
    assert found is not None
    return httpx2.URL(found[1])


def refuses(address: httpx2.URL) -> bool:
    try:
        socket.create_connection((address.host, address.port or 0), timeout=PATIENCE).close()
    except OSError:
        return True
    return False


def test_sigterm_finishes_what_was_accepted_and_refuses_the_rest(process: subprocess.Popen[str], clip: Path) -> None:
    address, data = address_of(process), clip.read_bytes()
    head = "POST /v1/models/door/predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
    with socket.create_connection((address.host, address.port or 0), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it is accepted
        connection.sendall(data[:1000])
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(address))
        connection.sendall(data[1000:])
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"label"' in answer
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert '"status": 200' in errors
    assert "Traceback" not in errors


def test_sighup_loads_all_models_anew(process: subprocess.Popen[str], clip: Path) -> None:
    address = address_of(process)
    asked = {"files": {"video": (clip.name, clip.read_bytes())}, "timeout": PATIENCE, "trust_env": False}
    why = httpx2.post(f"{address}/v1/models/door/explain?pictures=1", **asked)  # type: ignore[arg-type]
    assert (why.status_code, why.json()["heat"]["method"]) == (200, "occlusion")
    assert why.json()["pictures"][0]["heat_png"]
    before = httpx2.get(f"{address}/v1/models", trust_env=False).json()
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    wait_until(lambda: "loaded anew" in process.stderr.readline())  # type: ignore[union-attr]
    assert httpx2.get(f"{address}/v1/models", trust_env=False).json() == before
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_names_of_models(gate: Path, small_model: Path, tmp_path: Path) -> None:
    odd = tmp_path / "my model"
    odd.mkdir()
    assert parse_names([gate, f"b={small_model}"]) == {gate.name: str(gate), "b": str(small_model)}
    assert parse_names([gate / "model.onnx"]) == {gate.name: str(gate / "model.onnx")}
    assert parse_names([f"ok={odd}"]) == {"ok": str(odd)}
    for names, what in (([], "Nothing was named"), ([odd], "not fit"), ([gate, gate], "same name")):
        with pytest.raises(ConfigError, match=what):
            parse_names(names)


def test_an_address_that_is_taken_is_told() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="cannot listen there"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="no such port"):
        listen("127.0.0.1", 65536)
