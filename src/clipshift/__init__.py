"""clipshift: video classification with TSN, TSM and the PP networks, from a folder of clips to a measured classifier.

The names below are the whole public interface; each is imported when it is first used, so that `import clipshift`
and the command line's help do not wait for PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipshift._version import __version__

if TYPE_CHECKING:
    from clipshift.datasets.public.prepare import Prepared, prepare_data
    from clipshift.datasets.tools.check import check_data
    from clipshift.datasets.tools.transcode import Transcoded, extract_frames, repack_videos
    from clipshift.datasets.write_lists import WrittenLists, write_lists
    from clipshift.evaluation.evaluator import evaluate
    from clipshift.evaluation.fusion import fuse
    from clipshift.exporting.benchmarking import Benchmark, benchmark
    from clipshift.exporting.export import Exported, export
    from clipshift.exporting.verifying import Verification, verify
    from clipshift.inference.predictor import Model, load, predict
    from clipshift.inference.results import Failure, Prediction
    from clipshift.training.run import train
    from clipshift.weights.convert import Conversion, convert

__all__ = [
    "Benchmark",
    "Conversion",
    "Exported",
    "Failure",
    "Model",
    "Prediction",
    "Prepared",
    "Transcoded",
    "Verification",
    "WrittenLists",
    "__version__",
    "benchmark",
    "check_data",
    "convert",
    "evaluate",
    "export",
    "extract_frames",
    "fuse",
    "load",
    "predict",
    "prepare_data",
    "repack_videos",
    "train",
    "verify",
    "write_lists",
]

_HOMES = {
    "Benchmark": "clipshift.exporting.benchmarking",
    "benchmark": "clipshift.exporting.benchmarking",
    "Verification": "clipshift.exporting.verifying",
    "verify": "clipshift.exporting.verifying",
    "Exported": "clipshift.exporting.export",
    "export": "clipshift.exporting.export",
    "Conversion": "clipshift.weights.convert",
    "Failure": "clipshift.inference.results",
    "Prediction": "clipshift.inference.results",
    "Model": "clipshift.inference.predictor",
    "Prepared": "clipshift.datasets.public.prepare",
    "Transcoded": "clipshift.datasets.tools.transcode",
    "WrittenLists": "clipshift.datasets.write_lists",
    "check_data": "clipshift.datasets.tools.check",
    "convert": "clipshift.weights.convert",
    "evaluate": "clipshift.evaluation.evaluator",
    "extract_frames": "clipshift.datasets.tools.transcode",
    "fuse": "clipshift.evaluation.fusion",
    "load": "clipshift.inference.predictor",
    "predict": "clipshift.inference.predictor",
    "prepare_data": "clipshift.datasets.public.prepare",
    "repack_videos": "clipshift.datasets.tools.transcode",
    "train": "clipshift.training.run",
    "write_lists": "clipshift.datasets.write_lists",
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
