"""`clipshift.train` as a whole: what it writes, how it ends, and how it begins from other weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import clipshift
from clipshift.config import load_config, resolve
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import DivergedError, RunError, UserError
from clipshift.evaluation.examination import load_examination
from clipshift.locks import LOCK_FILE, hold_folder
from clipshift.training.checkpoint import load_checkpoint
from clipshift.training.reporting import Reporter, duration, truncate_metrics

pytestmark = pytest.mark.slow

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "model.dropout=0", "input.segments=4", "input.crop=32",
    "input.resize=36", "train.batch_size=4", "data.workers=0", "train.device=cpu", "train.log_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_clips(
        tmp_path_factory.mktemp("motion") / "clips", clips_per_class=4, validation_per_class=2, frames=8, size=40
    )


def records(run: Path, kind: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_a_run_leaves_everything_that_it_promises(clips: Path, tmp_path: Path) -> None:
    result = clipshift.train(clips, *SMALL, "train.epochs=2", out=tmp_path / "run")
    run = result.run
    expected = resolve("tsm-mobilenetv2", settings=[*SMALL, "train.epochs=2"]).config
    assert load_config(run / "config.yaml") == expected
    assert len((run / "data.jsonl").read_text().splitlines()) == 24
    assert [record["update"] for record in records(run, "step")] == list(range(1, 9))
    assert [record["epoch"] for record in records(run, "epoch")] == [0, 1]
    assert json.loads((run / "evaluation" / "metrics.json").read_text())["total"] == 8
    assert len((run / "evaluation" / "predictions.jsonl").read_text().splitlines()) == 8
    assert "<html" in (run / "report.html").read_text()
    assert json.loads((run / "finished.json").read_text()) == {"epochs": 2, "best_epoch": result.best_epoch}
    with np.load(run / "training_batch.npz") as batch:
        assert batch["clips"].shape == (4, 4, 3, 32, 32)
    log = (run / "train.log").read_text()
    assert f"clipshift predict {run} CLIP.mp4" in log
    assert "peak learning rate" in log
    assert "Not calibrated, the temperature stays 1: 8 validation clips" in log
    examined = load_examination(run / "evaluation")
    assert (examined.clips, examined.largest, examined.trial("still_probe")) == (8, 2, None)
    assert "Examined in" in log
    assert "What did it learn?" in (run / "report.html").read_text()
    # The kept network is the one that was measured.
    again = clipshift.evaluate(run, clips / "val", device="cpu")
    assert again.metrics.top1 == result.evaluation.metrics.top1
    assert again.metrics.loss == pytest.approx(result.evaluation.metrics.loss, rel=1e-4)


def test_divergence_keeps_the_batch_and_the_last_finite_state(clips: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = (
        *SMALL, "optim.optimizer=sgd", "optim.lr=1e30", "optim.clip_norm=0", "optim.warmup_epochs=0", "train.epochs=2",
        "train.freeze_bn=none", "train.frozen_stages=0", "train.checkpoint_minutes=0.00001",
    )  # fmt: skip
    with pytest.raises(DivergedError) as caught:
        clipshift.train(clips, *settings, out=run)
    assert len(str(caught.value).splitlines()) <= 8
    with np.load(run / "diverged" / "rank0.npz") as batch:
        assert batch["clips"].shape == (4, 4, 3, 32, 32)
        assert len(batch["names"]) == 4
    assert not (run / "finished.json").exists()
    found = load_checkpoint(run / "checkpoints")
    assert found is not None
    assert all(torch.isfinite(tensor.float()).all() for tensor in found[0].values())


def test_it_stops_early_and_stays_stopped(clips: Path, tmp_path: Path) -> None:
    settings = (*SMALL, "train.epochs=9", "train.patience=1", "optim.lr=1e-9", "train.metric=top1", "train.ema=0")
    result = clipshift.train(clips, *settings, out=tmp_path / "run")
    assert result.epochs < 9
    again = clipshift.train(clips, *settings, out=tmp_path / "run")
    assert again.epochs == result.epochs
    assert "complete already" in (tmp_path / "run" / "train.log").read_text()


def test_a_split_is_made_said_and_written_down(clips: Path, tmp_path: Path) -> None:
    result = clipshift.train(clips / "train", *SMALL, "train.epochs=1", out=tmp_path / "run")
    lines = [json.loads(line) for line in (result.run / "data.jsonl").read_text().splitlines()]
    assert {line["split"] for line in lines} == {"train", "validation"}
    assert len(lines) == 16
    log = (result.run / "train.log").read_text()
    assert "seed 0" in log


def test_fine_tuning_from_a_run_keeps_its_classifier(clips: Path, tmp_path: Path) -> None:
    first = clipshift.train(clips, *SMALL, "train.epochs=1", out=tmp_path / "first")
    settings = (*SMALL, "train.epochs=1", "optim.lr=1e-9", "train.ema=0", "train.probe=false")
    second = clipshift.train(clips, *settings, out=tmp_path / "second", weights=first.run)
    assert second.evaluation.metrics.loss == pytest.approx(first.evaluation.metrics.loss, rel=1e-2)
    assert "new classifier" not in (second.run / "train.log").read_text()


def test_a_new_classifier_starts_from_the_probe_and_a_known_one_is_kept(clips: Path, tmp_path: Path) -> None:
    first = clipshift.train(clips, *SMALL, "train.epochs=1", out=tmp_path / "first")
    settings = (*SMALL, "train.epochs=1", "train.probe=true")
    clipshift.train(clips, *settings, "train.examine=false", out=tmp_path / "same", weights=first.run)
    assert not (tmp_path / "same" / "evaluation" / "examination.json").exists()
    assert "linear probe" not in (tmp_path / "same" / "train.log").read_text()

    other = Path(shutil.copytree(clips, tmp_path / "other"))
    for part in ("train", "val"):
        (other / part / "left_to_right").rename(other / part / "eastward")
    clipshift.train(other, *settings, out=tmp_path / "new", weights=first.run)
    assert "starts from a linear probe, which fits" in (tmp_path / "new" / "train.log").read_text()
    assert load_examination(tmp_path / "new" / "evaluation").trial("still_probe") is not None


def test_an_imbalanced_data_set_with_weights_and_with_balance(clips: Path, tmp_path: Path) -> None:
    few = Path(shutil.copytree(clips, tmp_path / "few"))
    for path in sorted((few / "train" / "left_to_right").iterdir())[1:]:
        path.unlink()
    settings = (*SMALL, "train.epochs=1", "train.class_weights=auto", "train.loss=focal", "train.balanced=true")
    run = clipshift.train(few, *settings, out=tmp_path / "run").run
    assert "Class weights from 0.812 to 3.25." in (run / "train.log").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.class_weights=[1.0, 2.0]"], "not as many"),
        (["augment.flip_pairs=[[left_to_right, right_to_lift]]"], "no class of this name"),
        (["distill.method=teacher", "distill.teacher=[nowhere]"], "no such model"),
        (["distill.method=mutual", "distill.teacher=[nowhere]"], "no such model"),
    ],
)
def test_what_does_not_fit_the_classes_or_is_not_there_costs_no_run(
    clips: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    before = tmp_path / "run" / "run.json"
    before.parent.mkdir()
    before.write_text("{}")
    with pytest.raises(UserError, match=message):
        clipshift.train(clips, *SMALL, *settings, out=tmp_path / "run", overwrite=True)
    assert before.read_text() == "{}"
    with pytest.raises(UserError, match=message):
        clipshift.train(clips, *SMALL, *settings, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_overwriting_replaces_the_run(clips: Path, tmp_path: Path) -> None:
    clipshift.train(clips, *SMALL, "train.epochs=1", out=tmp_path / "run")
    clipshift.train(clips, *SMALL, "train.epochs=2", out=tmp_path / "run", overwrite=True)
    assert len(records(tmp_path / "run", "epoch")) == 2
    assert not (tmp_path / "run" / LOCK_FILE).exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_in_which_another_process_trains_is_not_touched(clips: Path, tmp_path: Path, overwrite: bool) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with hold_folder(run, doing="trains in this folder", error=RunError):
        before = {path: path.read_bytes() for path in run.iterdir()}
        with pytest.raises(RunError, match="Another process trains in this folder") as caught:
            clipshift.train(tmp_path / "no such data", *SMALL, out=run, overwrite=overwrite)
        assert f"process {os.getpid()} on " in str(caught.value.got)
        assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_metrics_after_the_checkpoint_are_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"kind": "step", "update": 4, "epoch": 0},
        {"kind": "epoch", "update": 4, "epoch": 0},
        {"kind": "step", "update": 8, "epoch": 1},
        {"kind": "epoch", "update": 8, "epoch": 1},
        {"kind": "step", "update": 9, "epoch": 2},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "st')
    truncate_metrics(path, update=8, epoch=1)  # trained to the end of the epoch, not yet validated
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:3]


def test_durations_are_readable() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 61, 3661)] == ["0s", "59s", "1m01s", "1h01m"]


def test_a_silent_reporter_writes_nothing(tmp_path: Path) -> None:
    reporter = Reporter(tmp_path, speaks=False)
    with reporter.logging_to_file(), reporter.phase("x", 3) as phase:
        reporter.say("hello")
        phase.advance_to(1)
        reporter.record({"kind": "step"})
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_enough_validation_clips_is_calibrated_and_remembers_its_clips(tmp_path: Path) -> None:
    data = write_motion_clips(tmp_path / "clips", clips_per_class=2, validation_per_class=5, frames=6, size=40)
    run = clipshift.train(data, *SMALL, "train.epochs=1", out=tmp_path / "run").run
    model = clipshift.load(run, device="cpu")
    assert model.spec.calibration is not None
    assert model.spec.unknown is not None
    assert (model.spec.unknown.clips, model.spec.unknown.remembered) == (20, 8)
    log = (run / "train.log").read_text()
    assert f"Calibrated: temperature {model.spec.temperature:.3g} from 20 clips" in log
    assert "Clips are unknown that are unlike all of 8 training clips" in log
    known = [model.predict(path) for path in sorted((data / "val").rglob("*.mp4"))]
    assert not any(answer.unknown for answer in known)  # of 20 clips, the least familiar one is the threshold
    learnt = model.predict(min((data / "train").rglob("*.mp4")))
    assert learnt.familiarity == pytest.approx(1, abs=1e-4)
