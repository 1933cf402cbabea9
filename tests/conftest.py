"""Fixtures that all tests share."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

# Small networks gain nothing from threads, and where several processes share the cores, threads that spin while they
# wait make everything many times slower. Read by PyTorch when it is first imported, also in processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, weights and reference numbers that lies beside the repository, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "videos").is_dir():
        pytest.skip("no folder 'shared' with real clips beside the repository")
    return folder


@pytest.fixture(scope="session")
def seeded(shared: Path) -> ModuleType:
    """The functions that rebuild every reference network's checkpoint from names and shapes."""
    spec = importlib.util.spec_from_file_location("seeded_weights", shared / "reference" / "seeded_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
