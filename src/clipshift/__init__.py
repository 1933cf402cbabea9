"""clipshift: video classification with TSN, TSM and the PP networks, from a folder of clips to a measured classifier.

The names of `__init__.pyi` are the whole public interface; each is imported when it is first used, so that
`import clipshift` and the command line's help do not wait for PyTorch.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import lazy_loader

# clipshift tells nobody of its users, and neither shall the libraries under it: they are told before they start, unless
# the user has set something else. ONNX Runtime (from 1.29), MLflow (from 3.2) and Ray listen to variables.
for _variable, _off in (
    ("ORT_DISABLE_TELEMETRY", "1"),
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
):
    os.environ.setdefault(_variable, _off)
# OpenVINO and NNCF have none. They do without this package where it is missing; where it is there, every import,
# conversion and quantization forks the process to report it, and leaves a number of the user in the home folder.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        from clipshift.errors import MissingDependencyError

        raise MissingDependencyError.of(error) or error from error
