"""What the lines of a list say, in whatever form it is; [lists][clipshift.datasets.lists] tells of the forms.

The clips themselves are looked for later.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipshift.config import Region
from clipshift.datasets.clip import read_lines
from clipshift.datasets.spans import read_region, read_span
from clipshift.errors import DataError
from clipshift.files import from_json
from clipshift.temporal.annotations import read_annotations
from clipshift.temporal.annotations.forms import read_video_labels
from clipshift.temporal.annotations.model import Place
from clipshift.video import Span

ANNOTATION_SUFFIXES = (".json", ".xml")
"""Files of annotations, which only those know that wrote them."""


_LARGEST_NUMBER = 10**9


Line = tuple[int, str]


Find = Callable[[str], Path | None]


@dataclass(frozen=True)
class Parsed:
    """What a line says, before its clip is looked for."""

    line: int | str
    """In JSON the keys that lead there."""
    path: str
    label: str | tuple[str, ...] | None
    """Or labels; None of a video in which nothing is marked."""
    frames: int | None = None
    span: Span | None = None
    region: Region | None = None
    subset: str | None = None
    duration: float | None = None


def parse_list(path: Path, *, several: bool, find: Find) -> list[Parsed]:
    """The rows of a list.

    Args:
        path: The list.
        several: Whether a clip may have several labels.
        find: Gives the file that a path means, if there is one: it tells where a path with blanks ends.

    Raises:
        DataError: The list cannot be read, is empty, or a line is malformed.
    """
    suffix = path.suffix.lower()
    if suffix in ANNOTATION_SUFFIXES:
        return annotation_rows(path, several)
    lines = list_lines(path, "one clip a line: path label")
    if suffix == ".jsonl":
        marks = any('"start"' in text for _, text in lines)
        return [_json_row(path, line, several, marks) for line in lines]
    if is_csv(path, lines):
        return _csv_rows(path, lines)
    return [(_numbers_row(path, line, find) if several else None) or _text_row(path, line, find) for line in lines]


def list_lines(path: Path, content: str) -> list[Line]:
    """The lines of a list that are not blank; `content` tells what to write where there are none.

    Raises:
        DataError: The list cannot be read, or is empty.
    """
    lines = read_lines(path)
    if not lines:
        raise DataError("The list is empty.", where=path, remedy=f"write {content}")
    return lines


def split_labels(path: Path, number: int | str, label: str | tuple[str, ...]) -> list[str]:
    """The labels of a row that may have several.

    Raises:
        DataError: One of them is empty.
    """
    labels = [part.strip() for part in label.split(",")] if isinstance(label, str) else list(label)
    if not all(labels) or not labels:
        raise _malformed(path, number, str(label), "labels divided by commas, none of them empty")
    return labels


def annotation_rows(path: Path, several: bool = True) -> list[Parsed]:
    """The spans of a file of annotations, where these are in seconds; or labels of whole videos of Label Studio."""
    whole = read_video_labels(path) if path.suffix.lower() == ".json" else {}
    if whole:
        return [_whole_video(path, name, labels, several) for name, labels in whole.items()]
    try:
        annotations = read_annotations(path)
    except DataError as error:
        remedy = error.remedy
        if remedy is not None and "(fps)" in remedy:
            remedy = "read it with clipshift.temporal.annotations.read_annotations(FILE, fps=...), and write CSV"
        raise DataError(error.what, where=error.where, got=error.got, allowed=error.allowed, remedy=remedy) from error
    rows = []
    for video in annotations:
        key = f"database.{video.path}"
        rows += [
            Parsed(
                where := f"{key}.annotations[{number}]",
                video.path,
                segment.label,
                span=read_span(segment.start, segment.end, Place(path, where)),
                subset=video.subset,
                duration=video.duration,
            )
            for number, segment in enumerate(video.segments)
        ] or [Parsed(key, video.path, None, subset=video.subset, duration=video.duration)]
    if not rows:
        raise DataError("The list is empty.", where=path, remedy="write one video with its spans at least")
    return rows


def _whole_video(path: Path, name: str, labels: tuple[str, ...], several: bool) -> Parsed:
    if not several and len(labels) > 1:
        raise DataError(
            "A video has several labels.",
            where=path,
            got=f"{name}: {', '.join(labels)}",
            remedy="train with train.multi_label=true, or keep one choice",
        )
    return Parsed(name, name, labels if several else labels[0])


def _numbers_row(path: Path, line: Line, find: Find) -> Parsed | None:
    """A line that ends in several numbers divided by blanks; None where it does not.

    Which numbers belong to the path is decided by what exists; of a frame folder, the first one is its frames.
    """
    number, text = line
    words = text.split()
    count = next((count for count, word in enumerate(reversed(words)) if not word.isdecimal()), len(words))
    if "\t" in text.strip() or count < 2:
        return None
    for labels in range(1, count + 1):
        front = text.strip().rsplit(maxsplit=labels)[0]
        found = find(front)
        if found is None or labels == len(words):
            continue
        numbers = words[-labels:]
        frames = numbers.pop(0) if found.is_dir() and len(numbers) > 1 else None
        return Parsed(number, front, tuple(numbers), _frames(path, number, frames))
    return None


def _text_row(path: Path, line: Line, find: Find) -> Parsed:
    number, text = line
    parts = text.strip().split("\t") if "\t" in text.strip() else text.strip().rsplit(maxsplit=1)
    if len(parts) < 2 or not all(part.strip() for part in parts):
        raise _malformed(path, number, text.strip(), "path label, or path frames label")
    parts = [part.strip() for part in parts]
    if len(parts) == 2 and "\t" not in text.strip():
        # A path may end in a number after a blank: `clip 2 0` has 2 frames unless there is a `clip 2`.
        front = parts[0].rsplit(maxsplit=1)
        if len(front) == 2 and front[1].isdecimal() and find(parts[0]) is None:
            parts = [*front, parts[1]]
    if len(parts) > 3:
        raise _malformed(path, number, text.strip(), "path label, or path frames label")
    return Parsed(number, parts[0], parts[-1], _frames(path, number, parts[1] if len(parts) == 3 else None))


def is_csv(path: Path, lines: list[Line]) -> bool:
    """Whether a list is CSV; files called .csv with blanks between path and label exist, too."""
    return path.suffix.lower() in (".csv", ".tsv") and any(mark in lines[0][1] for mark in ",;\t")


def csv_table(path: Path, lines: list[Line], *, needed: Sequence[str]) -> list[tuple[Line, dict[str, str]]]:
    """The lines below the first one, each with its values by the names of the columns in lower case."""
    header = lines[0][1]
    delimiter = max(",;\t", key=header.count)
    # The module csv sees one string a line, so that the line of an error is known; a path cannot span lines.
    fields = [_csv_fields(path, line, delimiter) for line in lines]
    columns = _columns(fields[0])
    if not set(needed) <= set(columns):
        raise DataError(
            "The first line does not name the columns.",
            where=f"{path}:{lines[0][0]}",
            got=shortened(header),
            allowed="path,label or path,label,frames, in any order and among others",
            remedy=f"write {','.join(needed)} above the first clip",
        )
    rows = [(line, [value.strip() for value in values]) for line, values in zip(lines[1:], fields[1:], strict=True)]
    for (number, text), values in rows:
        if len(values) != len(columns):
            raise _malformed(path, number, text, f"{len(columns)} values, as in the first line")
    if not rows:
        raise DataError("The list is empty.", where=path, remedy="write one clip a line below the first line")
    return [(line, dict(zip(columns, values, strict=True))) for line, values in rows]


_KINETICS = {"youtube_id": "path", "time_start": "start", "time_end": "end", "split": "subset"}
"""Kinetics' names of columns."""


