"""Which device a network runs on, and in which precision."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from clipshift.errors import ConfigError

Amp = Literal["fp32", "bf16", "fp16"]
"""Precision of a forward pass: full, or mixed."""

_AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


def autocast(device: torch.device, amp: Amp) -> torch.autocast:
    """The context in which a network runs at a precision; for fp32 it changes nothing."""
    return torch.autocast(device.type, _AMP_DTYPES.get(amp), enabled=amp != "fp32")


def check_amp(device: torch.device, amp: Amp, where: str = "amp") -> None:
    """Raise an error unless networks can run in this precision on a device.

    Raises:
        ConfigError: They cannot; `where` names the setting.
    """
    if amp == "fp16" and device.type == "cpu":
        raise ConfigError(
            "fp16 needs a GPU; a CPU computes in fp32 or bf16.",
            where=where,
            got=f"fp16 on device {device}",
            allowed="fp32, bf16",
        )


def cast_weights(network: nn.Module, amp: Amp) -> nn.Module:
    """Cast once, in place, the weights that autocast would cast in every forward pass: the same numbers, sooner.

    Those of plain convolutions and linear layers; what is derived from them may change its weights in float32 first.
    """
    if amp != "fp32":
        for module in network.modules():
            if type(module) in (nn.Conv2d, nn.Linear):
                module.to(_AMP_DTYPES[amp])
    return network
