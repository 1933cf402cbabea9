"""clipshift: video classification with TSN, TSM and the PP networks, from a folder of clips to a measured classifier.

The names below are the whole public interface; each is imported when it is first used, so that `import clipshift`
and the command line's help do not wait for PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipshift._version import __version__

if TYPE_CHECKING:
    from clipshift.data.check import check_data
    from clipshift.evaluation.evaluator import evaluate
    from clipshift.evaluation.fusion import fuse
    from clipshift.inference.predictor import Model, load, predict
    from clipshift.inference.results import Failure, Prediction
    from clipshift.training.run import train
    from clipshift.weights.convert import Conversion, convert

__all__ = [
    "Conversion",
    "Failure",
    "Model",
    "Prediction",
    "__version__",
    "check_data",
    "convert",
    "evaluate",
    "fuse",
    "load",
    "predict",
    "train",
]

_HOMES = {
    "Conversion": "clipshift.weights.convert",
    "Failure": "clipshift.inference.results",
    "Prediction": "clipshift.inference.results",
    "Model": "clipshift.inference.predictor",
    "check_data": "clipshift.data.check",
    "convert": "clipshift.weights.convert",
    "evaluate": "clipshift.evaluation.evaluator",
    "fuse": "clipshift.evaluation.fusion",
    "load": "clipshift.inference.predictor",
    "predict": "clipshift.inference.predictor",
    "train": "clipshift.training.run",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _HOMES:
        raise AttributeError(f"module 'clipshift' has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from clipshift.errors import MissingDependencyError

        raise MissingDependencyError.of(error) or error from error


def __dir__() -> list[str]:
    return sorted(__all__)
