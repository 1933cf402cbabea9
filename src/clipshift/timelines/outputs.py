"""The folder of a time line: its files, written whole, `segments.json` last; what is there is never written over."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from clipshift.errors import OutputError
from clipshift.evaluation.report.canvas import render
from clipshift.evaluation.report.lanes import Lane, timeline_plot
from clipshift.files import from_json, printable, sync, to_json, write_whole
from clipshift.inference.video_scores import VideoScores
from clipshift.temporal import Event, FoundEvent
from clipshift.temporal.annotations import Annotation, write_annotations
from clipshift.timelines.page import timeline_page, video_address
from clipshift.timelines.result import Cause, Timeline, segments_json

SEGMENTS = "segments.json"
PAGE = "timeline.html"
FILES = (
    "segments.csv", "segments.vtt", "segments.srt", "segments.eaf", "scores.npz", "timeline.png", PAGE, SEGMENTS,
)  # fmt: skip
"""In the order in which they come; the last one says that all are there."""
_SCRATCH = ".unfinished"


def check_place(folder: Path, cause: Cause) -> bool:
    """Whether the time line of this cause is in the folder already.

    Raises:
        OutputError: Something else is, which would be written over.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("The place of the time line is no folder.", where=folder, remedy="choose another folder")
    there = _read(folder / SEGMENTS)
    if there is not None:
        differing = _difference(there.get("cause"), cause.to_json())
        if differing is None:
            return True
        raise OutputError(
            "The folder has a time line of another cause, which stays as it is.",
            where=folder,
            got=f"other {differing}",
            remedy="choose another folder, or move that one away",
        )
    if not (folder / _SCRATCH).exists():
        others = [name for name in FILES if (folder / name).exists()]
        if others:
            raise OutputError(
                "The folder has files of these names that are no time line's.",
                where=folder,
                got=", ".join(others),
                remedy="choose another folder",
            )
    return False


def begin(folder: Path) -> Path:
    """The place for what is not finished, empty; an earlier one is removed.

    Raises:
        OSError: It cannot be made.
    """
    scratch = folder / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    return scratch


def give_up(folder: Path, *, made: bool) -> None:
    """Remove what is not finished, and the folder, if it was made for it and is empty."""
    shutil.rmtree(folder / _SCRATCH, ignore_errors=True)
    if made:
        with suppress(OSError):
            folder.rmdir()


def finish(timeline: Timeline, cause: Cause, scores: VideoScores, lanes: Sequence[Lane], engine: str) -> None:
    """Write all files beside the scores that are not finished, then give them their places.

    Raises:
        OutputError: A file cannot be written.
    """
    scratch = timeline.folder / _SCRATCH
    try:
        for name in FILES:
            _write(name, scratch / name, timeline, cause, scores, lanes, engine)
            sync(scratch / name)
        for name in FILES:
            (scratch / name).replace(timeline.folder / name)
        sync(timeline.folder)
        shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise OutputError.of(error, timeline.folder) from error


def _write(
    name: str,
    path: Path,
    timeline: Timeline,
    cause: Cause,
    scores: VideoScores,
    lanes: Sequence[Lane],
    engine: str,
) -> None:
    if name == SEGMENTS:
        write_whole(path, to_json(segments_json(timeline, cause, engine), indent=1) + "\n")
    elif name == PAGE:
        write_whole(path, timeline_page(timeline, cause, lanes))
    elif name == "timeline.png":
        title = printable(Path(timeline.video).name)
        path.write_bytes(render(timeline_plot("timeline", title, lanes, scores.seconds)))
    elif name == "scores.npz":
        np.savez(path, times=scores.times, probabilities=scores.probabilities, classes=np.array(cause.classes))
    else:
        # These forms hold text, which a name need not be; ELAN looks for the video by its address.
        elan = name == "segments.eaf"
        shown = video_address(Path(cause.video), timeline.folder) if elan else printable(timeline.video)
        write_annotations(path, [Annotation(shown, timeline.segments, timeline.seconds)])


def read_timeline(folder: Path, video: str) -> Timeline:
    """The time line that `finish` wrote.

    Raises:
        OutputError: It cannot be read.
    """
    found = _read(folder / SEGMENTS)
    try:
        if found is None:
            raise LookupError("it is not there")
        [(_, entry)] = found["database"].items()
        return Timeline(
            video,
            folder,
            tuple(_event(mark) for mark in entry["annotations"]),
            float(entry["duration"]),
            int(found["frames"]),
            tuple(found["notes"]),
            made=False,
            took=float(found["took"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise OutputError(
            "The time line in this folder cannot be read.",
            where=folder / SEGMENTS,
            got=f"{type(error).__name__}: {error}",
            remedy="choose another folder, or move that one away",
        ) from error


def _event(mark: dict[str, Any]) -> FoundEvent:
    start, end = mark["segment"]
    last = Event(int(mark["id"]), "end", mark["label"], start, end, mark["peak"], mark["score"], end, mark["reason"])
    return FoundEvent(last, mark["told"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            "The time line in this folder cannot be read.", where=path, got=reason, remedy="choose another folder"
        ) from error
    return found if isinstance(found, dict) else {}


def _difference(there: object, wanted: dict[str, Any]) -> str | None:
    """What of a cause is another one; None where nothing is."""
    if not isinstance(there, dict):
        return "kind of file"
    names = {"video": "video", "model": "model", "rate": "rate", "window": "window", "rules": "rules of events"}
    for key, text in {**names, "classes": "classes", "part": "part of the video"}.items():
        ours, theirs = wanted.get(key), there.get(key)
        if key == "model" and isinstance(ours, dict) and isinstance(theirs, dict):  # the same weights may lie elsewhere
            ours, theirs = ours.get("sha256"), theirs.get("sha256")
        if ours != theirs:
            return text
    return None