def _columns(header: Sequence[str]) -> list[str]:
    columns = [name.strip().lower() for name in header]
    if "path" not in columns:
        columns = ["path" if name == "file_name" else name for name in columns]
    if "path" not in columns and {"youtube_id", "time_start"} <= set(columns):
        columns = [_KINETICS.get(name, name) for name in columns]
    return columns


def is_kinetics(path: Path) -> bool:
    """Whether a list has Kinetics' columns, whose videos are often cut already."""
    lines = [] if path.suffix.lower() in (*ANNOTATION_SUFFIXES, ".jsonl") else read_lines(path)
    return bool(lines) and {"youtube_id", "time_start"} <= set(lines[0][1].lower().replace(" ", "").split(","))


def _csv_fields(path: Path, line: Line, delimiter: str) -> list[str]:
    number, text = line
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:  # a value longer than any path or name
        raise _malformed(path, number, text, f"values of at most {csv.field_size_limit()} characters") from error


def _csv_rows(path: Path, lines: list[Line]) -> list[Parsed]:
    rows: list[Parsed] = []
    for (number, text), row in csv_table(path, lines, needed=("path", "label")):
        label: str | None = row["label"]
        marks = "start" in row and "end" in row
        span = read_span(row["start"], row["end"], Place(path, number)) if marks else None
        if marks and not label and span is None:
            label = None
        if not row["path"] or label == "":
            raise _malformed(path, number, text, "a path and a label")
        frames = _frames(path, number, row.get("frames") or None)
        region = read_region(row.get("region"), Place(path, number))
        rows.append(_marked(Parsed(number, row["path"], label, frames, span, region), path, row if marks else {}))
    return rows


