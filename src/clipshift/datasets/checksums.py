"""Which clips a run saw: their hashes, sizes and lengths, in `data.jsonl`.

A clip that has the size and modification time of an earlier `data.jsonl` is not read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

from clipshift.config import DataConfig, Region
from clipshift.datasets.clip import Clip, DataSet, plural
from clipshift.datasets.folders import is_left_out
from clipshift.datasets.fragments import fragment, stored_region
from clipshift.errors import RunError, VideoError
from clipshift.files import from_json, path_bytes, sha256_of_file, to_json, write_whole
from clipshift.parallel.prefetch import prefetch
from clipshift.video import ClipReader, Span
from clipshift.video.region import RegionReader
from clipshift.video.span import SpanReader


@dataclass(frozen=True)
class ClipRecord:
    """One line of `data.jsonl`."""

    name: str
    path: str
    label: int | None
    class_name: str | None
    """Written as `class`."""
    split: str
    """`train` or `validation`."""
    frames: int | None
    width: int | None
    height: int | None
    fps: float | None
    """Frames a second; null for frame folders."""
    seconds: float | None
    pixel_aspect: float | None
    """Width of a stored pixel by its height."""
    bytes: int | None
    """Size of the file, or of all files of a frame folder."""
    mtime_ns: int | None
    """Time of the last change, of the newest file, in nanoseconds."""
    sha256: str | None
    error: str | None
    """Why the clip cannot be read, where it cannot."""
    start: float | None = None
    """Of a span: where it begins, in seconds. Frames and seconds are then those of the span, size, time of change and
    SHA-256 those of the file. Both times are written for spans alone."""
    end: float | None = None
    region: Region | None = None
    """Of a clip that is a region of the picture, left, top, width and height as shares; written for those alone. Width
    and height are those of the region."""


Cache = dict[str, ClipRecord]
"""Earlier records by path, of a part of a video with its times and place."""


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes; of a frame folder over the names, sizes and bytes of its files, by name.

    Raises:
        VideoError: The file cannot be read.
    """
    try:
        if not path.is_dir():
            return sha256_of_file(path)
        whole = hashlib.sha256()
        for file in _frame_files(path):
            whole.update(path_bytes(f"{file.name}\0{file.stat().st_size}\0{sha256_of_file(file)}\0"))
        return whole.hexdigest()
    except OSError as error:
        raise VideoError("The clip cannot be read.", where=path, got=error.strerror or error) from error


def record_clip(clip: Clip, classes: tuple[str, ...], split: str, data: DataConfig, cache: Cache) -> ClipRecord:
    """Hashes and probes one clip, or takes both from the cache; no frame is decoded.

    Args:
        clip: The clip.
        classes: Names of the labels.
        split: `train` or `validation`.
        data: Limits and the pattern of frame folders.
        cache: Records of an earlier run.

    Returns:
        The record; of a clip that cannot be read with `error`.
    """
    return record_video([(clip, split)], classes, data, cache)[0]


def record_video(
    clips: Sequence[tuple[Clip, str]], classes: tuple[str, ...], data: DataConfig, cache: Cache
) -> list[ClipRecord]:
    """As [record_clip][clipshift.datasets.checksums.record_clip], of all parts of one video, which is read once.

    Args:
        clips: Clips of one path, with `train` or `validation`; several only if all are parts of it.
        classes: Names of the labels.
        data: Limits and the pattern of frame folders.
        cache: Records of an earlier run.
    """
    path = clips[0][0].path
    blank = [_blank(clip, classes, split) for clip, split in clips]
    try:
        size, changed = _size_and_time(path)
    except OSError as error:
        return [replace(record, error=error.strerror or str(error)) for record in blank]
    olds = [cache.get(clip.source) for clip, _ in clips]
    same = [old for old in olds if old is not None and (old.bytes, old.mtime_ns) == (size, changed) and not old.error]
    if len(same) == len(blank):
        return [
            replace(record, **{key: getattr(old, key) for key in _FACTS})
            for record, old in zip(blank, same, strict=True)
        ]
    facts: dict[str, Any] = {"bytes": size, "mtime_ns": changed, "sha256": same[0].sha256 if same else None}
    try:
        facts["sha256"] = facts["sha256"] or file_hash(path)
        with replace(clips[0][0], span=None, region=None, error=None).open(data) as reader:
            return [_probed(record, clip, reader, facts) for record, (clip, _) in zip(blank, clips, strict=True)]
    except VideoError as error:
        return [replace(record, **facts, error=error.what) for record in blank]


_FACTS = ("frames", "width", "height", "fps", "seconds", "pixel_aspect", "bytes", "mtime_ns", "sha256")


