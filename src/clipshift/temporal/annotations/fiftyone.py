"""FiftyOne's temporal detections: `labels.json` of a folder, with the videos in `data/` or named in `data.json`.

https://docs.voxel51.com/user_guide/import_datasets.html (FiftyOneTemporalDetectionDataset)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipshift.files import from_json, to_json
from clipshift.temporal.annotations.model import Annotation, Place
from clipshift.temporal.segments import Segment


def is_fiftyone(tree: dict[str, Any]) -> bool:
    """Whether an object of JSON is of this form."""
    return "labels" in tree and set(tree) <= {"classes", "labels"}


def read_fiftyone(tree: dict[str, Any], place: Place, fps: float | None) -> list[Annotation]:
    """Detections with `timestamps` in seconds, or with a `support` of frames.

    Frames count from 1, both ends included: frame f lasts from (f - 1) / fps to f / fps. With `classes`, labels are
    numbers of them. A video is named as `data.json` beside the file does, or else by its id.

    Raises:
        DataError: There are frames and no `fps`, or something is not as exported.
    """
    listed = tree.get("classes")
    classes = None if listed is None else place.sequence(listed, "classes")
    paths = _manifest(place)
    annotations = []
    for name, marks in place.mapping(tree.get("labels"), "labels").items():
        segments = []
        for number, item in enumerate(place.sequence(marks or [], f"labels.{name}")):
            here = place.at(f"labels.{name}[{number}]")
            segments.append(_segment(here.mapping(item, "A detection"), classes, here, fps))
        annotations.append(Annotation(place.text(paths.get(name, name), "The name of a video"), tuple(segments)))
    return annotations


def _manifest(place: Place) -> dict[str, Any]:
    path = place.file.with_name("data.json")
    if not path.is_file():
        return {}
    here = Place(path)
    try:
        return here.mapping(from_json(path.read_bytes()), "The file")
    except (OSError, ValueError) as error:
        raise here.error("The list of videos cannot be read.", error) from error


def _segment(mark: dict[str, Any], classes: list[Any] | None, place: Place, fps: float | None) -> Segment:
    label = mark.get("label")
    if classes is not None and isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(classes):
            raise place.error("A label is no number of a class.", label, f"0 to {len(classes) - 1}")
        label = classes[label]
    if "timestamps" in mark:
        first, last = _two(mark["timestamps"], "timestamps", place)
    elif fps is None:
        raise place.error(
            "The detection is given in frames.",
            mark.get("support"),
            remedy="export with timestamps (use_timestamps=True), or say how many frames a second its videos had (fps)",
        )
    else:
        first, last = _two(mark.get("support"), "support", place)
        first, last = (first - 1) / fps, last / fps
    return place.segment(label, first, last, mark.get("confidence"))


def _two(value: object, name: str, place: Place) -> tuple[float, float]:
    ends = place.sequence(value, name)
    if len(ends) != 2:
        raise place.error(f"{name} are two numbers.", ends)
    return place.number(ends[0], name), place.number(ends[1], name)


def write_fiftyone(annotations: Sequence[Annotation], place: Place) -> str:
    """`labels.json` with `timestamps`; the videos' names are the ids. Duration and subset are not kept.

    Raises:
        DataError: A video comes twice.
    """
    classes = sorted({one.label for video in annotations for one in video.segments})
    numbers = {name: number for number, name in enumerate(classes)}
    labels: dict[str, list[dict[str, Any]]] = {}
    for video in annotations:
        if video.path in labels:
            raise place.error("A video comes twice.", video.path, remedy="put its spans into one annotation")
        labels[video.path] = [
            {"label": numbers[one.label], "timestamps": [one.start, one.end]}
            | ({} if one.score is None else {"confidence": one.score})
            for one in video.segments
        ]
    return to_json({"classes": classes, "labels": labels}, indent=1) + "\n"
