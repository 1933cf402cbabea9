"""Plots of a training and of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from clipshift.evaluation.metrics import CALIBRATION_BINS, ClassMetrics
from clipshift.evaluation.report.canvas import Plot, Theme, plot_label
from clipshift.evaluation.results import Evaluation

Record = Mapping[str, Any]

_MOST_COUNTS = 20  # classes, up to which a confusion matrix shows its counts
_MOST_NAMES = 40  # classes, up to which it shows their names
_MOST_BARS = 30


def training_plots(records: Sequence[Record]) -> list[Plot]:
    """Loss, accuracy and learning rate over the epochs.

    Args:
        records: The lines of `metrics.jsonl`, of kind `step` and `epoch`.

    Returns:
        The plots for which there are numbers; none for an empty log.
    """
    steps = [record for record in records if record.get("kind") == "step"]
    epochs = [record for record in records if record.get("kind") == "epoch"]
    validated = [record for record in epochs if record.get("validation")]
    size = (4.3, 3.0)
    plots = []
    if steps or epochs:
        plots.append(Plot("loss", "Loss", size, lambda figure, _: _draw_loss(figure, steps, epochs)))
    if validated:
        plots.append(Plot("accuracy", "Accuracy on validation", size, lambda figure, _: _draw_accuracy(figure, epochs)))
    if steps:
        plots.append(Plot("learning_rate", "Learning rate", size, lambda figure, _: _draw_rate(figure, steps, epochs)))
    return plots


def evaluation_plots(evaluation: Evaluation) -> list[Plot]:
    """Confusion matrix, accuracy per class and reliability diagram; none when no video was scored.

    Where videos may have several labels, only the accuracy (recall) per class: the others are of a single choice.
    """
    if not evaluation.metrics.scored:
        return []
    classes = len(evaluation.classes)
    confusion = np.array(evaluation.metrics.confusion)
    names = [plot_label(name, index) for index, name in enumerate(evaluation.classes)]
    bars = _worst_first(evaluation.metrics.per_class)
    few = len(bars) <= _MOST_BARS
    title = "Accuracy per class" if few else f"Accuracy of the {_MOST_BARS} weakest of {len(bars)} classes"
    rows = min(len(bars), _MOST_BARS)
    plots = [
        Plot(
            "confusion",
            "Confusion matrix",
            _confusion_size(classes),
            lambda figure, theme: _draw_confusion(figure, theme, confusion, names),
        ),
        Plot(
            "classes",
            title,
            (5.6, max(2.6, 0.9 + 0.26 * rows)),
            lambda figure, _: _draw_bars(figure, bars, names, title),
        ),
        Plot(
            "reliability",
            "Reliability diagram",
            (4.6, 4.4),
            lambda figure, theme: _draw_reliability(figure, theme, evaluation),
        ),
    ]
    return plots if evaluation.metrics.mean_ap is None else plots[1:2]


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over the confidence: videos, their mean confidence and their accuracy (NaN when empty)."""

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability(evaluation: Evaluation, bins: int = CALIBRATION_BINS) -> Reliability:
    """The scored videos binned by the probability of their prediction (Guo et al. 2017, section 2)."""
    scored = [score for score in evaluation.scores if score.logits is not None]
    logits = np.array([score.logits for score in scored], dtype=np.float64).reshape(len(scored), -1)
    logits /= evaluation.temperature
    sure = 1.0 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    right = np.array([score.correct for score in scored], dtype=np.float64)
    which = np.minimum((sure * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            counts,
            np.bincount(which, weights=sure, minlength=bins) / counts,
            np.bincount(which, weights=right, minlength=bins) / counts,
        )


def _draw_loss(figure: Figure, steps: Sequence[Record], epochs: Sequence[Record]) -> None:
    axes = figure.add_subplot()
    per_epoch = _updates_per_epoch(epochs)
    ends = [index + 1 for index in range(len(epochs))]
    if steps:
        losses = np.array([record["loss"] for record in steps], dtype=np.float64)
        axes.plot(_positions(steps, per_epoch), losses, color="C3", linewidth=0.8, alpha=0.6, label="training, updates")
    if epochs and per_epoch is not None:
        axes.plot(ends, [record["train_loss"] for record in epochs], "o-", color="C0", label="training, epoch mean")
        held_out = [
            (end, record["validation"]["loss"]) for end, record in zip(ends, epochs, strict=True) if _has(record)
        ]
        if held_out:
            axes.plot(*zip(*held_out, strict=True), "s-", color="C1", label="validation")
    axes.set_ylim(bottom=0)
    _finish_curve(axes, "Loss", per_epoch)


def _draw_accuracy(figure: Figure, epochs: Sequence[Record]) -> None:
    axes = figure.add_subplot()
    ends = [index + 1 for index, record in enumerate(epochs) if _has(record)]
    lines = [record["validation"] for record in epochs if _has(record)]
    named = (("top1", "top-1", "o-", "C0"), ("mean_class", "mean class", "s-", "C1"), ("top5", "top-5", "^-", "C2"))
    for key, label, style, color in named:
        values = [math.nan if line.get(key) is None else line[key] for line in lines]
        if not all(math.isnan(value) for value in values):
            axes.plot(ends, values, style, color=color, label=label)
    top1 = np.nan_to_num([math.nan if line.get("top1") is None else line["top1"] for line in lines], nan=0.0)
    best = int(np.argmax(top1))
    axes.annotate(
        f"{100 * top1[best]:.1f} %",
        (ends[best], top1[best]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        color="C0",
        fontweight="bold",
    )
    axes.set_ylim(0, 1.09)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _finish_curve(axes, "Accuracy on validation", per_epoch=1.0)


def _draw_rate(figure: Figure, steps: Sequence[Record], epochs: Sequence[Record]) -> None:
    axes = figure.add_subplot()
    per_epoch = _updates_per_epoch(epochs)
    axes.plot(_positions(steps, per_epoch), [record["lr"] for record in steps], color="C0")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _finish_curve(axes, "Learning rate", per_epoch)


def _finish_curve(axes: Axes, title: str, per_epoch: float | None) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch" if per_epoch is not None else "update")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(axis="y")
    if len(axes.lines) > 1:
        axes.legend()


def _has(record: Record) -> bool:
    return bool(record.get("validation"))


def _updates_per_epoch(epochs: Sequence[Record]) -> float | None:
    """None while no epoch is complete: then curves run over updates."""
    return epochs[-1]["update"] / len(epochs) if epochs and epochs[-1].get("update") else None


def _positions(steps: Sequence[Record], per_epoch: float | None) -> list[float]:
    return [record.get("update", index + 1) / (per_epoch or 1) for index, record in enumerate(steps)]


def _confusion_size(classes: int) -> tuple[float, float]:
    side = 3.4 + (0.36 * classes if classes <= _MOST_COUNTS else 0.155 * min(classes, _MOST_NAMES))
    if classes > _MOST_NAMES:
        side = 6.6
    return side + 0.6, side


def _draw_confusion(figure: Figure, theme: Theme, confusion: NDArray[np.int64], names: Sequence[str]) -> None:
    axes = figure.add_subplot()
    classes = len(names)
    supports = confusion.sum(axis=1, keepdims=True)
    shares = np.where(supports > 0, confusion / np.maximum(supports, 1), 0.0)
    colors = LinearSegmentedColormap.from_list("shares", [theme.paper, theme.cycle[0]])
    # With many classes single confusions are pale: a root brings them out.
    norm = PowerNorm(1.0 if classes <= _MOST_COUNTS else 0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap=colors, norm=norm, interpolation="nearest")
    axes.set_title("Confusion matrix, share of each true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.tick_params(length=0)
    if classes <= _MOST_NAMES:
        size = 8.5 if classes <= _MOST_COUNTS else 7
        axes.set_xticks(
            range(classes), names, rotation=90 if classes > 6 else 30, ha="center" if classes > 6 else "right"
        )
        if classes <= 6:
            for label in axes.get_xticklabels():
                label.set_rotation_mode("anchor")
        axes.set_yticks(range(classes), names)
        axes.tick_params(labelsize=size)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=11))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=11))
        axes.set_xlabel("predicted, number of the class")
        axes.set_ylabel("truth, number of the class")
    if classes <= _MOST_COUNTS:
        for row, column in np.argwhere(confusion > 0):
            color = theme.paper if shares[row, column] > 0.5 else theme.ink
            axes.text(column, row, confusion[row, column], ha="center", va="center", color=color, fontsize=8.5)
        axes.set_xticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=theme.line, linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, format=PercentFormatter(1, decimals=0, symbol=" %"))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def _worst_first(entries: Sequence[ClassMetrics]) -> list[tuple[int, ClassMetrics]]:
    return sorted(
        ((index, entry) for index, entry in enumerate(entries) if entry.accuracy is not None),
        key=lambda pair: pair[1].accuracy or 0.0,
    )