def _probed(record: ClipRecord, clip: Clip, reader: ClipReader, facts: dict[str, Any]) -> ClipRecord:
    try:
        if clip.error is not None:
            return replace(record, **facts, error=clip.error.what)
        part = reader if clip.span is None else SpanReader(reader, clip.span)
        info = (part if clip.region is None else RegionReader(part, clip.region)).info
    except VideoError as error:
        return replace(record, **facts, error=error.what)
    return replace(record, **facts, **{key: getattr(info, key) for key in _FACTS if key not in facts})


def _blank(clip: Clip, classes: tuple[str, ...], split: str) -> ClipRecord:
    class_name = None if clip.label is None else classes[clip.label]
    start, end = (None, None) if clip.span is None else clip.span
    none = dict.fromkeys(_FACTS)
    return ClipRecord(
        clip.name, str(clip.path), clip.label, class_name, split, **none, error=None, start=start, end=end,
        region=clip.region,
    )  # fmt: skip


def describe_aspects(clips: Iterable[tuple[str, float | None]]) -> str | None:
    """How many clips have pixels that are not square, and an example; None where there are none.

    Args:
        clips: Name, and width of a stored pixel by its height, of each clip; None of those that could not be read.
    """
    odd = [(name, aspect) for name, aspect in clips if aspect not in (None, 1)]
    if not odd:
        return None
    name, aspect = odd[0]
    return f"{plural(len(odd), 'clip')} with pixels that are not square (such as {name}: {aspect:.3g} to 1)"


def record_clips(
    dataset: DataSet,
    data: DataConfig,
    *,
    cache: Cache | None = None,
    workers: int = 4,
    progress: Callable[[int], None] | None = None,
) -> list[ClipRecord]:
    """Hashes and probes all clips of a data set in threads: training, then validation, each in its order.

    Args:
        dataset: The data set.
        data: Limits and the pattern of frame folders.
        cache: Records of an earlier run.
        workers: Threads.
        progress: Called with the number of finished clips after each.

    Returns:
        One record a clip.
    """
    known = {} if cache is None else cache
    jobs = [(clip, "train") for clip in dataset.train.clips]
    jobs += [(clip, "validation") for clip in dataset.validation.clips]
    # The parts of a video together: it is opened and hashed once.
    together: dict[object, list[int]] = {}
    for place, (clip, _) in enumerate(jobs):
        together.setdefault(clip.path if clip.fragment else place, []).append(place)
    done: dict[int, ClipRecord] = {}

    def record(places: list[int]) -> tuple[list[int], list[ClipRecord]]:
        return places, record_video([jobs[place] for place in places], dataset.classes, data, known)

    for places, records in prefetch(record, together.values(), workers):
        done.update(zip(places, records, strict=True))
        if progress is not None:
            progress(len(done))
    return [done[place] for place in range(len(jobs))]


def write_data_jsonl(
    path: Path,
    dataset: DataSet,
    data: DataConfig,
    *,
    cache: Path | None = None,
    workers: int = 4,
    progress: Callable[[int], None] | None = None,
) -> list[ClipRecord]:
    """Writes `data.jsonl`, whole or not at all.

    Args:
        path: The file to write; where it is there already, it is the cache.
        dataset: The data set.
        data: Limits and the pattern of frame folders.
        cache: Another `data.jsonl` to take unchanged clips from.
        workers: Threads.
        progress: Called with the number of finished clips after each.

    Returns:
        What was written.

    Raises:
        RunError: The file cannot be written.
    """
    known = read_data_jsonl(path) | (read_data_jsonl(cache) if cache is not None else {})
    lines = record_clips(dataset, data, cache=known, workers=workers, progress=progress)
    try:
        write_whole(path, (_to_json(line) + "\n" for line in lines))
    except OSError as error:
        raise RunError("The list of clips cannot be written.", where=path, got=error.strerror or error) from error
    return lines


def read_data_jsonl(path: Path) -> Cache:
    """Reads a `data.jsonl` as a cache; a missing file is an empty cache, a line that is not understood is left out."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return {}
    cache = {}
    parts = {"start", "end", "region"}
    names = {field.name for field in fields(ClipRecord)} - parts
    for line in lines:
        try:
            row = from_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "class" in row:
            row["class_name"] = row.pop("class")
            if row.keys() - parts == names and isinstance(row["path"], str):
                with suppress(ValueError, TypeError):
                    record = ClipRecord(**{**row, "region": stored_region(row.get("region"))})
                    times = (record.start, record.end)
                    is_span = all(isinstance(time, int | float) for time in times)
                    span = cast("Span", times) if is_span else None
                    cache[record.path + fragment(span, record.region)] = record
    return cache


def _to_json(line: ClipRecord) -> str:
    row = {("class" if name == "class_name" else name): value for name, value in asdict(line).items()}
    if line.start is None:
        del row["start"], row["end"]
    if line.region is None:
        del row["region"]
    return to_json(row)


def _frame_files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not is_left_out(path.name))


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and newest modification time in nanoseconds."""
    stats = [file.stat() for file in _frame_files(path)] if path.is_dir() else [path.stat()]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)
