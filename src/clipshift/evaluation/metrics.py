"""Metrics of a classifier from its logits: exact over the whole test set, with the unreadable videos in sight.

Layouts: N scored videos, K classes, M unreadable ("bad") videos.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional as F

BadPolicy = Literal["wrong", "exclude"]

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class ClassMetrics:
    """The numbers of one class, shares in [0, 1].

    Attributes:
        name: The class.
        support: Videos of this class in the denominator of `accuracy`; with `bad="wrong"` the unreadable ones too.
        accuracy: Share of them that was recognized (recall); None for a class without a video.
        precision: Share of right ones among the videos predicted as this class; None when there were none.
        f1: Harmonic mean of precision and recall; None for a class without a video.
        average_precision: Of the videos ranked by this class's score, where videos may have several labels.
    """

    name: str
    support: int
    accuracy: float | None
    precision: float | None
    f1: float | None
    average_precision: float | None = None


@dataclass(frozen=True)
class Metrics:
    """The numbers of one evaluation, shares in [0, 1]; NaN where there was nothing to count.

    Attributes:
        total: Videos that were asked for.
        scored: Videos that the network saw.
        bad: Videos that could not be read; total = scored + bad.
        bad_policy: `wrong`: bad videos are in the denominators of `top1`, `topk` and the classes' accuracy.
            `exclude`: they are left out everywhere. In both cases `loss`, `calibration_error`, `confusion` and
            precision are of the scored videos only: a video without a prediction has none of these.
        top1: Share of videos whose highest logit is the right class; of equal logits the lower class index wins.
        topk: The same for the k highest logits. Keys: 1, and 5 where there are more than five classes (else it says
            nothing).
        mean_class: Mean of the classes' accuracies; a class without a video is left out of it.
        calibration_error: Expected calibration error, 15 bins of equal width, L1 (Guo et al. 2017, equation 3).
        loss: Mean cross-entropy, without label smoothing, in nats.
        per_class: One entry per class, in class order.
        confusion: (K, K) counts; rows are the truth, columns the prediction. Empty where videos may have several
            labels.
        mean_ap: Mean of the classes' average precisions, where videos may have several labels; else None. Then `top1`
            and `topk` are shares of videos with one of their labels among the highest logits, and `mean_class` and the
            classes' accuracy and precision are at a probability of 0.5.
        temperature: What the logits were divided by before `calibration_error` and `loss` were measured.
        calibration_error_before: The calibration error of the logits as they are; None where the temperature is 1.
    """

    total: int
    scored: int
    bad: int
    bad_policy: BadPolicy
    top1: float
    topk: dict[int, float]
    mean_class: float
    calibration_error: float
    loss: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    mean_ap: float | None = None
    temperature: float = 1.0
    calibration_error_before: float | None = None

    @property
    def empty_classes(self) -> int:
        """Number of classes without a video; they are left out of `mean_class`."""
        return sum(entry.support == 0 for entry in self.per_class)

    def summary(self) -> dict[str, int | float | None]:
        """The scalars, for one line of a log: total, scored, bad, top1, top5 (with six or more classes), mean_class...

        NaN becomes None, as JSON knows none.
        """
        values: dict[str, int | float | None] = {"total": self.total, "scored": self.scored, "bad": self.bad}
        values.update({f"top{k}": _finite(share) for k, share in self.topk.items()})
        values["mean_class"] = _finite(self.mean_class)
        values["loss"] = _finite(self.loss)
        values["calibration_error"] = _finite(self.calibration_error)
        if self.calibration_error_before is not None:
            values["temperature"] = self.temperature
            values["calibration_error_before"] = _finite(self.calibration_error_before)
        if self.mean_ap is not None:
            values["mean_ap"] = _finite(self.mean_ap)
        return values

    def to_json(self) -> dict[str, Any]:
        """All numbers in JSON's types; `metrics_from_json` undoes it."""
        return {
            **self.summary(),
            "bad_policy": self.bad_policy,
            "per_class": [
                asdict(entry) if self.mean_ap is not None else _without_ap(asdict(entry)) for entry in self.per_class
            ],
            "confusion": [list(row) for row in self.confusion],
        }


