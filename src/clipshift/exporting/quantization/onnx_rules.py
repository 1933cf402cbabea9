"""A quantized ONNX network in the form that ONNX Runtime executes in eight bits throughout: rules, one after the other.

Quantizing leaves a graph in float32 with pairs of `QuantizeLinear` (Q) and `DequantizeLinear` (DQ) in it. ONNX Runtime
takes a convolution for one of integers if all of its inputs come straight from DQ, its output goes straight to Q and
the quantized values have the same type before and behind it; else, with any other operator in between, it computes in
float32, without a word. Each rule below changes one pattern, which its docstring draws before and after.

onnxscript's rewriter is not used: its patterns are of fixed numbers of nodes, while these rules ask who else reads a
value, walk back through any number of moves, and join what several places share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_MOVING = ("Concat", "Identity", "MaxPool", "Reshape", "Split", "Transpose")
"""What gives the same numbers for quantized values as for what they stand for: it moves them, or picks the largest."""

Quantization = tuple[float, int]
"""Of unsigned values of eight bits, one for a tensor: their scale, and the value that stands for 0 (zero point)."""


def in_integers(model: ModelProto) -> ModelProto:
    """Apply all rules.

    The numbers stay, up to these roundings: of biases to the scale of the sums that they are added to, of what enters
    an activation that gets Q and DQ in front, of the gate in a hard swish, and of what is joined with something that
    has a wider range.

    Args:
        model: With one scale for all values of a tensor of features, and one for each output channel of weights; not
            changed.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    for rule in RULES:
        rule(changed)
    return changed


def make_features_unsigned(model: ModelProto) -> None:
    """Let quantized features run from 0 to 255 in place of -128 to 127: the same numbers, and one type for all.

    Before: `Q(x, scale, zero: int8)`. After: `Q(x, scale, zero + 128: uint8)`; weights stay as they are.
    """
    constants = _initializers(model)
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for name in {node.input[2] for node in quantizers if node.input[0] not in constants}:  # features, not weights
        zero = numpy_helper.to_array(constants[name])
        if zero.dtype == np.int8:
            unsigned = (zero.astype(np.int16) + 128).astype(np.uint8)
            constants[name].CopyFrom(numpy_helper.from_array(unsigned, name))


def pool_means(model: ModelProto) -> None:
    """Let means over height and width, as in squeeze and excitation, be the operator that has a form for integers.

    Before: `ReduceMean(x, axes=(2, 3), keepdims=1)`. After: `GlobalAveragePool(x)`.
    """
    constants = _initializers(model)
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            continue
        keeps = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
        if keeps and sorted(numpy_helper.to_array(constants[node.input[1]]).tolist()) in ([2, 3], [-2, -1]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]


def quantize_before_activations(model: ModelProto) -> None:
    """Let leaky ReLUs and hard swishes go from integers to integers, so that what is in front of them ends in integers.

    Before: `x -> LeakyRelu -> Q`. After: `x -> Q -> DQ -> LeakyRelu -> Q`.
    Before: `x -> HardSwish -> Q`. After: `x -> Q -> DQ -> Mul(., gate) -> Q`, see `_add_hard_swish`.

    Only where nothing else reads `x` or the activation.
    """
    constants = _arrays(model)
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
            quantization = _quantization_before_leaky_relu(node, float(scale), int(zero))
            node.input[0] = _add_quantization(model, entering, quantization)
            model.graph.node.append(node)
        else:
            quantization = _quantization_before_hard_swish((255 - int(zero)) * float(scale))
            _add_hard_swish(model, _add_quantization(model, entering, quantization), node.output[0])


def share_quantization_at_joins(model: ModelProto) -> None:
    """Give all parts of what is joined the scale and zero point of the range that has them all.

    Before: `Concat(DQ(a, s1, z1), DQ(b, s2, z2))`. After: `Concat(DQ(a, s, z), DQ(b, s, z))`, and so in the Qs of a, b.
    """
    constants = _initializers(model)
    for group in _joined_quantizations(model):
        parts = [[numpy_helper.to_array(constants[name]).astype(np.float64) for name in names] for names in group]
        if any(scale.size != 1 for scale, _ in parts):
            continue  # scales by the channel belong to weights
        least = min(float(-zero * scale) for scale, zero in parts)
        greatest = max(float((255 - zero) * scale) for scale, zero in parts)
        step = (greatest - least) / 255
        shared: list[NDArray[Any]] = [np.array(step, np.float32), np.array(np.rint(-least / step), np.uint8)]
        for names in group:
            for name, value in zip(names, shared, strict=True):
                constants[name].CopyFrom(numpy_helper.from_array(value, name))


