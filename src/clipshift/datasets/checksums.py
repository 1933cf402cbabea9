"""Which clips a run saw: their hashes, sizes and lengths, in `data.jsonl`.

A clip that has the size and modification time of an earlier `data.jsonl` is not read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from clipshift.config import DataConfig
from clipshift.datasets.clip import Clip, DataSet, plural
from clipshift.datasets.folders import is_left_out
from clipshift.errors import RunError, VideoError
from clipshift.files import from_json, path_bytes, sha256_of_file, to_json, write_whole
from clipshift.parallel.prefetch import prefetch


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


Cache = dict[str, ClipRecord]
"""Earlier records by path."""


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
    who = (clip.name, str(clip.path), clip.label, None if clip.label is None else classes[clip.label], split)
    try:
        size, changed = _size_and_time(clip.path)
        old = cache.get(str(clip.path))
        if old is not None and (old.bytes, old.mtime_ns) == (size, changed) and old.error is None:
            return ClipRecord(
                *who,
                old.frames,
                old.width,
                old.height,
                old.fps,
                old.seconds,
                old.pixel_aspect,
                size,
                changed,
                old.sha256,
                None,
            )
    except OSError as error:
        return ClipRecord(*who, *(None,) * 9, error=error.strerror or str(error))
    sha256 = None
    try:
        sha256 = file_hash(clip.path)
        with clip.open(data) as reader:
            info = reader.info
    except VideoError as error:
        return ClipRecord(*who, *(None,) * 6, bytes=size, mtime_ns=changed, sha256=sha256, error=error.what)
    return ClipRecord(
        *who,
        info.frames,
        info.width,
        info.height,
        info.fps,
        info.seconds,
        info.pixel_aspect,
        size,
        changed,
        sha256,
        None,
    )


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
    done = []
    for line in prefetch(lambda job: record_clip(job[0], dataset.classes, job[1], data, known), jobs, workers):
        done.append(line)
        if progress is not None:
            progress(len(done))
    return done


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
    names = {field.name for field in fields(ClipRecord)}
    for line in lines:
        try:
            row = from_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "class" in row:
            row["class_name"] = row.pop("class")
            if row.keys() == names and isinstance(row["path"], str):
                cache[row["path"]] = ClipRecord(**row)
    return cache


def _to_json(line: ClipRecord) -> str:
    row = {("class" if name == "class_name" else name): value for name, value in asdict(line).items()}
    return to_json(row)


def _frame_files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not is_left_out(path.name))


def _size_and_time(path: Path) -> tuple[int, int]:
    """Size in bytes and newest modification time in nanoseconds."""
    stats = [file.stat() for file in _frame_files(path)] if path.is_dir() else [path.stat()]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)
