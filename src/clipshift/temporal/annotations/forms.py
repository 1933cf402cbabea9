"""Files of annotations in all forms: which one it is, reading and writing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from clipshift.errors import DataError
from clipshift.files import write_whole
from clipshift.temporal.annotations import cvat, eaf, fiftyone, json_forms, label_studio, subtitles, tables
from clipshift.temporal.annotations.model import Annotation, Place

Form = Literal["activitynet", "csv", "jsonl", "kinetics", "vtt", "srt", "eaf", "labelstudio", "fiftyone", "cvat"]
FORMS: tuple[Form, ...] = get_args(Form)
"""All forms."""

MOST_BYTES = 256 * 2**20
"""Largest file that is read."""

_SUFFIXES: dict[str, Form] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".vtt": "vtt",
    ".srt": "srt",
    ".eaf": "eaf",
    ".xml": "cvat",
    ".json": "activitynet",
}
_WRITERS: dict[Form, Callable[[Sequence[Annotation], Place], str]] = {
    "activitynet": json_forms.write_activitynet,
    "csv": tables.write_csv,
    "jsonl": tables.write_json_lines,
    "kinetics": tables.write_kinetics,
    "vtt": subtitles.write_vtt,
    "srt": subtitles.write_srt,
    "eaf": eaf.write_eaf,
    "labelstudio": label_studio.write_label_studio,
    "fiftyone": fiftyone.write_fiftyone,
}


def read_annotations(path: str | Path, *, fps: float | None = None, video: str | None = None) -> list[Annotation]:
    """Reads a file of annotations; its form is told from the ending of its name and, for JSON and CSV, the content.

    Args:
        path: The file, UTF-8: `.json` (ActivityNet's, Label Studio's or FiftyOne's), `.csv` (also Kinetics'),
            `.jsonl`, `.vtt`, `.srt`, `.eaf` or `.xml` (CVAT's, for videos).
        fps: Frames a second of the videos, above 0; files of Label Studio, FiftyOne and CVAT may count frames.
        video: The path of the video for subtitles, and for ELAN where the file does not name one; by default the
            file's name without its ending.

    Returns:
        A video each, in the order of the file.

    Raises:
        DataError: The file cannot be read, is too large, or is not valid; with its line, in JSON with the keys.
        ValueError: `fps` is not above 0.
    """
    if fps is not None and not 0 < fps < 1e6:
        raise ValueError(f"fps must be above 0, got {fps}")
    path = Path(path)
    place, text = Place(path), _text(path)
    form = _form_of(path)
    name = video or path.stem
    if form == "activitynet":
        return _read_json(text, place, fps)
    if form == "csv":
        header = text.partition("\n")[0]
        return (tables.read_kinetics if "youtube_id" in header else tables.read_csv)(text, place)
    if form == "jsonl":
        return tables.read_json_lines(text, place)
    if form == "cvat":
        return cvat.read_cvat(text, place, name, fps)
    return (eaf.read_eaf if form == "eaf" else subtitles.read_subtitles)(text, place, name)


def write_annotations(
    path: str | Path, annotations: Sequence[Annotation], form: Form | None = None, *, fps: float | None = None
) -> None:
    """Writes a file of annotations, whole or not at all.

    JSON, CSV and JSON lines keep everything; Kinetics' form keeps no durations, Label Studio's no scores, FiftyOne's
    neither durations nor subsets; subtitles, ELAN's and CVAT's form hold one
    video and its labels, with times to the millisecond.

    Args:
        path: The file.
        annotations: The videos.
        form: By default as the ending of the name says.
        fps: Frames a second of the video, above 0; CVAT's form counts frames.

    Raises:
        DataError: The form cannot hold this, or is not known; or the file cannot be written.
    """
    path = Path(path)
    form = form or _form_of(path)
    place = Place(path)
    text = cvat.write_cvat(annotations, place, fps) if form == "cvat" else _WRITERS[form](annotations, place)
    # JSON alone has an escape for names that are no text; elsewhere another name would be read back.
    if (
        form not in ("activitynet", "jsonl", "labelstudio", "fiftyone")
        and not text.isascii()
        and text.encode(errors="replace").decode() != text
    ):
        raise DataError("A name is not text (UTF-8), which this form cannot hold.", where=path, remedy="write JSON")
    try:
        write_whole(path, text)
    except OSError as error:
        raise DataError("The annotations cannot be written.", where=path, got=error.strerror or error) from error


def _form_of(path: Path) -> Form:
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise DataError("The form of the annotations is not known.", where=path, allowed=_SUFFIXES)
    return form


def _text(path: Path) -> str:
    """The content, without a byte order mark."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError("The annotations cannot be read.", where=path, got=error.strerror or error) from error
    if len(content) > MOST_BYTES:
        raise DataError("The file of annotations is too large.", where=path, allowed=f"{MOST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError("The file is not UTF-8.", where=f"{path}:{line}", remedy="save it as UTF-8") from error


def read_video_labels(path: Path) -> dict[str, tuple[str, ...]]:
    """Labels of whole videos from Label Studio's tasks, by the videos' paths; none of any other file of JSON.

    Raises:
        DataError: The file cannot be read, is too large, or is not valid.
    """
    place = Place(path)
    tree = _tree(_text(path), place)
    return label_studio.read_choices(tree, place) if isinstance(tree, list) else {}


def _tree(text: str, place: Place) -> object:
    try:
        tree: object = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise place.at(error.lineno).error("The file is not JSON.", error.msg) from error
    except (ValueError, RecursionError) as error:
        raise place.error("The file is not JSON that can be read.", error) from error
    return tree


def _read_json(text: str, place: Place, fps: float | None) -> list[Annotation]:
    tree = _tree(text, place)
    if isinstance(tree, list):
        return label_studio.read_label_studio(tree, place, fps)
    if isinstance(tree, dict) and fiftyone.is_fiftyone(tree):
        return fiftyone.read_fiftyone(tree, place, fps)
    if not isinstance(tree, dict) or "database" not in tree:
        raise place.error(
            "The JSON has neither the form of ActivityNet nor those of Label Studio and FiftyOne.",
            allowed='{"database": {...}}, an array of tasks, or {"labels": {...}}',
        )
    return json_forms.read_activitynet(tree, place)


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON, in which no key may hide another of the same name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(repeated, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {repeated!r} comes twice")
    return found
