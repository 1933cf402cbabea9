"""The files of each target: written once, into a folder that is still without its name."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipshift.errors import ExportError, MissingDependencyError
from clipshift.files import sync
from clipshift.inference.export_folder import METADATA_KEY, Export, Precision, Target
from clipshift.models.recognizer import Recognizer

if TYPE_CHECKING:
    from onnx import ModelProto

PRECISIONS: dict[Target, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "torch": ("fp32",),
}
"""What each target can hold."""

_PACKAGES: dict[Target, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "torch": (),
}
Quantize = Callable[[Any], tuple[Any, tuple[str, ...]]]
"""From a network as the target's model, clips to logits or a step of streams, to its int8 form and the names of the
layers that are not."""


def check_target(target: Target, precision: Precision) -> None:
    """Raise an error unless a target has a precision and its packages are installed.

    Raises:
        ExportError: It has no such precision.
        MissingDependencyError: A package is missing.
    """
    if precision not in PRECISIONS[target]:
        raise ExportError(
            "The target has no such precision.",
            where="--precision",
            got=f"{precision} for {target}",
            allowed=PRECISIONS[target],
        )
    packages = (*_PACKAGES[target], *(("nncf",) if precision == "int8" else ()))
    for package in packages:
        if not _installed(package):
            raise MissingDependencyError(package)
    if target == "openvino" and precision == "bf16":
        from clipshift.inference.engines.openvino import processor_has_bf16

        if not processor_has_bf16():
            raise ExportError(
                "This CPU does not compute in bfloat16, so the export could not be checked.",
                where="--precision",
                got="bf16",
                remedy="export on a CPU with AVX512-BF16 or AMX, or with --precision fp32 or int8",
            )


def package_versions(target: Target) -> dict[str, str]:
    """The versions of the packages that write a target's files."""
    return {package: version(package) for package in ("torch", "timm", *_PACKAGES[target])}


def write_onnx(folder: Path, network: Recognizer, export: Export, quantize: Quantize | None) -> Export:
    """Write `model.onnx`; in all precisions, pixels are prepared and answers given in float32."""
    from clipshift.exporting.onnx_graph import add_ends, add_frame_input, halve, write_metadata

    model = _as_onnx(network, export)
    if export.precision == "fp16":
        model = halve(model)
    elif quantize is not None:
        model, excluded = quantize(model)
        export = export.model_copy(update={"excluded_layers": excluded})
    if export.streaming is not None:
        model = add_frame_input(model, export.spec)
    elif export.input == "frames":
        model = add_ends(model, export.spec)
    write_metadata(model, export.to_text())
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return export


def write_openvino(folder: Path, network: Recognizer, export: Export, quantize: Quantize | None) -> Export:
    """Write `model.xml` and `model.bin`; with fp16 the weights are stored in half, bf16 is chosen when they are run."""
    import openvino

    from clipshift.exporting.openvino_graph import add_ends, add_frame_input, from_onnx, store_half

    model = from_onnx(_as_onnx(network, export))
    if export.precision == "fp16":
        store_half(model)
    elif quantize is not None:
        model, excluded = quantize(model)
        export = export.model_copy(update={"excluded_layers": excluded})
    if export.streaming is not None:
        model = add_frame_input(model, export.spec)
    elif export.input == "frames":
        model = add_ends(model, export.spec)
    model.set_rt_info(export.to_text(), ["framework", METADATA_KEY])
    try:
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    except RuntimeError as error:
        if not any(words in str(error) for words in ("iostream", "Can't open")):
            raise
        # It does not say why.
        raise OSError("OpenVINO could not write its files: is the disk full, or may they not be made?") from error
    return export


def _as_onnx(network: Recognizer, export: Export) -> ModelProto:
    """The ONNX model of a network: clips to logits, or for streams from pixels and states to answers and states."""
    from clipshift.exporting.onnx_graph import network_to_onnx
    from clipshift.exporting.streaming_graph import streaming_to_onnx

    if export.streaming is None:
        return network_to_onnx(network, export.spec)
    return streaming_to_onnx(network, export.spec, export.streaming)


def write_torch(folder: Path, network: Recognizer, export: Export, _: Quantize | None) -> Export:
    """Write `model.pt2`, a program of `torch.export`."""
    import torch

    from clipshift.exporting.torch_module import ClipsRecognizer, FramesRecognizer, export_program

    spec, settings = export.spec, export.spec.input
    if export.input == "clips":
        example = torch.zeros(2, settings.segments, 3, spec.side, spec.side)
        program = export_program(ClipsRecognizer(network), example, free_axes=(0,))
    else:
        # Sizes that nothing in the settings has: what equals another number would be taken for always the same.
        height, width = settings.resize + 23, settings.resize + 58
        example = torch.zeros(2, settings.segments, height, width, 3, dtype=torch.uint8)
        program = export_program(FramesRecognizer(network, spec), example, free_axes=(0, 2, 3))
    # In memory first: on a full disk PyTorch's writer of files ends the process.
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA_KEY: export.to_text()})
    (folder / "model.pt2").write_bytes(file.getbuffer())
    return export


WRITERS: dict[Target, Callable[[Path, Recognizer, Export, Quantize | None], Export]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "torch": write_torch,
}
"""What writes the files of a target, and gives the description back with what it found out."""


def give_name(staging: Path, out: Path) -> None:
    """Let a finished folder take its place."""
    if out.exists():
        out.rmdir()  # it was empty; if it no longer is, this fails and nothing is lost
    for path in (*staging.iterdir(), staging):
        sync(path)  # what has its name is whole, also after a crash of the machine
    staging.rename(out)
    sync(out.parent)


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
