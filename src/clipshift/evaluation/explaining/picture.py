"""`explanation.png`: the frames that a model sees, with their heat maps, and below each what it adds."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from clipshift.evaluation.explaining.explanation import Explanation
from clipshift.evaluation.explaining.heat import with_heat
from clipshift.evaluation.report.canvas import LIGHT, Plot, Theme, plot_label, render_pixels

PNG_MARK = b"clipshift explanation"
"""In the head of the file."""
_ACROSS = 8
_WIDTH = 1.5
"""Inches of a picture."""
MOST_SHOWN = 64
"""Frames; of more those that matter most."""


def explanation_picture(found: Explanation) -> bytes:
    """The picture as a PNG file."""
    pixels = render_pixels(_plot(found), LIGHT)
    facts = PngInfo()
    facts.add_text("Software", PNG_MARK.decode())
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", pnginfo=facts, optimize=True)
    return file.getvalue()


def shown_places(found: Explanation) -> list[int]:
    """The places of the frames that are shown, in the order of time: all, or those that matter most."""
    places = list(range(len(found.frames)))
    if len(places) > MOST_SHOWN:
        places = sorted(places, key=lambda place: -(found.frames[place].logit_drop or 0.0))[:MOST_SHOWN]
    return sorted(places)


def _plot(found: Explanation) -> Plot:
    places = shown_places(found)
    across = min(_ACROSS, len(places))
    rows = math.ceil(len(places) / across)
    high, wide = found.pictures.shape[1:3]
    size = (max(4.5, _WIDTH * across), rows * (_WIDTH * high / wide + 1.0) + 0.5)
    return Plot("explanation", "Why this answer", size, lambda figure, theme: _draw(figure, theme, found, rows, across))


def _draw(figure: Figure, theme: Theme, found: Explanation, rows: int, across: int) -> None:
    places = shown_places(found)
    high, wide = found.pictures.shape[1:3]
    axes = figure.subplots(2 * rows, across, squeeze=False, height_ratios=[_WIDTH * high / wide, 0.55] * rows)
    label = plot_label(found.label, found.classes.index(found.label))
    figure.suptitle(f"{label}  {found.probability:.1%}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    drops = [found.frames[place].logit_drop or 0.0 for place in places]
    reach = max(max(map(abs, drops), default=0.0), 1e-6)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, place in enumerate(places):
        row, column = divmod(number, across)
        frame = found.frames[place]
        picture, bar = axes[2 * row, column], axes[2 * row + 1, column]
        picture.imshow(with_heat(found.pictures[place], found.heat, place), aspect="equal")
        time = "" if frame.time is None else f"  {frame.time:.2f} s"
        picture.set_title(f"{frame.index}{time}", fontsize=7.5, fontweight="normal", pad=3, color=theme.muted)
        if frame.logit_drop is None:
            continue
        color = theme.cycle[0] if frame.logit_drop >= 0 else theme.cycle[1]
        bar.bar([0], [frame.logit_drop], width=0.5, color=color)
        bar.axhline(0, color=theme.line, linewidth=0.8)
        bar.set_xlim(-0.5, 0.5)
        bar.set_ylim(min(0.0, float(np.min(drops))) * 1.3, reach * 1.35)
        bar.annotate(
            f"{frame.logit_drop:+.2f}",
            (0, max(0.0, frame.logit_drop)),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
