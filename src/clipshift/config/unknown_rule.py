"""When a clip is none of a model's classes: part of its description."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clipshift.config.schema import PositiveInt, Section


class UnknownRule(Section):
    """Fitted on clips of the model's classes that it has not learnt from."""

    threshold: Annotated[float, Field(ge=-1, le=1)]
    """A clip is unknown whose features have a smaller cosine with those of every remembered clip."""
    kept: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Share of clips of the model's classes that are to stay known."""
    clips: PositiveInt
    """Clips that the threshold was fitted on."""
    remembered: PositiveInt
    """Training clips whose features lie in the model folder."""
    sha256: str
    """Of the file that these lie in."""
