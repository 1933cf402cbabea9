"""Learning curves: what is learnt from, files, going on after an interruption, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import clipshift
from clipshift.cli import app
from clipshift.config import DataConfig, ReadingConfig
from clipshift.datasets import read_dataset
from clipshift.datasets.clip import Clip
from clipshift.datasets.motion import write_motion_clips
from clipshift.datasets.split import clip_groups
from clipshift.errors import ConfigError, DataError, OutputError, TrainingInterrupted
from clipshift.probing import whole_trainings
from clipshift.probing.features import ClipFeatures, FrozenNetwork, read_features
from clipshift.probing.shares import take_shares
from clipshift.progress import Progress


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curve") / "gym"
    return write_motion_clips(folder, clips_per_class=8, validation_per_class=3, frames=4, size=32)


@pytest.fixture(scope="module")
def measured(data: Path, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> clipshift.LearningCurve:
    out = tmp_path_factory.mktemp("measured") / "curve"
    return clipshift.learning_curve(data, out=out, weights=small_model, repeats=3, device="cpu", workers=0)


def test_shares_grow_inside_one_another(data: Path) -> None:
    dataset = read_dataset(data, DataConfig())
    groups = clip_groups(dataset.train, across_classes=True)
    trials = take_shares(dataset, groups, (0.1, 0.5, 1.0), repeat=0, seed=0)
    assert [trial.train.counts() for trial in trials] == [[1] * 4, [4] * 4, [8] * 4]
    names = [{clip.name for clip in trial.train.clips} for trial in trials]
    assert names[0] < names[1] < names[2]
    assert all(trial.test.clips == dataset.validation.clips for trial in trials)
    other = take_shares(dataset, groups, (0.5,), repeat=1, seed=0)
    assert {clip.name for clip in other[0].train.clips} != names[1]


def test_numbers_and_plot(measured: clipshift.LearningCurve) -> None:
    assert [point.clips for point in measured.points] == [4, 8, 8, 16, 20, 32]
    assert measured.tested == 12
    assert all(len(point.repeats) == 3 for point in measured.points)
    assert measured.points[-1].accuracy == pytest.approx(np.mean(measured.points[-1].repeats))
    values = json.loads((measured.folder / "learning_curve.json").read_text(encoding="utf-8"))
    assert values["mode"] == "frozen"
    assert values["twice"] == {
        "value": measured.twice.value, "low": measured.twice.low, "high": measured.twice.high
    }  # fmt: skip
    assert values["largest"] == 0.25
    assert values["verdict"] == measured.verdict()
    with Image.open(measured.folder / "learning_curve.png") as plot:
        assert plot.width > 800
    assert sorted(path.name for path in measured.folder.iterdir() if path.suffix) == [
        "features.npz", "learning_curve.json", "learning_curve.png"
    ]  # fmt: skip


def test_what_was_read_is_not_read_again(
    measured: clipshift.LearningCurve, data: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(
        frozen: FrozenNetwork,
        clips: Sequence[Clip],
        reading: ReadingConfig,
        *,
        device: torch.device,
        workers: int,
        progress: Progress | None,
    ) -> ClipFeatures:
        read.append(len(clips))
        return read_features(frozen, clips, reading, device=device, workers=workers, progress=progress)

    monkeypatch.setattr("clipshift.probing.feature_store.read_features", counted)

    def again() -> clipshift.LearningCurve:
        out = measured.folder
        return clipshift.learning_curve(data, out=out, weights=small_model, repeats=3, device="cpu", workers=0)

    assert again() == measured
    assert read == []
    features = measured.folder / "features.npz"
    features.write_bytes(features.read_bytes()[:-100])
    assert again() == measured
    assert read == [44]


def test_the_command(
    measured: clipshift.LearningCurve, data: Path, small_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["learning-curve", str(data), "--out", str(measured.folder), "--weights", str(small_model)]
    app([*words, "--repeats", "3", "--device", "cpu"], result_action="return_value")
    out = capsys.readouterr().out
    assert "linear probes, no training (--train trains)" in out
    assert measured.verdict() in out
    assert out.strip().endswith("learning_curve.png")


@dataclass
class _Score:
    correct: bool


@dataclass
class _Evaluation:
    scores: list[_Score]


@dataclass
class _Trained:
    evaluation: _Evaluation


def test_trainings_are_done_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training is known by its settings and clips; one that is interrupted ends the call with its command."""
    calls: list[tuple[int, str]] = []

    def fake(lists: Path, *settings: str, out: Path, **options: object) -> _Trained:
        if len(calls) == 2 and "stop" in monkey:
            raise TrainingInterrupted(75, "checkpoint", "clipshift train inner")
        dataset = read_dataset(lists, DataConfig())
        calls.append((len(dataset.train), settings[-2]))
        number = len(dataset.train)
        return _Trained(_Evaluation([_Score(n < number // 3) for n in range(len(dataset.validation))]))

    monkey = {"stop"}
    monkeypatch.setattr(whole_trainings, "train", fake)
    out = tmp_path / "curve"
    with pytest.raises(TrainingInterrupted, match=r"learning-curve .* --train") as stopped:
        clipshift.learning_curve(data, "train.epochs=1", out=out, train=True, repeats=2)
    assert "clipshift train inner" not in str(stopped.value)
    monkey.clear()
    told: list[tuple[int, int]] = []
    curve = clipshift.learning_curve(
        data, "train.epochs=1", out=out, train=True, repeats=2, progress=lambda done, total: told.append((done, total))
    )
    assert calls == [(size, f"train.seed={seed}") for seed in (0, 1) for size in (8, 16, 32)]
    assert told[-1] == (6, 6)
    assert curve.mode == "trained"
    assert [point.accuracy for point in curve.points] == pytest.approx([2 / 12, 5 / 12, 10 / 12])
    assert "With twice as many clips, 64" in curve.verdict()
    assert curve.gain.value > 0
    assert "cannot be told" in replace(curve, largest=0.9).verdict()
    assert clipshift.learning_curve(data, "train.epochs=1", out=out, train=True, repeats=2) == curve
    assert len(calls) == 6
    clipshift.learning_curve(data, "train.epochs=2", out=out, train=True, repeats=2)
    assert len(calls) == 12


def test_what_is_refused(data: Path, small_clips: Path, small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few training clips for a learning curve"):
        clipshift.learning_curve(small_clips, out=tmp_path / "few", weights=small_model)
    with pytest.raises(ConfigError, match="2 to 100"):
        clipshift.learning_curve(data, out=tmp_path / "one", weights=small_model, repeats=1)
    with pytest.raises(ConfigError, match="one label each"):
        clipshift.learning_curve(data, "train.multi_label=true", out=tmp_path / "several")
    with pytest.raises(DataError, match="not found"):
        clipshift.learning_curve(tmp_path / "none", out=tmp_path / "absent")
    assert not list(tmp_path.iterdir())
    other = tmp_path / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="no learning curve's"):
        clipshift.learning_curve(data, out=other, weights=small_model)
    with pytest.raises(OutputError, match="no folder"):
        clipshift.learning_curve(data, out=other / "notes.txt", weights=small_model)


def test_clips_that_cannot_be_read_are_left_out(small_model: Path, tmp_path: Path) -> None:
    folder = write_motion_clips(tmp_path / "gym", clips_per_class=4, validation_per_class=1, frames=4, size=32)
    (folder / "train" / "left_to_right" / "0001.mp4").write_bytes(b"no video")
    curve = clipshift.learning_curve(
        folder, out=tmp_path / "curve", weights=small_model, repeats=2, device="cpu", workers=0
    )
    assert any("Left out, because unreadable: 1 clip: train/left_to_right/0001.mp4" in note for note in curve.notes)
