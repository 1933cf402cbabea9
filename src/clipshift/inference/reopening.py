"""Models on their way to another process: a path and settings, opened again on arrival."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clipshift.config import ModelSpec
from clipshift.errors import WeightsError

if TYPE_CHECKING:
    from clipshift.device import Amp
    from clipshift.inference.predictor import Model


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


def reduced(opening: Opening | None, spec: ModelSpec) -> tuple[Any, ...]:
    """What `pickle` keeps of a model.

    Raises:
        WeightsError: The model was made from objects.
    """
    if opening is None:
        raise WeightsError(
            "Only a model that clipshift.load has opened can be pickled: a path and settings are sent, and it is "
            "opened again. This one was made from objects.",
            remedy="clipshift.load its run or model folder, or load it in the process that uses it",
        )
    return reopened, (opening, spec.model_dump_json())


def reopened(opening: Opening, spec: str) -> Model:
    """The model, opened again.

    Raises:
        WeightsError: Another model lies there now, or none.
        UserError: As [load][clipshift.inference.predictor.load] does.
    """
    from clipshift.inference.predictor import load

    reading = ModelSpec.model_validate_json(spec).reading
    model = load(
        opening.model,
        device=opening.device,
        amp=opening.amp,
        threads=opening.threads,
        mode=opening.mode,
        settings={f"data.{key}": value for key, value in reading.model_dump().items()},
    )
    if model.spec.model_dump_json() != spec:
        raise WeightsError(
            "The model is not the one that was pickled: it was trained or exported anew since.",
            where=opening.model,
            remedy="load it again, and pickle that",
        )
    return model
