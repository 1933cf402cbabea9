"""Label Studio's tasks: spans as its export "JSON" has them, and labels of whole videos.

https://labelstud.io/guide/tasks, https://labelstud.io/tags/timelinelabels
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clipshift.files import to_json
from clipshift.temporal.annotations.model import Annotation, Gathering, Place
from clipshift.temporal.segments import Segment


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
        path = _video_of(data, here)
        subset = data.get("subset")
        subset = None if subset is None else here.text(subset, "data.subset")
        gathered.add(path, None, here.length(data.get("duration")), subset, here)
        for region, inner in _regions(task, number, here):
            for segment in _region(region, inner, fps):
                gathered.add(path, segment, None, None, inner)
    return gathered.annotations()


def read_choices(tree: object, place: Place) -> dict[str, tuple[str, ...]]:
    """The `Choices` of Label Studio's tasks: labels of whole videos, by the videos' paths; none where none was made."""
    found: dict[str, tuple[str, ...]] = {}
    for number, item in enumerate(place.sequence(tree, "The file")):
        here = place.at(f"[{number}]")
        task = here.mapping(item, "A task")
        labels = [
            inner.text(label, "A choice")
            for region, inner in _regions(task, number, here)
            if region.get("type") == "choices"
            for label in inner.sequence(inner.mapping(region.get("value"), "value").get("choices"), "choices")
        ]
        if labels:
            path = _video_of(here.mapping(task.get("data"), "data"), here)
            found[path] = tuple(dict.fromkeys((*found.get(path, ()), *labels)))
    return found


def _video_of(data: dict[str, Any], place: Place) -> str:
    return place.text(data.get("video") or data.get("video_url") or data.get("audio"), "data.video")


def _regions(task: dict[str, Any], number: int, place: Place) -> Iterator[tuple[dict[str, Any], Place]]:
    """What people marked in a task; annotations that were cancelled are passed over."""
    for which, mark in enumerate(place.sequence(task.get("annotations"), "annotations")):
        inner = place.at(f"[{number}].annotations[{which}]")
        work = inner.mapping(mark, "An annotation")
        if not work.get("was_cancelled"):
            for region in inner.sequence(work.get("result"), "result"):
                yield inner.mapping(region, "A region"), inner


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


def write_label_studio(annotations: Sequence[Annotation], place: Place) -> str:  # noqa: ARG001 - as all writers
    """Tasks with regions of `Labels`, which have seconds. Scores are not kept.

    The configuration has `Labels` named `label` on an `Audio` named `audio`, which is the track of the video.
    """
    return _tasks(
        [(video, [_labels(one, number) for number, one in enumerate(video.segments)]) for video in annotations]
    )


def write_choices(labels: Mapping[str, Sequence[str]]) -> str:
    """Tasks with `Choices` named `label` on `video`: the labels of whole videos, by the videos' paths."""
    return _tasks(
        [
            (
                Annotation(path),
                [
                    {
                        "id": "0",
                        "from_name": "label",
                        "to_name": "video",
                        "type": "choices",
                        "value": {"choices": [*own]},
                    }
                ],
            )
            for path, own in labels.items()
        ]
    )


def _labels(segment: Segment, number: int) -> dict[str, Any]:
    value = {"start": segment.start, "end": segment.end, "labels": [segment.label]}
    return {"id": str(number), "from_name": "label", "to_name": "audio", "type": "labels", "value": value}


def _tasks(marked: Sequence[tuple[Annotation, Sequence[dict[str, Any]]]]) -> str:
    tasks = []
    for video, regions in marked:
        data: dict[str, Any] = {"video": video.path}
        data |= {} if video.duration is None else {"duration": video.duration}
        data |= {} if video.subset is None else {"subset": video.subset}
        tasks.append({"data": data, "annotations": [{"result": [*regions]}]})
    return to_json(tasks, indent=1) + "\n"
