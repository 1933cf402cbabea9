"""Distillation: mutual learning, trained teachers, stored answers; what is exported, resumed and written down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import clipshift
from clipshift.config import ModelSpec, resolve
from clipshift.config.schema import InputConfig
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import ConfigError, RunError
from clipshift.models.bundle import load_bundle, save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import normalize
from clipshift.training.checkpoint import load_checkpoint
from clipshift.training.distill import LiveTeachers, StoredTeachers, TrainedTeacher, blend_targets, load_teachers
from clipshift.training.loop import Trainer
from clipshift.training.losses import classification_loss, mutual_loss, soft_target_loss
from clipshift.training.objectives import LabelLoss, LearnFromTeachers
from tests.training.objectives import objective_for
from tests.training.test_loop import ALONE, batch, config, same, state

SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "model.dropout=0", "input.segments=4", "input.crop=32",
    "input.resize=36", "train.batch_size=4", "data.workers=0", "train.device=cpu", "train.log_every=1",
    "train.probe=false", "train.frozen_stages=0", "train.epochs=2", "train.threads=1",
)  # fmt: skip
MUTUAL = ("distill.method=mutual", "distill.teacher=[tsm-r18]")


def network(seed: int, *settings: str) -> Recognizer:
    made = config(*settings)
    return Recognizer(made.model, segments=4, classes=3, generator=torch.Generator().manual_seed(seed))


def pair(*settings: str) -> Trainer:
    made = config(*MUTUAL, "train.label_smoothing=0", "augment.mixup=0", *settings)
    return Trainer(network(0), made, ALONE, updates_per_epoch=4, objective=objective_for(made, network(1)))


def test_mutual_loss_is_both_labels_losses_and_the_symmetric_divergence() -> None:
    one = pair("distill.temperature=2", "distill.weight=0.5", "distill.label_weight=0.25", "train.freeze_bn=all")
    assert one.partner is not None
    one.train_mode()
    clips, labels = batch(0)["clips"], batch(0)["labels"]
    pixels = normalize(clips, one.config.input.mean, one.config.input.std)
    with torch.no_grad():
        student, partner = one.network(pixels), one.partner(pixels)
    expected = (
        0.25 * classification_loss(student, labels)
        + classification_loss(partner, labels)
        + 0.5 * mutual_loss(student, partner, temperature=2)
    )
    before = one.partner.classifier.weight.detach().clone()
    assert one.update([batch(0)]).loss == pytest.approx(float(expected), rel=1e-5)
    assert not torch.equal(one.partner.classifier.weight, before)
    assert set(one.parts) == {"labels_loss", "soft_loss", "partner_loss"}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_both_networks_are_resumed_to_the_same_bits(kind: str) -> None:
    settings = ("model.dropout=0.5", "train.ema=0.9", f"optim.optimizer={kind}", "augment.mixup=0.2")
    whole = pair(*settings)
    whole.train_mode()
    for seed in range(2):
        whole.update([batch(seed)])
    middle, progress = state(whole), whole.progress
    for seed in range(2, 4):
        whole.update([batch(seed)])
    resumed = pair(*settings)
    resumed.restore(middle, progress)
    resumed.train_mode()
    for seed in range(2, 4):
        resumed.update([batch(seed)])
    assert same(state(whole), state(resumed))
    assert [name for name in middle if name.startswith("partner_optimizer.")]


def spec(classes: tuple[str, ...], **settings: object) -> ModelSpec:
    model = config().model.model_copy(update={"dropout": 0.0})
    shape = {"segments": 4, "crop": 32, "resize": 36, **settings}
    return ModelSpec(clipshift="0", model=model, input=InputConfig.model_validate(shape), classes=classes)


def test_live_teachers_answer_what_they_would_in_their_own_input(tmp_path: Path) -> None:
    theirs = spec(("x", "c", "a", "b"), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    teacher = Recognizer(theirs.model, segments=4, classes=4, generator=torch.Generator().manual_seed(5)).eval()
    torch.nn.init.normal_(teacher.classifier.weight)
    save_bundle(tmp_path / "teacher", teacher, theirs)
    settings = config("distill.method=teacher", f"distill.teacher=[{tmp_path / 'teacher'}, {tmp_path / 'teacher'}]")
    loaded = load_teachers(settings, ("a", "b", "c"))
    assert not any(parameter.requires_grad for parameter in loaded[0].network.parameters())
    live = LiveTeachers(loaded, settings.input, torch.device("cpu"))
    pixels = batch(1)["clips"]
    answer = live.probabilities(normalize(pixels, settings.input.mean, settings.input.std), 2.0)
    with torch.no_grad():
        direct = teacher(normalize(pixels, theirs.input.mean, theirs.input.std))[:, [2, 3, 1]]
    torch.testing.assert_close(answer, (direct / 2).softmax(1), rtol=1e-3, atol=1e-5)


def test_a_trained_teacher_stays_as_it_is_and_the_loss_is_the_sum() -> None:
    teacher = network(5).eval().requires_grad_(False)
    torch.nn.init.normal_(teacher.classifier.weight)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    made = config("distill.method=teacher", "distill.teacher=[x]", "distill.temperature=3", "distill.weight=2")
    live = LiveTeachers(
        [TrainedTeacher("x", teacher, spec(("a", "b", "c")), torch.arange(3))], made.input, torch.device("cpu")
    )
    one = Trainer(
        network(0), made, ALONE, updates_per_epoch=4, objective=LearnFromTeachers(LabelLoss(made), live, made)
    )
    one.train_mode()
    pixels = normalize(batch(0)["clips"], made.input.mean, made.input.std)
    logits = network(0).train()(pixels).detach()
    with torch.no_grad():
        targets = (teacher(pixels) / 3).softmax(1)
    expected = classification_loss(logits, batch(0)["labels"]) + 2 * soft_target_loss(logits, targets, temperature=3)
    assert one.update([batch(0)]).loss == pytest.approx(float(expected), rel=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not [name for name in one.tensors() if not name.startswith(("network.", "optimizer."))]


def test_stored_answers_are_looked_up_averaged_and_mixed() -> None:
    logits = torch.randn(2, 5, 3)
    logits[:, 4] = float("nan")
    stored = StoredTeachers(logits, torch.device("cpu"))
    targets = stored.probabilities(torch.tensor([3, 4]), 2.0)
    torch.testing.assert_close(targets[0], (logits[:, 3] / 2).softmax(1).mean(0))
    assert not targets[1].any()
    mixed = blend_targets(targets, torch.tensor([1, 0]), 0.25)
    torch.testing.assert_close(mixed[1], 0.75 * targets[0])


@pytest.mark.parametrize(
    "settings",
    [
        ("distill.teacher=[x]",),
        ("distill.method=teacher",),
        ("distill.method=mutual", "distill.teacher=[a, b]"),
        ("distill.method=mutual", "distill.teacher=[a]", "distill.stored=true"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="distill"):
        resolve(settings=settings)


def test_teachers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    theirs = spec(("a", "b"), segments=8)
    teacher = Recognizer(theirs.model, segments=8, classes=2)
    save_bundle(tmp_path, teacher, theirs)
    settings = ("distill.method=teacher", f"distill.teacher=[{tmp_path}]")
    with pytest.raises(ConfigError, match="does not know all classes"):
        load_teachers(config(*settings), ("a", "c"))
    with pytest.raises(ConfigError, match="another length"):
        load_teachers(config(*settings), ("a", "b"))
    assert load_teachers(config(*settings, "distill.stored=true"), ("b", "a"))[0].columns.tolist() == [1, 0]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_motion_clips(
        tmp_path_factory.mktemp("motion") / "clips", clips_per_class=4, validation_per_class=2, frames=8, size=40
    )


@pytest.fixture(scope="module")
def teacher(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clipshift.train(clips, *SMALL, "train.epochs=1", out=tmp_path_factory.mktemp("runs") / "teacher").run


@pytest.fixture
def partner(tmp_path: Path) -> Path:
    recipe = tmp_path / "partner.yaml"
    recipe.write_text("model:\n  backbone: test_efficientnet\n  pretrained: false\noptim:\n  head_lr: 5.0\n")
    return recipe


@pytest.mark.parametrize("stored", ["false", "true"])
def test_a_run_with_a_teacher(clips: Path, teacher: Path, tmp_path: Path, stored: str) -> None:
    settings = (*SMALL, "distill.method=teacher", f"distill.teacher=[{teacher}]", f"distill.stored={stored}")
    result = clipshift.train(clips, *settings, out=tmp_path / "run")
    assert (result.run / "teacher_logits.safetensors").exists() == (stored == "true")
    log = (result.run / "train.log").read_text()
    assert f"Teacher {teacher}: tsm test_resnet" in log
    steps = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert {"labels_loss", "soft_loss"} <= set(steps[0])
    _, exported = load_bundle(result.run / "model")
    assert exported.provenance["taught_by"] == str(teacher)
    assert exported.provenance["distillation"] == "teacher"
    again = clipshift.train(clips, *settings, out=tmp_path / "run")
    assert again.epochs == 2
    with pytest.raises(RunError, match="another run"):
        clipshift.train(clips, *settings, "distill.weight=0.5", out=tmp_path / "run")


def test_a_mutual_run_exports_the_student_alone(clips: Path, partner: Path, tmp_path: Path) -> None:
    settings = (*SMALL, "distill.method=mutual", f"distill.teacher=[{partner}]")
    result = clipshift.train(clips, *settings, out=tmp_path / "run")
    student, exported = load_bundle(result.run / "model")
    assert exported.model.backbone == "test_resnet"
    assert not [name for name in student.state_dict() if name.startswith("partner")]
    found = load_checkpoint(result.run / "checkpoints")
    assert found is not None
    assert [name for name in found[0] if name.startswith("partner.")]
    again = clipshift.evaluate(result.run, clips / "val", device="cpu")
    assert again.metrics.loss == pytest.approx(result.evaluation.metrics.loss, rel=1e-4)
    partner.write_text(partner.read_text().replace("efficientnet", "resnet"))
    with pytest.raises(RunError, match="teachers"):
        clipshift.train(clips, *settings, out=tmp_path / "run")


@pytest.mark.slow
def test_two_ranks_train_both_networks(clips: Path, partner: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "clipshift"]
    settings = (
        *SMALL,
        "train.batch_size=2",
        "distill.method=mutual",
        f"distill.teacher=[{partner}]",
        "train.epochs=1",
        "train.examine=false",
        "train.unknown=false",
    )
    command = [*words, "train", str(clips), *settings, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "partner_loss" in steps[0]