def _without_ap(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "average_precision"}


def metrics_from_json(values: dict[str, Any]) -> Metrics:
    """Rebuilds what `Metrics.to_json` wrote; further keys are ignored.

    Raises:
        KeyError: A number is missing.
        TypeError: A number has another type.
        ValueError: The same, or numbers do not belong together.
    """
    topk = {k: _number(values[f"top{k}"]) for k in (1, 5) if f"top{k}" in values}
    found = _METRICS.validate_python(
        {
            **{name: values[name] for name in ("total", "scored", "bad", "bad_policy", "confusion")},
            "per_class": tuple(_class_from_json(entry) for entry in values["per_class"]),
            **{name: _number(values[name]) for name in ("mean_class", "calibration_error", "loss")},
            "top1": topk[1],
            "topk": topk,
            "mean_ap": _number(values["mean_ap"]) if "mean_ap" in values else None,
            "temperature": values.get("temperature", 1.0),
            "calibration_error_before": (
                _number(values["calibration_error_before"]) if "calibration_error_before" in values else None
            ),
        }
    )
    classes = len(found.per_class)
    if found.confusion and {classes, *map(len, found.confusion)} != {len(found.confusion)}:
        raise ValueError(f"a confusion matrix of {len(found.confusion)} rows for {classes} classes")
    counts = [
        found.scored,
        found.bad,
        *(entry.support for entry in found.per_class),
        *itertools.chain(*found.confusion),
    ]
    if not all(0 <= count <= _MOST_VIDEOS for count in counts) or found.total != found.scored + found.bad:
        raise ValueError("numbers of videos that cannot be")
    if not (math.isfinite(found.temperature) and found.temperature > 0):
        raise ValueError("a temperature that cannot be")
    return found


def _class_from_json(values: dict[str, Any]) -> ClassMetrics:
    if not isinstance(values["name"], str):
        raise TypeError("a class whose name is no text")
    # The validator takes no names that are not UTF-8.
    return replace(_CLASS.validate_python({**values, "name": ""}), name=values["name"])


_CLASS = TypeAdapter(ClassMetrics)
_METRICS = TypeAdapter(Metrics)
_MOST_VIDEOS = 2**53


def compute_metrics(
    logits: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    bad_labels: Sequence[int] = (),
    bad: BadPolicy = "wrong",
    temperature: float = 1.0,
) -> Metrics:
    """Computes all metrics at once from the logits of the whole test set.

    Args:
        logits: (N, K) float, any device, of the videos that were scored.
        labels: (N,) int64 in [0, K): their classes.
        classes: K names.
        bad_labels: M classes of the videos that could not be read.
        bad: How those count; see `Metrics.bad_policy`.
        temperature: Divides the logits before they become probabilities.

    Raises:
        ValueError: The shapes do not fit one another, or a label lies outside [0, K).
    """
    _check(logits, labels, classes, bad_labels)
    scored, count = logits.shape
    # Metrics are computed in double precision on the CPU: the same numbers whatever device scored the videos.
    logits = logits.detach().to("cpu", torch.float64)
    labels = labels.detach().to("cpu", torch.int64)
    order = ranking(logits)
    # (N,) the place of the right class in the order: 0 is a top-1 hit.
    places = (order == labels[:, None]).to(torch.int64).argmax(dim=1)
    counted = scored + (len(bad_labels) if bad == "wrong" else 0)
    topk = {k: _share(int((places < k).sum()), counted) for k in (1, 5) if k == 1 or k < count}
    confusion = _confusion_matrix(order[:, 0], labels, count)
    per_class = _per_class(confusion, classes, bad_labels if bad == "wrong" else ())
    accuracies = [entry.accuracy for entry in per_class if entry.accuracy is not None]
    return Metrics(
        total=scored + len(bad_labels),
        scored=scored,
        bad=len(bad_labels),
        bad_policy=bad,
        top1=topk[1],
        topk=topk,
        mean_class=_share(math.fsum(accuracies), len(accuracies)),
        calibration_error=calibration_error(logits / temperature, labels) if scored else math.nan,
        loss=float(F.cross_entropy(logits / temperature, labels)) if scored else math.nan,
        per_class=per_class,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        temperature=temperature,
        calibration_error_before=calibration_error(logits, labels) if scored and temperature != 1 else None,
    )


