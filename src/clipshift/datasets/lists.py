"""Reads lists of clips: text, CSV and JSON lines.

Text: `path label`, or `path frames label` for frame folders, as TSN, TSM, mmaction2 and PaddleVideo write them.
Lines are split from the right, so that paths may hold blanks; a line with tabs is split at these only.
Where a clip may have several labels they are divided by commas, `path 1,5,7`; numbers may also be divided by blanks,
`path 1 5 7` or `path frames 1 5 7`, as mmaction2's multi-class lists have them; in JSON lines they are a list.
CSV (comma, semicolon or tab) has a header with `path`, `label` and, for frame folders, `frames`; JSON lines are
objects with these keys. All are UTF-8.

CSV and JSON lines may have `region`: the clip is that part of the picture, left edge, upper edge, width and height as
shares of it; in CSV four numbers divided by blanks, in JSON lines a list.

CSV with the columns `path, track, time, x, y, w, h` is a list of tracks ([tracks][clipshift.datasets.tracks]).

CSV and JSON lines may have `start` and `end`: the clip is that span of the video, in seconds. Then there may be
`subset` and `duration`, too, and rows without a label and times: videos in which nothing is marked. Kinetics' columns
(`youtube_id`, `time_start`, `time_end`, `split`) are read as such, and so are ActivityNet's JSON, Label Studio's,
FiftyOne's, and CVAT's XML. The list of a videofolder of Hugging Face has `file_name` for `path`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from clipshift.config import ReadingConfig, Region
from clipshift.datasets.clip import (
    Clip,
    Manifest,
    MarkedVideo,
    TrackPart,
    exists,
    name_of,
    plural,
    read_class_names,
    some,
)
from clipshift.datasets.folders import CLASSES_FILE
from clipshift.datasets.fragments import fragment
from clipshift.datasets.list_rows import (
    ANNOTATION_SUFFIXES,
    Parsed,
    annotation_rows,
    csv_table,
    is_csv,
    is_kinetics,
    json_object,
    list_lines,
    parse_list,
    shortened,
    split_labels,
    whole_number,
)
from clipshift.datasets.spans import VideoFinder, read_region, read_span, role_of
from clipshift.datasets.tracks import Facts, is_tracks, look_at, read_tracks, stretches, video_facts
from clipshift.errors import DataError, UserError
from clipshift.parallel.prefetch import prefetch
from clipshift.remote import is_remote
from clipshift.temporal.annotations.model import Place
from clipshift.temporal.segments import Segment
from clipshift.video import Span, is_video_file

LIST_SUFFIXES = frozenset({".txt", ".lst", ".list", ".csv", ".tsv", ".jsonl", ".json", ".xml"})

_MOST_CLASSES = 100_000
"""Where only the numbers in a list tell how many classes there are: a slip of the finger must not take all memory."""


Listed = tuple[Path | str, Span | None, Region | None]
"""A clip of a list: a file, or an address in a store, and which part of it."""


@dataclass(frozen=True)
class Row:
    """One line of a list, or one of its labels where it has several."""

    line: int | str
    path: Path
    label: str
    frames: int | None
    others: tuple[str, ...] = ()
    """Its further labels."""
    span: Span | None = None
    region: Region | None = None
    track: TrackPart | None = None
    error: UserError | None = None

    @property
    def clip(self) -> tuple[Path, Span | None, Region | None]:
        """What tells the clip from others."""
        return self.path, self.span, self.region


def read_list(  # noqa: PLR0913
    path: Path,
    *,
    bases: Sequence[Path],
    root: Path,
    classes: Sequence[str] | None = None,
    strict: bool = False,
    several: bool = False,
    absent: bool = False,
    role: str | None = None,
    reading: ReadingConfig = ReadingConfig(),  # noqa: B008 - frozen
) -> Manifest:
    """Reads a list of labeled clips; they keep their order.

    Labels are indices from 0, or names of classes: names if every label of the list is the name of a class,
    indices otherwise. They refer to the file `classes.txt` beside the list, else to `classes`, else to what the
    labels themselves say: names sorted, or "0" to the largest index.

    Args:
        path: The list.
        bases: Folders in which a relative path is looked for, in this order.
        root: What clips' names are relative to.
        classes: The known classes: the result has these, labels are mapped by name.
        strict: Whether a class between the smallest and largest index may not be without clips.
        several: Whether a clip may have several labels.
        absent: Whether clips that do not exist are kept, and noted: opening them says so. Where none exists, that is
            an error all the same: of the list, or of where it lies.
        role: Of a list of spans with several subsets: the one that is read, `train`, `val` or `test`.
        reading: Of a list of tracks: what is looked at, and how videos are opened for their sizes.

    Raises:
        DataError: A malformed line, an unknown label, a missing file, or a clip with two labels.
    """
    videos: dict[Path, float | None] = {}
    track_notes: tuple[str, ...] = ()
    if is_tracks(path):
        rows, missing, track_notes = _track_rows(path, bases, several, role, reading)
    else:
        rows, missing, videos = _read_rows(path, bases, several, role)
    if missing and not (absent and len(missing) < len(rows)):
        raise _missing_files(path, bases, rows, missing)
    beside = path.parent / CLASSES_FILE
    own = read_class_names(beside) if beside.is_file() and beside != path else None
    # One row for each label: a row's labels are found again by its line.
    single = [replace(row, label=label) for row in rows for label in (row.label, *row.others)]
    labels, names = _resolve_labels(path, single, own if own is not None else classes, strict=strict)
    if classes is not None:
        labels, names = _map_to(path, single, [names[label] for label in labels], tuple(classes)), tuple(classes)
    sets: dict[int | str, set[int]] = {}
    for row, label in zip(single, labels, strict=True):
        sets.setdefault(row.line, set()).add(label)
    ordered = [tuple(sorted(sets[row.line])) for row in rows]
    clips = tuple(
        Clip(
            path=row.path,
            name=name_of(row.path, root) + fragment(row.span, row.region),
            label=own_labels[0],
            frames=row.frames,
            labels=own_labels if several else (),
            span=row.span,
            region=row.region,
            track=row.track,
            error=row.error,
        )
        for row, own_labels in zip(rows, ordered, strict=True)
    )
    notes = (*track_notes, *_check_repeats(path, rows, ordered, names))
    if missing:
        notes += (f"{path.name}: {len(missing)} of {plural(len(rows), 'listed clip')} do not exist: {some(missing)}",)
    # What is marked in a region is not marked in the whole video.
    whole = all(clip.region is None and clip.track is None for clip in clips) and any(
        clip.span is not None for clip in clips
    )
    marked = _marked_videos(clips, names, root, videos) if whole else ()
    return Manifest(source=path, classes=names, clips=clips, notes=notes, videos=marked)


def subsets_of(path: Path) -> frozenset[str]:
    """The parts of the data that a list of spans brings: some of `train`, `val` and `test`; none of any other list.

    Raises:
        DataError: The list is malformed, or a subset is none of these.
    """
    if path.suffix.lower() not in (".csv", ".tsv", ".jsonl", *ANNOTATION_SUFFIXES):
        return frozenset()
    if is_tracks(path):
        tracks = read_tracks(path, list_lines(path, "the names of the columns"))
        return _roles(path, [Parsed(track.lines[0], track.path, None, subset=track.subset) for track in tracks])
    # Labels do not matter here: as a list with several of them more is understood.
    rows = parse_list(path, several=True, find=lambda _: None)
    return _roles(path, rows) if any(row.span is not None for row in rows) else frozenset()


def stream_clips(path: Path) -> Iterator[Listed | DataError]:
    """The clips of a list, for which labels do not matter: what stands beside a path and times is left out.

    Text lists may have paths alone. A clip that does not exist is given all the same: opening it says so.

    Args:
        path: The list; CSV and JSON lines need the column or key `path`.

    Yields:
        Paths, those relative in the list from the list's folder, or addresses in a store, with their spans and
        regions; of lines that are malformed, the error.

    Raises:
        DataError: The list cannot be read, is empty, or is a malformed table.
    """
    found = partial(_place, VideoFinder((path.parent,)), path.parent)
    if path.suffix.lower() in ANNOTATION_SUFFIXES:
        yield from (found(row.path, row.span, row.region) for row in annotation_rows(path) if row.label is not None)
        return
    lines = list_lines(path, "the path of one clip a line")
    if path.suffix.lower() == ".jsonl":
        for line in lines:
            try:
                row = json_object(path, line)
                place = Place(path, line[0])
                span, region = read_span(row.get("start"), row.get("end"), place), read_region(row.get("region"), place)
                yield found(row["path"], span, region)
            except DataError as error:
                yield error
        return
    if is_csv(path, lines):
        for (number, _), row in csv_table(path, lines, needed=("path",)):
            try:
                place = Place(path, number)
                span = read_span(row["start"], row["end"], place) if {"start", "end"} <= set(row) else None
                yield found(row["path"], span, read_region(row.get("region"), place))
            except DataError as error:
                yield error
    else:
        for _, text in lines:
            yield found(_unlabeled(path.parent, text.strip()), None, None)


def _place(finder: VideoFinder, folder: Path, text: str, span: Span | None, region: Region | None) -> Listed:
    """Where a line's video lies: an address in a store, or a file."""
    if is_remote(text):
        return text, span, region
    where = finder.find(text) if span is not None else None
    return where or folder / text, span, region


