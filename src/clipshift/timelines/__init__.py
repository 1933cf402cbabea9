"""What happens when in long videos: a model run along files, and the folder of results of each."""

from clipshift.timelines.making import timeline
from clipshift.timelines.result import Timeline

__all__ = ["Timeline", "timeline"]
