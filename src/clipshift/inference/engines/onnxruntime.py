"""ONNX Runtime: on the CPU, on NVIDIA's GPUs, and through TensorRT."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from clipshift.errors import ExportError
from clipshift.inference.engines.session import EngineOptions, check_device, check_input
from clipshift.inference.export_folder import Export

_LOG = logging.getLogger(__name__)
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
_LARGE = 32 * 1024 * 1024
"""Bytes of an input of which ONNX Runtime may keep the memory, several times as much, for the next one."""


def present_devices() -> list[str]:
    """The devices that this build of ONNX Runtime knows: `cpu`, `cuda`, `tensorrt`; a GPU need not be here."""
    return [name for name, provider in _PROVIDERS.items() if provider in onnxruntime.get_available_providers()]


class OnnxSession:
    """An ONNX file in ONNX Runtime; see [Session][clipshift.inference.engines.session.Session]."""

    def __init__(self, path: Path, export: Export, options: EngineOptions) -> None:
        self._export = export
        present = present_devices()
        check_device(options.device, ("auto", *present), "ONNX Runtime")
        device = options.device
        if device == "auto":
            device = "cuda" if "cuda" in present else "cpu"
        try:
            self._session = _start(path, device, export, options)
        except ExportError as error:
            if device in {options.device, "cpu"}:
                raise
            # `auto` is whatever can be had; a package for GPUs may be installed where there is none.
            _LOG.warning("%s (%s) Going on without a GPU; --device cuda makes this an error.", error.what, error.got)
            device = "cpu"
            self._session = _start(path, device, export, options)
        self._device = device.partition(":")[0]
        self._threads = options.thread_count
        self.concurrency = self._threads if self._device == "cpu" and options.mode == "throughput" else 1
        self._inputs = self._session.get_inputs()[0].name
        self._shrinking = onnxruntime.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._to_shrink = 0

    @property
    def engine(self) -> str:
        """Engine, version, device and threads, for people."""
        where = f"{self._threads} threads" if self._device == "cpu" else self._device
        return f"ONNX Runtime {onnxruntime.__version__}, {self._export.precision}, {where}"

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits float32 (B, K)."""
        return self._answer(inputs, "logits")[0]

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, float32 (B, K)."""
        logits, probabilities = self._answer(inputs, "logits", "probabilities")
        return logits, probabilities

    def answers(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """What the file gives by the names of its inputs and outputs; nothing is checked."""
        return tuple(self._session.run(list(outputs), dict(inputs)))

    def _answer(self, inputs: np.ndarray, *outputs: str) -> list[np.ndarray]:
        check_input(inputs, self._export)
        given = {self._inputs: np.ascontiguousarray(inputs)}
        answers = self._session.run(list(outputs), given, self._run_options(inputs))
        return [np.asarray(answer, dtype=np.float32) for answer in answers]

    def _run_options(self, inputs: np.ndarray) -> onnxruntime.RunOptions | None:
        """What lets a run give back at its end all memory that is not in use; without it large inputs keep theirs."""
        if inputs.nbytes > _LARGE:
            # A run beside this one may be in the midst of what was taken for it: those that follow give that back.
            self._to_shrink = 1 + self.concurrency
        if self._to_shrink < 1 or self._device != "cpu":
            return None
        self._to_shrink -= 1
        return self._shrinking


def _start(path: Path, device: str, export: Export, options: EngineOptions) -> onnxruntime.InferenceSession:
    """The file on a device, which is not `auto`.

    Raises:
        ExportError: The file cannot be read, or the device cannot be started.
    """
    kind, _, number = device.partition(":")
    settings = onnxruntime.SessionOptions()
    # One thread is the caller's own: calls side by side then share nothing, and none waits for another.
    settings.intra_op_num_threads = 1 if options.mode == "throughput" else options.thread_count
    # Threads that spin while they wait take the CPU from decoding, and from everybody else.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=_providers(kind, int(number or 0), export, options)
        )
    except Exception as error:  # its exceptions have no common class of their own
        raise ExportError("ONNX Runtime cannot read the file.", where=path, got=_first_line(error)) from error
    used = session.get_providers()[0]
    if used != _PROVIDERS[kind]:
        raise ExportError(
            "ONNX Runtime could not start the device.",
            where="device",
            got=f"{device}: it took {used}",
            allowed=_PROVIDERS[kind],
            remedy="see the messages above: there is no GPU, or CUDA's, cuDNN's or TensorRT's libraries; or use cpu",
        )
    return session


def _providers(kind: str, number: int, export: Export, options: EngineOptions) -> list[tuple[str, dict[str, Any]]]:
    cpu: tuple[str, dict[str, Any]] = (_PROVIDERS["cpu"], {})
    if kind == "cpu":
        return [cpu]
    # TF32 would keep ten of 23 binary digits of float32 without a word.
    cuda: tuple[str, dict[str, Any]] = (_PROVIDERS["cuda"], {"device_id": number, "use_tf32": "0"})
    if kind == "cuda":
        return [cuda, cpu]
    settings: dict[str, Any] = {"device_id": number, "trt_fp16_enable": export.precision == "fp16"}
    if options.cache is not None:
        settings |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(options.cache)}
    return [(_PROVIDERS["tensorrt"], settings), cuda, cpu]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
