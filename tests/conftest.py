"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, weights and reference numbers that lies beside the repository, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "videos").is_dir():
        pytest.skip("no folder 'shared' with real clips beside the repository")
    return folder
