"""Teachers: a network that is trained along, or trained ones that answer as they are.

Layouts: B clips, T frames, K classes, M teachers, N training clips.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from clipshift.config import Config, InputConfig, ModelSpec, OptimConfig, resolve
from clipshift.config.recipes import recipe_names
from clipshift.config.schema import EvaluateConfig
from clipshift.datasets import DataSet
from clipshift.device import Amp, autocast
from clipshift.errors import ConfigError, RunError
from clipshift.evaluation.evaluator import check_some_read, score_clips
from clipshift.inference.network_scorer import NetworkScorer, evaluating
from clipshift.models.bundle import load_bundle, read_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO
from clipshift.training.distributed import Ranks
from clipshift.training.objectives import SeenBatch
from clipshift.training.reporting import Reporter
from clipshift.weights.resolve import find_model

STORED = "teacher_logits.safetensors"

# What a partner's own recipe does not decide: both networks share the run's schedule.
_OWN_OPTIM = {
    "head_lr",
    "head_bias_lr",
    "head_weight_decay",
    "attention_lr",
    "attention_bias_lr",
    "decay_norms",
    "decay_biases",
}
_SHARED_OPTIM = set(OptimConfig.model_fields) - _OWN_OPTIM


@dataclass(frozen=True)
class Partner:
    """What is trained along in mutual learning, before its network is built.

    Attributes:
        name: As it was asked for.
        config: The run's settings, with the partner's network and the factors of its classifier's rate.
        weights: The model folder it starts from; None for ImageNet weights, or what its recipe says.
    """

    name: str
    config: Config
    weights: Path | None

    @property
    def identity(self) -> str:
        """What tells it from another one; for weights their hash has to be added."""
        return self.config.model.model_dump_json()


def find_partner(config: Config) -> Partner:
    """The network that `distill.teacher` names for mutual learning.

    Its recipe decides about its network and its classifier's rates. All else is the run's: clips, epochs, learning
    rate, precision, what is frozen. Its random numbers are others than the student's.

    Args:
        config: The run's settings, with `distill.method=mutual`.

    Raises:
        ConfigError: The recipe's file is not valid.
        WeightsError: There is no such recipe, model or run.
    """
    name = config.distill.teacher[0]
    weights = None
    if name in ZOO:
        own = ZOO[name].config
    elif name in recipe_names() or name.endswith((".yaml", ".yml")):
        own = resolve(name).config
    else:
        weights = find_model(name)
        own = config.model_copy(update={"model": read_bundle(weights)[1].model})
    optim = own.optim.model_copy(update={key: getattr(config.optim, key) for key in _SHARED_OPTIM})
    # The same seed would make twins of two networks of one kind, and twins have nothing to tell each other.
    train = config.train.model_copy(update={"seed": config.train.seed + 1})
    return Partner(name, config.model_copy(update={"model": own.model, "optim": optim, "train": train}), weights)


@dataclass(frozen=True)
class TrainedTeacher:
    """A model that teaches without changing.

    Attributes:
        name: As it was asked for.
        network: In evaluation mode; its parameters need no gradient.
        spec: Its input and classes.
        columns: `(K,)` int64: where the student's classes are among the teacher's.
    """

    name: str
    network: Recognizer
    spec: ModelSpec
    columns: Tensor


def load_teachers(config: Config, classes: Sequence[str]) -> list[TrainedTeacher]:
    """The models that `distill.teacher` names.

    Args:
        config: The run's settings, with `distill.method=teacher`.
        classes: The student's classes; a teacher may know them in another order, and more of them.

    Raises:
        ConfigError: A teacher lacks a class, or cannot see the student's clips.
        WeightsError: There is no such model.
    """
    teachers = []
    for name in config.distill.teacher:
        network, spec = load_bundle(find_model(name))
        lacking = [each for each in classes if each not in spec.classes]
        if lacking:
            raise ConfigError(
                "A teacher does not know all classes of the data.",
                where=f"distill.teacher: {name}",
                got=f"{len(lacking)} unknown, {lacking[0]!r} for one",
                remedy="train the teacher on this data first, with the same names of classes",
            )
        _check_view(name, spec, config)
        network.requires_grad_(False)
        teachers.append(
            TrainedTeacher(name, network, spec, torch.tensor([spec.classes.index(each) for each in classes]))
        )
    return teachers


def _check_view(name: str, spec: ModelSpec, config: Config) -> None:
    if config.distill.stored:
        return
    segments = config.input.segments
    if spec.model.architecture == "tsm" and spec.input.segments != segments:
        raise ConfigError(
            "A teacher takes clips of another length than the student.",
            where=f"distill.teacher: {name}",
            got=f"{spec.input.segments} frames; the student {segments}",
            remedy=f"input.segments={spec.input.segments}, or distill.stored=true, where each has its own clips",
        )


class LiveTeachers:
    """Trained teachers that look at what the student sees: the same random frames and crops, mixed clips as mixed.

    Args:
        teachers: At least one; moved to the device.
        student: The student's input, whose normalization the teachers' own takes the place of.
        device: Where they run.
        amp: Precision of their forward pass.
    """

    def __init__(
        self, teachers: Sequence[TrainedTeacher], student: InputConfig, device: torch.device, amp: Amp = "fp32"
    ) -> None:
        self._device, self._amp = device, amp
        self._teachers = [replace(each, network=each.network.to(device).eval()) for each in teachers]
        self._columns = [each.columns.to(device) for each in teachers]
        self._student = student

    def targets(self, seen: SeenBatch, temperature: float) -> Tensor:
        """The mean of the teachers' probabilities at a temperature, `(B, K)`, for clips as the student gets them."""
        with autocast(self._device, self._amp):
            return self.probabilities(seen.clips, temperature)

    def probabilities(self, clips_BTCHW: Tensor, temperature: float) -> Tensor:
        """The mean of the teachers' probabilities at a temperature, `(B, K)`.

        Args:
            clips_BTCHW: Clips as the student gets them.
            temperature: Divides the logits.
        """
        answers = []
        with torch.no_grad():
            for teacher, columns in zip(self._teachers, self._columns, strict=True):
                logits = teacher.network(_renormalized(clips_BTCHW, self._student, teacher.spec.input))
                answers.append((logits.float()[:, columns] / temperature).softmax(dim=1))
        return torch.stack(answers).mean(dim=0)


