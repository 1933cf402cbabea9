"""PyTorch: a program of `torch.export`, which needs neither clipshift's nor timm's code.

Such a file is a program, and whoever made it decides what it does: no pickle is read from it, but PyTorch does not
promise that the rest is harmless. The files of the other engines hold nothing but numbers and known operators.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from clipshift.errors import ConfigError, ExportError, UserError
from clipshift.inference.engines.forking import FORKED
from clipshift.inference.engines.session import EngineOptions, check_input
from clipshift.inference.export_folder import Export

_answered_in: int | None = None


def begin_answer() -> None:
    """Before PyTorch computes: see that it has not done so in the process that this one was forked from.

    There its threads are, and MKL's tables of buffers by thread, in which a forked process now and then looks for its
    own without end. Forked before the first answer, with one thread, it computes.

    Raises:
        UserError: It has.
    """
    global _answered_in
    if _answered_in is None:
        _answered_in = os.getpid()
    elif _answered_in != os.getpid():
        raise UserError(
            "PyTorch has answered in the process that this one was forked from; here it might wait without end.",
            got=f"process {os.getpid()}, forked from {_answered_in}",
            remedy=f"{FORKED} A model exported for ONNX Runtime or OpenVINO answers in forked processes, too",
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

_NO_PICKLES = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@contextmanager
def _without_pickles() -> Iterator[None]:
    """While inside, `torch.load` takes tensors only, also where PyTorch itself would let it take anything."""
    before = os.environ.get(_NO_PICKLES)
    os.environ[_NO_PICKLES] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_PICKLES]
        else:
            os.environ[_NO_PICKLES] = before


class TorchSession:
    """A `.pt2` file; see [Session][clipshift.inference.engines.session.Session]."""

    def __init__(self, path: Path, export: Export, options: EngineOptions) -> None:
        self._export = export
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        present = ("auto", "cpu", *(("cuda", *gpus) if gpus else ()))
        if options.device not in present:
            raise ConfigError(
                "PyTorch has no such device here.", where="device", got=options.device, allowed=", ".join(present)
            )
        automatic = "cuda" if gpus else "cpu"
        self._device = torch.device(automatic if options.device == "auto" else options.device)
        try:
            with _without_pickles():
                program = torch.export.load(path)
            # The guards ask for a memory layout like that of the example; any other is computed as well.
            self._module = program.module(check_guards=False).to(self._device)
        except Exception as error:  # its reader checks nothing: a damaged file ends it anywhere
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            raise ExportError("PyTorch cannot read the file.", where=path, got=reason) from error
        self._threads = options.threads

    @property
    def concurrency(self) -> int:
        """One: the number of PyTorch's threads is the whole process's."""
        return 1

    @property
    def engine(self) -> str:
        """Engine, version, device and threads, for people."""
        where = self._device if self._device.type != "cpu" else f"{self._threads or torch.get_num_threads()} threads"
        return f"PyTorch {torch.__version__.partition('+')[0]}, {self._export.precision}, {where}"

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits float32 (B, K)."""
        return self._answers(inputs)[1 if self._export.input == "frames" else 0]

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 (B, K)."""
        probabilities, logits = self._answers(inputs)
        return logits, probabilities

    def _answers(self, inputs: np.ndarray) -> list[np.ndarray]:
        check_input(inputs, self._export)
        begin_answer()
        before = torch.get_num_threads()
        if self._threads:
            torch.set_num_threads(self._threads)
        try:
            with torch.no_grad():
                answers = self._module(torch.from_numpy(np.ascontiguousarray(inputs)).to(self._device))
        finally:
            torch.set_num_threads(before)
        return [answer.float().cpu().numpy() for answer in answers]
