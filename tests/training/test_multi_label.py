"""Clips with several labels, end to end on generated clips: lists, loss, metrics, prediction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multilabel_average_precision

import clipshift
from clipshift.config import DataConfig
from clipshift.datasets.lists import read_list
from clipshift.datasets.manifest import read_manifest
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import ConfigError, DataError
from clipshift.evaluation.metrics import average_precision, compute_multilabel_metrics, metrics_from_json
from clipshift.evaluation.results import load_evaluation
from clipshift.inference.predictor import load
from clipshift.models.bundle import load_bundle
from clipshift.training.losses import multilabel_loss
from tests.training.test_distill import SMALL
from tests.training.test_loop import config

F = torch.nn.functional


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b c.mp4", "clip 2"):
        (tmp_path / name).touch()
    (tmp_path / "frames").mkdir()
    return tmp_path


def read(path: Path, text: str, **options: object) -> list[tuple[str, tuple[int, ...], int | None]]:
    path.write_text(text)
    found = read_list(path, bases=(path.parent,), root=path.parent, several=True, **options)  # type: ignore[arg-type]
    assert [clip.label for clip in found.clips] == [clip.labels[0] for clip in found.clips]
    return [(clip.name, clip.labels, clip.frames) for clip in found.clips]


def test_lists_with_commas_and_with_blanks(folder: Path) -> None:
    text = "a.mp4 5,1,7\nb c.mp4 0\nclip 2 3\nframes 12 4,2\n"
    expected = [("a.mp4", (1, 5, 7), None), ("b c.mp4", (0,), None), ("clip 2", (3,), None), ("frames", (2, 4), 12)]
    assert read(folder / "commas.txt", text) == expected
    text = "a.mp4 5 1 7\nb c.mp4 0\nclip 2 3\nframes 12 4 2\n"
    assert read(folder / "blanks.txt", text) == expected


def test_lists_with_names_and_in_csv_and_json(folder: Path) -> None:
    expected = [("a.mp4", (0, 2), None), ("b c.mp4", (1,), None)]
    assert read(folder / "names.txt", "a.mp4\ttalk, run\nb c.mp4\tsit\n", classes=["run", "sit", "talk"]) == expected
    assert read(folder / "l.csv", 'path,label\na.mp4,"run,talk"\nb c.mp4,sit\n') == expected
    lines = '{"path": "a.mp4", "label": ["run", "talk"]}\n{"path": "b c.mp4", "label": "sit"}\n'
    assert read(folder / "l.jsonl", lines) == expected


def test_malformed_labels_name_the_line(folder: Path) -> None:
    with pytest.raises(DataError, match=r"l\.txt:2"):
        read(folder / "l.txt", "a.mp4 1\nb c.mp4 1,,2\n")
    with pytest.raises(DataError, match="not in the list of classes"):
        read(folder / "l.txt", "a.mp4 1,9\n", classes=["x", "y"])
    with pytest.raises(DataError, match="different labels"):
        read(folder / "l.txt", "a.mp4 0,1\na.mp4 0\n")


def test_binary_cross_entropy_by_hand() -> None:
    logits, targets = torch.randn(3, 4), torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]])
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    assert float(multilabel_loss(logits, targets)) == pytest.approx(float(expected))
    order = torch.tensor([2, 0, 1])
    mixed = multilabel_loss(logits, targets, mixed_with=order, share=0.3, smoothing=0.1)
    one, other = (multilabel_loss(logits, each, smoothing=0.1) for each in (targets, targets[order]))
    assert float(mixed) == pytest.approx(0.3 * float(one) + 0.7 * float(other), rel=1e-5)
    p = torch.where(targets > 0, logits.sigmoid(), 1 - logits.sigmoid())
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    factors = torch.where(targets > 0, weights, torch.ones(4))
    focal = (-factors * (1 - p) ** 2 * p.log()).mean()
    assert float(multilabel_loss(logits, targets, weights=weights, gamma=2.0)) == pytest.approx(float(focal), rel=1e-4)
    plain = (-factors * p.log()).mean()
    assert float(multilabel_loss(logits, targets, weights=weights)) == pytest.approx(float(plain), rel=1e-4)


def test_average_precisions_are_torchmetrics_also_with_equal_scores() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randint(-4, 5, (60, 5), generator=random).double()  # many equal ones
    targets = torch.rand(60, 5, generator=random) < 0.3
    found = compute_multilabel_metrics(logits, targets, tuple("abcde"))
    expected = multilabel_average_precision(logits.sigmoid(), targets.long(), 5, average="none")
    assert [entry.average_precision for entry in found.per_class] == pytest.approx(expected.tolist(), abs=1e-6)
    assert found.mean_ap == pytest.approx(float(expected.mean()), abs=1e-6)
    assert found.loss == pytest.approx(float(F.binary_cross_entropy_with_logits(logits, targets.double())))
    assert metrics_from_json(json.loads(json.dumps(found.to_json()))) == found


def test_unreadable_videos_are_positives_that_nobody_finds() -> None:
    scores, positive = torch.tensor([2.0, 1.0]), torch.tensor([True, False])
    assert average_precision(scores, positive) == 1.0
    assert average_precision(scores, positive, missed=1) == 0.5
    assert average_precision(scores, torch.tensor([False, False])) is None
    assert average_precision(torch.zeros(0), torch.zeros(0, dtype=torch.bool), missed=2) == 0.0
    logits, targets = torch.tensor([[2.0, -1.0]]), torch.tensor([[True, True]])
    bad = torch.tensor([[True, False]])
    wrong = compute_multilabel_metrics(logits, targets, ("a", "b"), bad_targets=bad)
    left_out = compute_multilabel_metrics(logits, targets, ("a", "b"), bad_targets=bad, bad="exclude")
    assert (wrong.top1, wrong.mean_ap, wrong.total) == (0.5, 0.75, 2)
    assert (left_out.top1, left_out.mean_ap, left_out.bad) == (1.0, 1.0, 1)


@pytest.mark.parametrize("setting", ["train.metric=mean_ap", "train.balanced=true"])
def test_settings_that_do_not_fit_the_labels(setting: str) -> None:
    more = ("train.multi_label=true",) if "balanced" in setting else ()
    with pytest.raises(ConfigError, match=setting.split("=")[0]):
        config(setting, *more)


def test_from_lists_to_predictions(tmp_path: Path) -> None:
    clips = write_motion_clips(tmp_path / "clips", clips_per_class=8, validation_per_class=3, frames=8, size=40)
    names = sorted(path.name for path in (clips / "train").iterdir())
    (tmp_path / "classes.txt").write_text("\n".join(["moving", *names]) + "\n")
    for part in ("train", "val"):
        lines = [
            f"{path.relative_to(tmp_path)} 0,{names.index(path.parent.name) + 1}"
            for path in sorted((clips / part).rglob("*.mp4"))
        ]
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: val.txt\nclasses: classes.txt\n")
    settings = (
        *SMALL, "train.multi_label=true", "train.metric=mean_ap", "train.epochs=3", "train.class_weights=auto",
        "optim.lr=0.01", "train.ema=0", "augment.mixup=0.2",
    )  # fmt: skip
    result = clipshift.train(tmp_path / "data.yaml", *settings, out=tmp_path / "run")
    metrics = result.evaluation.metrics
    assert metrics.mean_ap is not None
    assert metrics.per_class[0].average_precision == 1.0  # every clip moves
    assert metrics.per_class[0].support == 12
    assert load_evaluation(result.run / "evaluation").metrics == metrics
    assert "<html" in (result.run / "report.html").read_text()
    assert "mAP" in (result.run / "train.log").read_text()
    epochs = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert max(line["validation"]["mean_ap"] for line in epochs if line["kind"] == "epoch") == metrics.mean_ap

    _, spec = load_bundle(result.run / "model")
    assert spec.labels == "several"
    again = clipshift.evaluate(result.run, tmp_path / "val.txt", device="cpu")
    assert again.metrics.mean_ap == pytest.approx(metrics.mean_ap, abs=1e-6)
    assert "mAP" in again.to_text()
    video = next((clips / "val").rglob("*.mp4"))
    answer = load(result.run, device="cpu").predict(video)
    manifest = read_manifest(tmp_path / "val.txt", DataConfig(), several=True)
    row = next(score for score in again.scores if Path(score.path) == video)
    np.testing.assert_allclose(answer.probabilities, row.chances().numpy(), rtol=1e-4)
    assert manifest.counts()[0] == 12
    with pytest.raises(ConfigError, match="one label"):
        clipshift.train(
            tmp_path / "data.yaml",
            *settings,
            "distill.method=teacher",
            f"distill.teacher=[{result.run}]",
            out=tmp_path / "taught",
        )
