"""`train --add-classes`: which classes, clips, network and answers are kept, and what is said of the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import clipshift
from clipshift.config import resolve
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import ConfigError
from clipshift.evaluation.old_classes import OldClass, OldClasses, load_old_classes
from clipshift.inference.known_clips import KNOWN_CLIPS_FILE, load_known_clips
from clipshift.models.bundle import load_bundle, read_bundle, replace_spec
from clipshift.training.objectives import KeepOldAnswers, LabelLoss, RememberOldClips, SeenBatch
from clipshift.training.probe import fit_linear_probe
from tests.training.test_probe import blobs

TRAINING = (
    "train.batch_size=4", "data.workers=0", "train.device=cpu", "train.log_every=1", "train.threads=1",
    "train.frozen_stages=0", "train.examine=false", "train.epochs=1",
)  # fmt: skip
SMALL = (
    *TRAINING, "model.backbone=test_resnet", "model.pretrained=false", "model.dropout=0", "input.segments=4",
    "input.crop=32", "input.resize=36",
)  # fmt: skip
OLD, NEW = ("left_and_back", "right_to_left"), "left_to_right"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of two classes in `old`, of a third in `new`, and a run of the first in `runs/old`."""
    folder = tmp_path_factory.mktemp("classes")
    made = write_motion_clips(folder / "made", clips_per_class=2, validation_per_class=10, frames=8, size=40)
    for part in ("train", "val"):
        for name in (*OLD, NEW):
            shutil.copytree(made / part / name, folder / ("new" if name == NEW else "old") / part / name)
    clipshift.train(folder / "old", *SMALL, out=folder / "runs" / "old")
    return folder


def added(place: Path, out: str, *settings: str, old: str = "old") -> Path:
    weights = place / "runs" / old
    return clipshift.train(
        place / "new", *TRAINING, *settings, weights=weights, add_classes=True, out=place / "runs" / out
    ).run


def test_clips_of_the_old_run_are_trained_on_again_and_measured(place: Path) -> None:
    run = added(place, "both")
    spec = read_bundle(run / "model")[1]
    assert spec.classes == (*OLD, NEW)
    assert spec.model == read_bundle(place / "runs" / "old" / "model")[1].model
    assert (spec.input.segments, spec.input.crop) == (4, 32)
    records = [json.loads(line) for line in (run / "data.jsonl").read_text().splitlines()]
    assert sorted(record["class"] for record in records if record["split"] == "train") == sorted([*OLD, NEW] * 2)
    found = load_old_classes(run / "evaluation")
    assert [(each.name, each.clips) for each in found.classes] == [(name, 10) for name in OLD]
    assert (found.added, found.added_clips) == ((NEW,), 10)
    before = json.loads((place / "runs" / "old" / "evaluation" / "metrics.json").read_text())
    assert found.before == round(before["top1"] * 20)
    log, report = (run / "train.log").read_text(), (run / "report.html").read_text()
    assert "Clips of 2 old classes are trained on again" in log
    assert f"the old model has {found.before} right, this one {found.after}" in log
    assert "What did the old classes lose?" in report
    assert added(place, "both") == run  # complete, and said to be so


def test_without_the_clips_what_is_remembered_stands_in_and_only_the_classifier_learns(place: Path) -> None:
    run = added(place, "remembered", "train.rehearse=false")
    (old, old_spec), (new, spec) = (read_bundle(place / "runs" / name / "model") for name in ("old", "remembered"))
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("classifier."))
    assert not torch.equal(old["classifier.weight"], new["classifier.weight"][:2])
    assert new["classifier.weight"].shape[0] == 3
    assert "only the classifier learns" in (run / "train.log").read_text()
    assert old_spec.unknown is not None
    assert spec.unknown is not None
    known = load_known_clips(run / "model", spec.unknown)
    assert known.labels is not None
    assert sorted(known.labels.tolist()) == [0, 0, 1, 1, 2, 2]


def test_a_classifier_that_reads_motion_remembers_it_and_gets_rows_that_do(place: Path) -> None:
    clipshift.train(place / "old", *SMALL, "model.motion=true", out=place / "runs" / "moving")
    run = added(place, "moving_more", "train.rehearse=false", old="moving")
    assert "linear probe beside the old ones" in (run / "train.log").read_text()
    network, spec = load_bundle(run / "model")
    assert spec.model.motion
    assert network.classifier.weight.shape == (3, 3 * 96)  # the mean, and changes over one frame and two
    assert spec.unknown is not None
    known = load_known_clips(run / "model", spec.unknown)
    assert known.features.shape[1] == 3 * 96
    answer = next(iter(clipshift.predict(run, place / "old" / "val" / OLD[0], workers=0)))
    assert isinstance(answer, clipshift.Prediction)
    assert answer.familiarity is not None


