"""OpenVINO models from ONNX models, joined end to end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openvino

from clipshift.config import ModelSpec
from clipshift.exporting.onnx_graph import answers_to_onnx, frame_preprocessing_to_onnx, preprocessing_to_onnx

if TYPE_CHECKING:
    from onnx import ModelProto

_SMALL = 1024
"""Constants of fewer numbers stay in float32: they cost nothing, and some need their range."""


def from_onnx(model: ModelProto) -> Any:  # noqa: ANN401 - OpenVINO has no types
    """An ONNX model as `openvino.Model`."""
    with tempfile.TemporaryDirectory(prefix="clipshift-") as scratch:
        file = Path(scratch) / "model.onnx"
        file.write_bytes(model.SerializeToString())
        return openvino.convert_model(file)


def add_ends(network: Any, spec: ModelSpec) -> Any:  # noqa: ANN401
    """Put preprocessing before a network (clips to logits) and averages and probabilities behind it.

    Args:
        network: `openvino.Model`; becomes part of the result.
        spec: Preprocessing, crops and averaging.

    Returns:
        `openvino.Model`: frames to `probabilities` and `logits`.
    """
    before, after = from_onnx(preprocessing_to_onnx(spec)), from_onnx(answers_to_onnx(spec))
    _connect(before, network)
    _connect(network, after)
    return openvino.Model(after.get_results(), before.get_parameters(), "clipshift")


def add_frame_input(network: Any, spec: ModelSpec) -> Any:  # noqa: ANN401
    """Put the preprocessing of a frame, uint8 (B, H, W, 3), before the input `pixels` of a streaming network."""
    before = from_onnx(frame_preprocessing_to_onnx(spec))
    _connect(before, network)
    return openvino.Model(network.get_results(), [*before.get_parameters(), *network.get_parameters()[1:]], "clipshift")


def _connect(first: Any, second: Any) -> None:  # noqa: ANN401
    """Let the first input of a model take the only output of another."""
    given = first.get_results()[0].input_value(0)
    for reader in second.get_parameters()[0].output(0).get_target_inputs():
        reader.replace_source_output(given)


def store_half(model: Any) -> None:  # noqa: ANN401
    """Store large constants in float16, in place; a CPU without float16 computes with them in float32."""
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
