"""`clipshift doctor`: what this machine has, and what that allows."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clipshift._version import __version__

_NEEDED = ("av", "numpy", "pillow", "pydantic", "pyyaml")
_TRAINING = ("torch", "torchvision", "timm", "torchmetrics", "safetensors", "matplotlib", "jinja2")


def examine() -> tuple[list[str], bool]:
    """Look at the machine and at the installed packages.

    Returns:
        Lines to print, and whether everything for training is there and works.
    """
    lines = [f"clipshift     {__version__}", f"Python        {sys.version.split()[0]} on {platform.platform()}"]
    lines += [
        f"processor     {os.cpu_count()} cores",
        f"disk          {shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here",
    ]
    missing = list(_missing((*_NEEDED, *_TRAINING)))
    lines += [
        f"{name:14}{_version(name) or 'MISSING: pip install clipshift[train]'}" for name in (*_NEEDED, *_TRAINING)
    ]
    lines += list(_decoders())
    if not missing:
        lines += list(_devices())
    return lines, not missing


def _missing(names: tuple[str, ...]) -> Iterator[str]:
    return (name for name in names if _version(name) is None)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _decoders() -> Iterator[str]:
    if _version("av") is None:
        return
    from av.codec import codecs_available

    known = [name for name in ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg") if name in codecs_available]
    yield f"{'decodes':14}{', '.join(known)}"


def _devices() -> Iterator[str]:
    import torch

    yield f"{'threads':14}{torch.get_num_threads()} for the network on the processor"
    flags = torch.backends.cpu.get_cpu_capability()
    yield f"{'vectors':14}{flags}; bf16 on the processor {'is fast' if _fast_bf16() else 'is emulated: use fp32'}"
    if not torch.cuda.is_available():
        yield f"{'GPU':14}none that PyTorch {torch.__version__} can use; training runs on the processor"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"{f'GPU {index}':14}{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _fast_bf16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "avx512_bf16" in cpuinfo.read_text(encoding="utf-8", errors="replace")
