"""The boxes that an MP4 file is built of (ISO/IEC 14496-12): a few headers are read, and nothing of the frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_NESTING = frozenset(
    {
        *(b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"),
        *(b"udta", b"mvex", b"edts", b"dinf", b"meta"),  # FFmpeg looks for the others in these, too
    }
)
_MOST_BOXES = 1_000_000
_DEEPEST = 12


class TooManyBoxesError(Exception):
    """The file has more boxes than any real one."""


@dataclass
class Boxes:
    """What the boxes of a file tell.

    Attributes:
        end: Where the last of the outermost boxes ends, which may be beyond the end of the file.
        indexed: Whether there is a whole `moov`.
        samples: Samples (frames, pieces of sound) that the tables of all tracks announce together. FFmpeg makes an
            entry for each of them when it opens the file, and a table may announce billions in twelve bytes.
    """

    end: int = 0
    indexed: bool = False
    samples: int = 0


@dataclass
class _Track:
    """What is gathered of one track."""

    samples: int = 0
    is_sound: bool = False
    step: int = 0
    """The duration of all its samples in units of its time scale, where it is one; else 0."""

    @property
    def entries(self) -> int:
        """Entries that FFmpeg makes; sound of a sample each tick (PCM) gets one for each chunk instead."""
        return 0 if self.is_sound and self.step == 1 else self.samples


def read_boxes(file: BinaryIO, size: int) -> Boxes:
    """Walks the boxes of a file from its beginning.

    Args:
        file: Open for reading.
        size: Its bytes.

    Raises:
        TooManyBoxesError: There is no end to them.
        OSError: The file cannot be read.
    """
    found = Boxes()
    walker = _Walker(file)
    for kind, start, end in walker.boxes(0, size, whole=False):
        found.end = end
        found.indexed = found.indexed or (kind == b"moov" and end <= size)
        if kind in _NESTING:
            walker.walk(start, min(end, size), _Track(), depth=1)
    found.samples = walker.samples
    return found


class _Walker:
    """Sums the samples of all tracks."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes = 0
        self.samples = 0

    def boxes(self, start: int, end: int, *, whole: bool = True) -> Iterator[tuple[bytes, int, int]]:
        """Yields kind, start of the content, and end of each box in a stretch of the file; see 4.2 of the standard.

        Args:
            start: Byte at which the first box begins.
            end: Where the stretch ends.
            whole: Whether a box that is longer than the stretch counts as ending with it, as FFmpeg has it.
        """
        position = start
        while position + 8 <= end:
            self._boxes += 1
            if self._boxes > _MOST_BOXES:
                raise TooManyBoxesError
            head = self._read(position, 16)
            length, kind, content = int.from_bytes(head[:4], "big"), head[4:8], position + 8
            if length == 1:
                length, content = int.from_bytes(head[8:16], "big"), position + 16
            elif length == 0:  # up to the end
                length = end - position
            stop = min(position + length, end) if whole else position + length
            yield kind, content, stop
            if length < 8:
                return
            position += length

    def walk(self, start: int, end: int, track: _Track, depth: int) -> None:
        """Takes in the boxes of a stretch, and those inside them."""
        for kind, content, stop in self.boxes(start, end):
            if kind in _NESTING and depth < _DEEPEST:
                own = _Track() if kind == b"trak" else track
                self.walk(content, stop, own, depth + 1)
                self.samples += own.entries if kind == b"trak" else 0
            elif kind in (b"stsz", b"stz2"):
                track.samples += self._number(content + 8)
            elif kind == b"hdlr":
                track.is_sound = track.is_sound or self._read(content + 8, 4) == b"soun"
            elif kind == b"stts":
                track.step = self._number(content + 12) if self._number(content + 4) == 1 else 0
            elif kind == b"trun":
                self.samples += self._number(content + 4)

    def _number(self, position: int) -> int:
        return int.from_bytes(self._read(position, 4), "big")

    def _read(self, position: int, count: int) -> bytes:
        self._file.seek(position)
        return self._file.read(count)
