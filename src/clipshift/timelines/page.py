"""`timeline.html`: one page that plays the video beside its time line, and needs nothing else."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined

from clipshift._version import __version__
from clipshift.evaluation.report.lanes import Lane, clock_text
from clipshift.files import path_bytes, printable
from clipshift.timelines.result import Cause, Timeline


def timeline_page(timeline: Timeline, cause: Cause, lanes: Sequence[Lane]) -> str:
    """The page as HTML; the video is named by its path from the time line's folder, and is not in the page.

    Args:
        timeline: The time line.
        cause: Where it comes from.
        lanes: What is shown of each class.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("clipshift.timelines").joinpath("timeline.html").read_text(encoding="utf-8")
    )
    count = len(timeline.events)
    return template.render(
        name=printable(Path(timeline.video).name),
        facts=[
            f"{count} event{'' if count == 1 else 's'} in {clock_text(timeline.seconds)}",
            f"{cause.rate:g} frames a second seen" + (", sliding window" if cause.window else ""),
            *timeline.notes,
        ],
        video=video_address(Path(cause.video), timeline.folder),
        data=_as_script(_data(timeline, lanes)),
        has_truth=timeline.truth is not None,
        version=__version__,
    )


def video_address(video: Path, folder: Path) -> str:
    """The relative URL of a video, as seen from a folder."""
    try:
        relative = os.path.relpath(video, folder.resolve())
    except ValueError:  # another drive of Windows
        return video.as_uri()
    return quote(path_bytes(relative.replace(os.sep, "/")))


def _data(timeline: Timeline, lanes: Sequence[Lane]) -> dict[str, object]:
    ids = {one.segment: one.last.id for one in timeline.events}
    return {
        "seconds": timeline.seconds,
        "lanes": [
            {
                "label": printable(lane.label),
                "found": [[one.start, one.end, round(one.score or 0.0, 4), ids.get(one, 0)] for one in lane.found],
                "truth": [[one.start, one.end] for one in lane.truth],
                "curve": None if lane.curve is None else _bytes_of(lane.curve),
            }
            for lane in lanes
        ],
    }


def _bytes_of(curve: np.ndarray) -> str:
    """Probabilities as bytes, 255 being 1."""
    return base64.b64encode(np.rint(255 * np.clip(curve, 0, 1)).astype(np.uint8).tobytes()).decode("ascii")


def _as_script(data: object) -> str:
    """JSON that cannot end the element of a page in which it stands."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
