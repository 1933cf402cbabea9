"""The Open Inference Protocol: tensors in JSON and in bytes, and every mistake in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

import clipshift
from tests.exporting.making import noise
from tests.serving.running import Running

LENGTH = "inference-header-content-length"


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Two clips of four frames."""
    return np.stack([noise(4, 12, 16, seed=seed) for seed in (1, 2)])


@pytest.fixture(scope="module")
def expected(gate: Path, frames: np.ndarray) -> np.ndarray:
    model = clipshift.load(gate, device="cpu")
    return np.stack([model.probabilities(model.scorer.one_set(each)) for each in frames])


def tensor(frames: np.ndarray, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"name": "frames", "shape": list(frames.shape), "datatype": "UINT8", "data": frames.tolist(), **changes}


def infer(server: Running, body: Any, **headers: str) -> httpx2.Response:  # noqa: ANN401
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.client.post("/v2/models/gate/infer", content=content, headers=headers)


def test_tensors_in_json(shared_server: Running, frames: np.ndarray, expected: np.ndarray) -> None:
    answer = infer(shared_server, {"id": "7", "inputs": [tensor(frames)]}).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("gate", "1", "7")
    probabilities, logits = answer["outputs"]
    assert (probabilities["name"], probabilities["datatype"], probabilities["shape"]) == (
        "probabilities",
        "FP32",
        [2, 4],
    )
    np.testing.assert_array_equal(np.float32(probabilities["data"]).reshape(2, 4), expected)
    assert logits["name"] == "logits"
    flat = infer(shared_server, {"inputs": [tensor(frames, data=frames.ravel().tolist())]}).json()
    assert flat["outputs"] == answer["outputs"]


def test_tensors_in_bytes(shared_server: Running, frames: np.ndarray, expected: np.ndarray) -> None:
    described = tensor(frames, parameters={"binary_data_size": frames.size})
    del described["data"]
    outputs = [{"name": "logits"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [described], "outputs": outputs}).encode()
    answer = infer(shared_server, head + frames.tobytes(), **{LENGTH: str(len(head))})
    end = int(answer.headers[LENGTH])
    logits, probabilities = json.loads(answer.content[:end])["outputs"]
    assert "data" in logits
    assert probabilities["parameters"] == {"binary_data_size": 32}
    np.testing.assert_array_equal(np.frombuffer(answer.content[end:], "<f4").reshape(2, 4), expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"datatype": "FP32"}, "is UINT8"),
        ({"shape": [2, 3, 12, 16, 3]}, "has the shape"),
        ({"shape": [2, 4, 12, -16, 3]}, "has the shape"),
        ({"shape": "2"}, "has the shape"),
        ({"data": [1, 2, 3]}, "are not 4608 whole numbers"),
        ({"data": [[1, 2], [3]]}, "not a tensor"),
        ({"data": [256] * 4608}, "from 0 to 255"),
        ({"data": [0.5] * 4608}, "from 0 to 255"),
        ({"data": None}, "from 0 to 255"),
        ({"parameters": {"binary_data_size": 9}}, "not the 4608"),
        ({"name": "video"}, "takes one input"),
    ],
)
def test_tensors_that_are_none(change: dict[str, Any], reason: str, shared_server: Running, frames: np.ndarray) -> None:
    answer = infer(shared_server, {"inputs": [tensor(frames, **change)]})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b'{"inputs": []}', 400),
        (b'{"inputs": [1]}', 400),
        (b" " * (16 * 1024 * 1024 + 1), 413),
    ],
)
def test_bodies_that_are_none(body: bytes, status: int, shared_server: Running) -> None:
    answer = infer(shared_server, body)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_other_mistakes(shared_server: Running, frames: np.ndarray) -> None:
    good = {"inputs": [tensor(frames)]}
    assert infer(shared_server, {**good, "outputs": [{"name": "labels"}]}).status_code == 400
    assert infer(shared_server, {**good, "id": 7}).status_code == 400
    assert infer(shared_server, good, **{LENGTH: "99999999"}).status_code == 400
    assert infer(shared_server, good, **{"content-encoding": "gzip"}).status_code == 415
    assert shared_server.client.post("/v2/models/gate/versions/2/infer", json=good).status_code == 404
    huge = tensor(frames, shape=[1, 4, 100_000, 100_000, 3], parameters={"binary_data_size": 1})
    assert infer(shared_server, {"inputs": [huge]}).status_code == 400


def test_what_clients_ask_before(shared_server: Running) -> None:
    client = shared_server.client
    assert client.get("/v2").json()["name"] == "clipshift"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    described = client.get("/v2/models/gate").json()
    assert described["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, 4, -1, -1, 3]}]
    assert [each["shape"] for each in described["outputs"]] == [[-1, 4], [-1, 4]]
    assert client.get("/v2/models/gate/versions/1").json() == described
    assert client.get("/v2/models/gate/ready").json() == {"name": "gate", "ready": True}
    assert client.get("/v2/models/gate/config").json()["input"][0]["dims"] == [-1, 4, -1, -1, 3]
    assert [each["name"] for each in client.post("/v2/repository/index").json()] == ["gate", "gate1"]
    assert client.get("/v2/models/other/ready").status_code == 404
