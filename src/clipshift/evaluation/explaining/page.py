"""`explanation.html`: one page with the frames, their heat and what each adds, that needs nothing else."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

from clipshift._version import __version__
from clipshift.evaluation.explaining.explanation import Explanation, HeatMaps
from clipshift.evaluation.explaining.heat import heat_layer
from clipshift.evaluation.explaining.picture import shown_places
from clipshift.evaluation.report.strips import data_uri, picture_uri
from clipshift.files import printable

MARK = b"clipshift explanation"
"""In the head of the file."""
_FILLS = {
    "mean": "the mean of the other frames takes its place",
    "neighbor": "the nearest other frame takes its place",
    "blurred": "it loses its details",
}


def explanation_page(found: Explanation) -> str:
    """The page as HTML; the pictures are in it."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
    source = files("clipshift.evaluation.explaining").joinpath("explanation.html").read_text(encoding="utf-8")
    places = shown_places(found)
    reach = max((abs(frame.logit_drop or 0.0) for frame in found.frames), default=0.0) or 1.0
    return environment.from_string(source).render(
        name=printable(Path(found.path).name or found.path),
        label=found.label,
        sentence=printable(found.sentence()),
        top=found.top(),
        cards=[_card(found, place, reach) for place in places],
        left_out=len(found.frames) - len(places),
        fill=_FILLS[found.fill],
        method=None if found.heat is None else found.heat.method,
        notes=found.notes,
        model=printable(found.model.get("path", "")),
        engine=found.engine,
        version=__version__,
    )


def _card(found: Explanation, place: int, reach: float) -> dict[str, Any]:
    frame, picture_HWC = found.frames[place], found.pictures[place]
    return {
        "frame": frame,
        "picture": picture_uri(picture_HWC, box=picture_HWC.shape[1::-1]),
        "heat": None if found.heat is None else _layer_uri(found.heat, place, *picture_HWC.shape[1::-1]),
        "decisive": place == found.decisive and (frame.logit_drop or 0.0) > 0,
        "width": 0.0 if frame.logit_drop is None else 50 * abs(frame.logit_drop) / reach,
    }


def _layer_uri(heat: HeatMaps, place: int, width: int, height: int) -> str:
    file = io.BytesIO()
    # Half of the size: heat is smooth.
    layer = Image.fromarray(heat_layer(heat, place, max(1, width // 2), max(1, height // 2)), "RGBA")
    layer.save(file, "PNG", optimize=True)
    return data_uri(file.getvalue(), "image/png")
