"""Writes data sets as lists with a data.yaml, for clipshift and for the systems that share its lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import yaml

from clipshift.config import DataConfig
from clipshift.datasets.clip import Clip, absolute, plural, shown, some
from clipshift.datasets.folders import CLASSES_FILE
from clipshift.datasets.manifest import read_parts
from clipshift.datasets.tool_lists import (
    PARTS,
    TOOL_FILES,
    TOOL_FORMATS,
    ToolFiles,
    check_links,
    cvat_tasks,
    replace_links,
    tool_files,
)
from clipshift.errors import DataError
from clipshift.files import printable, to_json, write_together, write_whole
from clipshift.locks import hold_folder

ListFormat = Literal["clipshift", "mmaction2", "paddlevideo", "videofolder", "fiftyone", "labelstudio", "cvat"]
DATA_FILE = "data.yaml"
LABEL_MAP = "label_map.txt"
_TEXT_FORMS = ("mmaction2", "paddlevideo")
_MARK = "# Written by clipshift: the next writing replaces this file and those that it names.\n"


@dataclass(frozen=True)
class WrittenLists:
    """What was written."""

    folder: Path
    data: Path
    """The data.yaml, which `train`, `evaluate` and `check` take."""
    lists: dict[str, Path]
    """The list of each part."""
    root: Path
    """The folder that the paths in the lists start from."""
    counts: dict[str, int]
    """Clips of each part."""
    classes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The summary for reading."""
        parts = ", ".join(f"{name} {plural(count, 'clip')}" for name, count in self.counts.items())
        return [
            f"{plural(len(self.classes), 'class')}: {parts}",
            f"paths start from {shown(self.root)}",
            f"wrote {', '.join(str(path.relative_to(self.folder)) for path in self.lists.values())} "
            f"and {shown(self.data)}",
        ]


def write_lists(
    data: str | Path,
    to: str | Path,
    *,
    form: ListFormat = "clipshift",
    multi_label: bool = False,
    settings: DataConfig | None = None,
) -> WrittenLists:
    """Writes the lists of a data set in the form that a system reads, and a data.yaml for clipshift beside them.

    - `clipshift`: JSON lines with class names, for names of every kind.
    - `mmaction2`: text, `path label`, or `path frames label` for frame folders; `classes.txt` is its label map.
      Several labels are divided by blanks.
    - `paddlevideo`: the same lines, and a `label_map.txt` as its configurations name it.
    - `videofolder`: Hugging Face's; in a folder for each part `metadata.jsonl`, and links to the clips.
    - `fiftyone`: a folder for each part: of clips, class folders with links; of spans, temporal detections
      (`labels.json`) and where the videos are (`data.json`).
    - `labelstudio`: tasks; of clips with `Choices`, of spans with `Labels` in seconds.
    - `cvat`: clipshift's own lists, and for each video `cvat/PART/VIDEO.xml` ("CVAT for video 1.1").

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml.
        to: Folder for the lists; those of an earlier call are replaced.
        form: clipshift, mmaction2, paddlevideo, videofolder, fiftyone, labelstudio or cvat.
        multi_label: A clip may have several labels. As with the setting `train.multi_label`.
        settings: The settings for reading; the defaults by default.

    Returns:
        What was written, among it the folder that the paths start from: `data_prefix` of the other systems.

    Raises:
        DataError: The data cannot be read, the lists cannot be written, or the form has no way to write a path.
        VideoError: The frames of a frame folder cannot be counted.
    """
    settings = DataConfig() if settings is None else settings
    _check_not_replaced(Path(data), absolute(to), form)
    found = read_parts(data, settings, several=multi_label)
    parts = {name: part.clips for name, part in found.parts.items()}
    if form in _TEXT_FORMS:
        parts = {name: _with_frames(clips, settings) for name, clips in parts.items()}
    with alone(absolute(to)):
        if form == "cvat":
            tasks = cvat_tasks(absolute(to), found.classes, parts, settings)
            return write_parts(to, found.classes, parts, root=found.root, more=tasks)
        return write_parts(to, found.classes, parts, root=found.root, form=form)


