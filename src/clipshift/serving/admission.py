"""Who may wait, and who is told to come again later."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from math import ceil

from clipshift.serving.limits import Refusal

_LONGEST_RETRY = 60
_WEIGHT = 0.1
"""Of the newest request in the mean time of a request."""


class Admission:
    """A bounded number of places: for those that are worked on, and those that wait for it.

    Args:
        working: Requests that are worked on side by side.
        waiting: Requests that may wait.
    """

    def __init__(self, working: int, waiting: int) -> None:
        self._working = working
        self._most = working + waiting
        self._mean_seconds = 1.0
        self.inside = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return max(0, self.inside - self._working)

    def check(self) -> None:
        """Raise a Refusal (429, with the time after which a place can be hoped for) if there is no place."""
        if self.inside >= self._most:
            seconds = ceil(self._mean_seconds * self.inside / self._working)
            after = max(1, min(_LONGEST_RETRY, seconds))
            raise Refusal(429, "The queue is full.", headers={"Retry-After": str(after)})

    @contextmanager
    def place(self) -> Generator[None]:
        """A place, while inside.

        Raises:
            Refusal: There is none.
        """
        self.check()
        self.inside += 1
        start, waiting = time.monotonic(), self.inside
        try:
            yield
        finally:
            self.inside -= 1
            # Those before it in the queue share its time with it.
            alone = (time.monotonic() - start) * self._working / max(waiting, self._working)
            self._mean_seconds += _WEIGHT * (alone - self._mean_seconds)
