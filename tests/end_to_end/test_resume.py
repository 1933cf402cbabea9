"""A training that ends early goes on to the same bits, wherever it ended and with any number of workers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from clipshift.datasets.motion import write_motion_clips
from tests.forking import ROOT, Ended

KILLS = int(os.environ.get("CLIPSHIFT_KILLS", "6"))
"""The figure in the README is of 20."""
PLACES = (
    "update:3", "model:1", "validation:1/1", "checkpoint:4", "record:1/2", "update:9", "checkpoint:6", "update:1",
    "record:2", "validation:1/1", "update:13", "record:1", "checkpoint:1", "update:8/2", "validation:2", "record:2",
    "update:3", "update:11/1", "checkpoint:4", "update:5",
)  # fmt: skip
"""A place of `ending.PLACES`, how often it is met before the kill, and how many workers read the clips, if any."""
EPOCHS = 8 if KILLS <= 6 else 24
ENDING = ("-m", "tests.end_to_end.ending")

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "model.dropout=0.5", "input.segments=4",
    "input.crop=32", "input.resize=36", "augment.mixup=0.2", "train.ema=0.9", "train.batch_size=4",
    "train.accumulate=2", "train.threads=1", "train.checkpoint_minutes=0.0001",
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_clips(
        tmp_path_factory.mktemp("motion") / "clips", clips_per_class=8, validation_per_class=2, frames=8, size=40
    )


def hashes(run: Path) -> dict[str, str]:
    last = max(run.glob("checkpoints/update-*"))
    files = [run / "model" / "model.safetensors", last / "state.safetensors"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} | {"checkpoint": last.name}


Training = tuple[list[str], int, tuple[str, int, int] | None]
"""The words of a command, processes, and where it ends."""


def trained(trainings: list[Training], folder: Path) -> list[Ended]:
    """How trainings end, one after the other."""
    listed = folder / "trainings.json"
    listed.write_text(json.dumps(trainings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *ENDING, listed], cwd=ROOT, capture_output=True, text=True, check=False, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*each) for each in json.loads(done.stdout)]


class Runs(NamedTuple):
    """A run that nothing interrupted, and one that was killed and stopped; how their starts ended."""

    whole: Path
    ended_whole: Ended
    hashes_whole: dict[str, str]
    broken: Path
    kills: list[Ended]
    stops: list[Ended]
    last: Ended
    again: Ended
    """The whole run's command once more."""


@pytest.fixture(scope="module")
def runs(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    whole, broken = folder / "whole", folder / "a broken run"

    def words(run: Path, workers: int = 0) -> list[str]:
        return ["train", str(clips), *SMALL, f"train.epochs={EPOCHS}", f"data.workers={workers}", "--out", str(run)]

    trainings: list[Training] = [(words(whole), 1, None)]
    for each in (PLACES[number % len(PLACES)] for number in range(KILLS)):
        place, _, rest = each.partition(":")
        calls, _, workers = rest.partition("/")
        trainings.append((words(broken, int(workers or 0)), 1, (place, int(calls), signal.SIGKILL)))
    trainings.append((words(broken, 1), 1, ("update", 3, signal.SIGTERM)))
    trainings.append((words(broken), 1, ("update", 3, signal.SIGINT)))
    trainings += [(words(broken), 1, None), (words(whole), 1, None)]
    first, *middle, term, interrupt, last, again = trained(trainings, folder)
    return Runs(whole, first, hashes(whole), broken, middle, [term, interrupt], last, again)


@pytest.mark.slow
def test_killed_and_stopped_many_times_ends_in_the_same_bits(runs: Runs) -> None:
    assert runs.ended_whole.code == 0, runs.ended_whole.errors
    assert [end.code for end in runs.kills] == [-signal.SIGKILL] * KILLS
    assert runs.last.code == 0, runs.last.errors
    assert hashes(runs.broken) == runs.hashes_whole
    assert (runs.broken / "report.html").exists()


@pytest.mark.slow
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(runs: Runs) -> None:
    assert [end.code for end in runs.stops] == [75, 130]
    for end in runs.stops:
        assert "Traceback" not in end.errors
        assert f"{runs.broken}/checkpoints/update-" in " ".join(end.errors.split())
        assert "To go on: clipshift train" in end.errors
    assert "Going on from epoch" in runs.last.errors


@pytest.mark.slow
def test_the_same_command_on_a_finished_run_trains_no_more(runs: Runs) -> None:
    assert runs.again.code == 0
    assert f"epoch {EPOCHS}/{EPOCHS}  loss" in runs.ended_whole.errors
    assert f"epoch {EPOCHS}/{EPOCHS}  loss" not in runs.again.errors
    assert hashes(runs.whole) == runs.hashes_whole


@pytest.mark.slow
def test_two_ranks_stopped_by_sigterm_end_in_the_same_bits(clips: Path, tmp_path: Path) -> None:
    def words(run: str) -> list[str]:
        settings = (*SMALL, "train.epochs=2", "data.workers=0", "train.examine=false", "train.unknown=false")
        return ["train", str(clips), *settings, "--out", str(tmp_path / run)]

    stop = ("update", 2, signal.SIGTERM)
    whole, stopped, last = trained(
        [(words("whole"), 2, None), (words("stopped"), 2, stop), (words("stopped"), 2, None)], tmp_path
    )
    assert whole.code == 0, whole.errors
    assert stopped.code == 75, stopped.errors
    assert "To go on: clipshift train" in stopped.errors
    assert last.code == 0, last.errors
    assert "Going on from epoch" in last.errors
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "whole")