def gives_labels(path: Path) -> bool:
    """Whether a list gives more than the paths of its clips, be it right or wrong.

    Args:
        path: The list; CSV and JSON lines need the column or key `path`.

    Raises:
        DataError: The list cannot be read, is empty, or a line of CSV or JSON is malformed.
    """
    if path.suffix.lower() in ANNOTATION_SUFFIXES:
        return True
    lines = list_lines(path, "the path of one clip a line")
    if path.suffix.lower() == ".jsonl":
        return any("label" in json_object(path, line) for line in lines)
    if is_csv(path, lines):
        return "label" in csv_table(path, lines, needed=("path",))[0][1]
    return not all(exists(path.parent / text.strip()) or is_video_file(text.strip()) for _, text in lines)


def _unlabeled(folder: Path, text: str) -> str:
    """The path in a line of text: the whole line, or without one or two last words, whichever exists."""
    if "\t" in text:
        return text.split("\t")[0].strip()
    candidates = [text, text.rsplit(maxsplit=1)[0], text.rsplit(maxsplit=2)[0]]
    existing = (candidate for candidate in candidates if exists(folder / candidate))
    like_video = (candidate for candidate in candidates if is_video_file(candidate))
    return next(existing, None) or next(like_video, text)


def _read_rows(
    path: Path, bases: Sequence[Path], several: bool, role: str | None
) -> tuple[list[Row], list[str], dict[Path, float | None]]:
    """The rows, those of them whose clip does not exist, in words, and of lists of spans the videos' lengths."""
    missing: list[str] = []
    finder = VideoFinder(bases)

    def find(text: str) -> Path | None:
        return next((base / text for base in bases if exists(base / text)), None)

    parsed = parse_list(path, several=several, find=find)
    has_spans = any(row.span is not None for row in parsed)
    if has_spans and role is not None and len(_roles(path, parsed)) > 1:
        parsed = [row for row in parsed if role_of(row.subset or "", Place(path, row.line)) == role]
    may_be_cut = has_spans and is_kinetics(path)
    rows: list[Row] = []
    videos: dict[Path, float | None] = {}
    for row in parsed:
        span, where = row.span, None
        if has_spans:
            cut = finder.find_cut(row.path, row.span) if may_be_cut and row.span is not None else None
            where, span = (cut, None) if cut is not None else (finder.find(row.path), row.span)
        where = where or find(row.path) or find(row.path.replace("\\", "/"))
        if where is None:
            where = bases[0] / row.path
            missing += [] if row.label is None else [f"{row.path} (line {row.line})"]
        elif has_spans and (row.span is None or span is not None):
            videos[where] = videos.get(where) or row.duration
        if row.label is not None:
            first, *others = split_labels(path, row.line, row.label) if several else [str(row.label)]
            rows.append(Row(row.line, where, first, row.frames, tuple(others), span, row.region))
    if not rows:
        raise DataError("The list marks nothing: no row has a label.", where=path, remedy="write a label and its times")
    return _joined(rows) if several and has_spans else rows, missing, videos


