"""Eight bits for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipshift.exporting.quantization.accuracy_control import (
    Demands,
    Layers,
    Quantized,
    Run,
    quantize_until_good_enough,
)
from clipshift.exporting.quantization.onnx_rules import in_integers
from clipshift.exporting.quantization.streams import Step, along_clips
from clipshift.inference.export_folder import Streaming

if TYPE_CHECKING:
    from onnx import ModelProto

_WEIGHTED = ("Conv", "Gemm", "MatMul")


def quantize_onnx(
    model: ModelProto,
    calibration: Sequence[NDArray[Any]] | Sequence[Step],
    validation: Sequence[NDArray[Any]],
    demands: Demands,
    streaming: Streaming | None = None,
) -> Quantized:
    """Quantize an ONNX model for ONNX Runtime, which also judges it.

    Arguments and errors are those of
    [quantize_openvino][clipshift.exporting.quantization.openvino.quantize_openvino], and weights have seven bits for
    the same reason.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    name = model.graph.input[0].name

    def open_model(model: ModelProto) -> Run:
        text = in_integers(model).SerializeToString()
        session = onnxruntime.InferenceSession(text, settings, providers=["CPUExecutionProvider"])
        if streaming is not None:
            names = [value.name for value in session.get_outputs()]
            return along_clips(lambda step: dict(zip(names, session.run(names, step), strict=True)), streaming)
        return lambda inputs: np.asarray(session.run(None, {name: inputs})[0])

    quantized = quantize_until_good_enough(
        model,
        open_model,
        calibration,
        validation,
        demands,
        lambda model: _weighted_layers(in_integers(model)),
        as_input=lambda inputs: inputs if streaming is not None else {name: inputs},
    )
    return replace(quantized, model=in_integers(quantized.model))


def _weighted_layers(model: ModelProto) -> Layers:
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    weighted = [node for node in model.graph.node if node.op_type in _WEIGHTED]
    excluded = [node.name for node in weighted if made_by.get(node.input[1]) != "DequantizeLinear"]
    return tuple(node.name for node in weighted), tuple(excluded)