def _draw_bars(figure: Figure, bars: Sequence[tuple[int, ClassMetrics]], names: Sequence[str], title: str) -> None:
    axes = figure.add_subplot()
    shown = bars[:_MOST_BARS]
    values = [entry.accuracy or 0.0 for _, entry in shown]
    axes.barh(range(len(shown)), values, color="C0", height=0.66)
    axes.set_yticks(range(len(shown)), [names[index] for index, _ in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    for place, (_, entry) in enumerate(shown):
        right = round((entry.accuracy or 0.0) * entry.support)
        axes.annotate(
            f"{right} / {entry.support}",
            (1, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            annotation_clip=False,
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_title(title)


def _draw_reliability(figure: Figure, theme: Theme, evaluation: Evaluation) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    found = reliability(evaluation)
    width = 1 / len(found.counts)
    middles = (np.arange(len(found.counts)) + 0.5) * width
    upper.plot((0, 1), (0, 1), "--", color=theme.muted, linewidth=1)
    upper.bar(middles, np.nan_to_num(found.accuracy), width=0.88 * width, color="C0")
    upper.plot(found.confidence, found.accuracy, "o", color="C1", markersize=4, clip_on=False)
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("share right")
    upper.set_title("Are the probabilities right?")
    upper.annotate(
        f"calibration error {100 * evaluation.metrics.calibration_error:.1f} %",
        (0.03, 0.93),
        xycoords="axes fraction",
        va="top",
    )
    lower.bar(middles, found.counts, width=0.88 * width, color="C3")
    lower.set_ylabel("videos")
    lower.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=3))
    lower.set_xlim(0, 1)
    lower.set_xlabel("probability of the prediction")
    percent = PercentFormatter(1, decimals=0, symbol=" %")
    lower.xaxis.set_major_formatter(percent)
    upper.yaxis.set_major_formatter(percent)
    upper.grid(axis="y")
