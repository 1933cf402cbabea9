"""A recognizer as one ONNX graph: preprocessing, the network in its form for deployment, probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import onnx
import onnx.compose
import torch
from onnx import ModelProto, ValueInfoProto, helper
from torch import nn

from clipshift._version import __version__
from clipshift.config import ModelSpec
from clipshift.exporting.log_filters import errors_only
from clipshift.inference.export_folder import METADATA_KEY
from clipshift.models.engine_form import engine_form
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.graph import add_preprocessing
from clipshift.preprocessing.onnx_nodes import FLOAT, UINT8, Nodes
from clipshift.preprocessing.transforms import VIEWS

OPSET = 18
"""Version of ONNX's operators; ONNX Runtime 1.14 and OpenVINO 2023.0 know it."""
_IR_VERSION = 10


def add_ends(network: ModelProto, spec: ModelSpec) -> ModelProto:
    """Put preprocessing before a network and averages and probabilities behind it: frames to both answers."""
    seen = onnx.compose.merge_models(preprocessing_to_onnx(spec), network, io_map=[("views", "clips")])
    # A name that both ends of the graph would have.
    _rename(seen, "logits", "view_logits")
    seen.graph.output[0].name = "view_logits"
    whole = onnx.compose.merge_models(seen, answers_to_onnx(spec), io_map=[("view_logits", "view_logits")])
    return finish(whole)


def add_frame_input(network: ModelProto, spec: ModelSpec) -> ModelProto:
    """Put the preprocessing of a frame, uint8 (B, H, W, 3), before the input `pixels` of a streaming network."""
    return finish(
        onnx.compose.merge_models(frame_preprocessing_to_onnx(spec), network, io_map=[("input/view", "pixels")])
    )


def halve(network: ModelProto) -> ModelProto:
    """A network in float16, with an input and an output in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    halved = OnnxModel(convert_float_to_float16(network, keep_io_types=True))
    halved.topological_sort()  # the conversion puts its casts at the end
    return finish(halved.model)


def write_metadata(model: ModelProto, text: str) -> None:
    """Put the text of `model.json` into an ONNX model's metadata."""
    del model.metadata_props[:]
    helper.set_model_props(model, {METADATA_KEY: text})


def network_to_onnx(network: Recognizer, spec: ModelSpec) -> ModelProto:
    """From `clips` (B, T, 3, side, side) to `logits` (B, K); batch norms and parallel branches are folded.

    Args:
        network: In evaluation mode; not changed.
        spec: Gives the number of frames and the side.
    """
    # Two clips: an axis of length one would be taken for one that never changes.
    example = torch.zeros(2, spec.input.segments, 3, spec.side, spec.side)
    return module_to_onnx(engine_form(network).cpu().float(), {"clips": example}, ["logits"], first_axis="batch")


def module_to_onnx(
    module: nn.Module, takes: Mapping[str, torch.Tensor], gives: Sequence[str], *, first_axis: str
) -> ModelProto:
    """A module as an ONNX graph, all of whose inputs and outputs have the same free first axis.

    Args:
        module: Is set to evaluation, and its weights to need no gradients, which exporters would prepare.
        takes: An example of each input, by the name that it gets; the first axis longer than 1. A module of several
            inputs takes the first as such, and the others as `*others`.
        gives: Names for the outputs.
        first_axis: The name of the free axis.
    """
    axis = {0: torch.export.Dim(first_axis, min=1)}
    first, *others = (axis for _ in takes)
    with errors_only("torch.onnx"), warnings.catch_warnings():  # the exporter speaks of its own work
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval().requires_grad_(requires_grad=False),
            tuple(takes.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(takes),
            output_names=list(gives),
            dynamic_shapes=(first, tuple(others)) if others else (first,),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = first_axis
    for node in model.graph.node:  # where in PyTorch's sources a node is from: of no use outside, and long
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    return finish(model)


def preprocessing_to_onnx(spec: ModelSpec) -> ModelProto:
    """From `frames` uint8 (B, T, H, W, 3) to `views` float32 (B V, T, 3, side, side)."""
    nodes = Nodes("input/")
    views, _ = add_preprocessing(nodes, nodes.value("frames", UINT8), spec.input, spec.crops)
    nodes.add("Identity", views, out="views")
    side, segments = spec.side, spec.input.segments
    takes = _value("frames", UINT8, "batch", segments, "height", "width", 3)
    return _model("preprocessing", nodes, [takes], [_value("views", FLOAT, "views", segments, 3, side, side)])


def frame_preprocessing_to_onnx(spec: ModelSpec) -> ModelProto:
    """From `frame` uint8 (B, H, W, 3), of B streams, to its center crop `input/view` float32 (B, 3, side, side)."""
    nodes = Nodes("input/")
    clips_B1HWC = nodes.value("frame", UINT8).expand(1)
    one_frame = spec.input.model_copy(update={"segments": 1})
    views, _ = add_preprocessing(nodes, clips_B1HWC, one_frame, "center")
    nodes.add("Squeeze", views, nodes.integer([1]), out="input/view")
    takes = _value("frame", UINT8, "streams", "height", "width", 3)
    return _model("preprocessing", nodes, [takes], [_value("input/view", FLOAT, "streams", 3, spec.side, spec.side)])


def answers_to_onnx(spec: ModelSpec) -> ModelProto:
    """From `view_logits` (B V, K) to `probabilities` and `logits`, float32 (B, K)."""
    nodes = Nodes("output/")
    classes, views = len(spec.classes), VIEWS[spec.crops]
    logits = nodes.value("view_logits", FLOAT)
    if views > 1:
        logits_BVK = logits.reshape(-1, views, classes)
        if spec.average == "probabilities":
            chances = nodes.add("Softmax", logits_BVK, axis=2)
            logits = nodes.add("Log", nodes.add("ReduceMean", chances, nodes.integer([1]), keepdims=0))
        else:
            logits = nodes.add("ReduceMean", logits_BVK, nodes.integer([1]), keepdims=0)
    nodes.add("Identity", logits, out="logits")
    if spec.temperature != 1:
        logits = nodes.add("Div", logits, nodes.constant(spec.temperature, FLOAT))
    if spec.labels == "several":
        nodes.add("Sigmoid", logits, out="probabilities")
    else:
        nodes.add("Softmax", logits, out="probabilities", axis=-1)
    gives = [_value(name, FLOAT, "batch", classes) for name in ("probabilities", "logits")]
    return _model("answers", nodes, [_value("view_logits", FLOAT, "views", classes)], gives)


def _value(name: str, kind: int, *shape: str | int | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def _model(name: str, nodes: Nodes, takes: list[ValueInfoProto], gives: list[ValueInfoProto]) -> ModelProto:
    used = {name for node in nodes.nodes for name in node.input}
    constants = [constant for constant in nodes.constants if constant.name in used]
    graph = helper.make_graph(nodes.nodes, name, takes, gives, constants)
    return finish(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def finish(model: ModelProto) -> ModelProto:
    """Sign a model and check it, in place."""
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version = "clipshift", __version__
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _rename(model: ModelProto, old: str, new: str) -> None:
    """Give a value another name, wherever it is made or used."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
