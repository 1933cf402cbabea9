"""`clipshift doctor`: what this machine has, and what that allows."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clipshift._version import __version__
from clipshift.errors import installation
from clipshift.parallel.prefetch import available_cores

_NEEDED = ("av", "numpy", "pillow", "pydantic", "pyyaml")
_TRAINING = ("torch", "torchvision", "timm", "torchmetrics", "safetensors", "matplotlib", "jinja2")


def examine() -> tuple[list[str], bool]:
    """Look at the machine and at the installed packages.

    Returns:
        Lines to print, and whether everything for training is there and works.
    """
    lines = [f"clipshift     {__version__}", f"Python        {sys.version.split()[0]} on {platform.platform()}"]
    lines += [
        f"CPU           {available_cores()} cores",
        f"disk          {shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here",
    ]
    missing = list(_missing((*_NEEDED, *_TRAINING)))
    lines += [
        f"{name:14}{_version(name) or 'MISSING: pip install clipshift[train]'}" for name in (*_NEEDED, *_TRAINING)
    ]
    lines += list(_decoders())
    if not missing:
        lines += list(_devices())
    lines += ["", "exports (needed only where they are made or run):", *_engines()]
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

    yield f"{'threads':14}{torch.get_num_threads()} for the network on the CPU"
    flags = torch.backends.cpu.get_cpu_capability()
    yield f"{'vectors':14}{flags}; bf16 on the CPU {'is fast' if _fast_bf16() else 'is emulated: use fp32'}"
    if not torch.cuda.is_available():
        yield f"{'GPU':14}none that PyTorch {torch.__version__} can use; training runs on the CPU"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"{f'GPU {index}':14}{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _engines() -> Iterator[str]:
    """What runs exports, and what writes them."""
    # By their modules: `onnxruntime-gpu` and others are the same module from a package of another name.
    yield f"{'ONNX Runtime':14}{_found('onnxruntime', _onnx_runtime)}"
    yield f"{'OpenVINO':14}{_found('openvino', _openvino)}"
    for package, use in (("onnx", "to export"), ("onnxscript", "to export"), ("nncf", "int8")):
        yield f"{package:14}{_version(package) or f'not installed ({use}): {installation(package)}'}"


def _found(module: str, examine_engine: Callable[[], str]) -> str:
    try:
        return examine_engine()
    except ModuleNotFoundError:
        return f"not installed: {installation(module)}"
    except (ImportError, OSError, RuntimeError) as error:  # a library of the system is missing, or the wrong one
        return f"DOES NOT START: {' '.join(str(error).split())[:200]}"


def _onnx_runtime() -> str:
    import onnxruntime

    from clipshift.inference.engines.onnxruntime import present_devices

    return f"{onnxruntime.__version__}; devices that it knows: {', '.join(present_devices())}"


def _openvino() -> str:
    import openvino

    from clipshift.inference.engines.openvino import the_core

    devices = the_core().available_devices
    return f"{openvino.__version__.partition('-')[0]}; devices: {', '.join(devices)} (clipshift uses CPU)"


def _fast_bf16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "avx512_bf16" in cpuinfo.read_text(encoding="utf-8", errors="replace")
