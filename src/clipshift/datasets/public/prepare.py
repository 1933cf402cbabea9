"""Brings public data sets, and folders with split lists, into the form that everything here reads.

Nothing is copied or changed: what is written are lists of the clips where they are, and a data.yaml.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clipshift.config import DataConfig, setting
from clipshift.datasets.clip import Clip, absolute, plural, shown, some
from clipshift.datasets.folders import find_clips
from clipshift.datasets.public.archives import open_source, unpacked_by_hand
from clipshift.datasets.public.catalog import PUBLIC, PublicSet
from clipshift.datasets.public.fetch import fetch_public
from clipshift.datasets.public.splits import READERS, OfficialSplit, Wanted
from clipshift.datasets.write_lists import WrittenLists, alone, listed_path, write_parts
from clipshift.errors import DataError, VideoError
from clipshift.files import write_whole
from clipshift.parallel.prefetch import available_cores, prefetch
from clipshift.preprocessing.sampling import segment_middles
from clipshift.progress import DownloadProgress
from clipshift.video import Limits, open_clip

PrepareName = Literal["ucf101", "hmdb51", "kinetics400", "sthv2", "jester", "folder"]

_UNPACKED = "unpacked"
_MISSING = "missing.txt"
_BROKEN = "broken.txt"


@dataclass(frozen=True)
class Prepared:
    """A data set that was prepared."""

    name: str
    split: int
    lists: WrittenLists
    listed: dict[str, int]
    """Clips that the publisher's lists name, by part."""
    missing: dict[str, tuple[str, ...]]
    """Names of clips that are listed but not there, by part; they are left out of the lists."""
    broken: tuple[str, ...] = ()
    """Clips that cannot be read, with the reason, where that was asked for; they are left out of the lists, too."""
    notes: tuple[str, ...] = ()
    frame_pattern: str = DataConfig().frame_pattern
    """The names of frames, where clips are frame folders."""
    faults: tuple[str, ...] = ()
    """What is not as it must be, one sentence each."""

    @property
    def ok(self) -> bool:
        """Whether everything is there that can be there, and nothing is broken."""
        return not self.faults

    def lines(self) -> list[str]:
        """The summary for reading, and the command to run next."""
        title = PUBLIC[self.name].title if self.name in PUBLIC else "own folder"
        lines = [f"{title}, split {self.split}: {plural(len(self.lists.classes), 'class')}"]
        for part, count in self.listed.items():
            there = self.lists.counts.get(part, 0)
            lines.append(f"  {part:6}{there} of {plural(count, 'clip')}")
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"error: {fault}" for fault in self.faults]
        lines.append(f"wrote {', '.join(path.name for path in self.lists.lists.values())} and {shown(self.lists.data)}")
        words = ["clipshift", "check", shlex.quote(shown(self.lists.data))]
        if self.frame_pattern != DataConfig().frame_pattern:
            words.append(setting("data.frame_pattern", self.frame_pattern))
        return [*lines, "", " ".join(words)]


@dataclass
class _ClipIndex:
    """All clips that were found, by their names."""

    by_folder: dict[tuple[str, str], Path] = field(default_factory=dict)
    by_name: dict[str, list[Path]] = field(default_factory=dict)

    @classmethod
    def of(cls, folders: Sequence[Path], frame_pattern: str) -> _ClipIndex:
        """Finds the clips of all folders; the first folder's count before the next one's."""
        index = cls()
        paths = dict.fromkeys(path for folder in folders for path in find_clips(folder, frame_pattern).clips)
        # Kinetics' archives hold broken clips, and a folder with clips to take their place.
        for path in sorted(paths, key=lambda path: not path.parent.name.lower().startswith("replacement")):
            name = (path.name if path.is_dir() else path.stem).casefold()
            index.by_folder.setdefault((path.parent.name.casefold(), name), path)
            index.by_name.setdefault(name, []).append(path)
        return index

    def find(self, wanted: Wanted) -> Path | None:
        """The clip: in the folder that the list names, or anywhere if there is only one of that name."""
        for name in (wanted.name, *wanted.others):
            if wanted.folder is not None:
                path = self.by_folder.get((wanted.folder.casefold(), name.casefold()))
                if path is not None:
                    return path
            paths = self.by_name.get(name.casefold(), [])
            if paths and (len(paths) == 1 or wanted.folder is None):
                return paths[0]
        return None


