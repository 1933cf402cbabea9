"""How the logits of a trained model become probabilities that mean something: part of its description."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from clipshift.config.schema import Fraction, Positive, PositiveInt, Section


class Calibration(Section):
    """What was fitted on labeled clips that the model had not learnt from."""

    temperature: Positive
    """Probabilities are those of logits / temperature (Guo et al. 2017, section 4.2); views are averaged before."""
    clips: PositiveInt
    """Clips that it was fitted on."""
    data: str = ""
    """Where they are from."""
    error_before: Fraction | None = None
    """Calibration error of these clips without it."""
    error_after: Fraction | None = None
    """Of each half of the clips with the temperature of the other half, that is, with one that was not fitted to it."""
    scores: Annotated[tuple[Fraction, ...], Field(max_length=1000)] = ()
    """For sets of classes: 1 - the probability of the right class, of each clip, ascending; of more than 1000 clips the
    upper ends of 1000 equal parts. None where a video may have several labels."""

    def describe(self) -> str:
        """What was fitted, for people."""
        before, after = self.error_before, self.error_after
        errors = (
            "" if before is None or after is None else f": calibration error {before:.3f} before, {after:.3f} after"
        )
        return f"temperature {self.temperature:.3g} from {self.clips} clips{errors}"

    @model_validator(mode="after")
    def _scores_ascend(self) -> Self:
        if list(self.scores) != sorted(self.scores) or len(self.scores) > self.clips:
            raise ValueError("scores must ascend, and not be more than clips")
        return self
