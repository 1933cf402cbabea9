from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clipshift.config.schema import ModelConfig
from clipshift.deployment.quantize import agreement, quantize_openvino
from clipshift.models import Recognizer
from clipshift.models.deployment import deployment_form

openvino = pytest.importorskip("openvino")
pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def clips() -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return [random.standard_normal((1, 4, 3, 32, 32)).astype(np.float32) for _ in range(12)]


@pytest.fixture(scope="module")
def model(clips: list[NDArray[np.float32]]) -> Any:  # noqa: ANN401
    """A TSM as an OpenVINO model."""
    network = Recognizer(
        ModelConfig(backbone="test_resnet", pretrained=False),
        segments=4,
        classes=5,
        generator=torch.Generator().manual_seed(1),
    )
    example = torch.zeros(2, 4, 3, 32, 32)
    model = openvino.convert_model(
        torch.export.export(deployment_form(network), (example,), dynamic_shapes=({0: torch.export.Dim("b")},))
    )
    model.reshape([-1, 4, 3, 32, 32])
    return model


def _logits(model: Any, clips: list[NDArray[np.float32]]) -> NDArray[np.float32]:  # noqa: ANN401
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled([clip])[0] for clip in clips])


def _layers(model: Any) -> set[str]:  # noqa: ANN401
    weighted = ("Convolution", "GroupConvolution", "MatMul")
    return {node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() in weighted}


def test_every_layer_is_in_int8_where_that_is_good_enough(model: Any, clips: list[NDArray[np.float32]]) -> None:  # noqa: ANN401
    expected = _logits(model, clips)
    quantised = quantize_openvino(model, clips[:4], clips, score=agreement(expected), least=0.0)
    assert quantised.kept == ()
    assert quantised.score_before == 1
    found = _logits(quantised.model, clips)
    assert agreement(expected)(found) == quantised.score
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    assert np.array_equal(_logits(model, clips), expected)


def test_the_shift_stays_in_int8(model: Any, clips: list[NDArray[np.float32]]) -> None:  # noqa: ANN401
    """No convolution, those of the shift included, computes in floating point, and nothing is joined in it."""
    quantised = quantize_openvino(model, clips[:4], clips[:4], score=lambda _: 1.0, least=0.0)
    compiled = openvino.compile_model(quantised.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    seen = []
    for node in compiled.get_runtime_model().get_ordered_ops():
        information = {key: node.get_rt_info()[key].astype(str) for key in ("layerType", "runtimePrecision")}
        if information["layerType"] in ("Concatenation", "Convolution"):
            seen.append(information["runtimePrecision"])
    assert len(seen) > 10
    assert set(seen) <= {"u8", "i8"}


def test_layers_go_back_to_floating_point_until_the_score_is_reached(
    model: Any,  # noqa: ANN401
    clips: list[NDArray[np.float32]],
) -> None:
    expected = _logits(model, clips)
    scale = np.abs(expected).max()

    def closeness(outputs: NDArray[np.float32]) -> float:
        return float(1 - np.abs(outputs - expected).max() / scale)

    all_int8 = quantize_openvino(model, clips[:4], clips, score=closeness, least=0.0)
    least = 1 - (1 - all_int8.score) / 2
    better = quantize_openvino(model, clips[:4], clips, score=closeness, least=least)
    assert better.score >= least > all_int8.score
    assert 0 < len(better.kept) < len(_layers(model))
    assert set(better.kept) <= _layers(better.model)


def test_what_is_ignored_stays_in_floating_point(model: Any, clips: list[NDArray[np.float32]]) -> None:  # noqa: ANN401
    name = min(_layers(model))
    quantised = quantize_openvino(model, clips[:2], clips[:2], score=lambda _: 1.0, least=0.0, ignored=[f"^{name}$"])
    assert quantised.kept == (name,)


def test_bad_input(model: Any, clips: list[NDArray[np.float32]]) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=r"scores 0\.5, less than 0\.9"):
        quantize_openvino(model, clips[:2], clips[:2], score=lambda _: 0.5, least=0.9)
    with pytest.raises(ValueError, match="needs inputs to measure ranges on"):
        quantize_openvino(model, [], clips[:2], score=lambda _: 1.0, least=0.9)