def compute_multilabel_metrics(
    logits: Tensor,
    targets: Tensor,
    classes: Sequence[str],
    *,
    bad_targets: Tensor | None = None,
    bad: BadPolicy = "wrong",
    temperature: float = 1.0,
) -> Metrics:
    """Computes the metrics of videos that may have several labels.

    Args:
        logits: (N, K) float, any device, of the videos that were scored.
        targets: (N, K) bool: their labels.
        classes: K names.
        bad_targets: (M, K) bool: labels of the videos that could not be read.
        bad: How those count; with `wrong` they are videos that no score finds.
        temperature: Divides the logits before they become probabilities.

    Raises:
        ValueError: The shapes do not fit one another.
    """
    count = len(classes)
    missed = torch.zeros(0, count, dtype=torch.bool) if bad_targets is None else bad_targets.cpu().bool()
    if logits.ndim != 2 or logits.shape != targets.shape or logits.shape[1] != count or missed.shape[1] != count:
        raise ValueError(
            f"logits and targets (N, {count}) expected, got {tuple(logits.shape)} and {tuple(targets.shape)}"
        )
    logits, targets = logits.detach().to("cpu", torch.float64), targets.cpu().bool()
    scored = len(logits)
    counted = missed if bad == "wrong" else missed[:0]
    total = scored + len(counted)
    hits = targets.gather(1, ranking(logits))
    topk = {k: _share(int(hits[:, :k].any(dim=1).sum()), total) for k in (1, 5) if k == 1 or k < count}
    per_class = tuple(
        _binary_class(name, logits[:, k], targets[:, k], int(counted[:, k].sum())) for k, name in enumerate(classes)
    )
    recalls = [entry.accuracy for entry in per_class if entry.accuracy is not None]
    precisions = [entry.average_precision for entry in per_class if entry.average_precision is not None]
    scaled = logits / temperature

    def error(logits: Tensor) -> float:
        return binary_calibration_error(logits.sigmoid().flatten(), targets.flatten())

    return Metrics(
        total=scored + len(missed),
        scored=scored,
        bad=len(missed),
        bad_policy=bad,
        top1=topk[1],
        topk=topk,
        mean_class=_share(math.fsum(recalls), len(recalls)),
        calibration_error=error(scaled) if scored else math.nan,
        loss=float(F.binary_cross_entropy_with_logits(scaled, targets.double())) if scored else math.nan,
        per_class=per_class,
        confusion=(),
        mean_ap=_share(math.fsum(precisions), len(precisions)),
        temperature=temperature,
        calibration_error_before=error(logits) if scored and temperature != 1 else None,
    )


def average_precision(scores: Tensor, positive: Tensor, missed: int = 0) -> float | None:
    """Sum over thresholds of the precision times the gain in recall; without interpolation.

    Args:
        scores: (N,) float; videos of equal scores pass a threshold together.
        positive: (N,) bool.
        missed: Positive videos without a score, which no threshold finds.

    Returns:
        In [0, 1]; None without a positive video.
    """
    every = int(positive.sum()) + missed
    if not every:
        return None
    order = torch.argsort(scores, descending=True, stable=True)
    ranked, found = scores[order], positive[order].double().cumsum(0)
    # The last video of each group of equal scores.
    last = torch.cat([ranked[1:] != ranked[:-1], torch.ones(min(1, len(ranked)), dtype=torch.bool)]).nonzero()[:, 0]
    precision = found[last] / (last + 1)
    gained = torch.diff(found[last], prepend=torch.zeros(1, dtype=torch.float64))
    return float((precision * gained).sum() / every)


