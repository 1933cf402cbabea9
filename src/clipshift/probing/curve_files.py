"""The files of a learning curve: numbers and a plot, in a folder that holds nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from clipshift.errors import OutputError
from clipshift.evaluation.report.canvas import Plot, Theme, render
from clipshift.files import is_partial, to_json, write_whole
from clipshift.locks import LOCK_FILE
from clipshift.probing.feature_store import FEATURES
from clipshift.probing.whole_trainings import TRAININGS

if TYPE_CHECKING:
    from clipshift.probing.learning_curve import LearningCurve

NUMBERS, PLOT = "learning_curve.json", "learning_curve.png"
_OWN = {NUMBERS, PLOT, FEATURES, TRAININGS, LOCK_FILE}


def check_curve_folder(folder: Path) -> None:
    """See that the folder is new, empty, or that of a learning curve.

    Raises:
        OutputError: It is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("The place of the learning curve is no folder.", where=folder, remedy="name another --out")
    others = (
        []
        if not folder.is_dir()
        else sorted(path.name for path in folder.iterdir() if path.name not in _OWN and not is_partial(path.name))
    )
    if others:
        raise OutputError(
            "The folder holds files that are no learning curve's.",
            where=folder,
            got=", ".join(others[:4]),
            remedy="name another --out",
        )


def write_curve(numbers: dict[str, Any], curve: LearningCurve, folder: Path) -> None:
    """Write the numbers and the plot; those of an earlier call are replaced.

    Raises:
        OutputError: They cannot be written.
    """
    try:
        write_whole(folder / PLOT, render(curve_plot(curve)))
        write_whole(folder / NUMBERS, to_json(numbers, indent=1) + "\n")
    except OSError as error:
        raise OutputError.of(error, folder) from error


def curve_plot(curve: LearningCurve) -> Plot:
    """Accuracy over training clips: every repeat, their means, the law, and its end at twice the clips."""
    return Plot("learning_curve", "Learning curve", (6.4, 4.2), lambda figure, theme: _draw(figure, theme, curve))


def _draw(figure: Figure, theme: Theme, curve: LearningCurve) -> None:
    axes = figure.add_subplot()
    sizes = [point.clips for point in curve.points]
    last, twice = sizes[-1], curve.twice
    for number in range(curve.repeats):
        label = "each repeat" if number == 0 else None
        values = [point.repeats[number] for point in curve.points]
        axes.plot(sizes, values, "o", color="C3", markersize=3, alpha=0.5, label=label, zorder=2)
    axes.plot(sizes, [point.accuracy for point in curve.points], "o", color="C0", markersize=6, label="mean", zorder=4)
    clips = np.linspace(sizes[0], 2 * last, 200)
    inside = clips <= last
    axes.plot(clips[inside], curve.law.accuracy(clips[inside]), "-", color="C0", label="power law", zorder=3)
    axes.plot(clips[~inside], curve.law.accuracy(clips[~inside]), "--", color="C1", zorder=3)
    axes.errorbar(
        [2 * last],
        [twice.value],
        yerr=[[twice.value - twice.low], [twice.high - twice.value]],
        fmt="D",
        color="C1",
        capsize=4,
        label="twice as many, 95 % interval",
        zorder=4,
    )
    axes.annotate(
        f"{100 * twice.value:.0f} %",
        (2 * last, twice.value),
        xytext=(-9, 7),
        textcoords="offset points",
        ha="right",
        color="C1",
    )
    axes.axvline(last, color=theme.line, linewidth=1, zorder=1)
    low = min(twice.low, *(min(point.repeats) for point in curve.points))
    axes.set_ylim(max(0.0, np.floor(10 * low - 0.3) / 10), 1.02)
    axes.set_xlim(0, 2.1 * last)
    axes.set_xlabel("training clips")
    axes.set_ylabel("tested clips that were right")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(axis="y")
    kind = "whole trainings" if curve.mode == "trained" else "linear probes on frozen features"
    axes.set_title(f"Learning curve: {kind}, {curve.repeats} repeats")
    axes.legend(loc="lower right")
