"""From scores to events: when something starts, goes on and ends, told from the probabilities of its class over time.

A detector is a value, not an object that changes: [start][clipshift.temporal.events.start] makes one,
[advance][clipshift.temporal.events.advance] takes one and an observation and returns the next one with the events that
the observation brought about, and [finish][clipshift.temporal.events.finish] ends it. A state can be kept, gone back to
and sent to another process. A whole file goes the same way
([find_segments][clipshift.temporal.events.find_segments]), so a file and a stream give the same segments, bit for bit.

For each class, in this order:

1. The probability is smoothed: s <- s + (1 - exp(-dt / smoothing)) (p - s), an exponential moving average in time
   (not in observations), which looks back only. The first observation is taken as it is.
2. Hysteresis: at s >= enter a run starts; it goes on until s < leave. An observation holds until the next one comes,
   so a run lasts from the first observation at `enter` to the first one below `leave`.
3. Runs that are at most `merge_gap` apart are one event; so its end is told `merge_gap` seconds late.
4. An event is told as `new` when it has lasted for `shortest`, gaps that were merged included; one that ends earlier
   never was.
5. After the end of an event that was told, its class starts no run for `cooldown` seconds.
6. Its start and end are `lag` seconds earlier than those of its runs; until observations have gone on for twice that,
   by half of the time that they have (a window that is not full yet). What still goes on where they end, ends there.

Times that are equal but for a microsecond count as equal: how 0.7 - 0.4 is rounded does not decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from clipshift.config.event_rules import EventRule, EventRules
from clipshift.errors import ConfigError
from clipshift.temporal.segments import Segment

_TICK = 1e-6
_TOGETHER = 4096
"""Observations that are checked at once."""

Kind = Literal["new", "update", "end"]
Reason = Literal["left", "gap", "clock", "finished"]


@dataclass(frozen=True)
class Event:
    """A message about an event.

    Attributes:
        id: Number of the event in its stream, from 1, in the order in which events were told; the same in all
            messages about it.
        kind: `new` is the first message, `end` the last; between them there may be updates.
        label: The class.
        start: Seconds.
        end: Seconds; before the message `end`, how far it is known.
        peak: Highest smoothed probability so far, in [0, 1].
        mean: Mean smoothed probability of the observations in its runs (not in merged gaps) so far, in [0, 1].
        time: Time of the observation that brought the message about; `new` minus `start` is the detector's delay.
        reason: Of an end: `left` (the probability fell), `gap` (no observations for longer than `most_gap`), `clock`
            (the time jumped back) or `finished` (the stream ended). Else None.
    """

    id: int
    kind: Kind
    label: str
    start: float
    end: float
    peak: float
    mean: float
    time: float
    reason: Reason | None = None

    def segment(self) -> Segment:
        """The event as a segment; its score is the mean."""
        return Segment(self.label, self.start, self.end, self.mean)


@dataclass(frozen=True)
class _Run:
    """An event that is open: going on, or (`on` false) in a gap that may yet be merged."""

    index: int
    start: float
    end: float
    peak: float
    total: float
    count: int
    on: bool = True
    id: int | None = None
    told: float = 0.0


@dataclass(frozen=True, eq=False)
class _Plan:
    """The rules of all classes side by side; float64 (classes,) each. Background enters at infinity: never."""

    rules: tuple[EventRule, ...]
    enter: np.ndarray
    smoothing: np.ndarray


@dataclass(frozen=True, eq=False)
class DetectorState:
    """A detector at one moment; made by `start`, never changed.

    Attributes:
        classes: Names of the classes, in the order of the probabilities.
        rules: The rules.
        time: Time of the last observation; None before the first.
        breaks: How often the clock jumped back or observations were missing for longer than `most_gap`.
    """

    classes: tuple[str, ...]
    rules: EventRules
    time: float | None
    breaks: int
    _plan: _Plan
    _smoothed: np.ndarray
    _cool_until: np.ndarray
    _open: tuple[_Run, ...]
    _next_id: int
    _begin: float
    """Time of the first observation since the start, or since the last break."""

    @property
    def open_labels(self) -> tuple[str, ...]:
        """Classes with an event that was told and has not ended."""
        return tuple(self.classes[run.index] for run in self._open if run.id is not None)


def start(rules: EventRules, classes: Sequence[str]) -> DetectorState:
    """A detector that has seen nothing.

    Args:
        rules: The rules.
        classes: Names of the classes, in the order of the probabilities.

    Raises:
        ConfigError: There is a rule for a class that is not among them.
        ValueError: There is no class, or one twice.
    """
    names = tuple(classes)
    if not names or len(set(names)) != len(names):
        raise ValueError(f"classes must be different names, at least one, got {names}")
    unknown = sorted(set(rules.classes) - set(names))
    if unknown:
        raise ConfigError(
            "There is an event rule for a class that the model does not have.",
            got=", ".join(unknown),
            allowed=names,
            remedy="correct the name of the class in the rules, or leave the rule out",
        )
    each = tuple(rules.of(name) for name in names)
    enter = [math.inf if name in rules.background else rule.enter for name, rule in zip(names, each, strict=True)]
    plan = _Plan(each, np.array(enter), np.array([rule.smoothing for rule in each]))
    nothing = np.zeros(len(names))
    return DetectorState(names, rules, None, 0, plan, nothing, np.full(len(names), -math.inf), (), 1, 0.0)


def advance(
    state: DetectorState, time: float, probabilities: np.ndarray | Sequence[float]
) -> tuple[list[Event], DetectorState]:
    """Takes one observation.

    A time before the last one, or more than `most_gap` after it, first ends all open events at the last time before,
    with the reason said; smoothing starts anew, after a jump back the cool-down, too.

    Args:
        state: The detector; it stays as it is.
        time: Seconds, on any clock.
        probabilities: (classes,), in [0, 1].

    Returns:
        The events that it brought about, in the order of the classes (after those that a break ended), and the
        detector after it.

    Raises:
        ValueError: The time is not finite, or the probabilities have another shape or range.
    """
    return advance_all(state, [time], np.asarray(probabilities)[None])


def advance_all(
    state: DetectorState, times: Sequence[float] | np.ndarray, probabilities: np.ndarray | Sequence[Sequence[float]]
) -> tuple[list[Event], DetectorState]:
    """Takes observations one after the other, as `advance` does.

    Args:
        state: The detector; it stays as it is.
        times: (observations,), seconds.
        probabilities: (observations, classes), in [0, 1].

    Raises:
        ValueError: As for `advance`, or the numbers of times and of probabilities differ.
    """
    moments, rows = _checked(state, times, probabilities)
    events: list[Event] = []
    for time, values in zip(moments, rows, strict=True):
        more, state = _take(state, time, values)
        events += more
    return events, state


def interrupt(state: DetectorState, reason: Literal["gap", "clock"] = "gap") -> tuple[list[Event], DetectorState]:
    """Ends all open events at the last observation: something is missing after it, however soon the next one comes.

    Args:
        state: The detector; it stays as it is.
        reason: What the ends say.

    Returns:
        The events that ended, and the detector, whose smoothing starts anew; times go on, and so do cool-downs.
    """
    if state.time is None:
        return [], state
    events, state = _end_all(state, state.time, state.time, reason)
    return events, replace(state, time=None, breaks=state.breaks + 1, _smoothed=np.zeros(len(state.classes)))


def finish(state: DetectorState, end: float | None = None) -> tuple[list[Event], DetectorState]:
    """Ends all open events.

    Args:
        state: The detector; it stays as it is.
        end: Time at which the stream ended: until then the last observation holds, unless that is longer than
            `most_gap`. None: at the last observation, which then has no length of its own.

    Returns:
        The last events, and the detector as after `start`, except that ids and the count of breaks go on.

    Raises:
        ValueError: `end` is not finite, or lies before the last observation.
    """
    if end is not None and not math.isfinite(end):
        raise ValueError(f"end must be finite, got {end}")
    events: list[Event] = []
    if state.time is not None:
        end = state.time if end is None else end
        if end < state.time:
            raise ValueError(f"end must not lie before the last observation at {state.time}, got {end}")
        until = end if end - state.time <= state.rules.most_gap + _TICK else state.time
        events, state = _end_all(state, until, end, "finished")
    fresh = np.full(len(state.classes), -math.inf)
    return events, replace(state, time=None, _smoothed=np.zeros(len(state.classes)), _cool_until=fresh)


@dataclass(frozen=True)
class FoundEvent:
    """An event of a whole file.

    Attributes:
        last: The message of its end.
        told: Time of the observation that brought its first message about; minus the start, the detector's delay.
    """

    last: Event
    told: float

    @property
    def segment(self) -> Segment:
        """The event as a segment; its score is the mean."""
        return self.last.segment()


class Findings:
    """Collects the events of a whole file from the messages about them."""

    def __init__(self) -> None:
        self._told: dict[int, float] = {}
        self._found: list[FoundEvent] = []

    def note(self, messages: Sequence[Event]) -> None:
        """Takes the next messages, in their order."""
        for message in messages:
            if message.kind == "new":
                self._told[message.id] = message.time
            elif message.kind == "end":
                self._found.append(FoundEvent(message, self._told.pop(message.id)))

    @property
    def events(self) -> list[FoundEvent]:
        """Those that have ended, sorted as segments are."""
        # Those that are equal in start, end and label cannot be: a class has one event at a time.
        return sorted(self._found, key=lambda one: (one.last.start, one.last.end, one.last.label))


def find_events(
    times: Sequence[float] | np.ndarray,
    probabilities: np.ndarray | Sequence[Sequence[float]],
    rules: EventRules,
    classes: Sequence[str],
    *,
    end: float | None = None,
) -> list[FoundEvent]:
    """The events of a whole file, in memory that does not grow with its length.

    Args:
        times: (observations,), seconds, not falling.
        probabilities: (observations, classes), in [0, 1]; may be mapped from a file.
        rules: The rules.
        classes: Names of the classes, in the order of the probabilities.
        end: As for `finish`: the end of the file.

    Returns:
        The events, sorted as segments are.

    Raises:
        ConfigError: As for `start`.
        ValueError: As for `start`, `advance_all` and `finish`, or the times fall.
    """
    if np.any(np.diff(np.asarray(times, np.float64)) < 0):
        raise ValueError("the times of a file must not go backwards")
    state, findings = start(rules, classes), Findings()
    for first in range(0, len(times), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        events, state = advance_all(state, times[part], probabilities[part])
        findings.note(events)
    findings.note(finish(state, end)[0])
    return findings.events


def find_segments(
    times: Sequence[float] | np.ndarray,
    probabilities: np.ndarray | Sequence[Sequence[float]],
    rules: EventRules,
    classes: Sequence[str],
    *,
    end: float | None = None,
) -> list[Segment]:
    """The events of a whole file as segments; as [find_events][clipshift.temporal.events.find_events].

    Returns:
        The segments, sorted; the score is the mean smoothed probability.
    """
    return [one.segment for one in find_events(times, probabilities, rules, classes, end=end)]


def _checked(
    state: DetectorState, times: Sequence[float] | np.ndarray, probabilities: np.ndarray | Sequence[Sequence[float]]
) -> tuple[list[float], np.ndarray]:
    """Times, and probabilities as float64 (observations, classes), after a look at shapes and ranges."""
    moments = np.asarray(times, np.float64)
    values = np.array(probabilities, np.float64)  # a copy: the caller may use its array again
    if not values.size:
        values = values.reshape(0, len(state.classes))
    if not np.all(np.isfinite(moments)):
        raise ValueError("times must be finite")
    if values.shape != (len(moments), len(state.classes)):
        raise ValueError(
            f"probabilities must have the shape ({len(moments)}, {len(state.classes)}): observations by classes; "
            f"got {values.shape}"
        )
    # A softmax in half precision may exceed 1 by its rounding.
    if not np.all((values >= -1e-3) & (values <= 1 + 1e-3)):
        raise ValueError(f"probabilities must be in [0, 1], got {values.min()} to {values.max()}")
    return moments.tolist(), np.clip(values, 0, 1)


def _take(state: DetectorState, time: float, values: np.ndarray) -> tuple[list[Event], DetectorState]:
    """One observation after its check."""
    events: list[Event] = []
    if state.time is not None and (time < state.time or time - state.time > state.rules.most_gap + _TICK):
        events, state = _broken(state, time)
        smoothed, state = values, replace(state, _begin=time)
    elif state.time is None:
        smoothed, state = values, replace(state, _begin=time)
    else:
        smoothed = _smooth(state, time - state.time, values)
    new_events, state = _step(replace(state, _smoothed=smoothed, time=time), time)
    return [*events, *new_events], state


def _smooth(state: DetectorState, seconds: float, values: np.ndarray) -> np.ndarray:
    constant = state._plan.smoothing
    if not constant.any():
        return values
    share = -np.expm1(-seconds / np.where(constant > 0, constant, 1))
    averaged = state._smoothed + share * (values - state._smoothed)
    # Without smoothing the value itself: s + (p - s) may differ from p in the last bit.
    return np.where(constant > 0, averaged, values)


def _step(state: DetectorState, time: float) -> tuple[list[Event], DetectorState]:
    """What an observation, smoothed already, means to every class that is open or may start."""
    runs = {run.index: run for run in state._open}
    high = np.flatnonzero(state._smoothed >= state._plan.enter).tolist()
    if not runs and not high:
        return [], state
    events: list[Event] = []
    for index in sorted({*runs, *high}):
        run = runs.pop(index, None)
        if run is not None:
            more, run, state = _go_on(state, run, time)
            events += more
        if run is None and _may_start(state, index, time):
            value = float(state._smoothed[index])
            more, run, state = _tell(state, _Run(index, time, time, value, value, 1), time)
            events += more
        if run is not None:
            runs[index] = run
    return events, replace(state, _open=tuple(runs[index] for index in sorted(runs)))


def _may_start(state: DetectorState, index: int, time: float) -> bool:
    """Whether a class without a run starts one; asked after an event of it ended, which may have begun a cool-down."""
    return bool(state._smoothed[index] >= state._plan.enter[index] and time >= state._cool_until[index] - _TICK)


def _go_on(state: DetectorState, run: _Run, time: float) -> tuple[list[Event], _Run | None, DetectorState]:
    """An open run and the next observation; None in place of the run where it ended."""
    rule, value = state._plan.rules[run.index], float(state._smoothed[run.index])
    if run.on:
        run = replace(run, end=time, on=value >= rule.leave)
    elif time - run.end > rule.merge_gap + _TICK:
        events, state = _end(state, run, time, "left")
        return events, None, state
    elif value >= rule.enter:
        run = replace(run, end=time, on=True)
    else:
        return [], run, state
    if run.on:
        run = replace(run, peak=max(run.peak, value), total=run.total + value, count=run.count + 1)
    events, run, state = _tell(state, run, time)
    if not run.on and rule.merge_gap == 0:  # nothing to wait for
        more, state = _end(state, run, time, "left")
        return events + more, None, state
    return events, run, state


def _tell(state: DetectorState, run: _Run, time: float) -> tuple[list[Event], _Run, DetectorState]:
    """The message that a run is new, once it is long enough, or goes on."""
    rule = state._plan.rules[run.index]
    if run.id is None:
        if run.end - run.start < rule.shortest - _TICK:
            return [], run, state
        run = replace(run, id=state._next_id, told=time)
        return [_event(state, run, "new", time)], run, replace(state, _next_id=state._next_id + 1)
    if run.on and time - run.told >= rule.update_every - _TICK:
        run = replace(run, told=time)
        return [_event(state, run, "update", time)], run, state
    return [], run, state


def _end(state: DetectorState, run: _Run, time: float, reason: Reason) -> tuple[list[Event], DetectorState]:
    """The end of a run; one that never was told ends without a word and without a cool-down."""
    if run.id is None:
        return [], state
    cool_until = state._cool_until.copy()
    cool_until[run.index] = run.end + state._plan.rules[run.index].cooldown
    return [_event(state, run, "end", time, reason)], replace(state, _cool_until=cool_until)


def _end_all(state: DetectorState, until: float, time: float, reason: Reason) -> tuple[list[Event], DetectorState]:
    """Ends every open run, those that go on at `until`."""
    events: list[Event] = []
    for run in state._open:
        last = replace(run, end=until) if run.on else run
        if last.id is None:
            more, last, state = _tell(state, last, time)
            events += more
        more, state = _end(state, last, time, reason)
        events += more
    return events, replace(state, _open=())


def _broken(state: DetectorState, time: float) -> tuple[list[Event], DetectorState]:
    """What ends because the clock jumped back or observations are missing."""
    last = state.time if state.time is not None else time
    back = time < last
    events, state = _end_all(state, last, time, "clock" if back else "gap")
    cool_until = np.full(len(state.classes), -math.inf) if back else state._cool_until
    return events, replace(state, breaks=state.breaks + 1, _cool_until=cool_until)


def _event(state: DetectorState, run: _Run, kind: Kind, time: float, reason: Reason | None = None) -> Event:
    number = run.id if run.id is not None else 0
    mean = min(run.total / run.count, run.peak)  # the rounding of a sum must not exceed what was summed
    start, end = _placed(state, run.start), _placed(state, run.end)
    if run.on and reason not in {None, "left"}:  # it goes on where the observations end
        end = run.end
    return Event(number, kind, state.classes[run.index], start, end, run.peak, mean, time, reason)


def _placed(state: DetectorState, time: float) -> float:
    """When that happened which an observation is of."""
    return time - min(state.rules.lag, (time - state._begin) / 2) if state.rules.lag else time
