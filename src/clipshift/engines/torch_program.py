"""PyTorch: a program of `torch.export`, which needs neither clipshift's nor timm's code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from clipshift.engines.exported import Export
from clipshift.engines.sessions import EngineOptions, check_input
from clipshift.errors import ConfigError, ExportError


class TorchSession:
    """A `.pt2` file; see [Session][clipshift.engines.sessions.Session]."""

    def __init__(self, path: Path, export: Export, options: EngineOptions) -> None:
        self._export = export
        device = options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
            raise ConfigError("PyTorch has no such device here.", where="device", got=device, allowed="auto, cpu, cuda")
        self._device = torch.device(device)
        try:
            program = torch.export.load(path)
        except (RuntimeError, ValueError, OSError) as error:
            raise ExportError("PyTorch cannot read the file.", where=path, got=str(error)[:300]) from error
        # The guards ask for a memory layout like that of the example; any other is computed as well.
        self._module = program.module(check_guards=False).to(self._device)
        self._threads = options.threads

    @property
    def engine(self) -> str:
        """Engine, version, device and threads, for people."""
        where = self._device if self._device.type != "cpu" else f"{self._threads or torch.get_num_threads()} threads"
        return f"PyTorch {torch.__version__.partition('+')[0]}, {self._export.precision}, {where}"

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits float32 (B, K)."""
        return self._answers(inputs)[1 if self._export.input == "frames" else 0]

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Probabilities float32 (B, K)."""
        return self._answers(inputs)[0]

    def _answers(self, inputs: np.ndarray) -> list[np.ndarray]:
        check_input(inputs, self._export)
        before = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.no_grad():
                answers = self._module(torch.from_numpy(np.ascontiguousarray(inputs)).to(self._device))
        finally:
            torch.set_num_threads(before)
        return [answer.float().cpu().numpy() for answer in answers]
