"""Whether a classifier reads motion is told by held-out training clips, kept by continued runs, and taken over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

import clipshift
from clipshift.config import resolve
from clipshift.datasets import read_dataset
from clipshift.models.bundle import read_bundle
from clipshift.models.recognizer import build_recognizer
from clipshift.training.choosing_motion import choose_motion, motion_is_open
from clipshift.training.distributed import Ranks, Result
from clipshift.training.reporting import Reporter
from clipshift.training.start import starting_network
from tests.video.making import make_video

SETTINGS = (
    "model.backbone=test_resnet", "model.activation=leaky_relu", "input.segments=4", "input.crop=32", "input.resize=36",
    "train.epochs=1", "train.batch_size=8", "train.frozen_stages=0", "train.examine=false", "train.unknown=false",
    "train.threads=1", "data.workers=0", "train.device=cpu",
)  # fmt: skip


def features(tells: int, sources: int, *, classes: int = 2, clips: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Noise, whose part of this number tells the class: part 0 is the mean, the others are changes."""
    random = np.random.default_rng(0)
    labels = np.arange(sources) % classes
    found = random.normal(size=(sources, 3, 20))
    found[np.arange(sources), tells, labels % 20] += 3
    return found.repeat(clips, axis=0).astype(np.float32), labels.repeat(clips)


def alone(count: int) -> list[list[int]]:
    return [[position] for position in range(count)]


@pytest.mark.parametrize(("tells", "motion"), [(0, False), (1, True), (2, True)])
def test_what_the_clips_speak_for(tells: int, motion: bool) -> None:
    choice = choose_motion(*features(tells, 40), alone(40))
    assert choice is not None
    assert choice.motion is motion
    assert (choice.moving < choice.still) is motion
    assert f"model.motion={str(motion).lower()}" in choice.said()


def test_a_part_that_tells_the_source_alone_speaks_for_nothing() -> None:
    """Siblings of a clip would tell its label by what is their source's."""
    random = np.random.default_rng(1)
    labels = random.permutation(np.arange(20) % 2).repeat(4)
    found = random.normal(size=(80, 2, 20))
    found[:, 1] = 5 * random.normal(size=(20, 20)).repeat(4, axis=0)
    values = found.astype(np.float32)
    apart = choose_motion(values, labels, [list(range(4 * source, 4 * source + 4)) for source in range(20)])
    together = choose_motion(values, labels, alone(80))
    assert apart is not None
    assert together is not None
    assert (apart.motion, together.motion) == (False, True)


def test_few_sources_cannot_tell() -> None:
    values, labels = features(1, 9, clips=3)
    assert choose_motion(values, labels, [[3 * n, 3 * n + 1, 3 * n + 2] for n in range(9)]) is None


def test_of_many_clips_and_classes_some_are_asked() -> None:
    values, labels = features(1, 1200, classes=60)
    choice = choose_motion(values, labels, alone(1200))
    assert choice is not None
    assert choice.still > choice.moving


@pytest.mark.parametrize(
    ("recipe", "settings", "is_open"),
    [
        ("finetune", [], True),
        ("tsn-r50", [], True),
        ("finetune", ["model.motion=false"], False),
        ("finetune", ["model.motion=true"], False),
        ("finetune", ["train.choose_motion=false"], False),
        ("finetune", ["train.probe=false"], False),
        ("finetune", ["train.multi_label=true"], False),
        ("finetune", ["input.segments=1"], False),
        ("finetune", ["model.shift.order=past_only"], False),
        ("finetune-online", ["model.architecture=tsn"], False),
        ("tsm-r50-k400", [], False),
    ],
)
def test_where_nobody_decided_and_the_clips_can(recipe: str, settings: list[str], is_open: bool) -> None:
    assert motion_is_open(resolve(recipe, settings=settings)) is is_open


def test_a_network_reads_motion_and_no_longer() -> None:
    model = resolve("motion-demo").config.model
    network = build_recognizer(model, segments=4, classes=3, crop=32)
    clips = torch.randn(2, 4, 3, 32, 32)
    drawn = torch.random.get_rng_state()
    width = network.classifier.in_features
    for motion, parts in ((True, 3), (False, 1)):
        network.read_motion(motion)
        assert network.model.motion is motion
        assert network.classifier.in_features == parts * width
        assert torch.equal(network(clips), torch.zeros(2, 3))
    assert torch.equal(drawn, torch.random.get_rng_state())


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square that stands still and one that moves, anywhere on pictures of noise."""
    folder = tmp_path_factory.mktemp("moving")
    random = np.random.default_rng(2)
    for part, count in (("train", 8), ("val", 2)):
        for name, step in (("moves", 4), ("stands", 0)):
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                frames = np.repeat(random.integers(0, 128, (1, 40, 40, 3), dtype=np.uint8), 8, axis=0)
                top, left = random.integers(0, 28), random.integers(0, 2 if step else 30)
                for t, frame in enumerate(frames):
                    frame[top : top + 12, left + step * t : left + step * t + 10] = 255
                make_video(folder / part / name / f"{chr(97 + number)}.mp4", frames)
    return folder


@pytest.fixture(scope="module")
def chosen(moving: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("chosen") / "run"
    return clipshift.train(moving, *SETTINGS, weights=small_model, out=run).run


def test_a_training_reads_motion_where_its_clips_speak_for_it(chosen: Path, moving: Path, small_model: Path) -> None:
    log = (chosen / "train.log").read_text()
    assert "The classifier reads motion, too (model.motion=true)" in log
    assert read_bundle(chosen / "model")[1].model.motion
    assert resolve(file=chosen / "config.yaml").config.model.motion
    assert "motion: true" in next(
        line for line in (chosen / "config_explained.yaml").read_text().splitlines() if "[training clips]" in line
    )
    # The same command goes on with the run: its checkpoint holds a classifier of that width.
    assert clipshift.train(moving, *SETTINGS, weights=small_model, out=chosen).run == chosen
    assert "This run is complete already." in (chosen / "train.log").read_text()


def test_a_kept_classifier_decides_what_is_read(chosen: Path, moving: Path, tmp_path: Path) -> None:
    run = clipshift.train(moving, *SETTINGS, weights=chosen, out=tmp_path / "more").run
    log = (run / "train.log").read_text()
    assert read_bundle(run / "model")[1].model.motion
    assert "new classifier" not in log
    assert "held-out" not in log
    assert "[weights run]" in (run / "config_explained.yaml").read_text()


class LaterRank(Ranks):
    """One that is told what the first rank found."""

    def on_rank_zero(self, work: Callable[[], Result]) -> Result:  # noqa: ARG002
        return cast(Result, True)


def test_other_ranks_build_the_network_that_the_first_one_chose(moving: Path, small_model: Path) -> None:
    config = resolve("finetune", settings=SETTINGS).config
    dataset, quiet = read_dataset(moving, config.data), Reporter(moving, speaks=False)
    ranks = LaterRank(1, 1, 2, torch.device("cpu"))
    network = starting_network(dataset, config, small_model, False, ranks, quiet, motion_open=True)
    assert network.model.motion
    assert len(network.distances) == 2
