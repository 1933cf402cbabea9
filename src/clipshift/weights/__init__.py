"""Weights of other projects: read without running them, published ones fetched by name, converted into models.

Each name is imported when it is first used: what only lists models does not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipshift.weights.cache import cached_file, cached_model_folder, fetch
    from clipshift.weights.checkpoint_files import WeightsFile, read_weights
    from clipshift.weights.convert import Conversion
    from clipshift.weights.loading import WeightsReport, load_weights
    from clipshift.weights.published import PublishedWeights, published_weights
    from clipshift.weights.recognition import Recognition
    from clipshift.weights.resolve import find_model, published_model

__all__ = [
    "Conversion",
    "PublishedWeights",
    "Recognition",
    "WeightsFile",
    "WeightsReport",
    "cached_file",
    "cached_model_folder",
    "fetch",
    "find_model",
    "load_weights",
    "published_model",
    "published_weights",
    "read_weights",
]

_MODULES = {
    "find_model": "clipshift.weights.resolve",
    "published_model": "clipshift.weights.resolve",
    "cached_file": "clipshift.weights.cache",
    "cached_model_folder": "clipshift.weights.cache",
    "fetch": "clipshift.weights.cache",
    "Conversion": "clipshift.weights.convert",
    "WeightsFile": "clipshift.weights.checkpoint_files",
    "read_weights": "clipshift.weights.checkpoint_files",
    "WeightsReport": "clipshift.weights.loading",
    "load_weights": "clipshift.weights.loading",
    "PublishedWeights": "clipshift.weights.published",
    "published_weights": "clipshift.weights.published",
    "Recognition": "clipshift.weights.recognition",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
