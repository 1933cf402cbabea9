"""Which device the network runs on, and with how many threads clips are read."""

from __future__ import annotations

import os
from typing import Literal

import torch

from clipshift.errors import ConfigError

Amp = Literal["fp32", "bf16", "fp16"]
"""Precision of a forward pass: full, or mixed."""

_AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_MOST_THREADS = 16


def pick_device(device: str, *, local_rank: int | None = None) -> torch.device:
    """The torch device that a setting means.

    Args:
        device: `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:N`.
        local_rank: Number of this process on this machine under `torchrun`, which is then its GPU's number.

    Raises:
        ConfigError: The name is not a device, or this machine has no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in {"cpu", "cuda"} or (number and not number.isdigit()):
        raise ConfigError("There is no such device.", where="device", got=device, allowed="auto, cpu, cuda, cuda:N")
    if kind == "cpu":
        return torch.device("cpu")
    index = local_rank if local_rank is not None else int(number or 0)
    if index >= torch.cuda.device_count():
        raise ConfigError(
            "This machine does not have that GPU.",
            where="device",
            got=device if local_rank is None else f"process {local_rank} of torchrun, which needs GPU {local_rank}",
            allowed=f"{torch.cuda.device_count()} GPUs are visible to PyTorch",
            remedy="use the device cpu, or look at 'clipshift doctor'",
        )
    return torch.device("cuda", index)


def pick_threads(workers: int | Literal["auto"]) -> int:
    """Number of decoding threads: as asked, or (`auto`) one per core that this process may use, at most 16."""
    if workers != "auto":
        return workers
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _MOST_THREADS)


def autocast(device: torch.device, amp: Amp) -> torch.autocast:
    """The context in which a network runs at a precision; for fp32 it changes nothing."""
    return torch.autocast(device.type, _AMP_DTYPES.get(amp), enabled=amp != "fp32")
