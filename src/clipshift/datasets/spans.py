"""Spans of videos in data sets: where their videos are, which part of the data they belong to, and the background."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clipshift.config import ReadingConfig, Region, check_region
from clipshift.datasets.clip import Clip, MarkedVideo, exists, plural
from clipshift.datasets.folders import find_clips
from clipshift.datasets.fragments import fragment, rounded_region
from clipshift.errors import DataError, VideoError
from clipshift.parallel.prefetch import available_cores, prefetch
from clipshift.temporal.annotations.model import Place
from clipshift.video import VIDEO_SUFFIXES, Span, is_video_file

BACKGROUND = "background"
"""The class of stretches without a label; events are never of it."""

_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_ROUNDING = 1e-9
"""Share of a piece by which a stretch may be too short for it."""


def read_span(start: object, end: object, place: Place) -> Span | None:
    """A span from what a list holds; None where it holds neither time.

    Raises:
        DataError: A time is missing or no number, the end lies before the start, or the start before 0.
    """
    if start in (None, "") and end in (None, ""):
        return None
    first, last = place.number(start, "The start"), place.number(end, "The end")
    if last < first:
        raise place.error("A span ends before it starts.", f"{first:g} to {last:g}", "start <= end, in seconds")
    if first < 0:
        raise place.error("A span starts before the video.", f"{first:g} s", "seconds from 0 on")
    return first, last


def read_region(value: object, place: Place) -> Region | None:
    """A region from what a list holds, four numbers or their text divided by blanks or commas; None where it is empty.

    Raises:
        DataError: These are not four numbers, or no region of a picture.
    """
    if value in (None, ""):
        return None
    allowed = "left, top, width and height as shares of the picture, such as 0.25 0 0.5 1"
    parts = value.replace(",", " ").replace(";", " ").split() if isinstance(value, str) else value
    if not isinstance(parts, list) or len(parts) != 4:
        raise place.error("A region is not four numbers.", value, allowed)
    x, y, width, height = (place.number(part, "A part of a region") for part in parts)
    try:
        check_region(region := rounded_region(x, y, width, height))
    except ValueError:
        what = "A region does not lie inside the picture, or is thinner than a ten-thousandth of it."
        raise place.error(what, value, allowed) from None
    return region


def role_of(subset: str, place: Place) -> str:
    """`train`, `val` or `test`: what the name of a subset means.

    Raises:
        DataError: It is none of the known names.
    """
    role = _ROLES.get(subset.strip().lower())
    if role is None:
        raise place.error("A subset has an unknown name.", subset, ", ".join(_ROLES))
    return role


class VideoFinder:
    """Finds the files of videos that annotations name by a path, or by an id without an ending, as public ones do.

    Args:
        bases: Folders in which names are looked for, in this order.
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self._bases = bases
        self._below: dict[str, list[Path]] | None = None
        self._known: dict[str, Path | None] = {}

    def find(self, name: str) -> Path | None:
        """The file of a video.

        It is the path from a base; of a name without the ending of a video also `NAME.mp4` (or another ending) or
        `v_NAME.mp4`, in a base or in any folder below.

        Raises:
            DataError: Several files could be meant.
        """
        if name not in self._known:
            self._known[name] = self._exact(name) or (None if is_video_file(name) else self._by_stem(name))
        return self._known[name]

    def find_cut(self, name: str, span: Span) -> Path | None:
        """The file that was cut out of a video already, as copies of Kinetics have it: `NAME_000012_000022.mp4`."""
        return self._by_stem(f"{name}_{round(span[0]):06d}_{round(span[1]):06d}")

    def _exact(self, name: str) -> Path | None:
        texts = dict.fromkeys((name, name.replace("\\", "/")))
        return next((base / text for text in texts for base in self._bases if exists(base / text)), None)

    def _by_stem(self, name: str) -> Path | None:
        if self._below is None:
            self._below = {}
            for base in self._bases:
                for path in find_clips(base, ReadingConfig().frame_pattern).clips:
                    if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
                        same = self._below.setdefault(path.stem, [])
                        same += [] if path in same else [path]
        found = self._below.get(name) or self._below.get(f"v_{name}") or []
        if len(found) > 1:
            raise DataError(
                "Several files could be the video that is meant.",
                where=name,
                got=", ".join(str(path) for path in found[:3]),
                remedy="name the video by its path, or keep one of them",
            )
        return found[0] if found else None


