"""Trackers in a training: its weights are the same whatever they do."""

from __future__ import annotations

from pathlib import Path

import pytest

import clipshift
from clipshift.datasets.motion import write_motion_clips
from clipshift.files import sha256_of_file
from clipshift.tracking.tracker import Remembered
from tests.tracking.making import misbehaving
from tests.training.test_run import SMALL

pytestmark = pytest.mark.slow


def test_the_weights_are_the_same_with_trackers_without_them_and_with_broken_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_motion_clips(tmp_path / "clips", clips_per_class=2, validation_per_class=1, frames=8, size=40)
    quick = (*SMALL, "train.epochs=2", "train.examine=false", "train.unknown=false")
    off = clipshift.train(data, *quick, out=tmp_path / "off").run
    on = clipshift.train(data, *quick, out=tmp_path / "on", track=["dvc"]).run
    modules = tmp_path / "modules"
    for package, how in (("wandb", "raises"), ("trackio", "crashes"), ("mlflow", "hangs")):
        monkeypatch.syspath_prepend(misbehaving(modules, package, how))
    broken = clipshift.train(
        data, *quick, "train.track_seconds=0.5", out=tmp_path / "broken", track=["wandb", "trackio", "mlflow"]
    ).run
    assert Remembered.read(on, "dvc").ended == "finished"
    log = (broken / "train.log").read_text()
    assert all(f"Not all tracked by {name}: " in log for name in ("wandb", "trackio", "mlflow"))
    assert "Not all tracked by mlflow: it did not end within 0.5 s" in log
    models = [sha256_of_file(run / "model" / "model.safetensors") for run in (off, on, broken)]
    assert len(set(models)) == 1
    # The same command without trackers goes on with the run: they are no part of what it is.
    clipshift.train(data, *quick, out=on)
