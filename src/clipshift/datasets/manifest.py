"""Reads a data set in any of its forms: folders of classes, lists, or a data.yaml that names these."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from clipshift.config import DataConfig, ReadingConfig
from clipshift.datasets.clip import Clip, DataSet, Manifest, absolute, exists, name_of, plural, read_class_names, some
from clipshift.datasets.folders import (
    CLASSES_FILE,
    LABELS,
    METADATA,
    TEST_NAMES,
    TRAIN_NAMES,
    VALIDATION_NAMES,
    VIDEOS,
    file_names,
    is_frame_folder,
    read_class_folders,
    subfolders,
)
from clipshift.datasets.lists import LIST_SUFFIXES, read_list, subsets_of
from clipshift.datasets.spans import BACKGROUND, background_clips
from clipshift.datasets.split import group_of, make_split
from clipshift.errors import DataError
from clipshift.video import is_video_file

__all__ = [
    "Clip",
    "DataSet",
    "Manifest",
    "group_of",
    "make_split",
    "read_dataset",
    "read_manifest",
    "read_parts",
]

_YAML_KEYS = ("train", "validation", "val", "test", "classes", "root")
_FORMS = "a folder of class folders, a list (.txt, .csv, .jsonl) or a data.yaml"


@dataclass(frozen=True)
class Parts:
    """Where a data set's parts are, before they are read; each is a folder of classes or a list."""

    source: Path
    train: Path | None
    validation: Path | None
    test: Path | None
    classes: tuple[str, ...] | None
    bases: tuple[Path, ...]
    """Folders in which relative paths of lists are looked for, after the list's own."""
    root: Path
    notes: tuple[str, ...] = ()
    by_subset: bool = False
    """Whether the parts are subsets of one list of spans."""


@dataclass(frozen=True)
class LabeledParts:
    """All parts that a data set brings."""

    root: Path
    """What the clips' names are relative to."""
    classes: tuple[str, ...]
    parts: dict[str, Manifest]
    """`train`, `val` and `test`, those that there are."""
    notes: tuple[str, ...] = ()


def read_dataset(source: str | Path, data: DataConfig, *, several: bool = False, known: Sequence[str] = ()) -> DataSet:
    """Reads what a model is trained and validated on.

    Args:
        source: One of

            - a folder with `train/` and `val/` (or `validation/`, `valid/`; `test/` where none of these is), each a
              folder of class folders;
            - a folder of class folders, from which a share is held out (`data.validation`, `data.split_seed`);
            - a list, from which a share is held out; of a list of spans whole videos are, unless it has subsets;
            - a data.yaml: `train`, `validation` (or `val`), `test`, each a folder or list; `classes`, names or a
              file of names; `root`, a folder in which relative paths are looked for, too.

            A file `classes.txt` in the folder or beside the list orders the classes.
        data: The settings for reading and for the split.
        several: Whether a clip may have several labels; in folders of classes each still has one.
        known: Classes that a model knows already: they come first, in this order, with or without clips, and one new
            class beside them is enough.

    Returns:
        Classes, training and validation manifests, and where the split came from.

    Raises:
        DataError: The data is not as described; the message names the file, line or folder.
    """
    parts = _find_parts(absolute(source), data)
    if parts.train is None:
        raise DataError(
            "The data set has no training part.",
            where=parts.source,
            allowed="a subset `training`" if parts.by_subset else "a key or folder `train`",
        )
    train = _read_part(parts.train, parts, data, classes=parts.classes, training=True, several=several, role="train")
    classes = (*known, *(name for name in train.classes if name not in known))
    if len(classes) < 2:
        raise DataError(
            "The data set has only one class.",
            where=train.source,
            got=some(list(train.classes)),
            remedy="add a folder (or label) for every class, one for `nothing of these` among them",
        )
    if known:
        train = _renamed(train, classes)
    held = parts.validation or parts.test
    if held is None:
        training, validation, split = make_split(train, fraction=data.validation, seed=data.split_seed)
    else:
        training = train
        role = "val" if parts.validation is not None else "test"
        validation = _read_part(held, parts, data, classes=train.classes, several=several, role=role)
        split = f"as brought: {_shown(parts.train, parts)} and {_shown(held, parts)}"
        if parts.by_subset:
            names = {"val": "validation", "test": "test"}
            split = f"as brought: the subsets training and {names[role]} of {parts.source.name}"
    notes = (*parts.notes, *training.notes, *_missing_classes(training, "training", known))
    if held is not None:
        notes += (*validation.notes, *_both_sides(training, validation))
    notes += _missing_classes(validation, "validation", known)
    return DataSet(classes, training, validation, split, tuple(dict.fromkeys(notes)))


