"""A killed training goes on to the same bits, wherever it was killed and with any number of workers."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipshift.datasets.motion import write_motion_clips

KILLS = int(os.environ.get("CLIPSHIFT_KILLS", "6"))
"""The figure in the README is of 20."""
PLACES = (
    "update:3", "checkpoint:9/1", "validation:2", "model:1", "update:17", "record:3/2", "checkpoint:6", "update:1",
    "model:2", "validation:1/1", "update:29", "record:1", "checkpoint:1", "update:8/2", "model:3", "record:2",
    "validation:3", "update:11/1", "checkpoint:4", "update:5",
)  # fmt: skip
"""A place of `killing.PLACES`, how often it is met before the kill, and how many workers read the clips, if any."""

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "model.dropout=0.5", "input.segments=4",
    "input.crop=32", "input.resize=36", "augment.mixup=0.2", "train.ema=0.9", "train.batch_size=4",
    "train.accumulate=2", "train.epochs=16", "train.threads=1", "train.checkpoint_minutes=0.0001",
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_clips(
        tmp_path_factory.mktemp("motion") / "clips", clips_per_class=8, validation_per_class=2, frames=8, size=40
    )


def command(clips: Path, out: Path, workers: int, *, processes: int = 1) -> list[str]:
    train = ["train", str(clips), *SMALL, f"data.workers={workers}", "--out", str(out)]
    if processes == 1:
        return [sys.executable, "-m", "clipshift", *train]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*torchrun, "-m", "clipshift", *train]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    # A session of its own, so that a kill takes the worker processes along, as an out-of-memory killer or a
    # scheduler does.
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def finish(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def hashes(run: Path) -> dict[str, str]:
    last = max(run.glob("checkpoints/update-*"))
    files = [run / "model" / "model.safetensors", last / "state.safetensors"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} | {"checkpoint": last.name}


def wait_for(run: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Until the log says something once more than now, or the process has ended."""
    log = run / "train.log"
    already = log.read_text().count(text) if log.exists() else 0
    while process.poll() is None:
        if log.exists() and log.read_text().count(text) > already:
            return
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    finish(command(clips, run, workers=0))
    return run


@pytest.mark.slow
def test_killed_many_times_ends_in_the_same_bits(clips: Path, whole: Path, tmp_path: Path) -> None:
    kills = [PLACES[number % len(PLACES)] for number in range(KILLS)]
    run = tmp_path / "killed"
    words = ["train", str(clips), *SMALL, "--out", str(run)]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killing.py"), ",".join(kills), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * KILLS + ["0"], done.stderr
    assert hashes(run) == hashes(whole)
    assert (run / "report.html").exists()


@pytest.mark.slow
def test_two_ranks_stopped_by_sigterm_end_in_the_same_bits(clips: Path, tmp_path: Path) -> None:
    short = "train.epochs=6"
    finish([*command(clips, tmp_path / "whole", workers=0, processes=2), short])
    expected = hashes(tmp_path / "whole")

    run = tmp_path / "stopped"
    for epoch in (1, 3):
        process = start([*command(clips, run, workers=0, processes=2), short])
        wait_for(run, f"epoch {epoch}/6", process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    finish([*command(clips, run, workers=0, processes=2), short])
    assert hashes(run) == expected


@pytest.mark.slow
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(clips: Path, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    words = command(clips, run, workers=1)
    for number, code, epoch in ((signal.SIGTERM, 75, 1), (signal.SIGINT, 130, 4)):
        process = start(words)
        wait_for(run, f"epoch {epoch}/16", process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        text = errors.decode()
        assert process.returncode == code, text
        assert "Traceback" not in text
        assert f"{run}/checkpoints/update-" in text
        assert "To go on: clipshift train" in text
    assert "Going on from epoch" in (run / "train.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_same_command_on_a_finished_run_trains_no_more(clips: Path, whole: Path) -> None:
    before = hashes(whole)
    assert "epoch 16/16  loss" not in finish(command(clips, whole, workers=0))
    assert hashes(whole) == before
