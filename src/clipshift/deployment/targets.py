"""The files of each target: written once, into a folder that is still without its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipshift.engines.exported import METADATA_KEY, Export, Precision, Target
from clipshift.errors import ExportError, MissingDependencyError
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
_SMALL = 1024
"""Constants of fewer numbers keep float32: they cost nothing, and sizes and weights of resizing are among them."""


def check_target(target: Target, precision: Precision, *, quantised: bool) -> None:
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
    packages = (*_PACKAGES[target], *(("nncf", "openvino") if quantised else ()))
    for package in packages:
        if not _installed(package):
            raise MissingDependencyError(package)
    if target == "openvino" and precision == "bf16":
        from clipshift.engines.openvino import processor_has_bf16

        if not processor_has_bf16():
            raise ExportError(
                "This processor does not compute in bfloat16, so the export could not be checked.",
                where="--precision",
                got="bf16",
                remedy="export on a processor with AVX512-BF16 or AMX, or with --precision fp32 or int8",
            )


def package_versions(target: Target) -> dict[str, str]:
    """The versions of the packages that write a target's files."""
    return {package: version(package) for package in ("torch", "timm", *_PACKAGES[target])}


def write_onnx(folder: Path, network: Recognizer, export: Export) -> None:
    """Write `model.onnx` in float32, or with halved weights and arithmetic."""
    from clipshift.deployment.onnx_graph import build_onnx, write_metadata

    model = build_onnx(network, export.spec, export.input)
    if export.precision == "fp16":
        model = _halved(model)
    write_metadata(model, export.to_text())
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


def _halved(model: ModelProto) -> ModelProto:
    """The network in float16; pixels are prepared and answers are given in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    kept = [node.name for node in model.graph.node if node.name.startswith(("input/", "output/"))]
    halved: ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    return halved


def write_openvino(folder: Path, network: Recognizer, export: Export) -> None:
    """Write `model.xml` and `model.bin`; with fp16 the weights are stored in half, bf16 is chosen when they are run."""
    import openvino

    from clipshift.deployment.onnx_graph import build_onnx

    passing = folder / "passing.onnx"
    passing.write_bytes(build_onnx(network, export.spec, export.input).SerializeToString())
    model = openvino.convert_model(passing)
    passing.unlink()
    save_openvino(model, folder, export)


def save_openvino(model: Any, folder: Path, export: Export) -> None:  # noqa: ANN401 - OpenVINO has no types
    """Write an OpenVINO model with the export's description in its `rt_info`."""
    import openvino

    if export.precision == "fp16":
        _store_half(model)
    model.set_rt_info(export.to_text(), ["framework", METADATA_KEY])
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _store_half(model: Any) -> None:  # noqa: ANN401
    """Store large constants in float16; OpenVINO's own compression would also squeeze numbers that need their range."""
    from openvino import opset13 as operators

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "f32":
            values = node.get_data()
            if values.size >= _SMALL:
                half = operators.convert(operators.constant(values.astype("float16")), "f32")
                half.get_rt_info()["decompression"] = ""
                half.set_friendly_name(node.get_friendly_name())
                for reader in node.output(0).get_target_inputs():
                    reader.replace_source_output(half.output(0))


def write_torch(folder: Path, network: Recognizer, export: Export) -> None:
    """Write `model.pt2`, a program of `torch.export`."""
    import torch

    from clipshift.deployment.torch_module import ClipsRecognizer, FramesRecognizer, export_program

    spec, settings = export.spec, export.spec.input
    if export.input == "clips":
        example = torch.zeros(2, settings.segments, 3, settings.crop, settings.crop)
        program = export_program(ClipsRecognizer(network), example, free_axes=(0,))
    else:
        if not settings.antialias:
            raise ExportError(
                "torch.export cannot write OpenCV's resizing for any number of clips.",
                where="--to torch",
                got="input.antialias=false",
                remedy="--to onnx or --to openvino, which can; or --input clips",
            )
        # Sizes that nothing in the settings has: what equals another number would be taken for always the same.
        height, width = settings.resize + 23, settings.resize + 58
        example = torch.zeros(2, settings.segments, height, width, 3, dtype=torch.uint8)
        program = export_program(FramesRecognizer(network, spec), example, free_axes=(0, 2, 3))
    torch.export.save(program, folder / "model.pt2", extra_files={METADATA_KEY: export.to_text()})


WRITERS: dict[Target, Callable[[Path, Recognizer, Export], None]] = {
    "onnx": write_onnx,
    "openvino": write_openvino,
    "torch": write_torch,
}
"""What writes the files of a target in the precisions other than int8."""


def give_name(staging: Path, out: Path) -> None:
    """Let a finished folder take its place."""
    if out.exists():
        shutil.rmtree(out)  # empty: it was looked at before
    staging.rename(out)


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