def test_where_nothing_is_remembered_the_old_answers_are_learnt_and_the_risk_is_said(place: Path) -> None:
    bare = place / "runs" / "bare" / "model"
    shutil.copytree(place / "runs" / "old" / "model", bare)
    (bare / KNOWN_CLIPS_FILE).unlink()
    replace_spec(bare, read_bundle(bare)[1].model_copy(update={"unknown": None}))
    log = (added(place, "answers", old="bare") / "train.log").read_text()
    assert "only its answers to the other clips keep them" in log
    assert "no validation clips of left_and_back, right_to_left: what they lose cannot be measured" in log
    assert "What the old classes lost is not known" in log


def test_where_clips_of_some_classes_are_there_the_log_says_what_is_done(place: Path) -> None:
    shutil.copytree(place / "new", place / "mixed")
    for part in ("train", "val"):
        shutil.copytree(place / "old" / part / OLD[0], place / "mixed" / part / OLD[0])
    shutil.rmtree(place / "mixed" / "val" / NEW)
    run = clipshift.train(
        place / "mixed",
        *TRAINING,
        "train.rehearse=false",
        weights=place / "runs" / "old",
        add_classes=True,
        out=place / "runs" / "mixed",
    ).run
    log = (run / "train.log").read_text()
    assert "Clips of 1 old class are trained on again.\n" in log
    assert f"Of {OLD[1]} there are no training clips: the features" in log
    assert f"no validation clip of 1 class: {NEW}" in log
    assert load_old_classes(run / "evaluation").added_clips == 0


def test_what_does_not_go_together(place: Path) -> None:
    cases: dict[str, tuple[dict[str, Path | None], tuple[str, ...]]] = {
        "none is named": ({"weights": None}, ()),
        "keeps its network and its input": ({}, ("input.crop=48",)),
        "has no class that the model does not know": ({"data": place / "old"}, ()),
        "one class to a clip, and without other teachers": ({}, ("train.multi_label=true",)),
    }
    for words, (changes, settings) in cases.items():
        data = changes.get("data") or place / "new"
        weights = changes.get("weights", place / "runs" / "old")
        with pytest.raises(ConfigError, match=words):
            clipshift.train(data, *TRAINING, *settings, weights=weights, add_classes=True, out=place / "no")
    assert not (place / "no").exists()


def test_a_probe_beside_rows_that_stay() -> None:
    features, labels = blobs()
    old = labels < 2
    first = fit_linear_probe(features[old], labels[old], 2)
    weight, bias = fit_linear_probe(features, labels, 3, kept=first)
    assert torch.equal(weight[:2], first[0])
    assert torch.equal(bias[:2], first[1])
    assert ((features @ weight.T + bias).argmax(1) == labels).float().mean() > 0.9


def test_the_losses_that_keep_old_classes() -> None:
    logits = torch.tensor([[2.0, 0.5, 1.0], [0.0, 1.0, 3.0]])
    seen = SeenBatch(torch.zeros(2, 1, 3, 2, 2), torch.tensor([2, 2]), torch.arange(2))
    labels = LabelLoss(resolve("motion-demo", settings=["train.label_smoothing=0"]).config)

    class Same:
        def targets(self, _seen: SeenBatch, temperature: float) -> torch.Tensor:
            return (logits[:, :2] / temperature).softmax(dim=1)

    total, parts = KeepOldAnswers(labels, Same(), 2).loss(logits, seen)
    assert float(parts["soft_loss"]) == pytest.approx(0, abs=1e-6)
    assert float(total) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, seen.labels)), rel=1e-6)

    remembered = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    objective = RememberOldClips(labels, torch.zeros(2, 4), torch.tensor([0, 1]), share=2 / 3)
    total, _ = objective.loss((logits, remembered), seen)
    expected = torch.nn.functional.cross_entropy(logits, seen.labels) / 3
    expected = expected + torch.nn.functional.cross_entropy(remembered, torch.tensor([0, 1])) * 2 / 3
    assert float(total) == pytest.approx(float(expected), rel=1e-6)
    assert objective.classifier_only


def test_the_worst_losses_are_named_first() -> None:
    rows = tuple(OldClass(name, 10, 9, after, 1) for name, after in (("a", 9), ("b", 7), ("c", 3)))
    lines = OldClasses("runs/old", rows, ("d",), 5, 4).lines()
    assert lines[0].startswith("Of the old classes' 30 validation clips the old model has 27 right, this one 19")
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["c", "b"]
