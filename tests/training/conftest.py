"""Two classes of small clips, whole and with a broken one, for the tests of data sets and loaders."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipshift.config import AugmentConfig, Config, DataConfig, InputConfig, TrainConfig
from clipshift.datasets.manifest import read_manifest
from clipshift.training.samples import TrainingClips
from tests.datasets.clips import touch, write_classes

CONFIG = Config(
    input=InputConfig(segments=4, resize=36, crop=32),
    augment=AugmentConfig(brightness=0.2),
    train=TrainConfig(seed=5),
)


@pytest.fixture(scope="module", autouse=True)
def _blank_pictures(blank_pictures: None) -> None:
    """What a report shows is tried in tests/evaluation."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data"), ["a", "b"], 5)


@pytest.fixture(scope="module")
def clips(root: Path) -> TrainingClips:
    return TrainingClips(read_manifest(root, DataConfig()), CONFIG)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    write_classes(tmp_path, ["a", "b"], 3)
    touch(tmp_path / "a" / "clip_1.mp4")
    return tmp_path