def _marked(row: Parsed, path: Path, facts: dict[str, Any]) -> Parsed:
    """A row with the subset and the length of its video, where the list gives them."""
    place, subset = Place(path, row.line), facts.get("subset")
    if subset not in (None, ""):
        row = replace(row, subset=place.text(subset, "The subset"))
    return replace(row, duration=place.length(facts.get("duration")))


_JSON_ALLOWED = '{"path": "clip.mp4", "label": 0 or "name"}, and "frames" for frame folders'


def json_object(path: Path, line: Line) -> dict[str, Any]:
    """The object of a line of JSON, with its `path`.

    Raises:
        DataError: It is none.
    """
    number, text = line
    try:
        row = from_json(text)
    except ValueError as error:
        raise _malformed(path, number, text, _JSON_ALLOWED) from error
    if isinstance(row, dict) and "path" not in row and "file_name" in row:
        row["path"] = row.pop("file_name")
    if not isinstance(row, dict) or not isinstance(row.get("path"), str) or not row["path"]:
        raise _malformed(path, number, text, _JSON_ALLOWED)
    return row


def _json_row(path: Path, line: Line, several: bool, marks: bool) -> Parsed:
    row = json_object(path, line)
    number, label, frames = line[0], row.get("label"), row.get("frames")
    count = _frames(path, number, None if frames is None else str(frames))
    span = read_span(row.get("start"), row.get("end"), Place(path, number))
    region = read_region(row.get("region"), Place(path, number))
    facts = row if marks else {}
    if marks and label is None and span is None:
        return _marked(Parsed(number, row["path"], None), path, facts)
    if several and isinstance(label, list):
        if not label or any(isinstance(each, bool) or not isinstance(each, int | str) for each in label):
            raise _malformed(path, *line, _JSON_ALLOWED)
        return _marked(
            Parsed(number, row["path"], tuple(str(each) for each in label), count, span, region), path, facts
        )
    if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
        raise _malformed(path, *line, _JSON_ALLOWED)
    # A name in JSON lines is one name, whatever commas it has.
    return _marked(
        Parsed(number, row["path"], (str(label),) if several else str(label), count, span, region), path, facts
    )


def _frames(path: Path, number: int, text: str | None) -> int | None:
    if text is None:
        return None
    frames = whole_number(text)
    if not frames:
        raise _malformed(path, number, text, f"a number of frames, 1 to {_LARGEST_NUMBER}")
    return frames


def whole_number(text: str) -> int | None:
    """The number that a text of digits says; None for anything else, and what is larger than any index or count."""
    # Bounded by its digits: of thousands of them, Python refuses to make a number.
    if not text.isdecimal() or len(text.lstrip("0")) > 10:
        return None
    number = int(text)
    return number if number <= _LARGEST_NUMBER else None


def _malformed(path: Path, number: int | str, text: str, allowed: str) -> DataError:
    return DataError(
        "A line of the list is not understood.", where=f"{path}:{number}", got=shortened(text), allowed=allowed
    )


def shortened(text: str) -> str:
    """A text as errors quote it: of a long one the beginning."""
    return text if len(text) <= 120 else text[:117] + "..."
