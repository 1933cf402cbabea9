"""The time line of a video as a plot: a lane for each class, with what was found, what is true, and the scores."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from clipshift.evaluation.report.canvas import Plot, Theme, plot_label
from clipshift.temporal import Segment

MOST_LANES = 24
_BINS = 1200


@dataclass(frozen=True, eq=False)
class Lane:
    """What is shown of a class.

    Attributes:
        label: Its name.
        index: Its number among the classes of the model; -1 for a class that the model does not have.
        found: What was found.
        truth: What is there.
        curve: (bins,) the highest probability in each of so many equal parts of the video; None where not known.
    """

    label: str
    index: int
    found: tuple[Segment, ...]
    truth: tuple[Segment, ...]
    curve: np.ndarray | None


def make_lanes(
    classes: Sequence[str],
    found: Sequence[Segment],
    truth: Sequence[Segment] = (),
    *,
    times: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    seconds: float,
) -> tuple[Lane, ...]:
    """The lanes of a video: the classes with events, most first; where there are none, those with the highest scores.

    Args:
        classes: Of the model.
        found: What was found.
        truth: What is there.
        times: (N,) of the scores.
        probabilities: (N, K).
        seconds: Length of the video.

    Returns:
        At most 24 lanes, in the order of the classes.
    """
    counts = Counter(one.label for one in (*found, *truth))
    names = [name for name, _ in counts.most_common(MOST_LANES)]
    if not names and probabilities is not None and len(probabilities):
        best = np.argsort(-peaks(probabilities), kind="stable")[:3]
        names = [classes[index] for index in sorted(best.tolist())]
    places = {name: index for index, name in enumerate(classes)}
    lanes = []
    for name in sorted(names, key=lambda one: (places.get(one, len(classes)), one)):
        index = places.get(name, -1)
        curve = None
        if times is not None and probabilities is not None and index >= 0:
            curve = highest_in_parts(times, probabilities[:, index], seconds)
        here, true = (tuple(one for one in each if one.label == name) for each in (found, truth))
        lanes.append(Lane(name, index, here, true, curve))
    return tuple(lanes)


def peaks(probabilities: np.ndarray) -> np.ndarray:
    """(K,) the highest probability of each class; rows are read part by part."""
    highest = np.zeros(probabilities.shape[1], np.float32)
    for first in range(0, len(probabilities), 4096):
        np.maximum(highest, probabilities[first : first + 4096].max(axis=0), out=highest)
    return highest


def highest_in_parts(times: np.ndarray, values: np.ndarray, seconds: float, parts: int = _BINS) -> np.ndarray:
    """float32 (parts,): the highest value in each of so many equal parts of a video.

    Where there is none, the one before goes on, as an observation holds until the next.
    """
    highest = np.full(parts, -math.inf, np.float32)
    where = np.minimum((np.asarray(times) / max(seconds, 1e-9) * parts).astype(np.int64), parts - 1)
    np.maximum.at(highest, where, np.asarray(values, np.float32))
    known = np.isfinite(highest)
    last = np.maximum.accumulate(np.where(known, np.arange(parts), 0))
    return np.where(known[last], highest[last], 0).astype(np.float32)


def timeline_plot(name: str, title: str, lanes: Sequence[Lane], seconds: float) -> Plot:
    """The time line as a plot; truth is drawn above what was found, scores below both.

    Args:
        name: File name without suffix.
        title: What it shows.
        lanes: From `make_lanes`.
        seconds: Length of the video.
    """
    height = 1.1 + 0.5 * max(1, len(lanes))
    return Plot(name, title, (10.0, height), lambda figure, theme: _draw(figure, theme, title, lanes, seconds))


def _draw(figure: Figure, theme: Theme, title: str, lanes: Sequence[Lane], seconds: float) -> None:
    axes = figure.add_subplot()
    has_truth = any(lane.truth for lane in lanes)
    for row, lane in enumerate(lanes):
        top = -row
        if lane.curve is not None:
            x = (np.arange(len(lane.curve)) + 0.5) / len(lane.curve) * seconds
            axes.fill_between(x, top - 0.4, top - 0.4 + 0.72 * lane.curve, color=theme.line, linewidth=0)
        if has_truth:
            _bars(axes, lane.truth, top + 0.2, theme.cycle[2], seconds)
        _bars(axes, lane.found, top - 0.02 if has_truth else top + 0.1, theme.cycle[0], seconds)
    axes.set_yticks([-row for row in range(len(lanes))], [plot_label(lane.label, lane.index) for lane in lanes])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-max(1, len(lanes)) + 0.5, 0.5)
    axes.set_xlim(0, max(seconds, 1e-3))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 3, 6, 10] if seconds > 60 else None))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock_text(value)))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_title(title)
    if has_truth:
        handles = [
            axes.barh(0, 0, color=theme.cycle[color], label=label) for color, label in ((2, "truth"), (0, "found"))
        ]
        axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.1)


def _bars(axes: object, segments: Sequence[Segment], middle: float, color: str, seconds: float) -> None:
    # An event of a long video would be thinner than a line.
    spans = [(one.start, max(one.duration, seconds / 1500)) for one in segments]
    axes.broken_barh(spans, (middle - 0.08, 0.16), color=color, linewidth=0)  # type: ignore[attr-defined]


def clock_text(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour; tenths below a minute and a half are kept."""
    whole = round(seconds, 1) if seconds < 90 and round(seconds, 1) % 1 else round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    text = f"{left:04.1f}" if isinstance(left, float) and left % 1 else f"{int(left):02d}"
    return f"{int(hours)}:{int(minutes):02d}:{text}" if hours else f"{int(minutes)}:{text}"
