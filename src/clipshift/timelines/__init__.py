"""What happens when in long videos: a model run along files, the results of each, and how good they are."""

from clipshift.timelines.making import timeline
from clipshift.timelines.measuring import EventEvaluation, FittedEvents, evaluate_events, fit_events
from clipshift.timelines.result import Timeline

__all__ = ["EventEvaluation", "FittedEvents", "Timeline", "evaluate_events", "fit_events", "timeline"]
