"""What plots are drawn on: themes, fonts and PNG files, without pyplot and its global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from clipshift.files import write_whole

_NAME_LENGTH = 28
_PALETTE = 256  # colors
_FAMILIES = (
    "Inter",
    "Helvetica Neue",
    "Arial",
    "Liberation Sans",
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Microsoft YaHei",
)


@dataclass(frozen=True)
class Theme:
    """Colors of the plots; `cycle` are the series' colors, first the most important one."""

    paper: str
    ink: str
    muted: str
    line: str
    cycle: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1c2330", "#626c7c", "#e3e7ed", ("#2458d3", "#c8640a", "#1a7f5a", "#8b95a5"))
DARK = Theme("#171b22", "#e6e9ef", "#9aa4b4", "#2c333f", ("#7ea6ff", "#f0a45d", "#58c79b", "#7b8696"))


@dataclass(frozen=True)
class Plot:
    """What to draw.

    Attributes:
        name: File name without suffix.
        title: What it shows; its text for those who cannot see it.
        size: Width and height in inches, at 160 pixels per inch.
        draw: Draws into an empty figure, in the colors of a theme.
    """

    name: str
    title: str
    size: tuple[float, float]
    draw: Callable[[Figure, Theme], None]


def render(plot: Plot, theme: Theme = LIGHT) -> bytes:
    """The plot as a PNG file of at most 256 colors."""
    small = io.BytesIO()
    flat = Image.fromarray(render_pixels(plot, theme)).quantize(_PALETTE, dither=Image.Dither.NONE)
    # A palette: a few flat colors and their edges need no more, and a third of the bytes.
    flat.save(small, "PNG", optimize=True)
    return small.getvalue()


def render_pixels(plot: Plot, theme: Theme = LIGHT) -> NDArray[np.uint8]:
    """The plot as pixels, uint8 (height, width, 3), RGB."""
    with matplotlib.rc_context(_style(theme)):
        figure = Figure(figsize=plot.size, layout="constrained")
        plot.draw(figure, theme)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        return np.array(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def save_plots(folder: Path, plots: Sequence[Plot]) -> list[Path]:
    """Writes each plot as `NAME.png` into `folder`, in the light theme."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{plot.name}.png" for plot in plots]
    for path, plot in zip(paths, plots, strict=True):
        write_whole(path, render(plot))
    return paths


def plot_label(name: str, index: int) -> str:
    """A class name that the installed fonts can draw, at most 28 characters; `class N` where they cannot."""
    text = " ".join(name.split())
    if not text or not all(ord(letter) in _letters() for letter in text):
        return f"class {index}"
    return text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1] + "…"


def _style(theme: Theme) -> dict[Any, Any]:
    return {
        "figure.facecolor": theme.paper,
        "figure.dpi": 160,
        "figure.constrained_layout.h_pad": 0.08,
        "figure.constrained_layout.w_pad": 0.06,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "axes.edgecolor": theme.line,
        "axes.labelcolor": theme.muted,
        "axes.titlecolor": theme.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlepad": 10,
        "axes.labelsize": 9,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=theme.cycle),
        "text.color": theme.ink,
        # Class names are other people's text: a dollar sign is no formula.
        "text.parse_math": False,
        "axes.formatter.use_mathtext": False,
        "xtick.color": theme.line,
        "ytick.color": theme.line,
        "xtick.labelcolor": theme.muted,
        "ytick.labelcolor": theme.muted,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "grid.color": theme.line,
        "grid.linewidth": 0.8,
        "lines.linewidth": 1.8,
        "lines.markersize": 4,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "legend.labelcolor": theme.ink,
        "font.family": list(_families()),
        "font.size": 9,
    }


@cache
def _families() -> tuple[str, ...]:
    installed = set(font_manager.get_font_names())
    return tuple(family for family in _FAMILIES if family in installed)


@cache
def _letters() -> frozenset[int]:
    """Code points that one of the fonts can draw."""
    return frozenset(
        code for family in _families() for code in font_manager.get_font(font_manager.findfont(family)).get_charmap()
    )
