"""A server that the tests of its answers share, and a clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeExport
from tests.serving.running import Running, running


@pytest.fixture(scope="session")
def gate(exported: MakeExport) -> Path:
    """A small model for ONNX Runtime."""
    return exported("onnx").folder


@pytest.fixture(scope="session")
def clip(small_clips: Path) -> Path:
    """A readable clip."""
    return min(small_clips.rglob("*.mp4"))


@pytest.fixture(scope="session")
def shared_server(gate: Path, small_model: Path) -> Iterator[Running]:
    """A server with the usual limits, of an export and of the trained model that it is from."""
    with running(gate, small_model) as server:
        yield server
