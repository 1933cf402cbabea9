"""What an update minimizes: the loss of labels, alone or with what other networks answer; a class for each way.

Layouts: B clips, T frames, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional

from clipshift.config import Config, OptimConfig
from clipshift.models.recognizer import Recognizer
from clipshift.training.losses import classification_loss, multilabel_loss, mutual_loss, soft_target_loss


@dataclass(frozen=True)
class SeenBatch:
    """A batch as the network sees it.

    Attributes:
        clips: Normalized `(B, T, 3, H, W)`, float; mixed where `mixed_with` says so.
        labels: `(B,)` int64, or `(B, K)` float32 where a clip may have several.
        indices: `(B,)` int64: the clips' places among the training clips, on the CPU.
        mixed_with: `(B,)` int64: the clips of the batch that each is mixed with; None where none are.
        share: Of a clip itself, in [0, 1].
    """

    clips: Tensor
    labels: Tensor
    indices: Tensor
    mixed_with: Tensor | None = None
    share: float = 1.0


Loss = tuple[Tensor, dict[str, Tensor]]
"""A scalar, and its parts by name for the log; no parts where there is one alone."""


class Objective(Protocol):
    """From what the networks answer for a batch to the loss of an update."""

    def learners(self) -> list[tuple[Recognizer, OptimConfig]]:
        """Networks that are trained beside the student, with the settings of their optimizers."""

    @property
    def classifier_only(self) -> bool:
        """Whether nothing but the student's classifier may learn."""

    def joined(self, student: nn.Module) -> nn.Module:
        """The module that is run on a batch's clips; its outputs are what `loss` takes."""

    def loss(self, outputs: Any, seen: SeenBatch) -> Loss:  # noqa: ANN401 - whatever `joined` gives
        """The loss of a batch, for gradients to all that learns."""


class LabelLoss:
    """The loss of labels as the settings want it: cross entropy or focal, smoothed, of mixed clips, of classes weighed.

    Args:
        config: `train.multi_label`, `loss`, `focal_gamma` and `label_smoothing`.
        class_weights: Factors of the classes' losses `(K,)`, on the network's device; None for 1.
    """

    def __init__(self, config: Config, class_weights: Tensor | None = None) -> None:
        train = config.train
        self._loss = multilabel_loss if train.multi_label else classification_loss
        self._smoothing = train.label_smoothing
        self._gamma = train.focal_gamma if train.loss == "focal" else 0.0
        self._weights = class_weights

    def __call__(self, logits: Tensor, seen: SeenBatch) -> Tensor:
        """The mean over a batch, a scalar float32, of logits `(B, K)`."""
        return self._loss(
            logits,
            seen.labels,
            smoothing=self._smoothing,
            mixed_with=seen.mixed_with,
            share=seen.share,
            weights=self._weights,
            gamma=self._gamma,
        )


class LearnLabels:
    """The loss of labels alone.

    Args:
        labels: It.
    """

    classifier_only = False

    def __init__(self, labels: LabelLoss) -> None:
        self._labels = labels

    def learners(self) -> list[tuple[Recognizer, OptimConfig]]:
        """None beside the student."""
        return []

    def joined(self, student: nn.Module) -> nn.Module:
        """The student."""
        return student

    def loss(self, outputs: Tensor, seen: SeenBatch) -> Loss:
        """Of the student's logits `(B, K)`."""
        return self._labels(outputs, seen), {}


class Teachers(Protocol):
    """Networks that teach without changing."""

    def targets(self, seen: SeenBatch, temperature: float) -> Tensor:
        """The mean of their probabilities at a temperature `(B, K)`; a row of zeros leaves its clip out."""


class LearnFromTeachers:
    """Labels, and the answers of trained teachers (Hinton et al. 2015).

    Args:
        labels: The labels' loss.
        teachers: Who answers, for what the student sees or from what is stored.
        config: `distill.label_weight`, `weight` and `temperature`.
    """

    classifier_only = False

    def __init__(self, labels: LabelLoss, teachers: Teachers, config: Config) -> None:
        self._labels, self._teachers, self._distill = labels, teachers, config.distill

    def learners(self) -> list[tuple[Recognizer, OptimConfig]]:
        """None beside the student."""
        return []

    def joined(self, student: nn.Module) -> nn.Module:
        """The student."""
        return student

    def loss(self, outputs: Tensor, seen: SeenBatch) -> Loss:
        """Of the student's logits `(B, K)`."""
        distill = self._distill
        labels = self._labels(outputs, seen)
        targets = self._teachers.targets(seen, distill.temperature)
        soft = soft_target_loss(outputs, targets, temperature=distill.temperature)
        total = distill.label_weight * labels + distill.weight * soft
        return total, {"labels_loss": labels, "soft_loss": soft}