def prepare_data(  # noqa: PLR0913
    name: PrepareName,
    videos: str | Path,
    to: str | Path,
    *,
    lists: str | Path | None = None,
    split: int = 1,
    decode: bool = False,
    fetch: bool = False,
    settings: DataConfig | None = None,
    progress: DownloadProgress | None = None,
) -> Prepared:
    """Writes the lists of a data set with its official split, and a data.yaml that names them.

    The clips stay where they are. Archives (zip, tar) are unpacked beside the lists.

    Args:
        name: `ucf101`, `hmdb51`, `kinetics400`, `sthv2`, `jester`, or `folder` for an own folder of class folders
            with lists in the form of UCF-101's.
        videos: The folder or archive of the clips. Folders in it may be nested in any way; clips may have been
            encoded anew or turned into frame folders, as long as they keep their names.
        to: Folder for the lists.
        lists: The folder or archive of the data set's own lists; by default they are looked for in `videos` and
            beside it.
        split: Number of the split, from 1.
        decode: Whether every clip is opened and some of its frames are decoded, to find broken ones.
        fetch: Whether what the publisher gives to everyone is fetched into `videos` first; a file that is there is not
            fetched again, and a download that broke off goes on.
        settings: The settings for reading; by default those of the data set.
        progress: Called with the number of finished clips and of all clips; for downloads, with a file's bytes.

    Returns:
        What was written, and what is missing, broken or otherwise not as it must be.

    Raises:
        DataError: There are no lists, or none of their clips are there; the error says what to fetch from where.
        DownloadError: A file cannot be fetched.
    """
    data_set = PUBLIC.get(name)
    _check_arguments(name, split, data_set)
    if settings is None:
        pattern = None if data_set is None else data_set.frame_pattern
        settings = DataConfig() if pattern is None else DataConfig(frame_pattern=pattern)
    target, source = absolute(to), absolute(videos)
    if fetch:
        if data_set is None:
            raise DataError("`prepare folder` has no download source.", where="--fetch", allowed=list(PUBLIC))
        fetch_public(data_set, source, progress=progress)
    if not source.exists():
        raise DataError(
            "There is no such folder or archive.",
            where=source,
            remedy="check the path" if data_set is None else f"check the path; or get the videos: {data_set.videos}",
        )
    with alone(target):
        return _prepare(name, source, target, lists, split, settings, decode=decode, progress=progress)


def _prepare(
    name: PrepareName,
    source: Path,
    target: Path,
    lists: str | Path | None,
    split: int,
    settings: DataConfig,
    *,
    decode: bool,
    progress: DownloadProgress | None,
) -> Prepared:
    """The same, when the arguments are right, the videos there, and no other process writes into the target."""
    data_set = PUBLIC.get(name)
    folders = open_source(source, target / _UNPACKED)
    listing = [*folders, source.parent] if lists is None else open_source(absolute(lists), target / _UNPACKED)
    try:
        official = READERS[name](listing, split)
    except DataError as error:
        if data_set is not None and error.got is not None and error.got.startswith("no "):
            error.remedy = f"{data_set.lists}; then name the folder (or zip) with --lists"
        raise
    index = _ClipIndex.of(folders, settings.frame_pattern)
    found, missing = _take(official, index)
    if not any(found.values()):
        raise _nothing(source, folders, official, data_set)
    broken: dict[Path, str] = {}
    if decode:
        broken = _decode(found, settings, progress)
        found = {part: [clip for clip in clips if clip.path not in broken] for part, clips in found.items()}
    root = source if source.is_dir() else folders[0]
    written = write_parts(target, official.classes, found, root=root)
    problems = tuple(f"{listed_path(path, root)}: {reason}" for path, reason in broken.items())
    _write_names(target / _MISSING, [name for names in missing.values() for name in names])
    _write_names(target / _BROKEN, problems)
    return Prepared(
        name=name,
        split=split,
        lists=written,
        listed={part: len(wanted) for part, wanted in official.parts.items()},
        missing=missing,
        broken=problems,
        notes=(*official.notes, *_unlisted(official, index), *_gone(missing, data_set)),
        frame_pattern=settings.frame_pattern,
        faults=_faults(official, data_set, split, missing, problems),
    )


def _check_arguments(name: str, split: int, data_set: PublicSet | None) -> None:
    if name not in READERS:
        raise DataError("There is no such data set.", got=name, allowed=READERS)
    if split < 1 or (data_set is not None and split > len(data_set.splits)):
        count = "1 and up" if data_set is None else ", ".join(str(number + 1) for number in range(len(data_set.splits)))
        raise DataError("There is no such split.", where=name, got=split, allowed=count)


