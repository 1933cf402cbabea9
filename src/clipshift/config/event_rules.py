"""How the probabilities of classes over time become events; `clipshift.temporal.events` says what each number does."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from clipshift.config.schema import Fraction, NonNegative, Positive, Section


class EventRule(Section):
    """How the probabilities of one class become events."""

    smoothing: NonNegative = 0.0
    """Time constant, in seconds, of the moving average over the probabilities; 0: none."""
    enter: Fraction = 0.5
    """Smoothed probability at or above which an event starts."""
    leave: Fraction = 0.4
    """Smoothed probability below which it ends; at most `enter`."""
    shortest: NonNegative = 0.5
    """Seconds that an event lasts at least; shorter ones are not told."""
    merge_gap: NonNegative = 0.5
    """Seconds between two runs that still are one event."""
    cooldown: NonNegative = 0.0
    """Seconds after the end of an event in which its class starts no other one."""
    update_every: Positive = 1.0
    """Least seconds from one message about an event that goes on to the next."""

    @model_validator(mode="after")
    def _leaves_below_where_it_enters(self) -> Self:
        if self.leave > self.enter:
            raise ValueError(f"leave must be at most enter, got leave={self.leave} and enter={self.enter}")
        return self


class EventRules(Section):
    """The rules of all classes of a model; as JSON (`model_dump_json`) they are read back equal."""

    default: EventRule = EventRule()
    """The rule of each class that has none of its own."""
    classes: dict[str, EventRule] = Field(default_factory=dict)
    """Rules of single classes, by name."""
    background: tuple[str, ...] = ("background",)
    """Classes that mean that nothing happens; they never make events. A model need not have them."""
    lag: NonNegative = 0.0
    """Seconds by which the probabilities come after what they are of: those of a window of 2 seconds are of its middle,
    a second ago. Events are placed so much earlier, and told no earlier for it."""
    most_gap: Positive = 10.0
    """Seconds from one observation to the next above which something is missing: open events end before the gap."""

    def of(self, label: str) -> EventRule:
        """The rule of a class."""
        return self.classes.get(label, self.default)
