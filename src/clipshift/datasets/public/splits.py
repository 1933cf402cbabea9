"""Reads the lists of public data sets as they are published: which clip is in which part, under which label."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from clipshift.datasets.clip import read_lines, some
from clipshift.datasets.folders import is_left_out
from clipshift.datasets.public.class_names import class_names
from clipshift.errors import DataError
from clipshift.files import from_json
from clipshift.video import is_video_file


@dataclass(frozen=True)
class Wanted:
    """One clip that a list names."""

    name: str
    """File name without its ending, or the name of a frame folder."""
    label: int
    folder: str | None = None
    """The folder that it lies in, where the list says."""
    others: tuple[str, ...] = ()
    """Names under which the clip is known as well."""


@dataclass(frozen=True)
class OfficialSplit:
    """What the lists of a data set say."""

    classes: tuple[str, ...]
    parts: dict[str, list[Wanted]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_ucf101(lists: list[Path], split: int) -> OfficialSplit:
    """`classInd.txt`: `1 ApplyEyeMakeup`; `trainlist01.txt`: `CLASS/v_CLASS_g08_c01.avi 1`; `testlist01.txt`: no label.

    Args:
        lists: Folders to search.
        split: 1, 2 or 3.

    Raises:
        DataError: A list is missing, malformed, or names a class that `classInd.txt` does not.
    """
    named = find_list(lists, "classInd.txt")
    train = find_list(lists, f"trainlist{split:02d}.txt")
    test = find_list(lists, f"testlist{split:02d}.txt")
    rows = {"train": _class_paths(train), "test": _class_paths(test)}
    return _by_folder(_class_index(named), rows, {"train": train, "test": test})


def read_own(lists: list[Path], split: int) -> OfficialSplit:
    """Lists of an own folder in the form of UCF-101's.

    Without a `classInd.txt` the classes are the folders that the lists name, sorted. Beside `trainlist01.txt` and
    `testlist01.txt` there may be a `vallist01.txt`; one of the two is enough. Where there is only one split, the files
    may be called `train.txt`, `val.txt` and `test.txt` as well.

    Args:
        lists: Folders to search.
        split: The number of the split, from 1.

    Raises:
        DataError: As of `read_ucf101`.
    """
    found = {}
    for part in ("train", "val", "test"):
        names = [f"{part}list{split:02d}.txt", *([f"{part}list.txt", f"{part}.txt"] if split == 1 else [])]
        path = next((path for name in names if (path := search(lists, name)) is not None), None)
        if path is not None:
            found[part] = path
    if "train" not in found or len(found) < 2:
        raise DataError(
            "The lists of the split are not there.",
            where=", ".join(map(str, lists)),
            got=some([path.name for path in found.values()]) or "none",
            allowed=f"trainlist{split:02d}.txt, and testlist{split:02d}.txt or vallist{split:02d}.txt; "
            "a line: CLASS/CLIP.avi",
            remedy="name their folder with --lists; without lists, clipshift train FOLDER makes a split of its own",
        )
    rows = {part: _class_paths(path) for part, path in found.items()}
    named = search(lists, "classInd.txt")
    if named is not None:
        classes = _class_index(named)
    else:
        classes = tuple(sorted({folder for part in rows.values() for _, folder, _ in part}))
    return _by_folder(classes, rows, found)


def read_hmdb51(lists: list[Path], split: int) -> OfficialSplit:
    """`CLASS_test_split1.txt`: `clip.avi 1`, where 1 is training, 2 test, 0 neither.

    Args:
        lists: Folders to search.
        split: 1, 2 or 3.

    Raises:
        DataError: A class's list is missing, or a line is malformed.
    """
    classes = class_names("hmdb51")
    parts: dict[str, list[Wanted]] = {"train": [], "test": []}
    for label, name in enumerate(classes):
        path = find_list(lists, f"{name}_test_split{split}.txt")
        for number, line in read_lines(path):
            words = line.strip().rsplit(maxsplit=1)
            if len(words) != 2 or words[1] not in ("0", "1", "2"):
                raise _malformed(path, number, line, "clip.avi and 0, 1 or 2")
            if words[1] != "0":
                part = "train" if words[1] == "1" else "test"
                parts[part].append(Wanted(_stem(words[0]), label, name))
    return OfficialSplit(classes, parts)


def read_kinetics400(lists: list[Path], split: int) -> OfficialSplit:  # noqa: ARG001 - there is one split
    """`train.csv`, `val.csv` (or `validate.csv`), `test.csv`: columns label, youtube_id, time_start, time_end, split.

    Args:
        lists: Folders to search.
        split: 1.

    Raises:
        DataError: No list, a missing column, or a class that is none of the 400.
    """
    classes = class_names("kinetics400")
    known = {_plain(name): label for label, name in enumerate(classes)}
    parts: dict[str, list[Wanted]] = {}
    notes = []
    for part, names in (("train", ("train",)), ("val", ("val", "validate", "validation")), ("test", ("test",))):
        spelt = [f"{stem}{name}.csv" for name in names for stem in ("", "kinetics_", "kinetics400_", "kinetics_400_")]
        path = next((path for name in spelt if (path := search(lists, name)) is not None), None)
        if path is None:
            continue
        wanted = []
        for number, row in _table(path, ("youtube_id", "time_start", "time_end")):
            if not row.get("label"):
                continue  # the test part was handed out without labels
            label = known.get(_plain(row["label"]))
            if label is None:
                raise DataError(
                    "A class of the list is none of Kinetics-400.",
                    where=f"{path}:{number}",
                    got=row["label"],
                    allowed=f"{some(list(classes), 4)}",
                    remedy="take the lists of Kinetics-400; those of Kinetics-600 and 700 have other classes",
                )
            try:
                start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
            except (ValueError, OverflowError) as error:
                raise _malformed(path, number, str(row), "seconds in time_start and time_end") from error
            name = row["youtube_id"]
            wanted.append(Wanted(f"{name}_{start:06d}_{end:06d}", label, others=(name,)))
        if wanted:
            parts[part] = wanted
        else:
            notes.append(f"{path.name} has no labels, and is left out")
    if "train" not in parts and "val" not in parts:
        raise _no_list(lists, "train.csv, val.csv")
    return OfficialSplit(classes, parts, tuple(notes))


def read_sthv2(lists: list[Path], split: int) -> OfficialSplit:  # noqa: ARG001 - there is one split
    """`labels.json`: `{"Approaching something with your camera": "0", ...}`; `train.json`: id and template of each.

    Args:
        lists: Folders to search.
        split: 1.

    Raises:
        DataError: A list is missing or malformed, or names a template that `labels.json` does not.
    """
    prefix = "something-something-v2-"
    path = search(lists, "labels.json") or find_list(lists, f"{prefix}labels.json")
    labels = _read_json(path)
    allowed = '{"TEMPLATE": "0", ...}, with numbers from 0'
    if not isinstance(labels, dict) or sorted(map(str, labels.values())) != sorted(map(str, range(len(labels)))):
        raise DataError("The list of labels is not understood.", where=path, allowed=allowed)
    classes = tuple(sorted(labels, key=lambda name: int(labels[name])))
    parts = {}
    for part, name in (("train", "train"), ("val", "validation")):
        path = search(lists, f"{name}.json") or find_list(lists, f"{prefix}{name}.json")
        rows = _read_json(path)
        if not isinstance(rows, list):
            raise DataError("The list is not understood.", where=path, allowed="a list of objects")
        parts[part] = [_something(path, row, labels) for row in rows]
    return OfficialSplit(classes, parts)


def read_jester(lists: list[Path], split: int) -> OfficialSplit:  # noqa: ARG001 - there is one split
    """`jester-v1-labels.csv`: a name a line; `jester-v1-train.csv`: `NUMBER;label`, or columns video_id and label.

    Args:
        lists: Folders to search.
        split: 1.

    Raises:
        DataError: A list is missing or malformed, or names a label that the labels do not.
    """
    named = search(lists, "jester-v1-labels.csv")
    classes = class_names("jester")
    if named is not None:
        classes = tuple(line.strip() for _, line in read_lines(named))
    known = {name: label for label, name in enumerate(classes)}
    parts = {}
    for part, names in (("train", ("train", "Train")), ("val", ("validation", "Validation"))):
        spelt = [f"jester-v1-{names[0]}.csv", *(f"{name}.csv" for name in names)]
        path = next((path for name in spelt if (path := search(lists, name)) is not None), None)
        if path is None:
            raise _no_list(lists, spelt[0])
        parts[part] = [
            Wanted(name, _known(path, number, label, known)) for number, name, label in _numbered_labels(path)
        ]
    return OfficialSplit(classes, parts)


READERS: dict[str, Callable[[list[Path], int], OfficialSplit]] = {
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "kinetics400": read_kinetics400,
    "sthv2": read_sthv2,
    "jester": read_jester,
    "folder": read_own,
}
"""By the name of the data set."""


def search(folders: Iterable[Path], name: str) -> Path | None:
    """A file of that name in one of the folders, or in a folder directly inside one."""
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
        places = (path for path in folder.glob(f"*/{name}") if not is_left_out(path.parent.name))
        found = sorted(path for path in places if path.is_file())
        if found:
            return found[0]
    return None


def find_list(folders: list[Path], name: str) -> Path:
    """As `search`, for a file that must be there.

    Raises:
        DataError: It is not there.
    """
    path = search(folders, name)
    if path is None:
        raise _no_list(folders, name)
    return path


def _no_list(folders: list[Path], names: str) -> DataError:
    return DataError(
        "A list of the data set is not there.",
        where=", ".join(map(str, folders)),
        got=f"no {names}",
        remedy="name the folder (or zip) of the lists with --lists",
    )


def _class_index(path: Path) -> tuple[str, ...]:
    """The classes of lines like `1 ApplyEyeMakeup`, which count from 1 without a gap."""
    classes = {}
    for number, line in read_lines(path):
        words = line.strip().split(maxsplit=1)
        if len(words) != 2 or not words[0].isdecimal() or len(words[0]) > 9:
            raise _malformed(path, number, line, "a number from 1 and the name of a class")
        classes[int(words[0])] = words[1]
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise DataError(
            "The classes are not numbered from 1 without a gap.", where=path, got=some([*map(str, classes)])
        )
    return tuple(classes[number] for number in sorted(classes))


def _class_paths(path: Path) -> list[tuple[int, str, str]]:
    """(line, class, name) of lines like `CLASS/CLIP.avi` or `CLASS/CLIP.avi 1`."""
    rows = []
    lines = read_lines(path)
    labeled = all(re.search(r"\S\s+\d+$", line.strip()) for _, line in lines)
    for number, line in lines:
        # Names may hold blanks and end in numbers: where the list labels its clips, all its lines do.
        text = line.strip().rsplit(maxsplit=1)[0] if labeled else line.strip()
        place = PurePosixPath(text.replace("\\", "/"))
        if len(place.parts) < 2:
            raise _malformed(path, number, line, "CLASS/CLIP.avi, or CLASS/CLIP.avi NUMBER")
        rows.append((number, place.parts[-2], _stem(place.name)))
    return rows


def _by_folder(
    classes: tuple[str, ...], rows: dict[str, list[tuple[int, str, str]]], paths: dict[str, Path]
) -> OfficialSplit:
    known = {name: label for label, name in enumerate(classes)}
    parts = {}
    for part, lines in rows.items():
        parts[part] = [
            Wanted(name, _known(paths[part], number, folder, known), folder) for number, folder, name in lines
        ]
    return OfficialSplit(classes, parts)


def _known(path: Path, number: int, name: str, known: dict[str, int]) -> int:
    if name not in known:
        raise DataError(
            "A class of the list is not in the list of classes.",
            where=f"{path}:{number}",
            got=name,
            allowed=some(list(known), 6),
        )
    return known[name]


def _table(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    lines = read_lines(path)
    rows = list(csv.reader(text for _, text in lines))
    columns = [name.strip().lower() for name in rows[0]] if rows else []
    if not set(needed) <= set(columns):
        raise DataError("The list lacks columns.", where=path, got=", ".join(columns) or "nothing", allowed=needed)
    table = []
    for (number, text), values in zip(lines[1:], rows[1:], strict=True):
        if len(values) != len(columns):
            raise _malformed(path, number, text, f"{len(columns)} values, as in the first line")
        table.append((number, dict(zip(columns, (value.strip() for value in values), strict=True))))
    return table


def _numbered_labels(path: Path) -> list[tuple[int, str, str]]:
    lines = read_lines(path)
    if lines and "video_id" in lines[0][1]:
        return [(number, row["video_id"], row["label"]) for number, row in _table(path, ("video_id", "label"))]
    rows = []
    for number, line in lines:
        name, mark, label = line.strip().partition(";")
        if not mark or not name.strip() or not label.strip():
            raise _malformed(path, number, line, "NUMBER;label")
        rows.append((number, name.strip(), label.strip()))
    return rows


def _read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        return from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError("The file cannot be read as JSON.", where=path, got=error) from error


def _something(path: Path, row: object, labels: dict[str, object]) -> Wanted:
    """A clip of Something-Something: its template names the class, with the placeholders in brackets."""
    if not isinstance(row, dict) or not {"id", "template"} <= set(row):
        raise DataError("A clip of the list is not understood.", where=path, got=row, allowed="id and template")
    template = str(row["template"]).replace("[", "").replace("]", "")
    if template not in labels:
        raise DataError("A template is not in labels.json.", where=path, got=f"{row['id']}: {template}")
    return Wanted(str(row["id"]), int(str(labels[template])))


def _plain(name: str) -> str:
    """A class name as it is compared: some write blanks as underscores."""
    return name.strip().lower().replace("_", " ")


def _stem(name: str) -> str:
    """A video's name without its ending; of other names, as those of frame folders, nothing is taken away."""
    return PurePosixPath(name).stem if is_video_file(name) else name


def _malformed(path: Path, number: int, text: str, allowed: str) -> DataError:
    got = text if len(text) <= 120 else text[:117] + "..."
    return DataError("A line of the list is not understood.", where=f"{path}:{number}", got=got, allowed=allowed)
