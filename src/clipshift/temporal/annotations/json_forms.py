"""Spans in JSON: the form of ActivityNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipshift.files import to_json
from clipshift.temporal.annotations.model import Annotation, Place
from clipshift.temporal.segments import Segment


def read_activitynet(tree: object, place: Place) -> list[Annotation]:
    """ActivityNet's `database`: a video's name to its `duration`, `subset` and `annotations` (`segment`, `label`)."""
    database = place.mapping(place.mapping(tree, "The file").get("database"), "database")
    annotations = []
    for name, value in database.items():
        here = place.at(f"database.{name}")
        video = here.mapping(value, "A video")
        segments = []
        for number, item in enumerate(here.sequence(video.get("annotations", []), "annotations")):
            inner = place.at(f"database.{name}.annotations[{number}]")
            mark = inner.mapping(item, "An annotation")
            times = inner.sequence(mark.get("segment"), "segment")
            if len(times) != 2:
                raise inner.error("A segment has a start and an end.", times)
            segments.append(inner.segment(mark.get("label"), times[0], times[1], mark.get("score")))
        subset = video.get("subset")
        annotations.append(
            Annotation(
                here.text(name, "The name of a video"),
                tuple(segments),
                here.length(video.get("duration")),
                None if subset is None else here.text(subset, "subset"),
            )
        )
    return annotations


def write_activitynet(annotations: Sequence[Annotation], place: Place) -> str:
    """ActivityNet's `database`.

    Raises:
        DataError: A video comes twice.
    """
    database: dict[str, Any] = {}
    for video in annotations:
        if video.path in database:
            raise place.error("A video comes twice.", video.path, remedy="put its spans into one annotation")
        entry: dict[str, Any] = {} if video.duration is None else {"duration": video.duration}
        if video.subset is not None:
            entry["subset"] = video.subset
        entry["annotations"] = [_mark(one) for one in video.segments]
        database[video.path] = entry
    return to_json({"database": database}, indent=1) + "\n"


def _mark(segment: Segment) -> dict[str, Any]:
    mark: dict[str, Any] = {"label": segment.label, "segment": [segment.start, segment.end]}
    return mark if segment.score is None else {**mark, "score": segment.score}
