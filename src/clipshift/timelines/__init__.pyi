# The names of this room that others use.
__all__: list[str]
from .making import timeline as timeline
from .measuring import EventEvaluation as EventEvaluation
from .measuring import FittedEvents as FittedEvents
from .measuring import evaluate_events as evaluate_events
from .measuring import fit_events as fit_events
from .result import Timeline as Timeline
