"""Finds clips in folders: one folder a class, videos and frame folders at any depth inside it."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipshift.config import DataConfig
from clipshift.data.clips import Clip, Manifest, name_of, plural, read_class_names, some
from clipshift.errors import DataError
from clipshift.video import is_video_file

CLASSES_FILE = "classes.txt"
_NUMBERED_IMAGE = re.compile(r".*\d\.(jpe?g|png)", re.IGNORECASE)


@dataclass
class Found:
    """What lies under a folder."""

    clips: list[Path] = field(default_factory=list)
    """Videos and frame folders, sorted by their path from the folder."""
    ignored: list[str] = field(default_factory=list)
    """Names of hidden files and folders, and of files that are neither video nor frame."""


def find_clips(folder: Path, frame_pattern: str) -> Found:
    """Finds the videos and frame folders at any depth; links are followed, loops of links are not.

    Raises:
        DataError: A folder cannot be listed.
    """
    found = Found()
    _walk(folder, _frame_name(frame_pattern), found, seen=set())
    found.clips.sort(key=lambda path: path.relative_to(folder).as_posix())
    return found


def is_frame_folder(names: Sequence[str], frame_pattern: str) -> bool:
    """Whether a folder with files of these names is one clip: they match the pattern, or are numbered JPEG or PNG."""
    return _holds_frames(names, _frame_name(frame_pattern))


def subfolders(folder: Path) -> list[Path]:
    """The folders directly inside a folder, sorted by name; hidden ones are left out.

    Raises:
        DataError: The folder cannot be listed.
    """
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith(".")]


def file_names(folder: Path) -> list[str]:
    """The names of the files directly inside a folder, sorted.

    Raises:
        DataError: The folder cannot be listed.
    """
    return [entry.name for entry in _entries(folder) if entry.is_file()]


def read_class_folders(
    folder: Path,
    data: DataConfig,
    *,
    root: Path,
    classes: Sequence[str] | None = None,
    allow_empty: bool = False,
) -> Manifest:
    """Reads a folder that holds one folder for each class.

    Classes are sorted by name unless `classes` or a file `classes.txt` in the folder orders them; clips are sorted
    by class and name.

    Args:
        folder: The folder.
        data: Gives the pattern of frame folders.
        root: What clips' names are relative to.
        classes: The known classes; a folder that is none of them is an error.
        allow_empty: Whether a class folder may be without clips (a part that is only measured).

    Raises:
        DataError: No class folders, an empty one, one that is not in `classes`, or frames where clips should be.
    """
    folders = subfolders(folder)
    loose = [name for name in file_names(folder) if name != CLASSES_FILE]
    _check_layout(folder, folders, loose, data.frame_pattern)
    if classes is None and (folder / CLASSES_FILE).is_file():
        classes = read_class_names(folder / CLASSES_FILE)
    names = tuple(classes) if classes is not None else tuple(path.name for path in folders)
    _check_known(folder, [path.name for path in folders], names)

    found = {path.name: find_clips(path, data.frame_pattern) for path in folders}
    empty = [name for name, content in found.items() if not content.clips]
    if empty and (not allow_empty or len(empty) == len(found)):
        raise DataError(
            f"{plural(len(empty), 'class folder')} without a single video.",
            where=folder,
            got=some(empty),
            remedy="put videos (or frame folders) into them, or remove the folders",
        )
    clips = [
        Clip(path=path, name=name_of(path, root), label=label)
        for label, name in enumerate(names)
        if name in found
        for path in found[name].clips
    ]
    ignored = loose + [name for content in found.values() for name in content.ignored]
    return Manifest(source=folder, classes=names, clips=tuple(clips), notes=_notes(folder, ignored))


def _check_layout(folder: Path, folders: list[Path], loose: list[str], frame_pattern: str) -> None:
    """Raises DataError where a folder is not one of class folders."""
    layout = f"class folders with videos in them: {folder.name}/CLASS/clip.mp4"
    if not folders and not loose:
        raise DataError("The folder is empty.", where=folder, allowed=layout)
    if not folders:
        videos = sum(is_video_file(name) for name in loose)
        lists = [name for name in loose if Path(name).suffix.lower() in (".txt", ".lst", ".csv", ".jsonl")]
        remedy = f"name the list instead: {folder / lists[0]}" if lists else "move each video into its class's folder"
        raise DataError(
            f"The folder holds {plural(videos, 'video')} but no class folders.",
            where=folder,
            allowed=layout,
            remedy=remedy,
        )
    for path in folders:
        names = file_names(path)
        if is_frame_folder(names, frame_pattern):
            raise DataError(
                "A class folder holds frames where it should hold clips.",
                where=path,
                got=some(names, 2),
                remedy=f"give the frames of each clip a folder of their own: {path.name}/clip_1/{names[0]}",
            )


def _check_known(folder: Path, found: list[str], classes: tuple[str, ...]) -> None:
    """Raises DataError when a class folder is none of the classes."""
    unknown = [name for name in found if name not in classes]
    if unknown:
        raise DataError(
            f"{plural(len(unknown), 'folder')} in the data set with a name that is not a class.",
            where=folder,
            got=some(unknown),
            allowed=some(list(classes), 8),
            remedy="rename or remove the folders; upper and lower case count",
        )


def _notes(folder: Path, ignored: list[str]) -> tuple[str, ...]:
    notes = []
    videos = [name for name in ignored if is_video_file(name) and not name.startswith(".")]
    if videos:
        notes.append(f"{folder.name}: not used, because outside the class folders: {some(videos)}")
    others = [name for name in ignored if name not in videos]
    if others:
        different = some(list(dict.fromkeys(others)), 5)
        notes.append(f"{folder.name}: ignored {plural(len(others), 'file')} not a video, or hidden: {different}")
    return tuple(notes)


def _walk(folder: Path, frame_name: re.Pattern[str], found: Found, seen: set[str]) -> None:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for entry in _entries(folder):
        if entry.name.startswith("."):
            found.ignored.append(entry.name)
        elif entry.is_dir():
            inside = Path(entry.path)
            if _holds_frames([item.name for item in _entries(inside)], frame_name):
                found.clips.append(inside)
            else:
                _walk(inside, frame_name, found, seen)
        elif is_video_file(entry.name):
            found.clips.append(Path(entry.path))
        else:
            found.ignored.append(entry.name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError("The folder cannot be listed.", where=folder, got=error.strerror or error) from error


def _frame_name(frame_pattern: str) -> re.Pattern[str]:
    """The names that a pattern like `img_{:05d}.jpg` can give."""
    parts = string.Formatter().parse(frame_pattern)
    return re.compile("".join(re.escape(text) + (r"\d+" if key is not None else "") for text, key, _, _ in parts))


def _holds_frames(names: Sequence[str], frame_name: re.Pattern[str]) -> bool:
    if any(is_video_file(name) for name in names):
        return False
    return any(frame_name.fullmatch(name) or _NUMBERED_IMAGE.fullmatch(name) for name in names)