def _take(official: OfficialSplit, index: _ClipIndex) -> tuple[dict[str, list[Clip]], dict[str, tuple[str, ...]]]:
    """The clips of every part, in the order of the lists, and the names of the missing ones."""
    found: dict[str, list[Clip]] = {}
    missing: dict[str, tuple[str, ...]] = {}
    for part, rows in official.parts.items():
        paths = [(wanted, index.find(wanted)) for wanted in rows]
        found[part] = [Clip(path, path.name, wanted.label) for wanted, path in paths if path is not None]
        absent = [wanted for wanted, path in paths if path is None]
        if absent:
            missing[part] = tuple(
                wanted.name if wanted.folder is None else f"{wanted.folder}/{wanted.name}" for wanted in absent
            )
    return found, missing


def _nothing(source: Path, folders: list[Path], official: OfficialSplit, data_set: PublicSet | None) -> DataError:
    """None of the clips are there: say how they get there."""
    first = next((rows[0] for rows in official.parts.values() if rows), None)
    command = unpacked_by_hand(folders)
    remedy = "check the path, and the names of the clips in the lists"
    if command is not None:
        remedy = command
    elif data_set is not None:
        remedy = data_set.videos
    return DataError(
        "None of the clips that the lists name is there.",
        where=source,
        got="archives that are not unpacked here" if command is not None else None,
        allowed=None if first is None else f"clips by the names in the lists: {first.name}.mp4, .avi, ... or a folder",
        remedy=remedy,
    )


def _decode(parts: dict[str, list[Clip]], settings: DataConfig, progress: DownloadProgress | None) -> dict[Path, str]:
    """Opens every clip and decodes the middles of 8 segments; gives the broken ones with the reason."""

    def reason(path: Path) -> str | None:
        try:
            with open_clip(path, limits=Limits.of(settings), frame_pattern=settings.frame_pattern) as reader:
                reader.read(segment_middles(reader.frame_count, 8))
        except VideoError as error:
            return error.what if error.got is None else f"{error.what} ({error.got})"
        return None

    paths = list(dict.fromkeys(clip.path for clips in parts.values() for clip in clips))
    broken = {}
    reasons = prefetch(reason, paths, available_cores())
    for done, (path, problem) in enumerate(zip(paths, reasons, strict=True), start=1):
        if problem is not None:
            broken[path] = problem
        if progress is not None:
            progress(done, len(paths))
    return broken


def _write_names(path: Path, names: Sequence[str]) -> None:
    """Writes names a line; where there are none, no file of an earlier call stays either."""
    try:
        if names:
            write_whole(path, "".join(f"{name}\n" for name in names))
        else:
            path.unlink(missing_ok=True)
    except (OSError, UnicodeEncodeError) as error:
        raise DataError("The list of clips cannot be written.", where=path, got=error) from error


def _unlisted(official: OfficialSplit, index: _ClipIndex) -> tuple[str, ...]:
    """A note on clips that no list names; HMDB51 leaves some out of every split, so this is no fault."""
    named = {index.find(wanted) for rows in official.parts.values() for wanted in rows}
    others = [path.name for paths in index.by_name.values() for path in paths if path not in named]
    return (f"{plural(len(others), 'clip')} in no list of this split: {some(others)}",) if others else ()


def _gone(missing: dict[str, tuple[str, ...]], data_set: PublicSet | None) -> tuple[str, ...]:
    if data_set is None or data_set.complete or not missing:
        return ()
    count = sum(map(len, missing.values()))
    return (f"{plural(count, 'clip')} not there (all in {_MISSING}); many are no longer available to anyone",)


def _faults(
    official: OfficialSplit,
    data_set: PublicSet | None,
    split: int,
    missing: dict[str, tuple[str, ...]],
    broken: tuple[str, ...],
) -> tuple[str, ...]:
    faults = []
    if data_set is not None:
        if len(official.classes) != data_set.classes:
            faults.append(f"the lists have {len(official.classes)} classes; {data_set.title} has {data_set.classes}")
        for part, expected in data_set.splits[split - 1].items():
            listed = len(official.parts.get(part, []))
            if expected and listed != expected:
                faults.append(f"the list of {part} names {plural(listed, 'clip')}; the official one names {expected}")
    if missing and (data_set is None or data_set.complete):
        names = [name for part in missing.values() for name in part]
        faults.append(f"{plural(len(names), 'listed clip')} not there: {some(names)} (all in {_MISSING})")
    if broken:
        faults.append(f"{plural(len(broken), 'clip')} cannot be read: {some(list(broken))} (all in {_BROKEN})")
    return tuple(faults)