@dataclass(frozen=True)
class Background:
    """Clips from the stretches of videos in which nothing is marked, and what is to be said of them."""

    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()


def background_clips(
    videos: Sequence[MarkedVideo], reading: ReadingConfig, *, label: int, several: bool = False, whole: bool = False
) -> Background:
    """Cuts stretches without a label into clips, the same ones for the same videos.

    Each stretch is cut into as many equal parts as pieces of `reading.background_seconds` (by default the median length
    of the spans) have room in it; a piece lies in the middle of each part. Of all pieces so many are taken, evenly
    spread over all videos, as there are spans times `reading.background`; or all, if there are fewer.

    Args:
        videos: The videos of one part of the data.
        reading: The settings.
        label: Of the clips.
        several: Whether clips may have several labels.
        whole: Whether clips are the whole parts, so that they reach up to the spans.

    Returns:
        The clips, video by video in the order of time; videos that cannot be read have none.
    """
    lengths = [segment.duration for video in videos for segment in video.segments if segment.label != BACKGROUND]
    wanted = round(reading.background * len(lengths))
    size = reading.background_seconds or (median(lengths) if lengths else 0.0)
    if size <= 0 or wanted == 0:
        return Background(())
    ends = _ends(videos, reading)
    pieces = [
        (video, span)
        for video in videos
        for stretch in unmarked(video, ends[video.path])
        for span in _pieces(stretch, size, whole=whole)
    ]
    taken = [pieces[(2 * k + 1) * len(pieces) // (2 * wanted)] for k in range(min(wanted, len(pieces)))]
    if len(pieces) < wanted:
        taken = pieces
    clips = tuple(
        Clip(video.path, video.name + fragment(span), label, labels=(label,) if several else (), span=span)
        for video, span in taken
    )
    least = "at least " if whole else ""
    text = (
        f"{plural(len(clips), 'clip')} of {least}{size:.3g} s from stretches without a label are the class {BACKGROUND}"
    )
    if len(clips) < wanted:
        text += f"; there is no room for {wanted - len(clips)} more (data.background={reading.background:g})"
    return Background(clips, (text,))


def unmarked(video: MarkedVideo, end: float) -> list[Span]:
    """The stretches of a video, up to its end, in which nothing is marked; in the order of time."""
    stretches, shown = [], 0.0
    for segment in sorted(video.segments, key=lambda one: (one.start, one.end)):
        if segment.start > shown:
            stretches.append((shown, min(segment.start, end)))
        shown = max(shown, segment.end)
    stretches.append((shown, end))
    return [(first, last) for first, last in stretches if last > first]


def _pieces(stretch: Span, size: float, *, whole: bool) -> list[Span]:
    first, last = stretch
    count = int((last - first) / size + _ROUNDING)
    part = (last - first) / count if count else 0.0
    reach = part / 2 if whole else size / 2
    middles = (first + (number + 0.5) * part for number in range(count))
    return [(max(first, middle - reach), min(last, middle + reach)) for middle in middles]


def _ends(videos: Iterable[MarkedVideo], reading: ReadingConfig) -> Mapping[Path, float]:
    """Where videos end, in seconds: as they tell themselves, where the list does not; 0 where that cannot be read."""
    ends = {video.path: video.duration for video in videos}
    unknown = [path for path, end in ends.items() if end is None]

    def end_of(path: Path) -> float:
        try:
            with Clip(path, path.name, None).open(reading) as reader:
                return reader.stretch.end
        except VideoError:  # said where its spans are opened
            return 0.0

    measured = dict(zip(unknown, prefetch(end_of, unknown, available_cores()), strict=True))
    return {path: measured[path] if end is None else end for path, end in ends.items()}
