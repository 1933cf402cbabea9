"""Networks: the temporal shift and where it goes, backbones, recognizers, the zoo, and models on disk.

Each name is imported when it is first used: what only lists models does not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipshift.models.bundle import find_bundle, load_bundle, save_bundle
    from clipshift.models.description import describe_model
    from clipshift.models.folding import fold_branches
    from clipshift.models.placement import shift_points
    from clipshift.models.recognizer import Recognizer, build_recognizer
    from clipshift.models.shift import TemporalShift, temporal_shift
    from clipshift.models.zoo import ZOO, describe_models

__all__ = [
    "ZOO",
    "Recognizer",
    "TemporalShift",
    "build_recognizer",
    "describe_model",
    "describe_models",
    "find_bundle",
    "fold_branches",
    "load_bundle",
    "save_bundle",
    "shift_points",
    "temporal_shift",
]

_MODULES = {
    "find_bundle": "clipshift.models.bundle",
    "load_bundle": "clipshift.models.bundle",
    "save_bundle": "clipshift.models.bundle",
    "describe_model": "clipshift.models.description",
    "fold_branches": "clipshift.models.folding",
    "shift_points": "clipshift.models.placement",
    "Recognizer": "clipshift.models.recognizer",
    "build_recognizer": "clipshift.models.recognizer",
    "TemporalShift": "clipshift.models.shift",
    "temporal_shift": "clipshift.models.shift",
    "ZOO": "clipshift.models.zoo",
    "describe_models": "clipshift.models.zoo",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
