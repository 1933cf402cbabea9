from __future__ import annotations

import ctypes
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from clipshift.config import InputConfig, ModelSpec
from clipshift.config.schema import ModelConfig
from clipshift.exporting.onnx_graph import network_to_onnx
from clipshift.exporting.quantization.accuracy_control import Demands, TooManyExcludedError, agreement
from clipshift.exporting.quantization.onnx import quantize_onnx
from clipshift.exporting.quantization.onnx_rules import in_integers
from clipshift.exporting.quantization.openvino import quantize_openvino
from clipshift.inference.engines.openvino import the_core
from clipshift.models import Recognizer
from clipshift.models.backbones import Activation
from clipshift.models.engine_form import engine_form

pytestmark = pytest.mark.slow

openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def clips() -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return [random.standard_normal((1, 4, 3, 32, 32)).astype(np.float32) for _ in range(12)]


MODEL = ModelConfig(backbone="test_resnet", pretrained=False)
SPEC = ModelSpec(
    clipshift="0", model=MODEL, input=InputConfig(segments=4, crop=32, resize=36), classes=("a", "b", "c", "d", "e")
)


def small_network(config: ModelConfig = MODEL) -> Recognizer:
    return Recognizer(
        config,
        segments=4,
        classes=5,
        generator=torch.Generator().manual_seed(1),
    ).eval()


@pytest.fixture(scope="module")
def model(clips: list[NDArray[np.float32]]) -> Any:  # noqa: ANN401
    """A TSM as an OpenVINO model."""
    network = small_network()
    example = torch.zeros(2, 4, 3, 32, 32)
    model = openvino.convert_model(
        torch.export.export(engine_form(network), (example,), dynamic_shapes=({0: torch.export.Dim("b")},))
    )
    model.reshape([-1, 4, 3, 32, 32])
    return model


def _logits(model: Any, clips: list[NDArray[np.float32]]) -> NDArray[np.float32]:  # noqa: ANN401
    compiled = the_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled([clip])[0] for clip in clips])


def _layers(model: Any) -> set[str]:  # noqa: ANN401
    weighted = ("Convolution", "GroupConvolution", "MatMul")
    return {node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() in weighted}


def test_every_layer_is_in_int8_where_that_is_good_enough(model: Any, clips: list[NDArray[np.float32]]) -> None:  # noqa: ANN401
    expected = _logits(model, clips)
    quantized = quantize_openvino(model, clips[:4], clips, Demands(agreement(expected), 0.0))
    assert quantized.excluded == ()
    assert quantized.score_before == 1
    found = _logits(quantized.model, clips)
    assert agreement(expected)(found) == quantized.score
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    assert np.array_equal(_logits(model, clips), expected)


