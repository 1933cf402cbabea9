"""The published networks' own numbers, where the folder of references lies beside the repository."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def seeded(shared: Path) -> ModuleType:
    """The functions that rebuild every reference network's checkpoint from names and shapes."""
    spec = importlib.util.spec_from_file_location("seeded_weights", shared / "reference" / "seeded_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
