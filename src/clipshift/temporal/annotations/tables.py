"""Spans as tables: CSV and JSON lines with path, label, start and end, and the CSV of Kinetics."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from clipshift.errors import DataError
from clipshift.files import to_json
from clipshift.temporal.annotations.model import Annotation, Gathering, Place

COLUMNS = ("path", "label", "start", "end", "score", "subset", "duration")
"""Columns of CSV and keys of JSON lines; the first four are needed. Without a label: a video without a span."""
KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")


def read_csv(text: str, place: Place) -> list[Annotation]:
    """A table with a header."""
    gathered = Gathering()
    for row, here in _rows(text, place, COLUMNS[:4]):
        _add_row(gathered, row, here)
    return gathered.annotations()


def read_json_lines(text: str, place: Place) -> list[Annotation]:
    """An object a line; empty lines are passed over."""
    gathered = Gathering()
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            here = place.at(number)
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise here.error("The line is not JSON.", error) from error
            _add_row(gathered, here.mapping(row, "The line"), here)
    return gathered.annotations()


def _add_row(gathered: Gathering, row: Mapping[str, object], place: Place) -> None:
    path = place.text(row.get("path"), "The path")
    subset = row.get("subset") or None
    segment = None
    if any(row.get(name) not in (None, "") for name in ("label", "start", "end")):
        segment = place.segment(row.get("label"), row.get("start"), row.get("end"), row.get("score"))
    name = None if subset is None else place.text(subset, "The subset")
    gathered.add(path, segment, place.length(row.get("duration")), name, place)


def read_kinetics(text: str, place: Place) -> list[Annotation]:
    """Kinetics' label,youtube_id,time_start,time_end,split; the id stands for the path."""
    gathered = Gathering()
    for row, here in _rows(text, place, KINETICS_COLUMNS[:4]):
        segment = here.segment(row["label"], row["time_start"], row["time_end"])
        gathered.add(here.text(row["youtube_id"], "The youtube_id"), segment, None, row.get("split") or None, here)
    return gathered.annotations()


def _rows(text: str, place: Place, needed: Sequence[str]) -> Iterable[tuple[dict[str, str], Place]]:
    """The rows below the header, by column, each with its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            here = place.at(reader.line_num)
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                missing = [name for name in needed if name not in header]
                if missing:
                    raise here.error(
                        f"The header lacks {', '.join(missing)}.", ",".join(header), "a first line " + ",".join(needed)
                    )
            elif len(cells) != len(header):
                raise here.error(f"The row has {len(cells)} cells, the header {len(header)}.", ",".join(cells))
            else:
                yield dict(zip(header, cells, strict=True)), here
    except csv.Error as error:
        raise place.at(reader.line_num).error("The row is not CSV.", error) from error
    if header is None:
        raise place.error("The file is empty.", allowed="a first line " + ",".join(needed))


def _as_rows(annotations: Iterable[Annotation]) -> Iterable[dict[str, object]]:
    for video in annotations:
        facts = {"subset": video.subset, "duration": video.duration}
        if not video.segments:
            yield {"path": video.path, **facts}
        for one in video.segments:
            yield {
                "path": video.path,
                "label": one.label,
                "start": one.start,
                "end": one.end,
                "score": one.score,
                **facts,
            }


def write_csv(annotations: Sequence[Annotation], place: Place) -> str:  # noqa: ARG001 - as all writers
    """A table with a header; columns that no video needs are left out."""
    rows = list(_as_rows(annotations))
    used = [name for name in COLUMNS if name in COLUMNS[:4] or any(row.get(name) is not None for row in rows)]
    return _table(used, ([row.get(name) for name in used] for row in rows))


def write_json_lines(annotations: Sequence[Annotation], place: Place) -> str:  # noqa: ARG001 - as all writers
    """An object a line."""
    kept = ({name: value for name, value in row.items() if value is not None} for row in _as_rows(annotations))
    return "".join(to_json(row) + "\n" for row in kept)


def write_kinetics(annotations: Sequence[Annotation], place: Place) -> str:
    """Kinetics' columns.

    Raises:
        DataError: A video has no span.
    """
    rows = []
    for video in annotations:
        if not video.segments:
            raise DataError("Kinetics' form has no videos without a span.", where=place, got=video.path)
        rows += [[one.label, video.path, one.start, one.end, video.subset or ""] for one in video.segments]
    return _table(KINETICS_COLUMNS, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