def read_manifest(
    source: str | Path, data: ReadingConfig, *, classes: Sequence[str] | None = None, several: bool = False
) -> Manifest:
    """Reads labeled clips to measure a model on.

    Args:
        source: As for `read_dataset`; of a folder or data.yaml with several parts the validation part, else the
            test part is read.
        data: The settings for reading.
        classes: The model's classes: labels are mapped to them by name, the manifest's classes are these.
        several: Whether a clip may have several labels.

    Returns:
        The clips in the order of the list, or sorted by class and name; also those of a list that do not exist, which
        a note tells of.

    Raises:
        DataError: The data is not as described, or has a class that the model does not know.
    """
    parts = _find_parts(absolute(source), data)
    held = parts.validation or parts.test
    # A folder of classes or one list: nothing is set apart for training.
    alone = parts.train == parts.source and not parts.by_subset
    if held is None and not alone:
        raise DataError(
            "The data set has no validation and no test part.",
            where=parts.source,
            remedy=f"add one, or name the part to measure on itself: {parts.train}",
        )
    part = held or parts.source
    if classes is None and held is not None and parts.train is not None and parts.classes is None:
        classes = _read_part(
            parts.train, parts, data, classes=None, training=True, several=several, role="train"
        ).classes
    own = parts.classes
    role = None if held is None else "val" if parts.validation is not None else "test"
    manifest = _read_part(
        part, parts, data, classes=own if own is not None else classes, several=several, absent=True, role=role
    )
    if classes is not None and manifest.classes != tuple(classes):
        manifest = _renamed(manifest, tuple(classes))
    return replace(manifest, notes=(*parts.notes, *manifest.notes))


def read_parts(source: str | Path, data: ReadingConfig, *, several: bool = False, absent: bool = False) -> LabeledParts:
    """Reads every part that a data set brings; none is made by splitting.

    Args:
        source: As for `read_dataset`.
        data: The settings for reading.
        several: Whether a clip may have several labels.
        absent: Whether clips of a list that do not exist are kept, and noted.

    Returns:
        The parts by name; what has no parts (a folder of classes, one list) counts as `train`.

    Raises:
        DataError: The data is not as described.
    """
    found = _find_parts(absolute(source), data)
    classes = found.classes
    parts = {}
    for name, part in (("train", found.train), ("val", found.validation), ("test", found.test)):
        if part is not None:
            parts[name] = _read_part(
                part, found, data, classes=classes, training=name == "train", several=several, absent=absent, role=name
            )
            classes = parts[name].classes
    notes = (*found.notes, *(note for part in parts.values() for note in part.notes))
    return LabeledParts(found.root, classes or (), parts, tuple(dict.fromkeys(notes)))


def _check_exists(path: Path) -> None:
    if not exists(path):
        near = path.parent
        while not exists(near):
            near = near.parent
        raise DataError(
            "The data was not found.", where=path, remedy=f"check the path; the part of it that exists is {near}"
        )


def _find_parts(source: Path, data: ReadingConfig) -> Parts:
    _check_exists(source)
    if source.is_dir():
        return _folder_parts(source, data)
    suffix = source.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _yaml_parts(source)
    if suffix in LIST_SUFFIXES:
        roles = subsets_of(source)
        if len(roles) > 1:
            return _subset_parts(source, roles)
        return Parts(source, source, None, None, None, (), source.parent, _unused_lists(source))
    if is_video_file(source):
        raise DataError("This is one video, not a data set.", where=source, allowed=_FORMS)
    raise DataError("The file is not a data set.", where=source, got=suffix or "no ending", allowed=_FORMS)


def _subset_parts(source: Path, roles: frozenset[str]) -> Parts:
    """The parts of a list of spans with subsets."""
    train, validation, test = (source if role in roles else None for role in ("train", "val", "test"))
    return Parts(source, train, validation, test, None, (), source.parent, by_subset=True)