def _track_rows(
    path: Path, bases: Sequence[Path], several: bool, role: str | None, reading: ReadingConfig
) -> tuple[list[Row], list[str], tuple[str, ...]]:
    """The rows of a list of tracks, one for each labeled stretch; those without their video, in words; and notes.

    Videos are opened for their sizes and lengths; what cannot be looked at has an error, which opening it says.
    """
    tracks = read_tracks(path, list_lines(path, "a box a line, below the names of the columns"))
    subsets = [Parsed(track.lines[0], track.path, None, subset=track.subset) for track in tracks]
    if role is not None and len(_roles(path, subsets)) > 1:
        tracks = [one for one in tracks if role_of(one.subset or "", Place(path, one.lines[0])) == role]
    finder = VideoFinder(bases)
    found = {track.path: finder.find(track.path) for track in tracks}
    facts = dict(prefetch(partial(_facts_of, reading=reading), {where for where in found.values() if where}, 4))
    rows: list[Row] = []
    missing: list[str] = []
    unlabeled = 0
    for track in tracks:
        where = found[track.path]
        missing += [f"{track.path} (line {track.lines[0]})"] if where is None else []
        for stretch in stretches(track, reading.track_seconds):
            line: int | str = stretch.line if stretch.part == 0 else f"{stretch.line} (part {stretch.part + 1})"
            if not stretch.label:
                unlabeled += 1
                continue
            first, *others = split_labels(path, line, stretch.label) if several else [stretch.label]
            row = Row(line, where or bases[0] / track.path, first, None, tuple(others), stretch.span)
            if where is not None:
                clip = look_at(track, stretch, Clip(where, "", None), facts[where], reading)
                row = replace(row, region=clip.region, track=clip.track, error=clip.error)
            rows.append(row)
    if not rows:
        raise DataError("The tracks have no labels.", where=path, remedy="write a label beside the boxes")
    return rows, missing, _notes_on_tracks(path, rows, unlabeled)


