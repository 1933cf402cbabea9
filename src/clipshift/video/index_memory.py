"""Indices of long videos, remembered: of one video many spans are opened, and each would read all its packets anew."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from clipshift.remote import RemoteFile

if TYPE_CHECKING:
    from clipshift.remote import VideoPath
    from clipshift.video.index import PacketIndex
    from clipshift.video.limits import Limits

MOST_PACKETS = 2_000_000
"""Packets of all remembered videos together: 22 hours at 25 a second, in about 80 MB."""

Key = tuple[str, int, int | str, "Limits"]
"""Path, size and time of the last change of a file, or its version in a store, and what was refused at its reading."""


@dataclass(frozen=True)
class Remembered:
    """What the first reading of a file told.

    Attributes:
        index: Its packets, none of them kept.
        quick: Whether its header was enough to open it.
    """

    index: PacketIndex
    quick: bool


class IndexMemory:
    """The indices that were used last, of at most so many packets; may be used from several threads."""

    def __init__(self, most: int = MOST_PACKETS) -> None:
        self._most = most
        self._packets = 0
        self._known: OrderedDict[Key, Remembered] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Remembered | None:
        """What is remembered of a file; None for nothing."""
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def put(self, key: Key, found: Remembered) -> None:
        """Remembers a file, unless its packets themselves are in memory; what was not used for longest is forgotten."""
        if found.index.kept is not None or found.index.packets > self._most:
            return
        with self._lock:
            before = self._known.pop(key, None)
            self._packets += found.index.packets - (before.index.packets if before is not None else 0)
            self._known[key] = found
            while self._packets > self._most:
                _, oldest = self._known.popitem(last=False)
                self._packets -= oldest.index.packets


def key_of(path: VideoPath, limits: Limits) -> Key | None:
    """The key of a file as it is now; None where it cannot be looked at."""
    if isinstance(path, RemoteFile):
        size, version = path.key
        return (str(path), size, version, limits) if version else None
    try:
        status = path.stat()
    except OSError:
        return None
    return str(path), status.st_size, status.st_mtime_ns, limits
