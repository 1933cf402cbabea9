"""What a trained model is, besides its weights: the description that lies beside them in `model.json`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from clipshift.config.schema import MOST_CLIPS, Crops, InputConfig, ModelConfig, PositiveInt, Section

Average = Literal["logits", "probabilities"]

FORMAT = 1
"""Version of a model folder's layout that this clipshift writes; it reads no newer one."""


class ModelSpec(Section):
    """What a model is, besides its weights."""

    format: int = FORMAT
    """Version of the folder's layout."""
    clipshift: str
    """Version of clipshift that wrote it."""
    model: ModelConfig
    input: InputConfig
    classes: tuple[str, ...]
    """Class names, in the order of the logits."""
    labels: Literal["one", "several"] = "one"
    """Whether a video has one class (softmax), or may have several (a sigmoid for each)."""
    crops: Crops = "centre"
    """Crops per frame where none are asked for."""
    clips: PositiveInt = 1
    """Sets of frames per video where none are asked for."""
    average: Average = "logits"
    """What is averaged over crops and clips: `logits` (PaddleVideo, MIT), or `probabilities` (mmaction2's prob)."""
    provenance: dict[str, str | int | float] = Field(default_factory=dict)
    """Where the model comes from: run, data, epoch, accuracy, source of converted weights ..."""

    @property
    def side(self) -> int:
        """Side in pixels of what the network sees: `three` crops have the whole short side."""
        return self.input.resize if self.crops == "three" else self.input.crop

    @model_validator(mode="after")
    def _clips_fit_the_sampling(self) -> Self:
        most = MOST_CLIPS.get(self.input.sampling)
        if most is not None and self.clips > most:
            raise ValueError(f"clips ({self.clips}) are more than input.sampling={self.input.sampling} knows ({most})")
        return self