def _folder_parts(source: Path, data: ReadingConfig) -> Parts:
    """A folder is split where it has a folder `train` that holds class folders; else it is one of class folders."""
    folders = {path.name.lower(): path for path in subfolders(source)}
    train = _one_of(folders, TRAIN_NAMES)
    alone, of_tool = _list_of_tool(source), None if train is None else _list_of_tool(train)
    if alone is not None:
        return Parts(alone, alone, None, None, None, (), source)
    if of_tool is not None:
        held = [_one_of(folders, names) for names in (VALIDATION_NAMES, TEST_NAMES)]
        validation, test = (None if part is None else _list_of_tool(part) for part in held)
        return Parts(source, of_tool, validation, test, _own_classes(source), (), source)
    # A class may be called `train` (a vehicle) or `test`: then its videos lie directly in it.
    if train is not None and not _holds_classes(train, data):
        train = None
    held = [_one_of(folders, names) for names in (VALIDATION_NAMES, TEST_NAMES)]
    if train is None and not (set(folders) <= {*VALIDATION_NAMES, *TEST_NAMES} and any(held)):
        return Parts(source, source, None, None, None, (), source)
    classes = _own_classes(source)
    used = (train, held[0] or held[1])
    unused = [f"{path.name}/" for path in folders.values() if path not in used]
    notes = (f"{source.name}: not used: {some(unused)}",) if unused else ()
    return Parts(source, train, held[0], held[1], classes, (), source, notes)


def _list_of_tool(folder: Path) -> Path | None:
    """The list of a videofolder of Hugging Face, or of FiftyOne's temporal detections; None of other folders."""
    if (folder / LABELS).is_file() and ((folder / VIDEOS).is_file() or (folder / "data").is_dir()):
        return folder / LABELS
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _own_classes(source: Path) -> tuple[str, ...] | None:
    return read_class_names(source / CLASSES_FILE) if (source / CLASSES_FILE).is_file() else None


def _one_of(folders: dict[str, Path], names: Sequence[str]) -> Path | None:
    return next((folders[name] for name in names if name in folders), None)


def _holds_classes(folder: Path, data: ReadingConfig) -> bool:
    inside = subfolders(folder)
    frames = [is_frame_folder(path, data.frame_pattern) for path in inside]
    return bool(inside) and not any(is_video_file(name) for name in file_names(folder)) and not all(frames)


def _unused_lists(source: Path) -> tuple[str, ...]:
    """Notes on validation lists beside a list that is read alone: `val.txt` beside `train.txt`."""
    beside = [source.with_name(name + source.suffix) for name in (*VALIDATION_NAMES, *TEST_NAMES)]
    unused = [path.name for path in beside if path.is_file() and path != source]
    if not unused:
        return ()
    return (f"{some(unused)} beside {source.name} is not read; to use both, name them in a data.yaml",)


