"""Eight bits for OpenVINO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipshift.exporting.quantization.accuracy_control import (
    Demands,
    Layers,
    Quantized,
    Run,
    quantize_until_good_enough,
)
from clipshift.exporting.quantization.streams import Step, along_clips
from clipshift.inference.export_folder import Streaming

_WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
_EXECUTED = ("Convolution", "FullyConnected", "MatMul")


def quantize_openvino(
    model: Any,  # noqa: ANN401 - OpenVINO has no types
    calibration: Sequence[NDArray[Any]] | Sequence[Step],
    validation: Sequence[NDArray[Any]],
    demands: Demands,
    streaming: Streaming | None = None,
) -> Quantized:
    """Quantize an `openvino.Model`.

    All weights have seven bits of precision instead of eight: without VNNI, CPUs add pairs of products in 16 bits, and
    saturate. So the file gives the same numbers on all CPUs, for less loss than saturation costs.

    Args:
        model: In float32, from clips, its only input, to logits, its only output; not changed. With `streaming`, from
            pixels and states to answers and states.
        calibration: Inputs as the model takes them, with their batch axis. Some 100 to 300 clips of the training set;
            of a streaming model the steps of [real_steps][clipshift.exporting.quantization.streams.real_steps].
        validation: Clips of one each on which the loss is judged; a streaming model goes along their frames.
        demands: The score that is to be reached, and how many layers may go back to floating point for it.
        streaming: What a streaming model keeps.

    Raises:
        ValueError: The given model itself does not reach the least score, or there are no inputs.
        TooManyExcludedError: More layers than allowed would have to stay in floating point.
    """
    import openvino

    from clipshift.inference.engines.openvino import signal_stack_kept, the_core

    def open_model(model: Any) -> Run:  # noqa: ANN401
        compiled = model
        if isinstance(model, openvino.Model):
            compiled = the_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        if streaming is not None:
            names = [*(each.next_name for each in streaming.states), "logits"]

            def step(inputs: Step) -> dict[str, NDArray[Any]]:
                answers = compiled(inputs)
                return {name: np.array(answers[name]) for name in names}

            return along_clips(step, streaming)
        return lambda inputs: np.asarray(compiled([inputs])[0])

    with signal_stack_kept():  # nncf starts many cores
        return quantize_until_good_enough(
            _with_whole_biases(model), open_model, calibration, validation, demands, _weighted_layers
        )


def _weighted_layers(model: Any) -> Layers:  # noqa: ANN401
    """Of a model, or of one that nncf has compiled already, which tells in what its layers are executed."""
    if hasattr(model, "get_runtime_model"):
        told = ("layerType", "runtimePrecision", "originalLayersNames")
        nodes = model.get_runtime_model().get_ordered_ops()
        executed = [{key: node.get_rt_info()[key].astype(str) for key in told} for node in nodes]
        layers = [node for node in executed if node["layerType"] in _EXECUTED]
        floating = [node for node in layers if node["runtimePrecision"] not in ("i8", "u8")]
        names, without = (tuple(node["originalLayersNames"] for node in each) for each in (layers, floating))
        return names, without
    weighted = [node for node in model.get_ordered_ops() if node.get_type_name() in _WEIGHTED]
    excluded = [node for node in weighted if not _has_integer_weights(node)]
    names, without = (tuple(node.get_friendly_name() for node in nodes) for nodes in (weighted, excluded))
    return names, without


def _with_whole_biases(model: Any) -> Any:  # noqa: ANN401
    """A copy of an OpenVINO model in which each convolution's bias has a number for each channel.

    OpenVINO joins a bias with the constants behind it. Where all biases of a layer are zero, one number is left; nncf
    takes it for the bias and fails to correct it by the channel.
    """
    from openvino import opset13 as operators

    copy = model.clone()
    for node in copy.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        sums = node.get_output_partial_shape(0)
        shape = (1, sums[1].get_length(), *[1] * (len(sums) - 2))
        for reader in node.output(0).get_target_inputs():
            added = reader.get_node().inputs() if reader.get_node().get_type_name() == "Add" else []
            for each in added:
                constant = each.get_source_output().get_node()
                if constant.get_type_name() == "Constant" and constant.data.size == 1:
                    whole = np.full(shape, constant.data.item(), constant.data.dtype)
                    each.replace_source_output(operators.constant(whole).output(0))
    return copy


def _has_integer_weights(node: Any) -> bool:  # noqa: ANN401
    """Whether an OpenVINO node's weights are integers that are converted and scaled on their way to it."""
    source = node.input_value(1).get_node()
    while source.get_type_name() in ("Multiply", "Subtract", "Reshape", "Convert"):
        source = source.input_value(0).get_node()
    return str(source.get_element_type().get_type_name()) in ("i8", "u8")
