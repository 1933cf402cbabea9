"""The processes of trackers: what happens in them, and that nothing of it reaches the training."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipshift.errors import TrainingInterrupted
from clipshift.tracking.tracker import LIBRARIES, Remembered
from clipshift.tracking.trackers import Trackers
from tests.tracking.making import EPOCH, LATER, make_run, misbehaving


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def tracked(run: Path, *names: str, seconds: float = 60.0) -> list[str]:
    """What is said of a training that is finished at once."""
    said: list[str] = []
    with Trackers(names, run, seconds, said.append) as trackers:
        trackers.start()
        trackers.finish()
    return said


def test_libraries_that_fail_are_told_in_one_line_each(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them finds the training's own messages on standard input, either."""
    how = {"wandb": "reads", "trackio": "exits", "mlflow": "ends", "tensorboard": "crashes"}
    for package, what in how.items():
        monkeypatch.syspath_prepend(misbehaving(tmp_path / "modules", package, what))
    told = [
        "wandb: RuntimeError: read ''. ",
        "trackio: SystemExit: the library exits. ",
        "mlflow: its process exited with code 3. ",
        "tensorboard: its process was ended by SIGSEGV. ",
    ]
    for line, start in zip(tracked(run, *how), told, strict=True):
        assert line.startswith(f"Not all tracked by {start}")
        assert "log of the run" in line
    assert "RuntimeError" in (run / "tracking" / "wandb.log").read_text()
    assert Remembered.read(run, "wandb").ended is None


def test_a_library_that_hangs_is_ended_and_holds_up_no_other(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(misbehaving(tmp_path / "modules", "wandb", "hangs"))
    said: list[str] = []
    trackers = Trackers(["wandb", "dvc"], run, 0.2, said.append)
    trackers.start()
    wandb, dvc = (each.process for each in trackers._processes)
    assert dvc.stdin is not None
    dvc.stdin.write(b"finished\n")
    dvc.stdin.flush()
    assert dvc.wait(60) == 0
    trackers.finish()
    assert wandb.wait(60) == -signal.SIGKILL
    assert said[0].startswith("Not all tracked by wandb: it did not end within 0.2 s (train.track_seconds).")
    assert said[1].startswith("Tracked by dvc: ")


def test_a_library_that_is_absent_is_told_with_what_installs_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIBRARIES, "wandb", "a_package_that_nobody_has")
    (line,) = tracked(run, "wandb")
    assert line.startswith("Not tracked by wandb, which is not installed: pip install 'clipshift[")


def test_an_early_end_is_told_once_while_the_training_goes_on(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()  # no file of records can be read
    said: list[str] = []
    with Trackers(["dvc"], run, 60.0, said.append) as trackers:
        trackers.start()
        trackers._processes[0].process.wait(60)
        trackers.look()
        trackers.look()
        assert len(said) == 1
        trackers.finish()
    assert len(said) == 1
    assert "IsADirectoryError" in said[0]


def test_a_training_that_goes_on_is_tracked_from_where_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipshift.tracking.trackers._INTERRUPTED_SECONDS", 60.0)
    said: list[str] = []
    trackers = Trackers(["dvc"], run, 60.0, said.append)
    trackers.start()
    trackers.__exit__(TrainingInterrupted, TrainingInterrupted(75, None, "clipshift train"), None)
    assert Remembered.read(run, "dvc").ended == "interrupted"
    # The training goes on from a checkpoint before its last record, which it writes again.
    (run / "metrics.jsonl").write_text(EPOCH + LATER)
    tracked(run, "dvc")
    remembered = Remembered.read(run, "dvc")
    assert (remembered.seen.step, remembered.seen.epoch, remembered.ended) == (1, 4, "finished")
    table = (run / "dvclive" / "plots" / "metrics" / "train" / "loss.tsv").read_text()
    assert table == "step\tloss\n2\t1.25\n4\t1.0\n"


def test_a_tracker_ends_after_a_training_that_was_killed(run: Path) -> None:
    command = [sys.executable, "-m", "clipshift.tracking.following", "dvc", str(run), "60"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}) as process:
        pass  # leaving it closes its standard input, as the end of the training's process does
    assert process.returncode == 0
    assert Remembered.read(run, "dvc").ended == "failed"
    assert not (run / "dvclive" / "plots" / "images" / "loss.png").exists()


def test_a_line_that_is_half_written_waits(run: Path) -> None:
    half = len(LATER) // 2
    with (run / "metrics.jsonl").open("a") as file:
        file.write(LATER[:half])
    said: list[str] = []
    with Trackers(["dvc"], run, 60.0, said.append) as trackers:
        trackers.start()
        deadline = time.monotonic() + 60
        while Remembered.read(run, "dvc").seen.epoch < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        with (run / "metrics.jsonl").open("a") as file:
            file.write(LATER[half:])
        trackers.finish()
    assert Remembered.read(run, "dvc").seen.epoch == 4