def _binary_class(name: str, logits: Tensor, positive: Tensor, missed: int) -> ClassMetrics:
    chosen = logits > 0  # a probability above 0.5
    right, support, picked = int((chosen & positive).sum()), int(positive.sum()) + missed, int(chosen.sum())
    return ClassMetrics(
        name=name,
        support=support,
        accuracy=right / support if support else None,
        precision=right / picked if picked else None,
        f1=2 * right / (support + picked) if support else None,
        average_precision=average_precision(logits, positive, missed),
    )


def ranking(logits: Tensor) -> Tensor:
    """(N, K) class indices from the highest logit to the lowest; equal logits in the order of the classes."""
    return torch.sort(logits, dim=1, descending=True, stable=True).indices


def confidences(logits: Tensor) -> Tensor:
    """(N,) softmax probability of the predicted class."""
    return logits.softmax(dim=1).amax(dim=1)


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error of predictions (Guo et al. 2017, equation 3).

    Over `CALIBRATION_BINS` bins of equal width, the mean distance between the mean probability of the predicted class
    and the share that is right, weighted by the bins' videos.

    Args:
        logits: (N, K) float64 on the CPU, N of at least 1.
        labels: (N,) int64.
    """
    return binary_calibration_error(confidences(logits), ranking(logits)[:, 0] == labels)


def binary_calibration_error(chances: Tensor, right: Tensor) -> float:
    """The same of probabilities (N,) float64 and of what came true (N,) bool."""
    from torchmetrics.functional.classification import binary_calibration_error as measure

    # torchmetrics would give a probability of exactly 1 a sixteenth bin of its own.
    sure = chances.clamp(max=math.nextafter(1.0, 0.0))
    return float(measure(sure, right.to(torch.int64), n_bins=CALIBRATION_BINS, norm="l1"))


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): what a test set of this size can tell.

    Raises:
        ValueError: `total` is not positive.
    """
    if total < 1:
        raise ValueError(f"an interval needs at least one video, got total={total}")
    z = 1.959963984540054
    share = right / total
    center = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, center - reach), min(1.0, center + reach)


def _check(logits: Tensor, labels: Tensor, classes: Sequence[str], bad_labels: Sequence[int]) -> None:
    if logits.ndim != 2 or logits.shape[1] != len(classes) or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"logits (N, {len(classes)}) and labels (N,) expected for {len(classes)} classes, "
            f"got {tuple(logits.shape)} and {tuple(labels.shape)}"
        )
    for label in (*labels.tolist(), *bad_labels):
        if not 0 <= label < len(classes):
            raise ValueError(f"labels must lie in [0, {len(classes)}), got {label}")


# torchmetrics takes as long to import as PyTorch: what only predicts shall not wait for it.
def _confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    # It wants at least two classes.
    return multiclass_confusion_matrix(predicted, labels, num_classes=max(classes, 2))[:classes, :classes]


def _per_class(confusion: Tensor, classes: Sequence[str], bad_labels: Sequence[int]) -> tuple[ClassMetrics, ...]:
    missed = torch.bincount(torch.tensor(bad_labels, dtype=torch.int64), minlength=len(classes))
    supports = (confusion.sum(dim=1) + missed).tolist()
    predicted = confusion.sum(dim=0).tolist()
    entries = []
    for index, name in enumerate(classes):
        right, support, chosen = int(confusion[index, index]), supports[index], predicted[index]
        entries.append(
            ClassMetrics(
                name=name,
                support=support,
                accuracy=right / support if support else None,
                precision=right / chosen if chosen else None,
                f1=2 * right / (support + chosen) if support else None,
            )
        )
    return tuple(entries)


def _share(part: float, whole: int) -> float:
    return part / whole if whole else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