def write_parts(
    to: str | Path,
    classes: Sequence[str],
    parts: Mapping[str, Sequence[Clip]],
    *,
    root: Path,
    form: ListFormat = "clipshift",
    more: Mapping[Path, str] | None = None,
) -> WrittenLists:
    """Writes one list a part, the classes, and a data.yaml that names them.

    Args:
        to: Folder; made where it does not exist.
        classes: The names of the classes in the order of their labels.
        parts: Labeled clips by the name of their part: `train`, `val`, `test`. Empty parts are left out.
        root: The folder that the paths in the lists start from; clips elsewhere are listed by their whole path.
        form: The form of the lists.
        more: Further files, and their text.

    Raises:
        DataError: The lists cannot be written.
    """
    folder, root = absolute(to), absolute(root)
    parts = {name: clips for name, clips in parts.items() if clips}
    _check_classes(classes, folder)
    check_folder(folder)
    tool = next((each for each in TOOL_FORMATS if each == form), None)
    if tool is None:
        files = _own_files(folder, classes, parts, root, form)
    else:
        files = tool_files(tool, folder, classes, parts, root)
    files.texts |= more or {}
    files.texts[folder / CLASSES_FILE] = "".join(f"{name}\n" for name in classes)
    content: dict[str, object] = {} if root == folder else {"root": str(root)}
    content |= {name: path.relative_to(folder).as_posix() for name, path in files.lists.items()}
    _write(folder, files, content | {"classes": CLASSES_FILE})
    counts = {name: len(clips) for name, clips in parts.items()}
    return WrittenLists(folder, folder / DATA_FILE, files.lists, root, counts, tuple(classes))


def _own_files(
    folder: Path, classes: Sequence[str], parts: Mapping[str, Sequence[Clip]], root: Path, form: ListFormat
) -> ToolFiles:
    """JSON lines, or text."""
    suffix = ".jsonl" if form == "clipshift" else ".txt"
    if form != "clipshift":
        _check_writable(classes, parts, root, form)
    files = ToolFiles({name: folder / f"{name}{suffix}" for name in parts})
    for name, clips in parts.items():
        files.texts[files.lists[name]] = "".join(f"{_line(clip, classes, root, form)}\n" for clip in clips)
    if form == "paddlevideo":
        lines = (f"{index} {name.replace(' ', '_')}\n" for index, name in enumerate(classes))
        files.texts[folder / LABEL_MAP] = "".join(lines)
    return files


def _write(folder: Path, files: ToolFiles, content: Mapping[str, object]) -> None:
    described = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    check_links(folder, files.links)
    try:
        for path in files.texts:
            path.parent.mkdir(parents=True, exist_ok=True)
        # A data.yaml that describes nothing until everything is there: half a data set is never read as a whole one.
        if files.links:
            write_whole(folder / DATA_FILE, _MARK)
            replace_links(folder, files.links)
        write_together(
            [
                (folder / DATA_FILE, _MARK),
                *files.texts.items(),
                (folder / DATA_FILE, _MARK + described),
            ]
        )
    except (OSError, UnicodeEncodeError) as error:
        raise DataError("The lists cannot be written.", where=folder, got=error) from error


def _check_not_replaced(data: Path, folder: Path, form: ListFormat) -> None:
    """Raises DataError where a list would be replaced by a part of itself."""
    suffix = ".txt" if form in _TEXT_FORMS else ".jsonl"
    written = TOOL_FILES if form in TOOL_FORMATS else tuple(f"{part}{suffix}" for part in PARTS)
    if data.is_file() and absolute(data) in {folder / name for name in written}:
        raise DataError(
            "The list is one of those that would be replaced.",
            where=data,
            got=f"lists for {folder}",
            remedy="name another folder for the new lists, or the data.yaml beside the list",
        )


def alone(folder: Path) -> AbstractContextManager[None]:
    """Keeps a second process out of the folder, which is made if need be.

    Raises:
        DataError: Another one is in it.
    """
    return hold_folder(folder, doing="is writing into the folder", error=DataError)


def listed_path(path: Path, root: Path) -> str:
    """A clip's path from the root, or the whole path where it lies elsewhere; forward slashes."""
    normal = absolute(path)
    return normal.relative_to(root).as_posix() if normal.is_relative_to(root) else normal.as_posix()


