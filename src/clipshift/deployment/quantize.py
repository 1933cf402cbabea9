"""Eight-bit arithmetic for an exported network, with the layers that do not bear it kept in floating point.

nncf measures the ranges of all activations on calibration clips, corrects the biases, and writes weights of eight bits
with a scale for each output channel. Give it networks in their form for deployment
([deployment_form][clipshift.models.deployment.deployment_form]): it does not carry quantisers through the temporal
shift of the trained form, and the convolutions behind it would stay in float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipshift.deployment.onnx_codes import move_codes, weighted_layers
from clipshift.deployment.remarks import errors_only

if TYPE_CHECKING:
    from onnx import ModelProto

Outputs = NDArray[np.float32]
Run = Callable[[NDArray[Any]], Outputs]
"""A model opened by its engine: one input with its batch axis, to logits (B, K)."""

_WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
_LOG = logging.getLogger(__name__)
_RANKED = 8
"""Validation inputs on which the layers are put in the order of their harm."""


@dataclass(frozen=True)
class Quantised:
    """A quantised model.

    Attributes:
        model: Of the same kind as the model that was given.
        kept: Names of the convolutions and linear layers that compute in floating point.
        layers: How many convolutions and linear layers there are.
        score: What `score` said of its outputs.
        score_before: What it said of the given model's.
    """

    model: Any
    kept: tuple[str, ...]
    layers: int
    score: float
    score_before: float


def agreement(reference: Outputs) -> Callable[[Outputs], float]:
    """A score: the share of inputs, in [0, 1], whose best class is that of `reference`, logits (N, K)."""
    best = reference.argmax(axis=1)
    return lambda outputs: float((outputs.argmax(axis=1) == best).mean())


def quantize_openvino(
    model: Any,  # noqa: ANN401 - OpenVINO has no types
    calibration: Sequence[NDArray[Any]],
    validation: Sequence[NDArray[Any]],
    *,
    score: Callable[[Outputs], float],
    least: float,
) -> Quantised:
    """Quantise an `openvino.Model`.

    All weights have seven bits of precision instead of eight: without VNNI, processors add pairs of products in 16
    bits, and saturate. So the file gives the same numbers on all processors, for less loss than saturation costs.

    Args:
        model: In float32, from clips, its only input, to logits, its only output; not changed.
        calibration: Inputs as the model takes them, with their batch axis. Some 100 to 300 clips of the training set.
        validation: Inputs of one clip each on which the loss is judged.
        score: Says how good outputs are, logits (N, K) of the validation inputs in their order; more is better. For
            example [agreement][clipshift.deployment.quantize.agreement] with the model that is given.
        least: The least score that is good enough. Until it is reached, layers go back to floating point, one after
            the other, first those that change the logits most.

    Raises:
        ValueError: The given model itself does not reach `least`, or there are no inputs.
    """
    import openvino

    from clipshift.engines.openvino import signal_stack_kept, the_core

    def open_model(model: Any) -> Run:  # noqa: ANN401
        compiled = model
        if isinstance(model, openvino.Model):
            compiled = the_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda inputs: np.asarray(compiled([inputs])[0])

    with signal_stack_kept():  # nncf starts many cores
        quantised = _quantize(_with_whole_biases(model), open_model, calibration, validation, score=score, least=least)
    weighted = [node for node in quantised.model.get_ordered_ops() if node.get_type_name() in _WEIGHTED]
    kept = tuple(node.get_friendly_name() for node in weighted if not _has_integer_weights(node))
    return replace(quantised, kept=kept, layers=len(weighted))


def quantize_onnx(
    model: ModelProto,
    calibration: Sequence[NDArray[Any]],
    validation: Sequence[NDArray[Any]],
    *,
    score: Callable[[Outputs], float],
    least: float,
) -> Quantised:
    """Quantise an ONNX model for ONNX Runtime, which also judges it.

    Arguments and errors are those of [quantize_openvino][clipshift.deployment.quantize.quantize_openvino], and weights
    have seven bits for the same reason.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    name = model.graph.input[0].name

    def open_model(model: ModelProto) -> Run:
        text = move_codes(model).SerializeToString()
        session = onnxruntime.InferenceSession(text, settings, providers=["CPUExecutionProvider"])
        return lambda inputs: np.asarray(session.run(None, {name: inputs})[0])

    quantised = _quantize(
        model, open_model, calibration, validation, score=score, least=least, measured=lambda clips: {name: clips}
    )
    whole = move_codes(quantised.model)
    layers, kept = weighted_layers(whole)
    return replace(quantised, model=whole, kept=tuple(kept), layers=len(layers))


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


