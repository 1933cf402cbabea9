"""A trained model, clips, and its exports, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

import clipshift
from clipshift import Exported
from clipshift.data.motion import write_motion_clips
from clipshift.engines import Target
from tests.deployment.making import save_model

MakeExport = Callable[[Target], Exported]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MP4 files in a folder for each class."""
    folder = tmp_path_factory.mktemp("motion") / "clips"
    return write_motion_clips(folder, clips_per_class=1, validation_per_class=2, frames=8, size=48) / "val"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="session")
def exported(model: Path, clips: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeExport:
    """The model as exported to a target, in float32, taking frames."""

    @cache
    def make(target: Target) -> Exported:
        out = tmp_path_factory.mktemp("exports") / target
        return clipshift.export(model, to=target, out=out, data=clips, licence="Apache-2.0")

    return make
