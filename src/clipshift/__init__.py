"""clipshift: video classification with TSN, TSM and the PP networks, from a folder of clips to a measured classifier.

The names of `__init__.pyi` are the whole public interface; each is imported when it is first used, so that
`import clipshift` and the command line's help do not wait for PyTorch.
"""

from __future__ import annotations

import os
from typing import Any

import lazy_loader

# From version 1.29 ONNX Runtime tells its maker of the models that it runs, unless it is told not to before it starts.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        from clipshift.errors import MissingDependencyError

        raise MissingDependencyError.of(error) or error from error