def _yaml_parts(source: Path) -> Parts:
    try:
        content: Any = yaml.safe_load(source.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # thousands of digits, or of brackets
        raise DataError("The file cannot be read as YAML.", where=source, got=" ".join(str(error).split())) from error
    if not isinstance(content, dict):
        raise DataError("The file does not describe a data set.", where=source, allowed=_YAML_KEYS)
    unknown = [str(key) for key in content if key not in _YAML_KEYS]
    if unknown:
        raise DataError("Unknown keys in the data set's file.", where=source, got=some(unknown), allowed=_YAML_KEYS)
    if "val" in content and "validation" in content:
        raise DataError("`val` and `validation` mean the same: keep one of them.", where=source)

    bases: tuple[Path, ...] = (source.parent,)
    root = _yaml_path(source, "root", content.get("root"), bases)
    if root is not None:
        bases = (source.parent, root)
    train, validation, test = (
        _yaml_path(source, key, content.get(key), bases)
        for key in ("train", "val" if "val" in content else "validation", "test")
    )
    if train is None and validation is None and test is None:
        raise DataError("The file names no part of a data set.", where=source, allowed="train, validation, test")
    classes = _yaml_classes(source, content.get("classes"), bases)
    return Parts(source, train, validation, test, classes, bases[1:], root or source.parent)


def _yaml_path(source: Path, key: str, value: object, bases: Sequence[Path]) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(f"`{key}` must be a path.", where=source, got=value)
    candidates = [absolute(base / os.path.expanduser(value)) for base in bases]  # noqa: PTH111
    found = next((path for path in candidates if exists(path)), None)
    if found is None:
        tried = " and ".join(str(path) for path in candidates)
        raise DataError(f"The path of `{key}` does not exist.", where=source, got=value, remedy=f"looked for {tried}")
    return found


def _yaml_classes(source: Path, value: object, bases: Sequence[Path]) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        path = _yaml_path(source, "classes", value, bases)
        return None if path is None else read_class_names(path)
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise DataError(
            "`classes` must be a list of names, or the path of a file with one name a line.",
            where=source,
            got=value,
            remedy='put names that YAML reads otherwise in quotes: "yes", "1"',
        )
    twice = sorted(name for name, count in Counter(value).items() if count > 1)
    if twice:
        raise DataError("A class name stands twice in `classes`.", where=source, got=some(twice))
    return tuple(value)


def _read_part(
    part: Path,
    parts: Parts,
    data: ReadingConfig,
    *,
    classes: Sequence[str] | None,
    training: bool = False,
    several: bool = False,
    absent: bool = False,
    role: str | None = None,
) -> Manifest:
    if part.is_dir():
        manifest = read_class_folders(part, data, root=parts.root, classes=classes, allow_empty=not training)
        if not several:
            return manifest
        one = zip(manifest.clips, manifest.labels(), strict=True)
        return replace(manifest, clips=tuple(replace(clip, labels=(label,)) for clip, label in one))
    if part.suffix.lower() not in LIST_SUFFIXES:
        raise DataError("A part of the data set is neither a folder nor a list.", where=part, allowed=_FORMS)
    bases = (part.parent, *parts.bases)
    manifest = read_list(
        part,
        bases=bases,
        root=parts.root,
        classes=classes,
        strict=training,
        several=several,
        absent=absent,
        role=role,
        reading=data.reading,
    )
    if data.background and any(clip.region is not None for clip in manifest.clips):
        raise DataError(
            "Stretches without a label cannot be told where the labels are of regions of the picture.",
            where=part,
            got=f"data.background={data.background:g}",
            remedy="set data.background=0, and list clips of the background with their regions",
        )
    if not (manifest.videos and data.background):
        return manifest
    # What is measured hangs on the settings alone that a model keeps.
    whole = training and isinstance(data, DataConfig) and data.windows == "middle"
    return _with_background(manifest, data, several=several, whole=whole)


def _with_background(manifest: Manifest, data: ReadingConfig, *, several: bool, whole: bool) -> Manifest:
    """The manifest with clips from the stretches without a label, and with their class."""
    classes = manifest.classes if BACKGROUND in manifest.classes else (*manifest.classes, BACKGROUND)
    found = background_clips(manifest.videos, data, label=classes.index(BACKGROUND), several=several, whole=whole)
    return replace(
        manifest, classes=classes, clips=(*manifest.clips, *found.clips), notes=(*manifest.notes, *found.notes)
    )


def _renamed(manifest: Manifest, classes: tuple[str, ...]) -> Manifest:
    """The manifest with its labels mapped to other classes by name."""
    unknown = [name for name, count in zip(manifest.classes, manifest.counts(), strict=True) if count]
    unknown = [name for name in unknown if name not in classes]
    if unknown:
        raise DataError(
            f"{plural(len(unknown), 'class')} of the data unknown to the model.",
            where=manifest.source,
            got=some(unknown),
            allowed=some(list(classes), 8),
            remedy="rename the classes of the data, or leave these clips out",
        )
    new = [classes.index(name) if name in classes else -1 for name in manifest.classes]  # -1: no clip has it
    clips = []
    for clip, label in zip(manifest.clips, manifest.labels(), strict=True):
        labels = tuple(sorted(new[each] for each in clip.labels))
        clips.append(replace(clip, label=labels[0] if labels else new[label], labels=labels))
    return replace(manifest, classes=classes, clips=tuple(clips))


def _shown(part: Path, parts: Parts) -> str:
    return name_of(part, parts.source if parts.source.is_dir() else parts.source.parent) + (
        "/" if part.is_dir() else ""
    )


def _missing_classes(manifest: Manifest, role: str, known: Sequence[str]) -> tuple[str, ...]:
    counts = zip(manifest.classes, manifest.counts(), strict=True)
    empty = [name for name, count in counts if count == 0 and name not in known]
    return (f"no {role} clip of {plural(len(empty), 'class')}: {some(empty, 5)}",) if empty else ()


def _both_sides(train: Manifest, validation: Manifest) -> tuple[str, ...]:
    known = {clip.path for clip in train.clips}
    both = [clip.name for clip in validation.clips if clip.path in known]
    return (f"{plural(len(both), 'clip')} in both training and validation: {some(both)}",) if both else ()
