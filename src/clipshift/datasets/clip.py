"""What a data set is made of: clips, manifests, and the two manifests of a training run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clipshift.config import InputConfig, ReadingConfig, Region
from clipshift.datasets.fragments import fragment
from clipshift.errors import DataError, UserError, VideoError
from clipshift.files import printable
from clipshift.remote import RemoteFile
from clipshift.temporal.segments import Segment
from clipshift.video import ClipReader, Limits, Span, open_clip

Item = TypeVar("Item")


@dataclass(frozen=True)
class TrackPart:
    """The track of boxes that a clip is a part of."""

    name: str
    """As the list of tracks calls it."""
    cut: bool = False
    """Whether its boxes reach beyond the picture, at whose edges they are cut."""


@dataclass(frozen=True)
class Clip:
    """One labeled video or frame folder, or a part of one: a span of time, a region of the picture, or both."""

    path: Path
    """Absolute; of a clip in a store its name."""
    name: str
    """Relative to the data's root, with forward slashes: what reports show. Of a part of a video with its
    times and place, `a.mp4#t=1.5,4` ([fragments][clipshift.datasets.fragments])."""
    label: int | None
    """Index into the manifest's classes."""
    frames: int | None = None
    """Number of frames that a list declared for a frame folder."""
    labels: tuple[int, ...] = ()
    """All its labels, ascending, where a clip may have several; `label` is the first then."""
    span: Span | None = None
    """Start and end in seconds since the first frame, where the clip is a part of the video."""
    region: Region | None = None
    """The part of the picture, where it is not all of it; to six digits."""
    track: TrackPart | None = None
    """Where the clip is of a track; its `region` is what is looked at."""
    address: str | None = None
    """Where the video lies, if it is in a store: what `clipshift.remote` reads."""
    error: UserError | None = None
    """Why what was named is no clip; it is said where the clip is opened, so that the others can go on."""

    @property
    def fragment(self) -> str:
        """What stands behind the name of the video: times and place; empty of a whole video."""
        return fragment(self.span, self.region)

    @property
    def video_name(self) -> str:
        """The name of the video: without times and place."""
        return self.name.removesuffix(self.fragment)

    @property
    def source(self) -> str:
        """The path, with times and place: what `predict` takes."""
        return (str(self.path) if self.address is None else self.address) + self.fragment

    def open(self, reading: ReadingConfig, *, square_pixels: bool = False, threads: int = 1) -> ClipReader:
        """Opens the clip; see [clipshift.video.open_clip][].

        Args:
            reading: Limits and the pattern of frame folders.
            square_pixels: Scale frames whose pixels are not square, as players do.
            threads: Cores that the decoder may use.

        Raises:
            VideoError: It cannot be read.
            DownloadError: A store does not answer, or does not take the credentials.
        """
        if self.error is not None:
            raise VideoError(self.error.what, where=self.error.where, got=self.error.got, remedy=self.error.remedy)
        limits, pattern = Limits.of(reading), reading.frame_pattern
        return open_clip(
            self.path if self.address is None else RemoteFile(self.address),
            limits=limits,
            frame_pattern=pattern,
            frames=self.frames,
            threads=threads,
            square_pixels=square_pixels,
            span=self.span,
            region=self.region,
        )

    def open_for(self, settings: InputConfig, reading: ReadingConfig, *, threads: int = 1) -> ClipReader:
        """Opens the clip as a network is to see it.

        Args:
            settings: Whether pixels are made square, and which part of the picture the network looks at.
            reading: As of `open`.
            threads: As of `open`.

        Raises:
            VideoError: As of `open`; or both the clip and the network have a region of their own.
            DownloadError: As of `open`.
        """
        if self.region is not None and settings.region is not None:
            raise VideoError(
                "The clip has a region of its own, and the model looks at a region of every picture.",
                where=self.source,
                got=f"input.region={settings.region}",
                allowed="one of the two",
            )
        return self.open(reading, square_pixels=settings.pixel_aspect == "apply", threads=threads)


@dataclass(frozen=True)
class MarkedVideo:
    """A whole video with the spans that are marked in it."""

    path: Path
    """Absolute."""
    name: str
    """Relative to the data's root."""
    segments: tuple[Segment, ...]
    """With the names of classes; none where nothing is marked."""
    duration: float | None = None
    """Seconds, as the list tells; None where it does not."""


