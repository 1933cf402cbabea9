"""A quantised ONNX network in the form that ONNX Runtime executes in eight bits throughout.

Quantising leaves a graph in float32 with pairs of `QuantizeLinear` and `DequantizeLinear` in it. ONNX Runtime takes a
convolution for one of integers if all of its inputs come straight from `DequantizeLinear`, its output goes straight to
`QuantizeLinear` and codes have the same type before and behind it; else, with any other operator in between, it
computes in float32, without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

_MOVING = ("Concat", "Identity", "MaxPool", "Reshape", "Split", "Transpose")
"""What gives the same numbers for codes as for what they stand for: it moves them, or picks the largest."""
_WEIGHTED = ("Conv", "Gemm", "MatMul")

_Codes = tuple[float, int]
"""Unsigned codes of eight bits, one set for a tensor: their scale, and the code of 0."""


def move_codes(model: ModelProto) -> ModelProto:
    """Give all features unsigned codes and convolutions integer biases, and let what only moves features move codes.

    The temporal shift of the deployment form, for one, splits, permutes and joins features; here it does so in eight
    bits, and the convolution behind it finds codes. Activations that engines do not join with the layer before
    them get codes of their own in front, and what is joined gets the same codes. The numbers stay, up to these
    roundings: of biases to the scale of the sums that they are added to, of what enters such an activation, of the
    gate in a hard swish, and of what is joined with something that has a wider range.

    Args:
        model: With one scale for all codes of a tensor of features, and one for each output channel of weights; not
            changed.
    """
    moved = ModelProto()
    moved.CopyFrom(model)
    _make_unsigned(moved)
    _average_in_codes(moved)
    _quantise_before_activations(moved)
    _unify_joined_codes(moved)
    constants = {constant.name: numpy_helper.to_array(constant) for constant in moved.graph.initializer}
    nodes = list(_with_integer_biases(_with_moved_codes(moved.graph.node, constants), moved, constants))
    used = {name for node in nodes for name in node.input} | {value.name for value in moved.graph.output}
    del moved.graph.node[:]
    del moved.graph.value_info[:]  # types of what is no more
    moved.graph.node.extend(node for node in nodes if used.intersection(node.output))
    _drop_unused_constants(moved)
    return moved


def weighted_layers(model: ModelProto) -> tuple[list[str], list[str]]:
    """The names of all convolutions and linear layers, and of those whose weights are not integers."""
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    weighted = [node for node in model.graph.node if node.op_type in _WEIGHTED]
    kept = [node.name for node in weighted if made_by.get(node.input[1]) != "DequantizeLinear"]
    return [node.name for node in weighted], kept


def _drop_unused_constants(model: ModelProto) -> None:
    """Leave out what no node reads any more, the biases in float32 for one: ONNX Runtime warns of each."""
    read = {name for node in model.graph.node for name in node.input}
    constants = [constant for constant in model.graph.initializer if constant.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def _make_unsigned(model: ModelProto) -> None:
    """Let the codes of features run from 0 to 255 in place of -128 to 127: the same numbers, and one type for all."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for name in {node.input[2] for node in quantisers if node.input[0] not in constants}:  # features, not weights
        zero = numpy_helper.to_array(constants[name])
        if zero.dtype == np.int8:
            unsigned = (zero.astype(np.int16) + 128).astype(np.uint8)
            constants[name].CopyFrom(numpy_helper.from_array(unsigned, name))