def test_the_shift_stays_in_int8(model: Any, clips: list[NDArray[np.float32]]) -> None:  # noqa: ANN401
    """No convolution, those of the shift included, computes in floating point, and nothing is joined in it."""
    quantized = quantize_openvino(model, clips[:4], clips[:4], Demands(lambda _: 1.0, 0.0))
    compiled = the_core().compile_model(quantized.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        information = {key: node.get_rt_info()[key].astype(str) for key in ("layerType", "runtimePrecision")}
        if information["layerType"] in ("Concatenation", "Convolution"):
            seen.append(information["runtimePrecision"])
    assert len(seen) > 10
    assert set(seen) <= {"u8", "i8"}


def test_one_number_behind_a_convolution_may_be_its_bias() -> None:
    """As squeeze-and-excitation with a hard sigmoid leaves it where all biases are zero."""
    operators = openvino.opset13
    random = np.random.default_rng(0)
    clip = operators.parameter([-1, 3, 8, 8], np.float32)
    weights = operators.constant(random.standard_normal((6, 3, 1, 1)).astype(np.float32))
    sums = operators.convolution(clip, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    gates = operators.clamp(operators.add(sums, operators.constant(np.full((1, 1, 1, 1), 0.5, np.float32))), 0, 1)
    mean = operators.reduce_mean(gates, np.array([2, 3]), keep_dims=False)
    model = openvino.Model([mean], [clip], "gates")
    clips = [random.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(4)]
    quantized = quantize_openvino(model, clips, clips, Demands(lambda _: 1.0, 0.0))
    assert quantized.excluded == ()
    assert np.abs(_logits(quantized.model, clips) - _logits(model, clips)).max() < 0.02


def signal_stack() -> bytes:
    """This thread's stack for signal handlers, as the system describes it."""
    stack = ctypes.create_string_buffer(24)
    assert ctypes.CDLL(None).sigaltstack(None, stack) == 0
    return stack.raw


@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_layers_go_back_to_floating_point_until_the_score_is_reached(
    target: str,
    model: Any,  # noqa: ANN401
    clips: list[NDArray[np.float32]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = _logits(model, clips)
    scale = np.abs(expected).max()
    quantize = quantize_openvino if target == "openvino" else quantize_onnx
    given = model if target == "openvino" else network_to_onnx(small_network(), SPEC)

    def closeness(outputs: NDArray[np.float32]) -> float:
        return float(1 - np.abs(outputs - expected).max() / scale)

    all_int8 = quantize(given, clips[:4], clips, Demands(closeness, 0.0))
    least = 1 - (1 - all_int8.score) / 2
    stack = signal_stack()
    better = quantize(given, clips[:4], clips, Demands(closeness, least))
    assert better.score >= least > all_int8.score
    (said,) = [
        record.getMessage()
        for record in caplog.records
        if record.name == "clipshift.exporting.quantization.accuracy_control"
    ]
    assert f"the score is {all_int8.score:.3f}, at least {least:.3f} " in said
    assert all_int8.excluded == ()
    with pytest.raises(TooManyExcludedError):  # and not at the end of the search
        quantize(given, clips[:4], clips, Demands(closeness, least, most_excluded=0.5 / better.layers))
    assert 0 < len(better.excluded) < better.layers
    assert len(set(better.excluded)) == len(better.excluded)
    # Many cores of OpenVINO came and went; a stack for signal handlers that one of them freed would kill the process.
    assert signal_stack() == stack


@pytest.mark.parametrize("activation", ["default", "leaky_relu"])
def test_integers_throughout_in_onnx_runtime(
    activation: Activation, clips: list[NDArray[np.float32]], tmp_path: Path
) -> None:
    """All convolutions, those of the shift included, activations, all sums and all moves are done in eight bits."""
    network = small_network(MODEL.model_copy(update={"activation": activation}))
    model = network_to_onnx(network, SPEC)
    expected = np.concatenate([network(torch.from_numpy(clip)).detach().numpy() for clip in clips])
    quantized = quantize_onnx(model, clips[:4], clips, Demands(agreement(expected), 0.0))
    assert quantized.excluded == ()
    assert quantized.layers == sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node)
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(quantized.model.SerializeToString(), settings)
    found = np.concatenate([session.run(None, {"clips": clip})[0] for clip in clips])
    assert agreement(expected)(found) == quantized.score
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    executed = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert executed["QLinearConv"] == quantized.layers - 1
    assert executed["QGemm"] == 1
    assert not executed.keys() & {"Conv", "FusedConv", "Gemm", "Relu", "LeakyRelu", "Add"}
    assert ("QLinearLeakyRelu" in executed) == (activation == "leaky_relu")
    # Features come in, averages over frames and positions leave the eight bits and come back, logits go out.
    assert executed["QuantizeLinear"] <= 3


def test_codes_keep_their_numbers(clips: list[NDArray[np.float32]]) -> None:
    """What is rewritten says the same as what nncf wrote, but for the rounding of the biases."""
    import nncf

    network = small_network()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.uniform_(-0.5, 0.5, generator=random)
    model = nncf.quantize(
        network_to_onnx(network, SPEC), nncf.Dataset(clips[:4], lambda clip: {"clips": clip}), subset_size=4
    )
    sizes = {constant.name: tuple(constant.dims) for constant in model.graph.initializer}
    biased = [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) == 3]
    first, second = next((a, b) for a, b in pairwise(biased) if sizes[a.input[2]] == sizes[b.input[2]])
    second.input[2] = first.input[2]  # as exporters let layers share what is equal
    moved = in_integers(model)
    literally = onnxruntime.SessionOptions()  # and not as an engine that looks for integers
    literally.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString(), literally).run(None, {"clips": clips[5]})[0]
        for each in (model, moved)
    )
    assert np.abs(before - after).max() < 0.02 * np.abs(before).max()
    biases = [node for node in moved.graph.node if node.name.endswith("bias_dequantized")]
    assert len(biases) > 5