def _quantize(
    model: Any,  # noqa: ANN401
    open_model: Callable[[Any], Run],
    calibration: Sequence[NDArray[Any]],
    validation: Sequence[NDArray[Any]],
    *,
    score: Callable[[Outputs], float],
    least: float,
    measured: Callable[[NDArray[Any]], Any] = lambda clips: clips,
) -> Quantised:
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedAccuracyRestorerParameters,
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )

    if not calibration or not validation:
        raise ValueError("quantising needs inputs to measure ranges on, and inputs to judge by")

    def outputs_of(model: Any, numbers: Iterable[int] | None = None) -> list[Outputs]:  # noqa: ANN401
        run = open_model(model)
        chosen = range(len(validation)) if numbers is None else numbers
        return [run(validation[number]) for number in chosen]

    exact = outputs_of(model)
    warned = False

    def judge(model: Any, numbers: Iterable[int]) -> tuple[float, list[float]]:  # noqa: ANN401
        """The score of all inputs and, to choose layers by, how near the logits of each are to the given model's.

        Asked for a few inputs, with one layer in floating point: the nearer the logits are, the more does that help.
        (nncf can also compare logits itself, for OpenVINO alone, and takes back first the layer that helps least.)
        """
        nonlocal warned
        chosen = list(numbers)
        found = outputs_of(model, chosen)
        nearness = [_nearness(logits, exact[number]) for logits, number in zip(found, chosen, strict=True)]
        if len(chosen) < len(validation):
            return float(np.mean(nearness)), nearness
        scored = score(np.concatenate(found))
        if scored < least and not warned:
            _LOG.warning(
                "With all layers in int8 the score is %.3f, at least %.3f is asked for. Layers go back to float32, one "
                "after the other, until it holds; that can take minutes.",
                scored,
                least,
            )
            warned = True
        return scored, nearness

    before = score(np.concatenate(exact))
    if before < least:
        raise ValueError(f"the model that is to be quantised scores {before}, less than {least}")
    # Not `nncf.set_log_level`, which changes the levels of all handlers that somebody gave its logger, for good.
    with errors_only("nncf"):
        quantised = nncf.quantize_with_accuracy_control(
            model,
            nncf.Dataset(calibration, measured),
            nncf.Dataset(range(len(validation)), lambda number: validation[number]),
            validation_fn=judge,
            max_drop=before - least,
            subset_size=len(calibration),
            # Zero points let signed activations, those of leaky ReLU, use the whole of their eight bits.
            preset=nncf.QuantizationPreset.MIXED,
            advanced_quantization_parameters=AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE,
                # One scale for all channels of a map, also before depthwise convolutions: only so has the shift's
                # convolution, which is one, the scale of the channels that stay.
                activations_quantization_params=QuantizationParameters(per_channel=False),
            ),
            advanced_accuracy_restorer_parameters=AdvancedAccuracyRestorerParameters(
                ranking_subset_size=min(_RANKED, len(validation))
            ),
        )
    return Quantised(quantised, (), 0, score(np.concatenate(outputs_of(quantised))), before)


def _nearness(logits: Outputs, exact: Outputs) -> float:
    """Minus the squared error, in parts of the exact logits' squares: 0 where they are equal, else below."""
    return -float(np.square(logits - exact).sum() / np.square(exact).sum())
