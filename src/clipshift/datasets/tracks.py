"""Tracks: boxes over time around a person or thing, from any detector and tracker, as clips.

A list of tracks is CSV with the columns `path, track, time, x, y, w, h` and perhaps `label` and `subset`: a box a row,
its left and upper edge, width and height, `time` in seconds since the first frame. Between two rows of a track its box
moves evenly. What is looked at stands still while a clip lasts: it is the smallest box that holds the track's boxes of
that time, widened and made square, as clips are cut around people for skeletons (PoseC3D: mmaction2's `PoseCompact`, a
margin of a quarter), and for actions in AVA (a box that is repeated along the time). So pixels keep their place from
frame to frame, and what moves in the clip moves in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np

from clipshift.config import ReadingConfig, Region
from clipshift.datasets.clip import Clip, TrackPart, name_of
from clipshift.datasets.fragments import fragment
from clipshift.datasets.list_rows import Line, csv_table, is_csv, list_lines
from clipshift.datasets.spans import VideoFinder
from clipshift.errors import DataError, UserError, VideoError
from clipshift.temporal.annotations.model import Place
from clipshift.video import Span
from clipshift.video.region import squared_region

COLUMNS = ("path", "track", "time", "x", "y", "w", "h")

_MOST_SHARE, _LEAST_PIXELS = 1.5, 2.0
"""Widths and heights up to the first are shares of the picture, from the second on pixels; between them, neither."""


@dataclass(frozen=True, eq=False)
class Track:
    """The boxes of one track, N of them, in the order of time."""

    path: str
    """Of the video, as the list has it."""
    name: str
    lines: tuple[int, ...]
    """Of each box."""
    times: np.ndarray
    """Seconds since the first frame, rising, float64 (N,)."""
    boxes: np.ndarray
    """Left, top, width and height, float64 (N, 4)."""
    labels: tuple[str, ...]
    """Of each box; empty where there is none."""
    subset: str | None
    pixels: bool
    """Whether boxes are in pixels; else they are in shares of the picture."""


@dataclass(frozen=True)
class Stretch:
    """A time in which a track has one label, or part of it."""

    line: int
    """Of its first box in the list."""
    part: int
    """From 0."""
    span: Span
    label: str
    """Empty: none."""


@dataclass(frozen=True)
class Facts:
    """What has to be known of a video to look at a track in it."""

    width: int
    height: int
    seconds: float


def is_tracks(path: Path) -> bool:
    """Whether a file is a list of tracks, as its first line says.

    Raises:
        DataError: It cannot be read, or is not UTF-8.
    """
    if path.suffix.lower() not in (".csv", ".tsv"):
        return False
    return has_tracks(path, list_lines(path, "the names of the columns"))


def has_tracks(path: Path, lines: list[Line]) -> bool:
    """Whether lines are those of a list of tracks."""
    header = lines[0][1].lower().replace(";", ",").replace("\t", ",").replace('"', "")
    return is_csv(path, lines) and set(COLUMNS) <= {name.strip() for name in header.split(",")}


def read_tracks(path: Path, lines: list[Line]) -> list[Track]:
    """The tracks of a list, in the order in which they first come.

    Args:
        path: The list.
        lines: Its lines.

    Raises:
        DataError: A row is malformed, its box has no area, a track has two boxes or subsets at a time, or it cannot be
            told whether boxes are in pixels or in shares of the picture.
    """
    rows: dict[tuple[str, str], list[tuple[Place, Mapping[str, str]]]] = {}
    numbers: list[list[float]] = []
    for (number, _), row in csv_table(path, lines, needed=COLUMNS):
        place = Place(path, number)
        numbers.append(_numbers(row, place))
        key = (place.text(row["path"], "The path"), place.text(row["track"], "The track"))
        rows.setdefault(key, []).append((place, {**row, "at": str(len(numbers) - 1), "line": str(number)}))
    values = np.array(numbers)
    pixels = _in_pixels(values[:, 1:], path)
    return [_track(key, own, values, pixels) for key, own in rows.items()]


def _numbers(row: Mapping[str, str], place: Place) -> list[float]:
    """Time and box."""
    numbers = [place.number(row[name], f"`{name}`") for name in COLUMNS[2:]]
    time, *_, width, height = numbers
    if time < 0:
        raise place.error("A box lies before the video.", f"{time:g} s", "seconds from 0 on")
    if min(width, height) <= 0:
        raise place.error("A box has no area.", f"{width:g} x {height:g}", "a width and a height above 0")
    return numbers


def _in_pixels(boxes_N4: np.ndarray, path: Path) -> bool:
    """Whether boxes are in pixels, by the sizes of all of them together."""
    sizes, places = boxes_N4[:, 2:], np.abs(boxes_N4[:, :2])
    if sizes.max() <= _MOST_SHARE and places.max() <= 2 * _MOST_SHARE:
        return False
    if sizes.min() >= _LEAST_PIXELS:
        return True
    raise DataError(
        "It cannot be told whether boxes are in pixels or in shares of the picture.",
        where=path,
        got=f"widths and heights from {sizes.min():g} to {sizes.max():g}, places up to {places.max():g}",
        allowed=f"shares, all sizes at most {_MOST_SHARE:g}; or pixels, all sizes at least {_LEAST_PIXELS:g}",
        remedy="write all boxes in one of them, and leave out those that are thinner than two pixels",
    )


def _track(
    key: tuple[str, str], rows: list[tuple[Place, Mapping[str, str]]], values: np.ndarray, pixels: bool
) -> Track:
    order = sorted(rows, key=lambda row: float(values[int(row[1]["at"]), 0]))
    own = values[[int(row["at"]) for _, row in order]]
    same = np.flatnonzero(np.diff(own[:, 0]) == 0)
    if len(same):
        place, row = order[int(same[0]) + 1]
        raise place.error("A track has two boxes at one time.", f"track {key[1]} at {row['time']} s")
    subsets = {row.get("subset") or None for _, row in rows}
    if len(subsets) > 1:
        raise rows[0][0].error("A track is in two subsets.", f"track {key[1]}: {', '.join(map(str, subsets))}")
    labels = tuple(row.get("label", "") for _, row in order)
    lines = tuple(int(row["line"]) for _, row in order)
    return Track(*key, lines, own[:, 0], own[:, 1:], labels, subsets.pop(), pixels)


def stretches(track: Track, most_seconds: float | None) -> list[Stretch]:
    """The times in which a track has one label, or none, cut into equal parts where they are long.

    A label holds until the next box that has another one; that of the last box ends with it, at once where it is new.

    Args:
        track: The track.
        most_seconds: How long a part may be; None: however long.
    """
    found: list[Stretch] = []
    first = 0
    for number in range(1, len(track.times) + 1):
        if number < len(track.times) and track.labels[number] == track.labels[first]:
            continue
        start, end = float(track.times[first]), float(track.times[min(number, len(track.times) - 1)])
        # A last box without a label only ends what was before it.
        if end > start or track.labels[first] or len(track.times) == 1:
            parts = 1 if most_seconds is None else max(1, ceil((end - start) / most_seconds - 1e-9))
            edges = np.linspace(start, end, parts + 1).tolist()
            spans = enumerate(pairwise(edges))
            found += [Stretch(track.lines[first], part, span, track.labels[first]) for part, span in spans]
        first = number
    return found


def region_of(track: Track, span: Span, facts: Facts, margin: float) -> tuple[Region, bool]:
    """What is looked at in a stretch of a track.

    The smallest box that holds those of the stretch; its width and height grow by the margin; then the shorter one
    becomes the longer one, in pixels, around the same middle. A box that reaches beyond the picture then is moved
    inside, and where it is larger than the picture, cut at its edges.

    Args:
        track: The track.
        span: Start and end of the stretch, seconds.
        facts: Size and length of the video.
        margin: Share of width and height, half of it on each side.

    Returns:
        The region, and whether the track's boxes reach beyond the picture.

    Raises:
        VideoError: The stretch begins behind the end of the video, or the middle of one of its boxes lies outside the
            picture.
    """
    start, end = span
    if start >= facts.seconds:
        raise VideoError(
            f"Track {track.name} lies beyond the end of the video.",
            got=f"{start:g} to {end:g} s, of a video of {facts.seconds:g} s",
        )
    size = np.array([facts.width, facts.height], dtype=np.float64)
    boxes_N4 = _boxes_within(track, start, min(end, facts.seconds)) * (1.0 if track.pixels else np.tile(size, 2))
    low_N2, high_N2 = boxes_N4[:, :2], boxes_N4[:, :2] + boxes_N4[:, 2:]
    middles_N2 = (low_N2 + high_N2) / 2
    if (middles_N2 < 0).any() or (middles_N2 > size).any():
        raise VideoError(
            f"Track {track.name} leaves the picture.",
            got=f"the middle of a box at {_shown(middles_N2[((middles_N2 < 0) | (middles_N2 > size)).any(axis=1)][0])}",
            allowed=f"inside of {facts.width}x{facts.height} pixels, from {start:g} to {min(end, facts.seconds):g} s",
        )
    reaches_out = bool((low_N2 < -0.5).any() or (high_N2 > size + 0.5).any())
    low, high = np.maximum(low_N2.min(axis=0), 0), np.minimum(high_N2.max(axis=0), size)
    return squared_region(low, high, size, margin=margin), reaches_out


def _boxes_within(track: Track, start: float, end: float) -> np.ndarray:
    """The boxes of a stretch, and those at its ends; between them there is none that these do not hold."""
    inside = (track.times >= start) & (track.times <= end)
    ends = [[np.interp(time, track.times, track.boxes[:, part]) for part in range(4)] for time in (start, end)]
    return np.concatenate([track.boxes[inside], np.array(ends)])


def _shown(middle_2: np.ndarray) -> str:
    return f"({middle_2[0]:.0f}, {middle_2[1]:.0f})"


def video_facts(path: Path, reading: ReadingConfig) -> Facts:
    """Size and length of a video.

    Raises:
        VideoError: It cannot be read, or is a frame folder, which has no times.
    """
    with Clip(path, path.name, None).open(reading) as reader:
        info = reader.info
        return Facts(info.width, info.height, float(reader.boundaries[-1]))


def track_clips(path: Path, reading: ReadingConfig, *, only: Sequence[Path] | None = None) -> Iterator[Clip]:
    """The stretches of the tracks of a list as clips without labels, video by video.

    What is wrong with one is said where its clip is opened, so that the others can go on.

    Args:
        path: The list.
        reading: `track_margin`, `track_seconds`, and how videos are opened.
        only: Take only the tracks of these videos; None: all.

    Raises:
        DataError: The list cannot be read or is malformed.
    """
    for clip, tracks in tracked_videos(path, only=only):
        facts: Facts | UserError
        try:
            facts = video_facts(clip.path, reading) if clip.error is None else clip.error
        except UserError as error:
            facts = error
        for track in tracks:
            for stretch in stretches(track, reading.track_seconds):
                yield look_at(track, stretch, clip, facts, reading)


def tracked_videos(path: Path, *, only: Sequence[Path] | None = None) -> Iterator[tuple[Clip, list[Track]]]:
    """The videos of a list of tracks as clips without labels, each with its tracks; arguments as of `track_clips`.

    Raises:
        DataError: The list cannot be read or is malformed.
    """
    lines = list_lines(path, f"{','.join(COLUMNS)} and a box a line")
    finder = VideoFinder((path.parent, Path()))
    videos: dict[str, list[Track]] = {}
    for track in read_tracks(path, lines):
        videos.setdefault(track.path, []).append(track)
    for name, tracks in videos.items():
        video, error = (path.parent / name).absolute(), None
        try:
            found = finder.find(name)
            if found is None:
                where = f"{path}:{tracks[0].lines[0]}"
                error = DataError("The video of a track does not exist.", where=video, got=where)
            video = video if found is None else found.absolute()
        except DataError as several:
            error = several
        if only is None or video.resolve() in only:
            yield Clip(video, name_of(video, Path.cwd()), None, error=error), tracks


def look_at(track: Track, stretch: Stretch, clip: Clip, facts: Facts | UserError, reading: ReadingConfig) -> Clip:
    """The clip of a video that a stretch of a track in it is, with an error where it cannot be looked at."""
    region, cut = None, False
    error = facts if isinstance(facts, UserError) else None
    if isinstance(facts, Facts):
        try:
            region, cut = region_of(track, stretch.span, facts, reading.track_margin)
        except VideoError as problem:
            error = VideoError(problem.what, where=clip.path, got=problem.got, allowed=problem.allowed)
    name = clip.name + fragment(stretch.span, region)
    return replace(clip, name=name, span=stretch.span, region=region, track=TrackPart(track.name, cut), error=error)