class StoredTeachers:
    """Teachers' answers to the test view of every training clip, computed once.

    Args:
        logits: `(M, N, K)`; a clip that could not be read has NaN.
        device: Where the student runs.
    """

    def __init__(self, logits: Tensor, device: torch.device) -> None:
        self._logits = logits
        self._device = device

    def targets(self, seen: SeenBatch, temperature: float) -> Tensor:
        """The mean of the stored probabilities at a temperature, `(B, K)`, of mixed clips blended as these are."""
        return blend_targets(self.probabilities(seen.indices, temperature), seen.mixed_with, seen.share)

    def probabilities(self, indices: Tensor, temperature: float) -> Tensor:
        """The mean of the teachers' probabilities at a temperature, `(B, K)`; zeros where there are none.

        Args:
            indices: `(B,)` int64: the clips' places among the training clips, on the CPU.
            temperature: Divides the logits.
        """
        answers = (self._logits[:, indices] / temperature).softmax(dim=2).mean(dim=0)
        return answers.nan_to_num(0.0).to(self._device)


def blend_targets(targets: Tensor, mixed_with: Tensor | None, share: float) -> Tensor:
    """Stored targets `(B, K)` of mixed clips: blended as the clips are."""
    return targets if mixed_with is None else share * targets + (1 - share) * targets[mixed_with]


def store_logits(
    teachers: Sequence[TrainedTeacher], dataset: DataSet, config: Config, folder: Path, ranks: Ranks, reporter: Reporter
) -> Tensor:
    """The teachers' logits of every training clip, from the run folder or computed and kept there.

    Every teacher sees each clip as in its own test: its frames, size and center crop.

    Args:
        teachers: The models.
        dataset: Its training clips are scored.
        config: The run's settings.
        folder: The run folder.
        ranks: The first one computes; all get the result.
        reporter: Shows the progress.

    Returns:
        `(M, N, K)` float32.

    Raises:
        DataError: Not one of the clips can be read.
        RunError: The file is damaged, or cannot be written.
    """
    path = folder / STORED
    names = json.dumps([each.name for each in teachers])
    shape = (len(teachers), len(dataset.train), len(dataset.classes))

    def work() -> Tensor:
        # The run folder's identity, which was checked before, holds the teachers' weights and the clips.
        if path.is_file():
            try:
                found = load_file(path)["logits"]
            except (OSError, KeyError, SafetensorError) as error:
                raise RunError("The teacher's stored answers cannot be read.", where=path, got=error) from error
            if tuple(found.shape) == shape:
                return found
        rows = [_scored(each, dataset, config, ranks, reporter) for each in teachers]
        logits = torch.stack(rows)
        partial = path.with_name(f".{path.name}.partial")
        try:
            save_file({"logits": logits}, partial, metadata={"teachers": names})
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            raise RunError("The teacher's answers cannot be written.", where=path, got=error) from error
        return logits

    return ranks.on_rank_zero(work)


def _scored(teacher: TrainedTeacher, dataset: DataSet, config: Config, ranks: Ranks, reporter: Reporter) -> Tensor:
    network = teacher.network.to(ranks.device)
    # One view of a clip, of which nothing is averaged, read as the student's clips are.
    spec = teacher.spec.model_copy(update={"reading": config.data.reading, "average": "logits"})
    scorer = NetworkScorer(network, spec, ranks.device, config.train.amp, as_trained=True)
    with reporter.phase(f"teacher {teacher.name}", len(dataset.train)) as phase, evaluating(network):
        scores = score_clips(
            scorer,
            dataset.train.clips,
            EvaluateConfig(batch_size=config.evaluate.batch_size),
            progress=lambda done, _: phase.advance_to(done),
        )
    check_some_read(scores, dataset.train.source)
    missing = [float("nan")] * len(teacher.spec.classes)
    return torch.tensor([missing if each.logits is None else each.logits for each in scores])[:, teacher.columns]


def agreement(targets: Tensor, labels: Tensor) -> float:
    """Share of clips in [0, 1] whose label is the teachers' first guess; those without an answer count as missed."""
    return float((targets.argmax(dim=1) == labels).logical_and(targets.sum(dim=1) > 0).double().mean())


def _renormalized(clips: Tensor, student: InputConfig, teacher: InputConfig) -> Tensor:
    """Clips as the teacher's own normalization would make them, and of its size where it is built for one."""
    if (student.mean, student.std) != (teacher.mean, teacher.std):
        mean, std, own_mean, own_std = (
            torch.tensor(values, device=clips.device).view(3, 1, 1)
            for values in (student.mean, student.std, teacher.mean, teacher.std)
        )
        clips = (clips * std + (mean - own_mean)) / own_std
    if clips.shape[-1] != teacher.crop:
        frames = functional.interpolate(
            clips.flatten(0, 1), size=(teacher.crop, teacher.crop), mode="bilinear", antialias=True, align_corners=False
        )
        clips = frames.reshape(*clips.shape[:2], *frames.shape[1:])
    return clips