def move_integers(model: ModelProto) -> None:
    """Let what only moves features, as the temporal shift does, move integers: the convolution behind finds DQ.

    Before: `q -> DQ -> Split (Transpose, Concat ...) -> Conv`. After: `q -> Split -> DQ -> Conv`.
    """
    constants = _arrays(model)
    nodes: list[NodeProto] = []
    dequantized: dict[str, NodeProto] = {}
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type == "DequantizeLinear":
            dequantized[node.output[0]] = node
        if node.op_type not in _MOVING:
            continue
        data = node.input if node.op_type == "Concat" else node.input[:1]
        sources = [dequantized[name] for name in data if name in dequantized]
        if len(sources) < len(data) or not _same_quantization(sources, constants):
            continue
        for place, source in enumerate(sources):
            node.input[place] = source.input[0]
        for place, name in enumerate(node.output):
            node.output[place] = f"{name}_quantized"
            behind = [f"{name}_quantized", *sources[0].input[1:]]
            dequantized[name] = helper.make_node("DequantizeLinear", behind, [name], name=f"{name}_dequantized")
            nodes.append(dequantized[name])
    _replace_nodes(model, nodes)


def quantize_biases(model: ModelProto) -> None:
    """Give convolutions integer biases.

    Before: `Conv(DQ(x, s), DQ(w, t), bias)`. After: `Conv(DQ(x, s), DQ(w, t), DQ(round(bias / (s t)): int32, s t))`.

    A product of quantized values stands for the product of their scales; sums of products and the bias share it.
    """
    constants = _arrays(model)
    nodes: list[NodeProto] = []
    scales: dict[str, NDArray[Any]] = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            scales[node.output[0]] = constants[node.input[1]]
        if node.op_type == "Conv" and len(node.input) == 3 and all(name in scales for name in node.input[:2]):
            scale = np.asarray(scales[node.input[0]] * scales[node.input[1]], np.float32)
            bias = np.rint(constants[node.input[2]].astype(np.float64) / scale)
            if np.abs(bias).max() < 2**31:  # else the layer stays as it is, which is slower, not wrong
                # By the layer: layers may share a bias, and each needs it in its own scale.
                names = [f"{node.output[0]}_bias_{what}" for what in ("quantized", "scale", "dequantized")]
                model.graph.initializer.append(numpy_helper.from_array(bias.astype(np.int32), names[0]))
                model.graph.initializer.append(numpy_helper.from_array(np.broadcast_to(scale, bias.shape), names[1]))
                nodes.append(helper.make_node("DequantizeLinear", names[:2], names[2:], name=names[2], axis=0))
                node.input[2] = names[2]
        nodes.append(node)
    _replace_nodes(model, nodes)