def _facts_of(video: Path, reading: ReadingConfig) -> tuple[Path, Facts | UserError]:
    try:
        return video, video_facts(video, reading)
    except UserError as error:
        return video, error


def _notes_on_tracks(path: Path, rows: Sequence[Row], unlabeled: int) -> tuple[str, ...]:
    bad = [row for row in rows if row.error is not None]
    cut = sum(row.track is not None and row.track.cut for row in rows)
    notes = []
    if bad and bad[0].error is not None:
        notes.append(
            f"{path.name}: {len(bad)} of {plural(len(rows), 'clip')} of tracks cannot be looked at, such as line "
            f"{bad[0].line}: {bad[0].error.what}"
        )
    if cut:
        notes.append(f"{path.name}: boxes of {plural(cut, 'clip')} reach beyond the picture, and are cut at its edges")
    if unlabeled:
        notes.append(f"{path.name}: {plural(unlabeled, 'part')} of tracks without a label: not used")
    return tuple(notes)


def _joined(rows: Sequence[Row]) -> list[Row]:
    """Rows of which none is the part of the video that another is: their labels are put together."""
    joined: dict[tuple[Path, Span | None, Region | None], Row] = {}
    for row in rows:
        before = joined.setdefault(row.clip, row)
        if before is not row:
            more = (row.label, *row.others)
            others = dict.fromkeys((*before.others, *(name for name in more if name != before.label)))
            joined[row.clip] = replace(before, others=tuple(others))
    return list(joined.values())


def _roles(path: Path, rows: Sequence[Parsed]) -> frozenset[str]:
    """What the subsets of a list of spans mean.

    Raises:
        DataError: Some of its videos have none, or one that is unknown.
    """
    given: dict[str | None, Parsed] = {}
    for row in rows:
        given.setdefault(row.subset, row)
    if len(given) > 1 and None in given:
        place = Place(path, given[None].line)
        raise place.error("A video has no subset, where others have one.", given[None].path, "training, validation")
    return frozenset(role_of(subset, Place(path, row.line)) for subset, row in given.items() if subset is not None)


def _marked_videos(
    clips: Sequence[Clip], classes: Sequence[str], root: Path, lengths: dict[Path, float | None]
) -> tuple[MarkedVideo, ...]:
    """The videos of a list of spans, in its order, with what is marked in them."""
    segments: dict[Path, list[Segment]] = {path: [] for path in lengths}
    for clip in clips:
        if clip.span is not None and clip.label is not None and clip.path in segments:
            labels = clip.labels or (clip.label,)
            segments[clip.path] += [Segment(classes[label], *clip.span) for label in labels]
    return tuple(
        MarkedVideo(path, name_of(path, root), tuple(found), lengths[path]) for path, found in segments.items()
    )


def _missing_files(path: Path, bases: Sequence[Path], rows: Sequence[Row], missing: list[str]) -> DataError:
    return DataError(
        f"{len(missing)} of {plural(len(rows), 'listed clip')} do not exist.",
        where=path,
        got=some(missing),
        allowed=f"paths from the root, or relative to {' or '.join(str(base) for base in bases)}",
        remedy="correct the list, or name the folder of the clips as `root:` in a data.yaml",
    )


