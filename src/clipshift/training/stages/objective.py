"""The networks that a training learns from, and with them what it minimizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clipshift.config import Config
from clipshift.models.bundle import load_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.training.distill import (
    LiveTeachers,
    Partner,
    StoredTeachers,
    TrainedTeacher,
    agreement,
    find_partner,
    load_teachers,
    store_logits,
)
from clipshift.training.losses import inverse_frequency
from clipshift.training.objectives import (
    KeepOldAnswers,
    LabelLoss,
    LearnFromTeachers,
    LearnLabels,
    LearnMutually,
    Objective,
    RememberOldClips,
    Teachers,
)
from clipshift.training.old_model import OldModel, only_remembered, remembered_clips
from clipshift.training.run_folder import file_or_folder_hash
from clipshift.training.stages.job import Job
from clipshift.training.start import starting_network, starting_weights
from clipshift.weights.resolve import find_model


@dataclass(frozen=True)
class Others:
    """The networks that a run learns from: at most one of the two kinds.

    Attributes:
        partner: Is trained along, in mutual learning.
        trained: Teach without changing.
    """

    partner: Partner | None
    trained: list[TrainedTeacher]

    def identity(self, config: Config) -> list[str]:
        """What tells them from others: names, settings, hashes of weights."""
        if self.partner is None:
            return [f"{name} {file_or_folder_hash(find_model(name))}" for name in config.distill.teacher]
        start = "" if self.partner.weights is None else f" {file_or_folder_hash(self.partner.weights)}"
        return [self.partner.identity + start]


def find_others(config: Config, classes: Sequence[str]) -> Others:
    """The networks that the settings name.

    Before the run folder is claimed: with `overwrite`, a misspelt teacher would cost the run that lies there.

    Args:
        config: All settings.
        classes: The student's classes.

    Raises:
        ConfigError: A network does not fit the student.
        WeightsError: There is no such recipe, model or run.
    """
    partner = find_partner(config) if config.distill.method == "mutual" else None
    return Others(partner, load_teachers(config, classes) if config.distill.method == "teacher" else [])


def build_objective(job: Job, others: Others, *, resumed: bool) -> Objective:
    """What the run minimizes, with the networks that it learns from.

    Args:
        job: What was asked for.
        others: The networks to learn from, not built yet.
        resumed: Whether a checkpoint will bring the weights of a network that is trained along.
    """
    partner = None if others.partner is None else _partner_network(job, others.partner, resumed)
    teachers = _teachers(job, others.trained) if others.trained else None
    weights = _class_weights(job)
    labels = LabelLoss(job.config, None if weights is None else weights.to(job.ranks.device))
    if job.old is not None:
        return _keep_classes(job, job.old, labels)
    if others.partner is not None and partner is not None:
        return LearnMutually(labels, partner, others.partner.config.optim, job.config)
    return LearnLabels(labels) if teachers is None else LearnFromTeachers(labels, teachers, job.config)


def _keep_classes(job: Job, old: OldModel, labels: LabelLoss) -> Objective:
    remembered = remembered_clips(job.dataset, old)
    device = job.ranks.device
    if remembered is not None:
        share = len(only_remembered(job.dataset, old)) / len(job.dataset.classes)
        return RememberOldClips(labels, remembered.features.to(device), remembered.labels.to(device), share)
    network, spec = load_bundle(old.folder)
    network.requires_grad_(False)
    teacher = TrainedTeacher(old.name, network, spec, torch.arange(len(old.classes)))
    teachers = LiveTeachers([teacher], job.config.input, device, job.config.train.amp)
    return KeepOldAnswers(labels, teachers, len(old.classes))


def _partner_network(job: Job, partner: Partner, resumed: bool) -> Recognizer:
    job.reporter.say(f"Mutual learning with {partner.name}: {partner.config.model.backbone}, trained along.")
    weights = None if resumed else starting_weights(partner.config.model, partner.weights)
    return starting_network(job.dataset, partner.config, weights, resumed, job.ranks, job.reporter)


def _teachers(job: Job, trained: list[TrainedTeacher]) -> Teachers:
    config, dataset, device = job.config, job.dataset, job.ranks.device
    for each in trained:
        where = ", ".join(f"{key} {value}" for key, value in each.spec.provenance.items())
        job.reporter.say(f"Teacher {each.name}: {each.spec.model.architecture} {each.spec.model.backbone} ({where})")
    if not config.distill.stored:
        return LiveTeachers(trained, config.input, device, config.train.amp)
    teachers = StoredTeachers(store_logits(trained, dataset, config, job.folder, job.ranks, job.reporter), device)
    targets = teachers.probabilities(torch.arange(len(dataset.train)), config.distill.temperature)
    right = agreement(targets.cpu(), torch.tensor(dataset.train.labels()))
    job.reporter.say(
        f"The teachers' answers are stored: of the training clips' test views, {right:.1%} right. They do not follow "
        "the random crops and frames that the student sees."
    )
    return teachers


def _class_weights(job: Job) -> torch.Tensor | None:
    """Factors of the classes' losses `(K,)`, on the CPU; None for 1."""
    train, clips = job.config.train, job.dataset.train
    if train.class_weights == "none":
        return None
    counts = clips.counts()
    if train.class_weights != "auto":
        weights = torch.tensor(train.class_weights)
    elif train.multi_label:
        # Not less than 1: a label that most clips have, or all, has to be learnt, too.
        weights = torch.tensor([max(1.0, (len(clips) - count) / count) if count else 1.0 for count in counts])
    else:
        weights = inverse_frequency(counts)
    job.reporter.say(f"Class weights from {weights.min():.3g} to {weights.max():.3g}.")
    return weights