def activation_to_codes(name: str, scale: float, zero: int, **attributes: Any) -> onnx.ModelProto:  # noqa: ANN401
    """From x by the activation of -x to codes."""
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Neg", ["x"], ["sums"]),
            onnx.helper.make_node(name, ["sums"], ["activated"], **attributes),
            onnx.helper.make_node("QuantizeLinear", ["activated", "scale", "zero"], ["codes"]),
        ],
        "activation",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n"])],
        [onnx.helper.make_tensor_value_info("codes", onnx.TensorProto.UINT8, ["n"])],
        [
            onnx.numpy_helper.from_array(np.array(scale, np.float32), "scale"),
            onnx.numpy_helper.from_array(np.array(zero, np.uint8), "zero"),
        ],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("zero", "slope"), [(0, 0.01), (1, 0.01), (3, 0.01), (20, 0.1), (128, 1.0)])
def test_codes_in_front_of_a_leaky_relu_lose_one_code_at_most(zero: int, slope: float) -> None:
    scale = 0.02
    model = activation_to_codes("LeakyRelu", scale, zero, alpha=slope)
    moved = in_integers(model)
    assert [node.op_type for node in moved.graph.node] == [
        *("Neg", "QuantizeLinear", "DequantizeLinear", "LeakyRelu", "QuantizeLinear")
    ]
    x = np.linspace(-2 * 255 * scale, 2 * zero * scale / slope + 1, 100_001, dtype=np.float32)
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"x": x})[0].astype(int)
        for each in (model, moved)
    )
    assert set(before) == set(range(256))
    # A step in front of the activation may be two of the positive codes behind it.
    assert np.abs(before - after).max() <= 1
    # What is negative keeps all of its codes.
    assert set(after[x > 0]) == set(before[x > 0]) == set(range(zero + 1))


@pytest.mark.parametrize(("scale", "zero"), [(0.02, 19), (0.008, 47), (0.1, 4)])
def test_a_hard_swish_of_codes_loses_two_codes_at_most(scale: float, zero: int) -> None:
    """Up to 4.7, 1.7 and 25; as steep as 1.5, a hard swish makes more of a rounding."""
    model = activation_to_codes("HardSwish", scale, zero)
    moved = in_integers(model)
    operators = Counter(node.op_type for node in moved.graph.node)
    assert "HardSwish" not in operators
    assert operators["QuantizeLinear"] == 3  # of what enters, of its gate, and of what leaves
    end = max(6, 256 * scale)
    x = np.linspace(-end, 6, 100_001, dtype=np.float32)
    before, after = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"x": x})[0].astype(int)
        for each in (model, moved)
    )
    assert before.max() == after.max() == 255
    assert before.min() <= after.min() <= before.min() + 1
    assert 0 < np.abs(before - after).max() <= 2
    # What is nothing behind it stays nothing, and no gate is more than open.
    assert set(after[x > 3.1]) == {zero}
    assert np.abs(before - after)[x < -3.1].max(initial=0) <= 1