def _average_in_codes(model: ModelProto) -> None:
    """Let means over height and width, as in squeeze and excitation, be the operator that has a form for codes."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            continue
        keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        if keeps and sorted(numpy_helper.to_array(constants[node.input[1]]).tolist()) in ([2, 3], [-2, -1]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]


def _quantise_before_activations(model: ModelProto) -> None:
    """Let leaky ReLUs and hard swishes go from codes to codes, so that what is in front of them ends in codes."""
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        behind = readers.get(node.output[0], []) if node.op_type in ("LeakyRelu", "HardSwish") else []
        if len(behind) != 1 or behind[0].op_type != "QuantizeLinear" or len(readers[node.input[0]]) != 1:
            model.graph.node.append(node)
            continue
        scale, zero = (constants[name] for name in behind[0].input[1:])
        entering = node.input[0]
        if node.op_type == "LeakyRelu":
            node.input[0] = _add_codes(model, entering, _codes_before_leaky_relu(node, float(scale), int(zero)))
            model.graph.node.append(node)
        else:
            codes = _codes_before_hard_swish((255 - int(zero)) * float(scale))
            _add_hard_swish(model, _add_codes(model, entering, codes), node.output[0])


def _add_codes(model: ModelProto, name: str, rounded: _Codes, *, read: _Codes | None = None) -> str:
    """Append what rounds a tensor to codes and reads them, by default as what they were; the name of what was read."""
    codes, dequantised = f"{name}_codes", f"{name}_dequantised"
    rounds = _add_scale_and_zero(model, name, rounded)
    reads = rounds if read is None else _add_scale_and_zero(model, dequantised, read)
    model.graph.node.append(helper.make_node("QuantizeLinear", [name, *rounds], [codes], name=codes))
    model.graph.node.append(helper.make_node("DequantizeLinear", [codes, *reads], [dequantised], name=dequantised))
    return dequantised


def _add_scale_and_zero(model: ModelProto, name: str, codes: _Codes) -> list[str]:
    names = [f"{name}_scale", f"{name}_zero"]
    model.graph.initializer.append(numpy_helper.from_array(np.array(codes[0], np.float32), names[0]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(codes[1], np.uint8), names[1]))
    return names


def _codes_before_leaky_relu(activation: NodeProto, scale: float, zero: int) -> _Codes:
    """What enters has these, if what leaves has codes of this scale and zero point.

    They cover all that has a code of its own behind, and begin where the last negative code does: what is less ends
    there anyway.
    """
    greatest = (255 - zero) * scale
    (slope,) = (attribute.f for attribute in activation.attribute if attribute.name == "alpha")
    least = -max(0.0, zero - 0.5) * scale / slope
    step = (greatest - least) / 254  # and not 255: 0 has a code, and both ends keep theirs
    return step, math.ceil(-least / step)


_BEND = 3.0
"""A hard swish of x is 0 for all x below minus this, x from this on, and x (x + 3) / 6 between."""


def _codes_before_hard_swish(greatest: float) -> _Codes:
    """What enters has these, if this is the greatest number that leaves.

    Code 0 is where a hard swish starts, exactly: less is the same for it, and its gate has nothing below to clip.
    """
    if greatest < _BEND:
        greatest = (math.sqrt(_BEND**2 + 8 * _BEND * greatest) - _BEND) / 2  # what is entered for it
    zero = max(1, math.floor(255 * _BEND / (_BEND + greatest)))
    return _BEND / zero, zero


def _add_hard_swish(model: ModelProto, entering: str, leaving: str) -> None:
    """Append a hard swish as x times its gate, (x + 3) / 6 from 0 to 1, both in codes.

    The gate needs no arithmetic: it is x in codes that end at 3, read with another scale and zero point, so that
    code 1, which is -3, is read as 0, and code 255, which is 3 and more, as 1. In between is a leaky ReLU that changes
    nothing: ONNX Runtime has one from codes to codes, and nothing that only changes codes.
    """
    gate = f"{leaving}_gate"
    model.graph.node.append(helper.make_node("LeakyRelu", [entering], [gate], name=gate, alpha=1.0))
    gate = _add_codes(model, gate, (_BEND / 127, 128), read=(1 / 254, 1))
    model.graph.node.append(helper.make_node("Mul", [entering, gate], [leaving], name=f"{leaving}_product"))


def _unify_joined_codes(model: ModelProto) -> None:
    """Give all parts of what is joined the codes of the range that has them all."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}

    def codes_of(name: str) -> tuple[str, str] | None:
        """The names of scale and zero point of what only moved since it was dequantised."""
        node = made_by.get(name)
        while node is not None and node.op_type in _MOVING and node.op_type != "Concat":
            node = made_by.get(node.input[0])
        return (node.input[1], node.input[2]) if node is not None and node.op_type == "DequantizeLinear" else None

    groups: list[set[tuple[str, str]]] = []
    for node in model.graph.node:
        found = [codes_of(name) for name in node.input] if node.op_type == "Concat" else []
        parts = {codes for codes in found if codes is not None}
        if len(parts) < 2 or None in found:
            continue
        for group in [group for group in groups if group & parts]:  # a part may be joined in several places
            groups.remove(group)
            parts |= group
        groups.append(parts)
    for group in groups:
        codes = [[numpy_helper.to_array(constants[name]).astype(np.float64) for name in names] for names in group]
        if any(scale.size != 1 for scale, _ in codes):
            continue  # scales by the channel belong to weights
        least = min(float(-zero * scale) for scale, zero in codes)
        greatest = max(float((255 - zero) * scale) for scale, zero in codes)
        step = (greatest - least) / 255
        shared: list[NDArray[Any]] = [np.array(step, np.float32), np.array(np.rint(-least / step), np.uint8)]
        for names in group:
            for name, value in zip(names, shared, strict=True):
                constants[name].CopyFrom(numpy_helper.from_array(value, name))


