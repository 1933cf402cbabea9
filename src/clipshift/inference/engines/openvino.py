"""OpenVINO: on the CPU, in float32, bfloat16 or int8."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import openvino

from clipshift.errors import ExportError
from clipshift.inference.engines.forking import keep_for_ever
from clipshift.inference.engines.session import EngineOptions, check_device, check_input
from clipshift.inference.export_folder import Export

# The binding readies itself for arrays at the first one that it sees. Where two threads bring their first ones at once,
# one waits for the other without giving up Python's lock, and both stay there for ever. Imports let one in at a time.
openvino.Tensor(np.zeros(1, np.uint8))


@cache
def the_core() -> openvino.Core:
    """The one core of this process, which lasts as long as the process does.

    A core that starts on a CPU gives its thread a new stack for signal handlers, and one that ends puts back the
    stack that it found, which another core may have freed in the meantime: the next signal would kill the process.
    """
    return openvino.Core()


def _leave_core_to_parent() -> None:
    """In a forked process: its threads are not here; a new one is made when it is needed."""
    if the_core.cache_info().currsize:
        keep_for_ever(the_core())
        the_core.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_core_to_parent)


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Let others start and end cores: the thread has its stack for signal handlers back afterwards.

    See [the_core][clipshift.inference.engines.openvino.the_core].
    """
    if sys.platform != "linux":
        yield
        return
    system, stack = ctypes.CDLL(None), _SignalStack()
    system.sigaltstack(None, ctypes.byref(stack))
    try:
        yield
    finally:
        gc.collect()  # a core in a cycle of references would do its harm later
        system.sigaltstack(ctypes.byref(stack), None)


class _SignalStack(ctypes.Structure):
    """Linux's `stack_t`."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def processor_has_bf16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU."""
    return "BF16" in the_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession:
    """An OpenVINO model on the CPU; see [Session][clipshift.inference.engines.session.Session]."""

    def __init__(self, path: Path, export: Export, options: EngineOptions) -> None:
        self._export = export
        check_device(options.device, ("auto", "cpu"), "OpenVINO")
        if export.precision == "bf16" and not processor_has_bf16():
            raise ExportError(
                "This CPU does not compute in bfloat16: the model would run in float32.",
                where=path,
                remedy="export with --precision fp32 or int8, or use a CPU with AVX512-BF16 or AMX",
            )
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": options.mode.upper(),
            "INFERENCE_NUM_THREADS": options.thread_count,
            # Without this word OpenVINO takes bfloat16 wherever a CPU has it, whatever was exported.
            "INFERENCE_PRECISION_HINT": "bf16" if export.precision == "bf16" else "f32",
        }
        if options.cache is not None:
            settings["CACHE_DIR"] = str(options.cache)
        if options.mode == "throughput":
            settings["NUM_STREAMS"] = options.thread_count
        self._settings = settings
        try:
            self._model = the_core().read_model(str(path))
            self._compiled = {1: self._compile(1)}
        except RuntimeError as error:
            raise ExportError(
                "OpenVINO cannot read the file.", where=path, got=str(error).strip().splitlines()[-1][:300]
            ) from error
        self._threads = options.thread_count
        self.concurrency = self._threads if options.mode == "throughput" else 1
        self._lock = Lock()
        # A frame of a stream is answered so quickly that to make a request counts; clips would leave much memory in it.
        self._idle: defaultdict[int, deque[Any]] = defaultdict(deque)

    @property
    def engine(self) -> str:
        """Engine, version, precision and threads, for people."""
        version = openvino.__version__.partition("-")[0]
        return f"OpenVINO {version}, {self._export.precision}, {self._threads} threads"

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits float32 (B, K)."""
        return self._answer(inputs, "logits")[0]

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 (B, K)."""
        logits, probabilities = self._answer(inputs, "logits", "probabilities")
        return logits, probabilities

    def answers(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """What the file gives by the names of its inputs and outputs, each of as many rows; nothing is checked."""
        batch = len(next(iter(inputs.values())))
        try:
            request = self._idle[batch].pop()
        except IndexError:
            request = self._request(batch)
        found = request.infer(dict(inputs))
        answers = tuple(np.array(found[name]) for name in outputs)
        self._idle[batch].append(request)
        return answers

    def _answer(self, inputs: np.ndarray, *outputs: str) -> list[np.ndarray]:
        check_input(inputs, self._export)
        answers = self._request(len(inputs)).infer([np.ascontiguousarray(inputs)])
        return [np.array(answers[name], dtype=np.float32) for name in outputs]

    def _request(self, batch: int) -> Any:  # noqa: ANN401 - OpenVINO has no types
        """A request of its own for each call: threads may share a session."""
        with self._lock:
            if batch not in self._compiled:
                self._compiled[batch] = self._compile(batch)
        return self._compiled[batch].create_infer_request()

    def _compile(self, batch: int) -> Any:  # noqa: ANN401 - OpenVINO has no types
        """The model for so many clips: where their number is open, OpenVINO reorders memory around every shift."""
        shapes = {}
        for taken in self._model.inputs:
            shape = taken.get_partial_shape()
            shape[0] = batch
            shapes[taken] = shape
        self._model.reshape(shapes)
        return the_core().compile_model(self._model, "CPU", self._settings)
