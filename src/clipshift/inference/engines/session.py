"""One interface for all engines: from frames or clips to answers, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from clipshift.errors import ConfigError, ExportError
from clipshift.inference.export_folder import Export
from clipshift.parallel.prefetch import available_cores

Mode = Literal["latency", "throughput"]


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs.

    Attributes:
        device: `auto` (a GPU if the engine has one), `cpu`, `cuda` or `cuda:N`, or `tensorrt` (ONNX Runtime).
        threads: Of the CPU; 0: as many as this process may use.
        mode: `latency`: one answer as soon as possible, all threads work on it; `throughput`: as many answers as
            possible, each thread works on one of its own (ONNX Runtime and OpenVINO on the CPU).
        cache: Folder for what an engine compiles (TensorRT's engines, OpenVINO's blobs); None: nothing is kept.

    Raises:
        ConfigError: The number of threads is negative, or there is no such mode.
    """

    device: str = "auto"
    threads: int = 0
    mode: Mode = "latency"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(
                "There is no such number of threads.", where="threads", got=self.threads, allowed="0 or more"
            )
        if self.mode not in get_args(Mode):
            raise ConfigError("There is no such mode.", where="mode", got=self.mode, allowed=get_args(Mode))

    @property
    def thread_count(self) -> int:
        """The number of threads that `threads` means."""
        return self.threads or available_cores()


class Session(Protocol):
    """A compiled model."""

    @property
    def engine(self) -> str:
        """Engine, version, device and threads, for people."""

    @property
    def concurrency(self) -> int:
        """How many calls of `run` it takes, from as many threads at once, to keep the engine busy."""

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Logits float32 (B, K) of uint8 frames (B, T, H, W, 3) or of float32 clips (B, T, 3, side, side).

        Raises:
            ExportError: The input is not what the model takes.
        """

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits, and the probabilities that the file gives itself, float32 (B, K); of exports that take frames."""


def check_input(inputs: np.ndarray, export: Export) -> None:
    """Raise an ExportError unless an array is what an exported model takes."""
    settings = export.spec.input
    shape = inputs.shape
    if export.input == "frames":
        fits = inputs.dtype == np.uint8 and len(shape) == 5 and shape[4] == 3 and shape[1] == settings.segments
        allowed = f"uint8 (clips, {settings.segments}, height, width, 3): RGB frames as decoded"
    else:
        side = export.spec.side
        fits = inputs.dtype == np.float32 and shape[1:] == (settings.segments, 3, side, side)
        allowed = f"float32 (clips, {settings.segments}, 3, {side}, {side}): normalized frames"
    if not fits or 0 in shape:
        raise ExportError(
            "The input is not what the exported model takes.", got=f"{inputs.dtype} {shape}", allowed=allowed
        )


def check_device(device: str, allowed: tuple[str, ...], engine: str) -> None:
    """Raise a ConfigError unless a device is among those of an engine on this machine; a GPU may have a number."""
    kind, _, number = device.partition(":")
    numbered = kind not in {"auto", "cpu"} and number.isdecimal()
    if kind not in allowed or (device != kind and not numbered):
        raise ConfigError(f"{engine} has no such device here.", where="device", got=device, allowed=", ".join(allowed))
