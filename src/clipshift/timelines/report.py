"""`metrics.json` and `report.html` of an evaluation on long videos."""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

from clipshift._version import __version__
from clipshift.errors import VideoError
from clipshift.evaluation.event_metrics import FoundVideo
from clipshift.evaluation.report.lanes import clock_text
from clipshift.evaluation.report.strips import data_uri, picture_uri
from clipshift.files import path_bytes, printable, to_json, write_whole
from clipshift.inference.predictions import Failure
from clipshift.temporal import Segment, match_segments, tiou
from clipshift.temporal.annotations import Annotation
from clipshift.timelines.outputs import PAGE
from clipshift.timelines.result import Timeline
from clipshift.video.long_file import pictures_at

if TYPE_CHECKING:
    from clipshift.timelines.measuring import EventEvaluation

REPORT, METRICS = "report.html", "metrics.json"
_MOST_VIDEOS = 20
_MOST_MISTAKES = 8
_FRAMES = 4


def write_event_report(
    folder: Path,
    evaluation: EventEvaluation,
    found: Mapping[str, FoundVideo],
    pairs: Sequence[tuple[Annotation, Timeline | Failure]],
) -> None:
    """Write `metrics.json` and `report.html`.

    Args:
        folder: Where to; it is there.
        evaluation: The figures.
        found: What was found and what is there, by the names of the annotations.
        pairs: Each annotation with its time line, or why there is none.

    Raises:
        OSError: They cannot be written.
    """
    described = {
        "format": 1,
        "kind": "events",
        "clipshift": __version__,
        "data": evaluation.data,
        "model": dict(evaluation.model),
        "rate": evaluation.rate,
        "window": evaluation.window,
        "rules": evaluation.rules.model_dump(mode="json"),
        "failed": dict(evaluation.failed),
        **evaluation.metrics.to_json(),
    }
    write_whole(folder / METRICS, to_json(described, indent=1) + "\n")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f} %"
    environment.filters["shown"] = lambda text: printable(str(text))
    source = files("clipshift.timelines").joinpath("events.html").read_text(encoding="utf-8")
    lines = {note.path: line for note, line in pairs if isinstance(line, Timeline)}
    html = environment.from_string(source).render(
        data=evaluation.data,
        facts=_facts(evaluation),
        numbers=evaluation.metrics,
        failed=evaluation.failed,
        videos=[_video(name, line, folder) for name, line in list(lines.items())[:_MOST_VIDEOS]],
        more=max(0, len(lines) - _MOST_VIDEOS),
        missed=_missed(found, lines),
        false=_false(found, lines),
        version=__version__,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    write_whole(folder / REPORT, html)


def _facts(evaluation: EventEvaluation) -> list[str]:
    numbers = evaluation.metrics
    return [
        f"{numbers.videos} videos, {clock_text(3600 * numbers.errors.hours)}, {numbers.events} events",
        f"{evaluation.rate:g} frames a second seen" + (", sliding window" if evaluation.window else ""),
    ]


def _video(name: str, line: Timeline, folder: Path) -> dict[str, Any]:
    place = os.path.relpath(line.folder / PAGE, folder).replace(os.sep, "/")
    return {
        "name": name,
        "page": quote(path_bytes(place)),
        "plot": data_uri((line.folder / "timeline.png").read_bytes(), "image/png"),
    }


def _missed(found: Mapping[str, FoundVideo], lines: Mapping[str, Timeline]) -> list[dict[str, Any]]:
    """True events that were not found: first those that nothing overlaps, the longest first."""
    misses = []
    for name, video in found.items():
        for one in video.truth:
            same = [other for other in video.segments if other.label == one.label]
            best = max((tiou(one, other) for other in same), default=0.0)
            if best < 0.5:
                misses.append((best, -one.duration, name, one))
    worst = heapq.nsmallest(_MOST_MISTAKES, misses, key=lambda miss: (miss[0], miss[1], miss[2], miss[3].start))
    return [_card(name, one, lines, f"best overlap {best:.2f}") for best, _, name, one in worst]


def _false(found: Mapping[str, FoundVideo], lines: Mapping[str, Timeline]) -> list[dict[str, Any]]:
    """Found events that are none, the surest first."""
    wrong = []
    for name, video in found.items():
        for label in sorted({one.label for one in video.segments}):
            here = [one for one in video.segments if one.label == label]
            matches = match_segments(here, [one for one in video.truth if one.label == label], 0.5)
            wrong += [(name, one) for one, match in zip(here, matches, strict=True) if match is None]
    worst = heapq.nsmallest(_MOST_MISTAKES, wrong, key=lambda pair: (-(pair[1].score or 0), pair[0], pair[1].start))
    return [_card(name, one, lines, f"score {one.score or 0:.2f}") for name, one in worst]


def _card(name: str, segment: Segment, lines: Mapping[str, Timeline], note: str) -> dict[str, Any]:
    line = lines.get(name)
    pictures: list[str] = []
    reason = "the video could not be read"
    if line is not None:
        middles = [segment.start + (k + 0.5) / _FRAMES * segment.duration for k in range(_FRAMES)]
        try:
            pictures = [picture_uri(frame) for frame in pictures_at(Path(line.video), middles)]
        except VideoError as error:
            reason = error.what
    return {
        "name": name,
        "label": segment.label,
        "times": f"{clock_text(segment.start)} to {clock_text(segment.end)}",
        "note": note,
        "pictures": pictures,
        "reason": reason,
    }