def _with_moved_codes(nodes: Iterable[NodeProto], constants: dict[str, NDArray[Any]]) -> Iterator[NodeProto]:
    dequantised: dict[str, NodeProto] = {}
    for node in nodes:
        yield node
        if node.op_type == "DequantizeLinear":
            dequantised[node.output[0]] = node
        if node.op_type not in _MOVING:
            continue
        data = node.input if node.op_type == "Concat" else node.input[:1]
        sources = [dequantised[name] for name in data if name in dequantised]
        if len(sources) < len(data) or not _same_codes(sources, constants):
            continue
        for place, source in enumerate(sources):
            node.input[place] = source.input[0]
        for place, name in enumerate(node.output):
            node.output[place] = f"{name}_codes"
            behind = [f"{name}_codes", *sources[0].input[1:]]
            dequantised[name] = helper.make_node("DequantizeLinear", behind, [name], name=f"{name}_dequantised")
            yield dequantised[name]


def _same_codes(sources: list[NodeProto], constants: dict[str, NDArray[Any]]) -> bool:
    """Whether codes of all of these mean the same number, and do not differ by channel."""
    first = [constants[name] for name in sources[0].input[1:]]
    return all(
        np.array_equal(constants[name], value) and value.dtype == constants[name].dtype and value.size == 1
        for source in sources
        for name, value in zip(source.input[1:], first, strict=True)
    )


def _with_integer_biases(
    nodes: Iterable[NodeProto], model: ModelProto, constants: dict[str, NDArray[Any]]
) -> Iterator[NodeProto]:
    scales: dict[str, NDArray[Any]] = {}
    for node in nodes:
        if node.op_type == "DequantizeLinear":
            scales[node.output[0]] = constants[node.input[1]]
        if node.op_type == "Conv" and len(node.input) == 3 and all(name in scales for name in node.input[:2]):
            # A product of codes stands for the product of their scales; sums of products and the bias share it.
            scale = np.asarray(scales[node.input[0]] * scales[node.input[1]], np.float32)
            codes = np.rint(constants[node.input[2]].astype(np.float64) / scale)
            if np.abs(codes).max() < 2**31:  # else the layer stays as it is, which is slower, not wrong
                # By the layer: layers may share a bias, and each needs it in its own scale.
                names = [f"{node.output[0]}_bias_{what}" for what in ("codes", "scale", "dequantised")]
                model.graph.initializer.append(numpy_helper.from_array(codes.astype(np.int32), names[0]))
                model.graph.initializer.append(numpy_helper.from_array(np.broadcast_to(scale, codes.shape), names[1]))
                yield helper.make_node("DequantizeLinear", names[:2], names[2:], name=names[2], axis=0)
                node.input[2] = names[2]
        yield node
