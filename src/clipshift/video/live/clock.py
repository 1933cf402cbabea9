"""The times of a source become seconds of one stream, which do not jump when the source's clock does."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_JITTER = 1.0
"""Seconds by which a frame may be ahead of when it should come, or the clock go back, without a word."""
_MOST_DRIFT = 2e-4
"""Seconds a second that the clock of a source may go slow: quartz is ten times as good."""
_PATIENCE = 10.0
"""Seconds after which frames that always come late are no backlog: the clock of the source stood still meanwhile."""
_NO_STEP = 0.04
"""Seconds from one frame to the next where nothing tells."""


@dataclass(frozen=True)
class Placed:
    """A frame's place in the stream.

    Attributes:
        time: Seconds since the stream's beginning; never below those of the frame before.
        late: Seconds that it waited somewhere on its way: how much later than the quickest frame it came.
        jumped: Whether the source's clock jumped before it.
    """

    time: float
    late: float
    jumped: bool = False


class StreamClock:
    """Places the frames of a source in its stream.

    Of a live source the first frame's place is when it came, and the others follow by their time stamps, whose distance
    is truer than that of their coming. Other sources have no clock but their time stamps.

    Args:
        live: Whether frames come when they are made.
        begin: When the stream began, by the clock of `arrival`.
        after: Time of the last frame before this part of the stream; None for the first one.
    """

    def __init__(self, *, live: bool, begin: float, after: float | None = None) -> None:
        self._live, self._begin, self._time = live, begin, after
        self._offset = self._stamp = self._arrival = 0.0
        self._step = _NO_STEP
        self._least = 0.0
        self._late_since: float | None = None
        self._started = self._new_part = False

    def begin_part(self) -> None:
        """What comes next follows what was before without a gap, unless its time stamps go on, and say otherwise."""
        self._new_part = True

    def place(self, stamp: float | None, arrival: float) -> Placed:
        """Where a frame stands.

        Args:
            stamp: Its time stamp in seconds; None where it has none.
            arrival: When it came: seconds of a clock that never jumps.
        """
        passed = arrival - self._arrival
        if stamp is None:
            stamp = self._stamp + (passed if self._live else self._step) if self._started else 0.0
        if not self._started:
            self._started = True
            return self._anchor(stamp, arrival, jumped=False)
        ahead = stamp - self._stamp - passed
        new_part, self._new_part = self._new_part, False
        if new_part and stamp < self._stamp:
            return self._anchor(stamp, arrival, jumped=False)
        if stamp < self._stamp or (self._live and ahead > _MOST_JITTER):
            jumped = not self._live or abs(ahead) > _MOST_JITTER
            return self._anchor(stamp, arrival, jumped=jumped)
        if stamp > self._stamp:
            self._step = stamp - self._stamp
        late = self._lateness(stamp, arrival, passed)
        if self._late_since is not None and arrival - self._late_since > _PATIENCE:
            return self._anchor(stamp, arrival, jumped=True)
        return self._put(stamp, arrival, late)

    def _anchor(self, stamp: float, arrival: float, *, jumped: bool) -> Placed:
        """A frame whose time stamp has nothing to do with the one before."""
        before = None if self._time is None else self._time + (0.0 if self._live else self._step)
        came = arrival - self._begin if self._live else 0.0
        time = came if before is None else max(came, before)
        self._offset = time - stamp
        self._least = arrival - stamp
        self._late_since = None
        return self._put(stamp, arrival, 0.0, jumped=jumped)

    def _put(self, stamp: float, arrival: float, late: float, *, jumped: bool = False) -> Placed:
        self._stamp, self._arrival = stamp, arrival
        # Rounding must not take a frame before the one that it follows.
        self._time = stamp + self._offset if self._time is None else max(stamp + self._offset, self._time)
        return Placed(self._time, late, jumped)

    def _lateness(self, stamp: float, arrival: float, passed: float) -> float:
        if not self._live:
            return 0.0
        self._least = min(self._least + _MOST_DRIFT * passed, arrival - stamp)
        late = arrival - stamp - self._least
        if late <= _MOST_JITTER:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = arrival
        return late
