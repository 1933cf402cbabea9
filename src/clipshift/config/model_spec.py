"""What a trained model is, besides its weights: the description that lies beside them in `model.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from clipshift.config.calibration import Calibration
from clipshift.config.event_rules import EventRules
from clipshift.config.resolving import Settings, resolve
from clipshift.config.schema import (
    MOST_CLIPS,
    CropsSetting,
    InputConfig,
    ModelConfig,
    PositiveInt,
    ReadingConfig,
    Section,
)
from clipshift.config.unknown_rule import UnknownRule
from clipshift.errors import ConfigError

Average = Literal["logits", "probabilities"]

MODEL_FOLDER = "model"
"""Name of the model folder in a run folder."""
WEIGHTS_FILE = "model.safetensors"
SPEC_FILE = "model.json"

FORMAT = 3
"""Version of a model folder's layout that this clipshift writes; it reads no newer one, and every older one: 1 had no
`reading`, which then has its defaults, 2 no `events` and no `calibration`: its temperature is 1."""


class ModelSpec(Section):
    """What a model is, besides its weights."""

    format: int = FORMAT
    """Version of the folder's layout."""
    clipshift: str
    """Version of clipshift that wrote it."""
    model: ModelConfig
    input: InputConfig
    reading: ReadingConfig = ReadingConfig()
    """Names of frames, and the largest clip that is read: those that the model was trained with."""
    classes: tuple[str, ...]
    """Class names, in the order of the logits."""
    labels: Literal["one", "several"] = "one"
    """Whether a video has one class (softmax), or may have several (a sigmoid for each)."""
    crops: CropsSetting = "center"
    """Crops per frame where none are asked for."""
    clips: PositiveInt = 1
    """Sets of frames per video where none are asked for."""
    average: Average = "logits"
    """What is averaged over crops and clips: `logits` (PaddleVideo, MIT), or `probabilities` (mmaction2's prob)."""
    events: EventRules | None = None
    """How its probabilities become events, as fitted on long videos; None: by the default rules."""
    calibration: Calibration | None = None
    """How sure it may be; None: nothing was fitted, and the temperature is 1."""
    unknown: UnknownRule | None = None
    """When a clip is none of the classes; None: never. What it compares with lies in `known_clips.safetensors`."""
    provenance: dict[str, str | int | float] = Field(default_factory=dict)
    """Where the model comes from: run, data, epoch, accuracy, source of converted weights ..."""

    @field_validator("provenance", mode="before")
    @classmethod
    def _project_was_home(cls, value: object) -> object:
        """Earlier versions wrote the source project of converted weights as `home`."""
        if isinstance(value, Mapping) and "home" in value and "project" not in value:
            return {("project" if key == "home" else key): each for key, each in value.items()}
        return value

    @property
    def temperature(self) -> float:
        """What logits are divided by before they become probabilities."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    @property
    def side(self) -> int:
        """Side in pixels of what the network sees: `three` crops have the whole short side."""
        return self.input.resize if self.crops == "three" else self.input.crop

    @model_validator(mode="after")
    def _clips_fit_the_sampling(self) -> Self:
        most = None if self.input.rate is not None else MOST_CLIPS.get(self.input.sampling)
        if most is not None and self.clips > most:
            raise ValueError(f"clips ({self.clips}) are more than input.sampling={self.input.sampling} knows ({most})")
        return self


def with_reading(spec: ModelSpec, settings: Settings | Sequence[Settings]) -> ModelSpec:
    """A model's description with some of its settings of reading clips replaced.

    Args:
        spec: The description.
        settings: `"data.max_seconds=50000"` or a mapping, or several of these, of which the last one wins.

    Raises:
        ConfigError: A setting is not valid, or is not one of reading clips.
    """
    given = [settings] if isinstance(settings, str | Mapping) else settings
    if not given:
        return spec
    own = {f"data.{key}": value for key, value in spec.reading.model_dump().items()}
    resolved = resolve(settings=[own, *given])
    others = [key for key in resolved.origin if key not in own]
    if others:
        raise ConfigError(
            "Of a trained model only the settings of reading clips can be changed.", got=others[0], allowed=own
        )
    return spec.model_copy(update={"reading": resolved.config.data.reading})