@dataclass(frozen=True)
class Manifest:
    """Clips in a fixed order, and the names of their classes."""

    source: Path
    """The folder or list that was read."""
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    notes: tuple[str, ...] = ()
    """What a user should know about the reading: ignored files, unused folders."""
    videos: tuple[MarkedVideo, ...] = ()
    """The whole videos that spans are of, also those without any; none where no clip is a span."""

    def __post_init__(self) -> None:
        for name in self.classes:  # they travel with the model, into engines and other languages
            if printable(name) != name:
                raise DataError(
                    "The name of a class is no text in UTF-8, or has characters that cannot be shown.",
                    where=self.source,
                    got=printable(name),
                    remedy="rename the class (its folder, or the word in the lists)",
                )

    def __len__(self) -> int:
        return len(self.clips)

    def labels(self) -> list[int]:
        """The label of every clip, in order.

        Raises:
            ValueError: A clip has none.
        """
        labels = [clip.label for clip in self.clips if clip.label is not None]
        if len(labels) != len(self.clips):
            raise ValueError(f"{self.source}: {len(self.clips) - len(labels)} clips have no label")
        return labels

    def counts(self) -> list[int]:
        """Clips in each class, in the order of `classes`; one of several labels counts in all of them."""
        counts = [0] * len(self.classes)
        for label, clip in zip(self.labels(), self.clips, strict=True):
            for each in clip.labels or (label,):
                counts[each] += 1
        return counts


@dataclass(frozen=True)
class DataSet:
    """What a model is trained and validated on."""

    classes: tuple[str, ...]
    train: Manifest
    validation: Manifest
    split: str
    """One sentence: where the split came from."""
    notes: tuple[str, ...] = ()
    """What a user should know about the reading."""


def check_regions(clips: Iterable[Clip], settings: InputConfig, where: Path) -> None:
    """Sees that a network which looks at a region is given whole pictures.

    Args:
        clips: Of a data set.
        settings: Of the network's input.
        where: The data set.

    Raises:
        DataError: A clip has a region of its own.
    """
    own = [clip.name for clip in clips if clip.region is not None] if settings.region is not None else []
    if own:
        raise DataError(
            "Clips have regions of their own, and the model looks at a region of every picture.",
            where=where,
            got=f"input.region={settings.region}; {plural(len(own), 'clip')}: {some(own)}",
            allowed="one of the two",
            remedy="leave input.region out, or the column `region` of the list",
        )


def name_of(path: Path, root: Path) -> str:
    """A clip's name: its path from the root, or the whole path where it lies elsewhere; forward slashes."""
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return path.as_posix()


def absolute(path: str | Path) -> Path:
    """The path from the file system's root, `~` expanded, links kept as they are written."""
    # A user's folder that nobody knows is left as it is written; resolve() would follow links.
    return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111


def exists(path: Path) -> bool:
    """Whether a path is there; one that cannot be one, such as a longer one than the system allows, is not."""
    try:
        return path.exists()
    except OSError:
        return False


def shown(path: Path) -> str:
    """A path as a reader would type it: from the working folder, where it lies in that."""
    return str(path.relative_to(Path.cwd())) if path != Path.cwd() and path.is_relative_to(Path.cwd()) else str(path)


def some(names: list[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly from first to last."""
    return [items[number * len(items) // most] for number in range(most)] if len(items) > most else list(items)


def plural(count: int, word: str) -> str:
    """`1 clip`, `2 clips`, `3 classes`."""
    if count == 1:
        return f"{count} {word}"
    return f"{count} {word}es" if word.endswith("s") else f"{count} {word}s"


def read_class_names(path: Path) -> tuple[str, ...]:
    """Reads a file of class names, one a line, UTF-8; blank lines are skipped.

    Raises:
        DataError: Not readable, empty, or a name stands twice.
    """
    names: list[str] = []
    for number, line in read_lines(path):
        name = line.strip()
        if name in names:
            raise DataError(
                "A class name stands twice in the list of classes.",
                where=f"{path}:{number}",
                got=name,
                remedy="keep one of the two lines; labels are counted from the first line, 0",
            )
        names.append(name)
    if not names:
        raise DataError("The list of classes is empty.", where=path, remedy="write one class name a line")
    return tuple(names)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, with their numbers from 1; a byte order mark is skipped.

    Raises:
        DataError: The file cannot be read, or is not UTF-8.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError("The file cannot be read.", where=path, got=error.strerror or error) from error
    lines = []
    for number, line in enumerate(text.removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            decoded = line.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                "The file is not UTF-8.",
                where=f"{path}:{number}",
                got=f"byte {line[error.start]:#04x}",
                remedy="save it with the encoding UTF-8",
            ) from error
        if decoded.strip():
            lines.append((number, decoded))
    return lines
