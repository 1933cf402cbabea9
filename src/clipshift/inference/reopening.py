"""Models on their way to another process: a path and settings, opened again on arrival."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clipshift.config import ModelSpec, ReadingConfig
from clipshift.errors import WeightsError

if TYPE_CHECKING:
    from clipshift.device import Amp


@dataclass(frozen=True)
class Opening:
    """What [load][clipshift.inference.predictor.load] was called with."""

    model: str
    """Whole path, or the name of published weights."""
    device: str
    amp: Amp
    threads: int
    mode: Literal["latency", "throughput"]

    @classmethod
    def of(cls, model: str | Path, **options: Any) -> Opening:  # noqa: ANN401 - as the fields say
        """The same, for every working folder."""
        return cls(str(Path(model).absolute()) if Path(model).exists() else str(model), **options)

    def again(self, reading: ReadingConfig) -> dict[str, Any]:
        """The arguments that open the same model, whose clips are read in this way."""
        settings = {f"data.{key}": value for key, value in reading.model_dump().items()}
        return {**asdict(self), "settings": settings}


def what_is_pickled(opening: Opening | None, spec: ModelSpec) -> tuple[Opening, str]:
    """What goes to the other process, and is told from another model there by its description.

    Raises:
        WeightsError: The model was made from objects.
    """
    if opening is None:
        raise WeightsError(
            "Only a model that clipshift.load has opened can be pickled: a path and settings are sent, and it is "
            "opened again. This one was made from objects.",
            remedy="clipshift.load its run or model folder, or load it in the process that uses it",
        )
    return opening, spec.model_dump_json()


def check_same(spec: ModelSpec, pickled: str, opening: Opening) -> None:
    """Raise an error unless what was opened again is the model that was pickled.

    Raises:
        WeightsError: It is not.
    """
    if spec.model_dump_json() != pickled:
        raise WeightsError(
            "The model is not the one that was pickled: it was trained or exported anew since.",
            where=opening.model,
            remedy="load it again, and pickle that",
        )
