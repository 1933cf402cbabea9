"""A killed training goes on to the same bits, wherever it was killed and with any number of workers."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipshift.datasets.motion import write_motion_clips

KILLS = int(os.environ.get("CLIPSHIFT_KILLS", "6"))
"""Every one costs some ten seconds; the figure in the README is of 20."""

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "model.dropout=0.5", "input.segments=4",
    "input.crop=32", "input.resize=36", "augment.mixup=0.2", "train.ema=0.9", "train.batch_size=4",
    "train.accumulate=2", "train.epochs=24", "train.threads=1", "train.checkpoint_minutes=0.0001",
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
    log, deadline = run / "train.log", time.monotonic() + 120
    already = log.read_text().count(text) if log.exists() else 0
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and log.read_text().count(text) > already:
            return
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_many_times_ends_in_the_same_bits(clips: Path, tmp_path: Path) -> None:
    finish(command(clips, tmp_path / "whole", workers=0))
    expected = hashes(tmp_path / "whole")

    run, moments = tmp_path / "killed", random.Random(7)
    hits = 0
    for kill in range(KILLS):
        process = start(command(clips, run, workers=kill % 3))
        wait_for(run, "Training tsm", process)
        time.sleep(moments.uniform(0, 0.25))
        if process.poll() is None:
            hits += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(command(clips, run, workers=2))
    assert hashes(run) == expected
    assert hits >= KILLS // 2, f"only {hits} of {KILLS} kills met a running training"
    assert (run / "report.html").exists()


@pytest.mark.slow
def test_two_ranks_stopped_by_sigterm_end_in_the_same_bits(clips: Path, tmp_path: Path) -> None:
    finish(command(clips, tmp_path / "whole", workers=0, processes=2))
    expected = hashes(tmp_path / "whole")

    run, moments = tmp_path / "stopped", random.Random(3)
    for _ in range(2):
        process = start(command(clips, run, workers=0, processes=2))
        wait_for(run, "Training tsm", process)
        time.sleep(moments.uniform(0.2, 1.0))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    finish(command(clips, run, workers=0, processes=2))
    assert hashes(run) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(
    clips: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "a run"
    words = command(clips, run, workers=1)
    process = start(words)
    wait_for(run, "epoch 1/24", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    text = errors.decode()
    assert process.returncode == code, text
    assert "Traceback" not in text
    assert f"{run}/checkpoints/update-" in text
    assert "To go on: clipshift train" in text
    assert "Going on from epoch" in finish(words)


@pytest.mark.slow
def test_the_same_command_on_a_finished_run_trains_no_more(clips: Path, tmp_path: Path) -> None:
    words = command(clips, tmp_path / "run", workers=0)
    finish(words)
    before = hashes(tmp_path / "run")
    assert "epoch 24/24  loss" not in finish(words)
    assert hashes(tmp_path / "run") == before
