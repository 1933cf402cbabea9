"""Finds clips in folders: one folder a class, videos and frame folders at any depth inside it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clipshift.config import ReadingConfig, setting
from clipshift.datasets.clip import Clip, Manifest, name_of, plural, read_class_names, some
from clipshift.errors import DataError
from clipshift.video import fitting_pattern, is_video_file
from clipshift.video.frame_folder import frame_names

CLASSES_FILE = "classes.txt"
METADATA = ("metadata.jsonl", "metadata.csv")
"""Names of the list of a videofolder of Hugging Face."""
LABELS, VIDEOS = "labels.json", "data.json"
"""FiftyOne's temporal detections, and where the videos are."""
TRAIN_NAMES = ("train", "training")
VALIDATION_NAMES = ("val", "validation", "valid")
TEST_NAMES = ("test", "testing")
_NUMBERED_IMAGE = re.compile(r".*\d\.(jpe?g|png)", re.IGNORECASE)
_OF_SYSTEMS = frozenset(
    {
        *("__macosx", "icon\r"),  # archives and disks of macOS
        *("$recycle.bin", "recycler", "system volume information"),  # Windows
        *("thumbs.db", "ehthumbs.db", "desktop.ini"),
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # network storage
        "lost+found",
    }
)
"""Names, in lower case, of folders and files that systems leave in folders of others."""


@dataclass
class Found:
    """What lies under a folder."""

    clips: list[Path] = field(default_factory=list)
    """Videos and frame folders, sorted by their path from the folder."""
    ignored: list[str] = field(default_factory=list)
    """Names of files and folders that are hidden or a system's, and of files that are neither video nor frame."""
    misnamed: list[Path] = field(default_factory=list)
    """A frame of each frame folder in which no name fits the pattern."""


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is passed over wherever folders are searched.

    Hidden ones are (`.Trashes`, and `._clip.mp4`, which macOS writes beside `clip.mp4`), and those that systems make
    for themselves (`@eaDir`, `__MACOSX`, `$RECYCLE.BIN`, `Thumbs.db`). What a user names by its path is read all the
    same.
    """
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one that may be looked at."""
    try:
        return entry.is_dir()
    except OSError:  # a link to where this user may not look
        return False


def find_clips(folder: Path, frame_pattern: str) -> Found:
    """Finds the videos and frame folders at any depth; links are followed, loops of links are not.

    Raises:
        DataError: A folder cannot be listed.
    """
    found = Found()
    _walk(folder, frame_names(frame_pattern), found, seen=set())
    found.clips.sort(key=lambda path: path.relative_to(folder).as_posix())
    return found


def is_frame_folder(folder: Path, frame_pattern: str) -> bool:
    """Whether a folder is one clip: it holds no video, but files as the pattern says, or numbered JPEG or PNG.

    Raises:
        DataError: The folder cannot be listed.
    """
    return _holds_frames(file_names(folder), frame_names(frame_pattern))


def subfolders(folder: Path) -> list[Path]:
    """The folders directly inside a folder, sorted by name, without those that are left out everywhere.

    Raises:
        DataError: The folder cannot be listed.
    """
    return [Path(entry.path) for entry in _entries(folder) if is_folder(entry) and not is_left_out(entry.name)]


def file_names(folder: Path) -> list[str]:
    """The names of the files directly inside a folder, sorted, without those that are left out everywhere.

    Raises:
        DataError: The folder cannot be listed.
    """
    return [entry.name for entry in _entries(folder) if _is_file(entry) and not is_left_out(entry.name)]


def read_class_folders(
    folder: Path,
    data: ReadingConfig,
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
    misnamed = [frame for content in found.values() for frame in content.misnamed]
    notes = _notes(folder, ignored) + _check_pattern(clips, misnamed, data.frame_pattern)
    return Manifest(source=folder, classes=names, clips=tuple(clips), notes=notes)


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
        if is_frame_folder(path, frame_pattern):
            names = file_names(path)
            raise DataError(
                "A class folder holds frames where it should hold clips.",
                where=path,
                got=some(names, 2),
                remedy=f"give the frames of each clip a folder of their own: {path.name}/clip_1/{names[0]}",
            )
        inside = {part.name.lower() for part in subfolders(path)}
        if inside & {*TRAIN_NAMES} and inside & {*VALIDATION_NAMES, *TEST_NAMES}:
            raise DataError(
                "The folder of a class holds training and validation clips.",
                where=path,
                got=some(sorted(inside)),
                allowed=f"{folder.name}/train/CLASS/clip.mp4 and {folder.name}/val/CLASS/clip.mp4",
                remedy="put the classes into the parts, not the parts into the classes",
            )


def _check_pattern(clips: list[Clip], misnamed: list[Path], frame_pattern: str) -> tuple[str, ...]:
    """Raises DataError when no clip could be read for the names of its frames; when some could not, notes that."""
    if not misnamed:
        return ()
    fitting = fitting_pattern(misnamed[0].name)
    if len(misnamed) == len(clips):
        raise DataError(
            "The frames are not named as data.frame_pattern says.",
            where=misnamed[0],
            allowed=frame_pattern,
            remedy=setting("data.frame_pattern", fitting) if fitting else "rename the frames: img_00001.jpg ...",
        )
    return (f"{plural(len(misnamed), 'frame folder')} not named as data.frame_pattern says: {misnamed[0]}",)


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
    videos = [name for name in ignored if is_video_file(name) and not is_left_out(name)]
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
        if is_left_out(entry.name):
            found.ignored.append(entry.name)
        elif is_folder(entry):
            inside = Path(entry.path)
            names = [item.name for item in _entries(inside) if not is_left_out(item.name)]
            if _holds_frames(names, frame_name):
                found.clips.append(inside)
                if not any(frame_name.fullmatch(name) for name in names):
                    found.misnamed.append(inside / next(name for name in names if _NUMBERED_IMAGE.fullmatch(name)))
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


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one that may be looked at."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _holds_frames(names: Sequence[str], frame_name: re.Pattern[str]) -> bool:
    if any(is_video_file(name) for name in names):
        return False
    return any(frame_name.fullmatch(name) or _NUMBERED_IMAGE.fullmatch(name) for name in names)