def drop_unused(model: ModelProto) -> None:
    """Leave out what nothing reads any more, the biases in float32 for one: ONNX Runtime warns of each.

    Before: `DQ -> nothing`, constants without a reader. After: neither.
    """
    used = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    _replace_nodes(model, [node for node in model.graph.node if used.intersection(node.output)])
    read = {name for node in model.graph.node for name in node.input}
    constants = [constant for constant in model.graph.initializer if constant.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


RULES: tuple[Callable[[ModelProto], None], ...] = (
    make_features_unsigned,
    pool_means,
    quantize_before_activations,
    share_quantization_at_joins,
    move_integers,
    quantize_biases,
    drop_unused,
)
"""In this order: an activation's new quantization may be part of a join, and only what moved shows a bias its scale."""


def _initializers(model: ModelProto) -> dict[str, TensorProto]:
    return {constant.name: constant for constant in model.graph.initializer}


def _arrays(model: ModelProto) -> dict[str, NDArray[Any]]:
    return {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}


def _replace_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    del model.graph.node[:]
    del model.graph.value_info[:]  # types of what is no more
    model.graph.node.extend(nodes)


def _add_quantization(model: ModelProto, name: str, rounded: Quantization, *, read: Quantization | None = None) -> str:
    """Append Q and DQ of a tensor, DQ by default with the numbers of Q; the name of what DQ gives."""
    quantized, dequantized = f"{name}_quantized", f"{name}_dequantized"
    rounds = _add_scale_and_zero(model, name, rounded)
    reads = rounds if read is None else _add_scale_and_zero(model, dequantized, read)
    model.graph.node.append(helper.make_node("QuantizeLinear", [name, *rounds], [quantized], name=quantized))
    model.graph.node.append(helper.make_node("DequantizeLinear", [quantized, *reads], [dequantized], name=dequantized))
    return dequantized


def _add_scale_and_zero(model: ModelProto, name: str, quantization: Quantization) -> list[str]:
    names = [f"{name}_scale", f"{name}_zero"]
    model.graph.initializer.append(numpy_helper.from_array(np.array(quantization[0], np.float32), names[0]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(quantization[1], np.uint8), names[1]))
    return names


def _quantization_before_leaky_relu(activation: NodeProto, scale: float, zero: int) -> Quantization:
    """Of what enters, if what leaves has this scale and zero point.

    It covers all that has a value of its own behind, and begins where the last negative value does: what is less ends
    there anyway.
    """
    greatest = (255 - zero) * scale
    (slope,) = (attribute.f for attribute in activation.attribute if attribute.name == "alpha")
    least = -max(0.0, zero - 0.5) * scale / slope
    step = (greatest - least) / 254  # and not 255: 0 has a value, and both ends keep theirs
    return step, math.ceil(-least / step)


_BEND = 3.0
"""A hard swish of x is 0 for all x below minus this, x from this on, and x (x + 3) / 6 between."""


def _quantization_before_hard_swish(greatest: float) -> Quantization:
    """Of what enters, if this is the greatest number that leaves.

    Value 0 is where a hard swish starts, exactly: less is the same for it, and its gate has nothing below to clip.
    """
    if greatest < _BEND:
        greatest = (math.sqrt(_BEND**2 + 8 * _BEND * greatest) - _BEND) / 2  # what is entered for it
    zero = max(1, math.floor(255 * _BEND / (_BEND + greatest)))
    return _BEND / zero, zero


def _add_hard_swish(model: ModelProto, entering: str, leaving: str) -> None:
    """Append a hard swish as x times its gate, (x + 3) / 6 from 0 to 1, both quantized.

    The gate needs no arithmetic: it is x in values that end at 3, read with another scale and zero point, so that
    value 1, which is -3, is read as 0, and value 255, which is 3 and more, as 1. In between is a leaky ReLU that
    changes nothing: ONNX Runtime has one from integers to integers, and nothing that only changes their scale.
    """
    gate = f"{leaving}_gate"
    model.graph.node.append(helper.make_node("LeakyRelu", [entering], [gate], name=gate, alpha=1.0))
    gate = _add_quantization(model, gate, (_BEND / 127, 128), read=(1 / 254, 1))
    model.graph.node.append(helper.make_node("Mul", [entering, gate], [leaving], name=f"{leaving}_product"))


def _joined_quantizations(model: ModelProto) -> Iterator[set[tuple[str, str]]]:
    """Groups of the names of scale and zero point whose tensors are joined, directly or through what they share."""
    made_by = {name: node for node in model.graph.node for name in node.output}

    def quantization_of(name: str) -> tuple[str, str] | None:
        """The names of scale and zero point of what only moved since it was dequantized."""
        node = made_by.get(name)
        while node is not None and node.op_type in _MOVING and node.op_type != "Concat":
            node = made_by.get(node.input[0])
        return (node.input[1], node.input[2]) if node is not None and node.op_type == "DequantizeLinear" else None

    groups: list[set[tuple[str, str]]] = []
    for node in model.graph.node:
        found = [quantization_of(name) for name in node.input] if node.op_type == "Concat" else []
        parts = {names for names in found if names is not None}
        if len(parts) < 2 or None in found:
            continue
        for group in [group for group in groups if group & parts]:  # a part may be joined in several places
            groups.remove(group)
            parts |= group
        groups.append(parts)
    yield from groups


def _same_quantization(sources: list[NodeProto], constants: dict[str, NDArray[Any]]) -> bool:
    """Whether values of all of these mean the same number, and do not differ by channel."""
    first = [constants[name] for name in sources[0].input[1:]]
    return all(
        np.array_equal(constants[name], value) and value.dtype == constants[name].dtype and value.size == 1
        for source in sources
        for name, value in zip(source.input[1:], first, strict=True)
    )
