"""A recognizer as one ONNX graph: preprocessing, the network in its form for deployment, probabilities."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from onnx import ModelProto, TensorProto, helper

from clipshift._version import __version__
from clipshift.config import ModelSpec
from clipshift.deployment.onnx_nodes import FLOAT, UINT8, Nodes
from clipshift.deployment.preprocessing import add_preprocessing
from clipshift.engines.exported import METADATA_KEY, InputForm
from clipshift.models.folding import fold_branches
from clipshift.models.recognizer import Recognizer

OPSET = 18
"""Version of ONNX's operators; ONNX Runtime 1.14 and OpenVINO 2023.0 know it."""
_IR_VERSION = 10


def build_onnx(network: Recognizer, spec: ModelSpec, form: InputForm = "frames") -> ModelProto:
    """The ONNX model of a recognizer.

    Args:
        network: In evaluation mode; not changed.
        spec: Its preprocessing, crops and averaging, which go into the graph.
        form: What the graph takes: `frames`, uint8 (B, T, H, W, 3) with B, H and W free, answering `probabilities` and
            `logits`, float32 (B, K); or `clips`, float32 (B, T, 3, crop, crop) with B free, answering `logits`.

    Raises:
        ExportError: The preprocessing cannot be written in ONNX exactly.
        WeightsError: The folded network gives other numbers than the trained one.
    """
    side = spec.input.resize if spec.crops == "three" and form == "frames" else spec.input.crop
    model = _network_to_onnx(network, spec.input.segments, side)
    if form == "frames":
        _add_ends(model, spec)
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version = "clipshift", __version__
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def write_metadata(model: ModelProto, text: str) -> None:
    """Put the text of `model.json` into an ONNX model's metadata."""
    del model.metadata_props[:]
    helper.set_model_props(model, {METADATA_KEY: text})


def _network_to_onnx(network: Recognizer, segments: int, side: int) -> ModelProto:
    """From `clips` (B, T, 3, side, side) to `logits` (B, K); batch norms and parallel branches are folded."""
    deployed = fold_branches(network).cpu().float().eval()
    # Two clips: an axis of length one would be taken for one that never changes.
    example = torch.zeros(2, segments, 3, side, side)
    with _quiet():
        program = torch.onnx.export(
            deployed,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["clips"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("clips", min=1)},),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for node in model.graph.node:  # where in PyTorch's sources a node is from: of no use outside, and long
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    return model


def _add_ends(model: ModelProto, spec: ModelSpec) -> None:
    """Put preprocessing before the network, and averages and probabilities behind it."""
    graph = model.graph
    before, after = Nodes("input/"), Nodes("output/")
    views, count = add_preprocessing(before, "frames", spec.input, spec.crops)
    _rename(model, "clips", views)
    _rename(model, "logits", "view_logits")
    classes = len(spec.classes)
    logits = "view_logits"
    if count > 1:
        logits_BVK = after.reshape(logits, -1, count, classes)
        if spec.average == "probabilities":
            mean = after.add("ReduceMean", after.add("Softmax", logits_BVK, axis=2), after.integer([1]), keepdims=0)
            logits = after.add("Log", mean)
        else:
            logits = after.add("ReduceMean", logits_BVK, after.integer([1]), keepdims=0)
    after.add("Identity", logits, out="logits")
    if spec.labels == "several":
        after.add("Sigmoid", logits, out="probabilities")
    else:
        after.add("Softmax", logits, out="probabilities", axis=-1)

    network = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before.nodes, *network, *after.nodes])
    graph.initializer.extend([*before.constants, *after.constants])
    _drop_unused(model)
    del graph.input[:], graph.output[:]
    frames: list[str | int | None] = ["batch", spec.input.segments, "height", "width", 3]
    graph.input.append(helper.make_tensor_value_info("frames", UINT8, frames))
    for name in ("probabilities", "logits"):
        graph.output.append(helper.make_tensor_value_info(name, FLOAT, ["batch", classes]))


def _rename(model: ModelProto, old: str, new: str) -> None:
    """Give a value another name, wherever it is made or used."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept: list[TensorProto] = [constant for constant in model.graph.initializer if constant.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress and its remarks about itself; its errors come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