def _line(clip: Clip, classes: Sequence[str], root: Path, form: ListFormat) -> str:
    assert clip.label is not None  # noqa: S101 - manifests of data sets are labeled
    path = listed_path(clip.path, root)
    if form != "clipshift":
        numbers = [*([] if clip.frames is None else [clip.frames]), *(clip.labels or (clip.label,))]
        return " ".join([path, *map(str, numbers)])
    row: dict[str, object] = {"path": path, "label": classes[clip.label]}
    if clip.span is not None:
        row["start"], row["end"] = clip.span
    if clip.region is not None:
        row["region"] = list(clip.region)
    if clip.frames is not None:
        row["frames"] = clip.frames
    if clip.labels:
        row["label"] = [classes[label] for label in clip.labels]
    return to_json(row)


def _with_frames(clips: Sequence[Clip], settings: DataConfig) -> tuple[Clip, ...]:
    """The clips, with the number of frames of every frame folder."""

    def counted(clip: Clip) -> Clip:
        if clip.frames is not None or not clip.path.is_dir():
            return clip
        with clip.open(settings) as reader:
            return replace(clip, frames=reader.frame_count)

    return tuple(counted(clip) for clip in clips)


def check_folder(folder: Path) -> None:
    """Sees that writing replaces no lists of others.

    Raises:
        DataError: The folder holds lists that clipshift did not write.
    """
    names = [DATA_FILE, CLASSES_FILE, LABEL_MAP]
    names += [f"{part}{suffix}" for part in PARTS for suffix in (".jsonl", ".txt")]
    names += TOOL_FILES
    present = [name for name in names if (folder / name).exists()]
    try:
        own = (folder / DATA_FILE).read_text(encoding="utf-8").startswith(_MARK)
    except (OSError, UnicodeDecodeError):
        own = False
    if present and not own:
        raise DataError(
            "The folder holds lists that were not written by clipshift.",
            where=folder,
            got=some(present),
            remedy="name another folder for the new lists",
        )


def _check_classes(classes: Sequence[str], folder: Path) -> None:
    for name in classes:
        if name != name.strip() or not name or len(name.splitlines()) > 1:
            raise DataError(
                "The name of a class cannot stand on a line of its own.",
                where=folder / CLASSES_FILE,
                got=repr(name),
                allowed="names without a line break, and without blanks at their ends",
                remedy="rename the class (its folder)",
            )


def _check_writable(classes: Sequence[str], parts: Mapping[str, Sequence[Clip]], root: Path, form: ListFormat) -> None:
    """Raises DataError for what a text list cannot say without doubt."""
    clips = [clip for part in parts.values() for clip in part]
    if any(clip.fragment for clip in clips):
        kind = "spans of videos" if all(clip.region is None for clip in clips) else "regions of the picture"
        raise DataError(
            f"The clips are {kind}, which a list of {form} cannot say.",
            where=root,
            allowed="the format clipshift",
            remedy="cut them into files: clipshift repack DATA --to FOLDER, or clipshift frames",
        )
    odd = [path for path in (listed_path(clip.path, root) for clip in clips) if len(path.split()) != 1]
    if odd:
        raise DataError(
            f"{plural(len(odd), 'path')} with blanks, where {form} splits the lines of its lists.",
            where=root,
            got=some(odd),
            allowed="paths without blanks, tabs and line breaks",
            remedy="rename them, or write copies without blanks: clipshift repack DATA --to FOLDER --plain-names",
        )
    unnameable = [printable(path) for path in (listed_path(clip.path, root) for clip in clips) if not _is_text(path)]
    if unnameable:
        raise DataError(
            f"{plural(len(unnameable), 'path')} not in UTF-8, which lists of {form} are written in.",
            where=root,
            got=some(unnameable),
            allowed="the format clipshift, which can write any name",
            remedy="rename them, or clipshift lists DATA --to FOLDER --format clipshift",
        )
    if form == "paddlevideo" and any(len(clip.labels) > 1 for clip in clips):
        raise DataError(
            "Clips have several labels; a list of paddlevideo gives each clip one.",
            where=root,
            allowed="the formats clipshift and mmaction2",
        )
    kinds = {clip.frames is None for clip in clips}
    if len(kinds) > 1:
        raise DataError(
            f"The data set holds videos and frame folders; a list of {form} holds one kind.",
            where=root,
            remedy="make frames of all: clipshift frames DATA --to FOLDER",
        )
    if any(name.isdecimal() for name in classes) and any(name != str(index) for index, name in enumerate(classes)):
        raise DataError(
            "Classes are called by numbers that are not their labels: the numbers in the list would be misread.",
            where=root,
            got=some([name for name in classes if name.isdecimal()]),
            remedy="rename these classes",
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
