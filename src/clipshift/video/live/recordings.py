"""A folder to which recordings are written: the newest is followed while it grows, then those that come after it."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path

from clipshift.video.opening import is_video_file

LOOK_EVERY = 0.2
"""Seconds."""


def recordings(folder: Path) -> list[Path]:
    """The videos of a folder in the order of their names, numbers in these by their value; hidden files are none.

    Raises:
        OSError: The folder cannot be read.
    """
    found = [path for path in folder.iterdir() if is_video_file(path) and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (name_order(path.name), path.name))


def name_order(name: str) -> list[tuple[int, int, str]]:
    """A key by which `clip_9` comes before `clip_10`."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts]


def recording_after(folder: Path, before: Path | None) -> Path | None:
    """The recording that follows one, or the newest if there was none yet; None where it is not there yet.

    Raises:
        OSError: The folder cannot be read.
    """
    found = recordings(folder)
    if before is None:
        return found[-1] if found else None
    last = (name_order(before.name), before.name)
    return next((path for path in found if (name_order(path.name), path.name) > last), None)


def is_complete(path: Path) -> bool:
    """Whether nothing will be added to a recording: there is one after it, or it is gone."""
    try:
        return not path.exists() or recording_after(path.parent, path) is not None
    except OSError:
        return True


class Growing(io.RawIOBase):
    """A file that may still grow: at its end a reader waits until there is more, or the file is complete.

    Args:
        path: The file.
        is_complete: Whether nothing will be added any more.
        alive: Called while it waits.
    """

    def __init__(self, path: Path, is_complete: Callable[[], bool], alive: Callable[[], None]) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._is_complete, self._alive = is_complete, alive

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is said not to be: FFmpeg would look for the duration at the end of what is there, and wait for more."""
        return False

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes; none only at the end of a complete file."""
        complete = False
        while True:
            data = self._file.read(size)
            if data or complete:
                return data or b""
            complete = self._is_complete()
            if not complete:  # else what was written before it was complete is still read
                self._alive()
                time.sleep(LOOK_EVERY)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file; its end is where it ends now."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._file.tell()

    def close(self) -> None:
        """Gives back the file."""
        self._file.close()
        super().close()
