"""What was decoded and not yet fetched: the newest wins, or nothing is left out."""

from __future__ import annotations

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")

_MOST_HELD = 8


class Backlog(Generic[Item]):
    """Between a thread that puts and one that takes.

    Frames in the rhythm that a network knows are worth more than frames evenly left out. So frames are kept up to a
    stretch of time, and where more would be, all are left out but the newest.

    Args:
        seconds: The longest stretch that is kept; None: all are kept, and who puts has to wait.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._held: deque[tuple[float | None, Item]] = deque()
        self._changed = Condition()
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many were left out so far."""
        return self._dropped

    def leave_out(self) -> None:
        """Count one that was left out elsewhere."""
        with self._changed:
            self._dropped += 1

    def put(self, item: Item, time: float | None = None) -> None:
        """Add what is newer than all before.

        Args:
            item: What `take` gives.
            time: Seconds; None: it is not left out, whatever comes after it.
        """
        with self._changed:
            if time is not None and self._seconds is None:
                self._changed.wait_for(lambda: len(self._held) < _MOST_HELD)
            elif time is not None and time - self._oldest(time) > (self._seconds or 0):
                kept = [entry for entry in self._held if entry[0] is None]
                self._dropped += len(self._held) - len(kept)
                self._held = deque(kept)
            self._held.append((time, item))
            self._changed.notify_all()

    def take(self, seconds: float) -> Item | None:
        """The oldest; None if none came for so long."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._held), timeout=seconds):
                return None
            _, item = self._held.popleft()
            self._changed.notify_all()
            return item

    def _oldest(self, default: float) -> float:
        return next((time for time, _ in self._held if time is not None), default)
