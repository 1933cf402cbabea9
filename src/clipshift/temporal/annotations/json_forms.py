"""Spans in JSON: the form of ActivityNet, and what Label Studio exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from clipshift.files import to_json
from clipshift.temporal.annotations.model import Annotation, Gathering, Place
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


def read_label_studio(tree: object, place: Place, fps: float | None) -> list[Annotation]:
    """Label Studio's export "JSON" of tasks with a video.

    Regions of `TimelineLabels` have `ranges` of frames, which count from 1, both ends included: frame f lasts from
    (f - 1) / fps to f / fps. Regions of `Labels` have `start` and `end` in seconds. Other regions, such as
    rectangles, are passed over, and so are annotations that were cancelled.

    Raises:
        DataError: There are ranges of frames and no `fps`, or something is not as exported.
    """
    gathered = Gathering()
    for number, item in enumerate(place.sequence(tree, "The file")):
        here = place.at(f"[{number}]")
        task = here.mapping(item, "A task")
        data = here.mapping(task.get("data"), "data")
        path = here.text(data.get("video") or data.get("video_url") or data.get("audio"), "data.video")
        gathered.add(path, None, None, None, here)
        for which, mark in enumerate(here.sequence(task.get("annotations"), "annotations")):
            inner = here.at(f"[{number}].annotations[{which}]")
            work = inner.mapping(mark, "An annotation")
            if work.get("was_cancelled"):
                continue
            for region in inner.sequence(work.get("result"), "result"):
                for segment in _region(inner.mapping(region, "A region"), inner, fps):
                    gathered.add(path, segment, None, None, inner)
    return gathered.annotations()


def _region(region: dict[str, Any], place: Place, fps: float | None) -> Iterator[Segment]:
    value = place.mapping(region.get("value", {}), "value")
    if region.get("type") == "timelinelabels":
        if fps is None:
            raise place.error(
                "Label Studio's ranges are numbers of frames.",
                remedy="say how many frames a second its videos had (fps)",
            )
        for part in place.sequence(value.get("ranges"), "ranges"):
            frames = place.mapping(part, "A range")
            first, last = place.number(frames.get("start"), "start"), place.number(frames.get("end"), "end")
            for label in place.sequence(value.get("timelinelabels"), "timelinelabels"):
                yield place.segment(label, (first - 1) / fps, last / fps)
    elif region.get("type") == "labels" and "start" in value:
        for label in place.sequence(value.get("labels"), "labels"):
            yield place.segment(label, value["start"], value.get("end"))