def _resolve_labels(
    path: Path, rows: list[Row], names: Sequence[str] | None, *, strict: bool
) -> tuple[list[int], tuple[str, ...]]:
    """The index of every row's class, and the classes."""
    texts = {row.label for row in rows}
    indices = all(text.isdecimal() for text in texts)
    if names is None:
        names = _numbered_classes(path, rows, strict=strict) if indices else sorted(texts)
    if indices and not texts.issubset(names):
        numbers = [whole_number(row.label) for row in rows]
        labels = [number if number is not None and number < len(names) else None for number in numbers]
    else:
        known = {name: index for index, name in enumerate(names)}
        labels = [known.get(row.label) for row in rows]
    for row, label in zip(rows, labels, strict=True):
        if label is None:
            raise _unknown_label(path, row, names)
    return [label for label in labels if label is not None], tuple(names)


def _unknown_label(path: Path, row: Row, names: Sequence[str]) -> DataError:
    remedy = "correct the label, or the list of classes"
    if not row.label.isdecimal() and any(" " in name for name in names):
        remedy += "; class names with blanks need tabs, CSV or JSON lines"
    if "," in row.label:
        remedy += "; clips with several labels are for models that were trained with train.multi_label=true"
        remedy += " (check takes it, too; frames, repack and lists take --multi-label)"
    return DataError(
        "A label is not in the list of classes.",
        where=f"{path}:{row.line}",
        got=shortened(row.label),
        allowed=f"0 to {len(names) - 1}, or a name: {some(list(names), 8)}",
        remedy=remedy,
    )


def _numbered_classes(path: Path, rows: list[Row], *, strict: bool) -> list[str]:
    """The classes "0" to the largest label; nothing here grows with a label before it is known to be a sensible one."""
    used = set()
    for row in rows:
        number = whole_number(row.label)
        if number is None:
            raise _large_label(path, row)
        used.add(number)
    classes = max(used) + 1
    if strict and len(used) < classes:
        # Below the first gap every label is used: it lies within as many labels as there are, and three gaps further.
        gaps = [str(label) for label in range(min(classes, len(used) + 3)) if label not in used]
        missing = classes - len(used)
        more = f" and {missing - 3} more" if missing > 3 else ""
        raise DataError(
            f"No clip has the label {', '.join(gaps[:3])}{more}.",
            where=path,
            got=f"labels from {min(used)} to {max(used)}",
            allowed="labels that count from 0 without gaps",
            remedy=f"renumber the labels, or name all classes in {path.parent / CLASSES_FILE}",
        )
    if classes > _MOST_CLASSES:
        raise _large_label(path, max(rows, key=lambda row: int(row.label)))
    return [str(label) for label in range(classes)]


def _large_label(path: Path, row: Row) -> DataError:
    return DataError(
        "A label is a larger number than there can be classes.",
        where=f"{path}:{row.line}",
        got=shortened(row.label),
        allowed=f"0 to {_MOST_CLASSES - 1}",
        remedy=f"correct the label, or name all classes in {path.parent / CLASSES_FILE}",
    )


def _map_to(path: Path, rows: list[Row], names: list[str], classes: tuple[str, ...]) -> list[int]:
    """The indices of named labels in `classes`."""
    known = {name: index for index, name in enumerate(classes)}
    for row, name in zip(rows, names, strict=True):
        if name not in known:
            raise DataError(
                "A class of the list is not one of the expected classes.",
                where=f"{path}:{row.line}",
                got=name,
                allowed=some(list(classes), 8),
                remedy="remove its clips from the list, or rename the class; upper and lower case count",
            )
    return [known[name] for name in names]


def _check_repeats(
    path: Path, rows: list[Row], labels: list[tuple[int, ...]], names: tuple[str, ...]
) -> tuple[str, ...]:
    """Raises DataError for a clip with two labels; clips listed twice with one label become a note."""
    first: dict[tuple[Path, Span | None, Region | None], tuple[int | str, tuple[int, ...]]] = {}
    repeated = 0

    def named(labels: tuple[int, ...]) -> str:
        return ", ".join(names[label] for label in labels)

    for row, label in zip(rows, labels, strict=True):
        line, earlier = first.setdefault(row.clip, (row.line, label))
        if earlier != label:
            name = row.path.name + fragment(row.span, row.region)
            raise DataError(
                "A clip is listed twice, with different labels.",
                where=f"{path}:{row.line}",
                got=f"{name}: {named(earlier)} (line {line}), {named(label)} (line {row.line})",
                remedy="keep the line with the right label",
            )
        repeated += line != row.line
    return (f"{path.name}: {plural(repeated, 'clip')} listed more than once",) if repeated else ()