@pytest.mark.parametrize(
    ("axes", "keepdims", "operator"),
    [
        ((2, 3), 1, "GlobalAveragePool"),
        ((-1, -2), 1, "GlobalAveragePool"),
        ((2, 3), 0, "ReduceMean"),
        ((1, 2), 1, "ReduceMean"),
    ],
)
def test_a_mean_of_codes_needs_no_floats(axes: tuple[int, ...], keepdims: int, operator: str, tmp_path: Path) -> None:
    names = ["scale", "zero"]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("QuantizeLinear", ["x", *names], ["x_codes"]),
            onnx.helper.make_node("DequantizeLinear", ["x_codes", *names], ["x_rounded"]),
            onnx.helper.make_node("ReduceMean", ["x_rounded", "axes"], ["mean"], keepdims=keepdims),
            onnx.helper.make_node("QuantizeLinear", ["mean", *names], ["codes"]),
        ],
        "mean",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3, 5, 7])],
        [onnx.helper.make_tensor_value_info("codes", onnx.TensorProto.UINT8, None)],
        [
            onnx.numpy_helper.from_array(np.array(0.02, np.float32), "scale"),
            onnx.numpy_helper.from_array(np.array(50, np.uint8), "zero"),
            onnx.numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    moved = in_integers(model)
    assert operator in {node.op_type for node in moved.graph.node}
    x = np.random.default_rng(0).uniform(-1, 4, (2, 3, 5, 7)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "executed.onnx")
    found = onnxruntime.InferenceSession(moved.SerializeToString(), options).run(None, {"x": x})[0]
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
    executed = {node.op_type for node in onnx.load(tmp_path / "executed.onnx").graph.node}
    assert ("DequantizeLinear" in executed) == (operator == "ReduceMean")


def test_what_is_joined_has_the_codes_of_the_wider_range() -> None:
    def pair(name: str) -> list[onnx.NodeProto]:
        codes = [f"{name}_codes", f"{name}_scale", f"{name}_zero"]
        return [
            onnx.helper.make_node("QuantizeLinear", [name, *codes[1:]], codes[:1]),
            onnx.helper.make_node("DequantizeLinear", codes, [f"{name}_rounded"]),
        ]

    ranges = {"a": (0.01, 100), "b": (0.02, 60), "c": (0.001, 0)}  # from -1, -1.2 and 0 to 1.55, 3.9 and 0.255
    graph = onnx.helper.make_graph(
        [
            *(node for name in ranges for node in pair(name)),
            onnx.helper.make_node("Transpose", ["b_rounded"], ["b_turned"], perm=[1, 0]),
            onnx.helper.make_node("Concat", ["a_rounded", "b_turned"], ["ab"], axis=0),
            onnx.helper.make_node("Concat", ["c_rounded", "a_rounded"], ["ca"], axis=0),
        ],
        "joined",
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4, 4]) for name in ranges],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [8, 4]) for name in ("ab", "ca")],
        [
            onnx.numpy_helper.from_array(value, f"{name}_{what}")
            for name, (scale, zero) in ranges.items()
            for what, value in (("scale", np.array(scale, np.float32)), ("zero", np.array(zero, np.uint8)))
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    moved = in_integers(model)
    assert all(
        name.endswith(("_codes", "_quantized"))
        for node in moved.graph.node
        if node.op_type == "Concat"
        for name in node.input
    )
    random = np.random.default_rng(0)
    given = {name: random.uniform(low, 0.2, (4, 4)).astype(np.float32) for name, low in (("a", -1), ("b", -1.2))}
    given["c"] = random.uniform(0, 0.25, (4, 4)).astype(np.float32)
    ab, ca = onnxruntime.InferenceSession(moved.SerializeToString()).run(None, given)
    step = 5.1 / 255
    assert np.abs(ab - np.concatenate([given["a"], given["b"].T])).max() <= step / 2 + 1e-6
    assert np.abs(ca - np.concatenate([given["c"], given["a"]])).max() <= step / 2 + 1e-6


def test_bad_input(model: Any, clips: list[NDArray[np.float32]]) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=r"scores 0\.5, less than 0\.9"):
        quantize_openvino(model, clips[:2], clips[:2], Demands(lambda _: 0.5, 0.9))
    with pytest.raises(ValueError, match="needs inputs to measure ranges on"):
        quantize_openvino(model, [], clips[:2], Demands(lambda _: 1.0, 0.9))
