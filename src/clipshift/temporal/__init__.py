"""Spans of time in long videos: events found in scores, rules for finding them, and how spans are matched.

Everything here is plain computation on numbers: no video is read and no network is run, and nothing needs PyTorch.
"""

from clipshift.config.event_rules import EventRule, EventRules
from clipshift.temporal.events import (
    DetectorState,
    Event,
    Findings,
    FoundEvent,
    advance,
    advance_all,
    find_events,
    find_segments,
    finish,
    interrupt,
    start,
)
from clipshift.temporal.fitting import ClassFit, FittedRules, ScoredVideo, fit_rules
from clipshift.temporal.segments import Segment, match_segments, overlap, sort_segments, tiou

__all__ = [
    "ClassFit",
    "DetectorState",
    "Event",
    "EventRule",
    "EventRules",
    "Findings",
    "FittedRules",
    "FoundEvent",
    "ScoredVideo",
    "Segment",
    "advance",
    "advance_all",
    "find_events",
    "find_segments",
    "finish",
    "fit_rules",
    "interrupt",
    "match_segments",
    "overlap",
    "sort_segments",
    "start",
    "tiou",
]
