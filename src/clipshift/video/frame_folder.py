"""Clips that are folders of numbered images.

Images are decoded by Pillow and taken as stored. An EXIF orientation is not applied: programs that extract frames turn
the picture itself, and all published readers of frame folders take the stored picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clipshift.closing import Closing
from clipshift.config.text import setting
from clipshift.errors import ConfigError, VideoError
from clipshift.video.reader import ClipInfo, Stretch, check_indices

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from clipshift.video.limits import Limits


_NUMBERED = re.compile(r"([^{}]*?)(\d+)(\.(?:jpe?g|png))", re.IGNORECASE)


@dataclass(frozen=True)
class _Numbering:
    """The numbers of the images in a folder: `first`, `first` + 1, ... `first` + `count` - 1."""

    first: int
    count: int


class FrameFolder(Closing):
    """A folder of images that are the frames of one clip; see [clipshift.video.open_clip][]."""

    def __init__(self, path: Path, *, limits: Limits, frame_pattern: str, frames: int | None) -> None:
        self._path = path
        self._pattern = frame_pattern
        numbering = _number(path, frame_pattern, frames)
        self._first = numbering.first
        limits.check_frames(path, numbering.count)
        width, height, image_format = self._header()
        limits.check_size(path, width, height)
        self._info = ClipInfo(
            path=path,
            frames=numbering.count,
            width=width,
            height=height,
            fps=None,
            seconds=None,
            rotation=0,
            codec=image_format,
        )

    @property
    def frame_count(self) -> int:
        """How many images the clip has."""
        return self._info.frames

    @property
    def info(self) -> ClipInfo:
        """The clip's facts."""
        return self._info

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of an image in RGB."""
        return 3 * self._info.width * self._info.height

    @property
    def boundaries(self) -> np.ndarray:
        """Raises a VideoError: images have no times."""
        raise VideoError(
            "A folder of frames does not say when each is shown.",
            where=self._path,
            remedy="use the video file that the frames are from",
        )

    @property
    def stretch(self) -> Stretch:
        """Raises a VideoError: images have no times."""
        return Stretch(self, 0.0, float(self.boundaries[-1]))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Decodes the asked-for images; see [clipshift.video.ClipReader.read][]."""
        wanted = check_indices(indices, self._info.frames)
        frames_THWC = np.empty((len(wanted), self._info.height, self._info.width, 3), dtype=np.uint8)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(wanted):
            places.setdefault(index, []).append(place)
        for index, where in places.items():
            frames_THWC[where] = self._image(index)
        return frames_THWC

    def frames(self, first: int = 0, count: int | None = None) -> Generator[np.ndarray]:
        """Decodes images one after the other; see [clipshift.video.ClipReader.frames][]."""
        for index in range(first, self._info.frames if count is None else first + count):
            yield self._image(index)

    def close(self) -> None:
        """Does nothing: no image stays open."""

    def _file(self, index: int) -> Path:
        return self._path / self._pattern.format(self._first + index)

    def _header(self) -> tuple[int, int, str]:
        file = self._file(0)
        try:
            with Image.open(file) as image:
                return image.width, image.height, (image.format or file.suffix.lstrip(".")).lower()
        except Image.DecompressionBombError as error:
            # Pillow's own bound, which is above that of the default configuration.
            raise VideoError(
                "The frames are larger than Pillow opens.",
                where=file,
                got=str(error),
                remedy="make the images smaller",
            ) from error
        except (OSError, ValueError, SyntaxError) as error:
            raise _unreadable(file, error) from error

    def _image(self, index: int) -> np.ndarray:
        file = self._file(index)
        try:
            with Image.open(file) as image:
                if image.size != (self._info.width, self._info.height):
                    raise VideoError(
                        "The frames of the folder differ in size.",
                        where=file,
                        got=f"{image.width}x{image.height}",
                        allowed=f"{self._info.width}x{self._info.height}, as {self._file(0).name}",
                    )
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> VideoError:
    if not file.exists():
        return VideoError("A frame of the folder is missing.", where=file)
    return VideoError("A frame cannot be decoded.", where=file, got=str(error) or type(error).__name__)


def _number(path: Path, pattern: str, declared: int | None) -> _Numbering:
    """Finds the numbers of the images in a folder from one listing."""
    matcher = frame_names(pattern)
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise VideoError("The frame folder cannot be listed.", where=path, got=error.strerror or str(error)) from error
    numbers = sorted(
        number
        for name in names
        if (match := matcher.fullmatch(name)) and pattern.format(number := int(match["number"])) == name
    )
    if not numbers:
        raise VideoError(
            "The folder holds no frames.",
            where=path,
            got=f"{len(names)} other entries; data.frame_pattern is {pattern}" if names else "an empty folder",
            allowed=f"images named {pattern}, numbered from 1",
            remedy=_pattern_remedy(names),
        )
    first = 0 if numbers[0] == 0 else 1
    # A list that declares fewer frames than there are means the first ones: what lies beyond them is not looked at.
    expected = len(numbers) if declared is None else declared
    for offset in range(min(expected, len(numbers))):
        if numbers[offset] != first + offset:
            raise VideoError(
                "A frame of the folder is missing.",
                where=path / pattern.format(first + offset),
                got=f"the next one there is {pattern.format(numbers[offset])}",
                allowed="numbers without a gap, from 1 (or 0)",
            )
    if expected < 1 or expected > len(numbers):
        raise VideoError(
            "The folder has fewer frames than its list declares." if expected > 0 else "The list declares no frames.",
            where=path,
            got=f"{len(numbers)} frames",
            allowed=f"the declared {declared}",
            remedy="extract the frames again, or correct the list",
        )
    return _Numbering(first, expected)


def fitting_pattern(name: str) -> str | None:
    """The pattern of frame names that a name like `frame0001.jpg` is of; None if it has no number before its ending."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return None
    stem, number, suffix = match.groups()
    return f"{stem}{{:0{len(number)}d}}{suffix}" if len(number) > 1 else f"{stem}{{:d}}{suffix}"


def _pattern_remedy(names: Iterable[str]) -> str:
    found = next((pattern for name in sorted(names) if (pattern := fitting_pattern(name)) is not None), None)
    if found is None:
        return "name a folder of numbered images (img_00001.jpg, img_00002.jpg ...)"
    return f"if these are the frames, add the setting {setting('data.frame_pattern', found)}"


def frame_names(pattern: str) -> re.Pattern[str]:
    """The regular expression for all names that a format pattern with one number can give; its group `number`.

    Raises:
        ConfigError: The pattern is none.
    """
    # A name has at most 255 bytes: a number padded to more digits than two can count is no number of a frame.
    parts = re.split(r"\{(?::?0?\d{0,2}d?)\}", pattern)
    if len(parts) != 2 or any(brace in part for part in parts for brace in "{}"):
        raise ConfigError(
            "The pattern of frame names is not usable.",
            where="data.frame_pattern",
            got=pattern,
            allowed="one place for a number, for example img_{:05d}.jpg",
        )
    return re.compile(re.escape(parts[0]) + r"(?P<number>\d+)" + re.escape(parts[1]))
