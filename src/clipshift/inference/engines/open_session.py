"""From the folder of an exported model to the engine that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from clipshift.errors import MissingDependencyError
from clipshift.inference.engines.session import EngineOptions, Session
from clipshift.inference.export_folder import MODEL_FILES, Export, Target


def open_session(folder: Path, export: Export, options: EngineOptions | None = None) -> Session:
    """Compile an exported model; a process that is forked compiles it anew at its first answer.

    Args:
        folder: Of the export.
        export: Its description.
        options: Device, threads, mode.

    Raises:
        MissingDependencyError: The engine is not installed.
        ConfigError: The engine has no such device.
        ExportError: The engine cannot read the file.
    """
    from clipshift.inference.engines.forking import ReopenedSession
    from clipshift.inference.engines.streaming import StreamingSession

    path, options = (folder / MODEL_FILES[export.target][0]).absolute(), options or EngineOptions()

    def open_here(forked: bool) -> Session:
        # A forked process has one thread for PyTorch: its others stayed with the parent.
        chosen = replace(options, threads=1) if forked and export.target == "torch" else options
        return _OPENERS[export.target](path, export, chosen)

    try:
        session = ReopenedSession(open_here)
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error
    return session if export.streaming is None else StreamingSession(session, export, export.streaming)


def _open_onnx(path: Path, export: Export, options: EngineOptions) -> Session:
    from clipshift.inference.engines.onnxruntime import OnnxSession

    return OnnxSession(path, export, options)


def _open_openvino(path: Path, export: Export, options: EngineOptions) -> Session:
    from clipshift.inference.engines.openvino import OpenVinoSession

    return OpenVinoSession(path, export, options)


def _open_torch(path: Path, export: Export, options: EngineOptions) -> Session:
    from clipshift.inference.engines.torch_program import TorchSession

    return TorchSession(path, export, options)


_OPENERS: dict[Target, Callable[[Path, Export, EngineOptions], Session]] = {
    "onnx": _open_onnx,
    "openvino": _open_openvino,
    "torch": _open_torch,
}
