"""What a data set is made of: clips, manifests, and the two manifests of a training run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from clipshift.config import ReadingConfig
from clipshift.errors import DataError, UserError, VideoError
from clipshift.files import printable
from clipshift.remote import RemoteFile
from clipshift.temporal.segments import Segment
from clipshift.video import ClipReader, Limits, Span, open_clip

# W3C's Media Fragments, as players and browsers understand them behind the name of a video.
_FRAGMENT = re.compile(r"#t=(?P<start>[0-9]{1,9}(?:\.[0-9]{1,9})?),(?P<end>[0-9]{1,9}(?:\.[0-9]{1,9})?)$")


@dataclass(frozen=True)
class Clip:
    """One labeled video or frame folder, or a span of a video."""

    path: Path
    """Absolute; of a clip in a store its name."""
    name: str
    """Relative to the data's root, with forward slashes: what reports show. Of a span with its times, `a.mp4#t=1.5,4`.
    """
    label: int | None
    """Index into the manifest's classes."""
    frames: int | None = None
    """Number of frames that a list declared for a frame folder."""
    labels: tuple[int, ...] = ()
    """All its labels, ascending, where a clip may have several; `label` is the first then."""
    span: Span | None = None
    """Start and end in seconds since the first frame, where the clip is a part of the video."""
    address: str | None = None
    """Where the video lies, if it is in a store: what `clipshift.remote` reads."""
    error: UserError | None = None
    """Why what was named is no clip; it is said where the clip is opened, so that the others can go on."""

    @property
    def video_name(self) -> str:
        """The name of the video: without the times of a span."""
        return self.name if self.span is None else self.name.removesuffix(fragment(self.span))

    @property
    def source(self) -> str:
        """The path, with the times of a span: what `predict` takes."""
        place = str(self.path) if self.address is None else self.address
        return place if self.span is None else f"{place}{fragment(self.span)}"

    def open(self, reading: ReadingConfig, *, square_pixels: bool = False) -> ClipReader:
        """Opens the clip; see [clipshift.video.open_clip][].

        Args:
            reading: Limits and the pattern of frame folders.
            square_pixels: Scale frames whose pixels are not square, as players do.

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
            square_pixels=square_pixels,
            span=self.span,
        )


def fragment(span: Span) -> str:
    """How a span stands behind the name of its video: `#t=1.5,4`, to the microsecond."""
    start, end = (f"{seconds:.6f}".rstrip("0").rstrip(".") for seconds in span)
    return f"#t={start},{end}"


def split_fragment(name: str) -> tuple[str, Span | None]:
    """A name without the times of a span behind it, and these times; None where there are none."""
    match = _FRAGMENT.search(name)
    if match is None or float(match["end"]) < float(match["start"]):
        return name, None
    return name[: match.start()], (float(match["start"]), float(match["end"]))


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