class KeepOldAnswers:
    """Labels, and for the classes of an old model what that one answers (learning without forgetting, Li & Hoiem 2016).

    Args:
        labels: The labels' loss.
        teachers: The old model.
        old: Number of its classes, which come first.
    """

    TEMPERATURE = 2.0
    """Of section 3.2 there, where also the factor of this part is 1."""

    classifier_only = False

    def __init__(self, labels: LabelLoss, teachers: Teachers, old: int) -> None:
        self._labels, self._teachers, self._old = labels, teachers, old

    def learners(self) -> list[tuple[Recognizer, OptimConfig]]:
        """None beside the student."""
        return []

    def joined(self, student: nn.Module) -> nn.Module:
        """The student."""
        return student

    def loss(self, outputs: Tensor, seen: SeenBatch) -> Loss:
        """Of the student's logits `(B, K)`."""
        labels = self._labels(outputs, seen)
        targets = self._teachers.targets(seen, self.TEMPERATURE)
        soft = soft_target_loss(outputs[:, : self._old], targets, temperature=self.TEMPERATURE)
        return labels + soft, {"labels_loss": labels, "soft_loss": soft}


class RememberOldClips:
    """Labels, and those of old clips of which only features are left; all but the classifier stays as it is.

    The two parts are weighed by their classes, so that each class counts as much.

    Args:
        labels: The labels' loss of the clips.
        features: Of the old clips `(N, D)` float32, averaged over their frames.
        old_labels: Their classes `(N,)` int64.
        share: Of the classes that have no other clips, in (0, 1).
    """

    classifier_only = True
    """Features of another backbone would not be those that are remembered."""

    def __init__(self, labels: LabelLoss, features: Tensor, old_labels: Tensor, share: float) -> None:
        self._labels, self._features, self._old_labels, self._share = labels, features, old_labels, share

    def learners(self) -> list[tuple[Recognizer, OptimConfig]]:
        """None beside the student."""
        return []

    def joined(self, student: nn.Module) -> nn.Module:
        """The student, whose classifier also gets the features."""
        return _WithFeatures(student, self._features)

    def loss(self, outputs: tuple[Tensor, Tensor], seen: SeenBatch) -> Loss:
        """Of the logits `(B, K)` of the clips, and those `(N, K)` of the features."""
        logits, remembered = outputs
        labels = self._labels(logits, seen)
        old = functional.cross_entropy(remembered.float(), self._old_labels)
        return (1 - self._share) * labels + self._share * old, {"labels_loss": labels, "remembered_loss": old}


class _WithFeatures(nn.Module):
    """A network that also classifies features; one module, so that one DDP wrapper sends all gradients."""

    features: Tensor

    def __init__(self, student: nn.Module, features_ND: Tensor) -> None:
        super().__init__()
        self.student = student
        self.register_buffer("features", features_ND)

    def forward(self, clips_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(B, K)` of clips and `(N, K)` of the features."""
        network: Any = self.student
        return network(clips_BTCHW), network.classifier(self.features)


class LearnMutually:
    """Labels, and the answers of a partner that is trained along (Zhang et al. 2018; PaddleVideo's PP-TSMv2).

    Args:
        labels: The labels' loss, of the student and of the partner.
        partner: The second network, on the CPU.
        partner_optim: Its parameter groups.
        config: `distill.label_weight`, `weight` and `temperature`.
    """

    classifier_only = False

    def __init__(self, labels: LabelLoss, partner: Recognizer, partner_optim: OptimConfig, config: Config) -> None:
        self._labels, self._distill = labels, config.distill
        self._partner, self._partner_optim = partner, partner_optim

    def learners(self) -> list[tuple[Recognizer, OptimConfig]]:
        """The partner."""
        return [(self._partner, self._partner_optim)]

    def joined(self, student: nn.Module) -> nn.Module:
        """Both networks as one module."""
        return _Pair(student, self._partner)

    def loss(self, outputs: tuple[Tensor, Tensor], seen: SeenBatch) -> Loss:
        """Of the logits `(B, K)` of the student and of the partner."""
        logits, others = outputs
        distill = self._distill
        labels = self._labels(logits, seen)
        soft = mutual_loss(logits, others, temperature=distill.temperature)
        partner = self._labels(others, seen)
        total = distill.label_weight * labels + distill.weight * soft + partner
        return total, {"labels_loss": labels, "soft_loss": soft, "partner_loss": partner}


class _Pair(nn.Module):
    """Two networks that see the same clips; one module, so that one DDP wrapper sends the gradients of both."""

    def __init__(self, student: nn.Module, partner: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.partner = partner

    def forward(self, clips_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(B, K)` of the student and of the partner."""
        return self.student(clips_BTCHW), self.partner(clips_BTCHW)
