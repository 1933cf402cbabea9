"""The preprocessing inside exported graphs gives the pixels of `clipshift.preprocessing.transforms`."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from clipshift.config import Crops, InputConfig, ModelConfig, ModelSpec
from clipshift.errors import ExportError
from clipshift.exporting.onnx_graph import preprocessing_to_onnx
from clipshift.exporting.openvino_graph import from_onnx
from clipshift.exporting.torch_module import export_program, prepared_views
from clipshift.inference.engines.openvino import the_core
from clipshift.preprocessing.transforms import evaluation_views as views_of
from clipshift.preprocessing.transforms import normalize
from tests.exporting.making import noise

BASE = {"segments": 2, "resize": 40, "crop": 32}
# Landscape, portrait, short side as wanted (square and not), enlarged, tiny, odd sizes scaled down, up to four times.
SIZES = (
    (48, 64), (64, 48), (40, 40), (40, 57), (57, 40), (23, 31), (12, 12), (2, 9), (7, 5), (101, 77), (150, 91),
    (97, 160),
)  # fmt: skip
# Scaled down by more than four, weights of resizing times pixels need more binary digits than float32 has.
LARGE_SIZES = ((401, 300), (240, 427), (720, 405))
CASES: dict[str, tuple[Crops, dict[str, object]]] = {
    "center": ("center", {}),
    "three": ("three", {}),
    "three_small": ("three_small", {}),
    "ten": ("ten", {}),
    "bicubic": ("center", {"interpolation": "bicubic"}),
    "bicubic, ten": ("ten", {"interpolation": "bicubic", "crop": 31}),
    "region": ("center", {"region": (0.1, 0.33, 0.51, 0.6)}),
    "region, ten": ("ten", {"region": (0.9, 0.0, 0.1, 1.0), "antialias": False}),
    "4:3": ("center", {"aspect": "four_thirds"}),
    "4:3, three": ("three", {"aspect": "four_thirds"}),
    "rounded as torchvision": ("center", {"crop_rounding": "even", "resize_rounding": "down", "crop": 33}),
    "as OpenCV": ("center", {"antialias": False}),
    "as OpenCV, ten": ("ten", {"antialias": False, "crop": 31}),
    "PP-TSM": (
        "center",
        {"antialias": False, "aspect": "four_thirds", "crop_rounding": "even", "resize_rounding": "down"},
    ),
}


def make_spec(name: str) -> ModelSpec:
    crops, changes = CASES[name]
    return ModelSpec(
        clipshift="0",
        model=ModelConfig(),
        input=InputConfig.model_validate({**BASE, **changes}),
        classes=("a", "b"),
        crops=crops,
    )


def expected_views(frames_THWC: np.ndarray, spec: ModelSpec) -> np.ndarray:
    views_VTCHW = views_of(frames_THWC, spec.input, spec.crops)
    return np.asarray(normalize(views_VTCHW, spec.input.mean, spec.input.std))


def levels_apart(found: np.ndarray, expected: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """By how many gray levels pixels differ."""
    scale = 255 * np.array(spec.input.std, dtype=np.float64)[:, None, None]
    return np.asarray(np.abs(found.astype(np.float64) - expected) * scale)


@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_gives_the_same_bits(name: str) -> None:
    spec = make_spec(name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        preprocessing_to_onnx(spec).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for height, width in SIZES:
        clips = [noise(2, height, width, seed=seed) for seed in range(2)]
        found = session.run(["views"], {"frames": np.stack(clips)})[0]
        expected = np.concatenate([expected_views(clip, spec) for clip in clips])
        np.testing.assert_array_equal(found, expected, err_msg=f"{height} x {width}")
    for height, width in LARGE_SIZES:
        frames = noise(2, height, width)
        apart = levels_apart(session.run(["views"], {"frames": frames[None]})[0], expected_views(frames, spec), spec)
        assert apart.max() < 1.01, (height, width)
        assert (apart > 0.5).mean() <= 1e-4, (height, width)


# Each of its compilations takes a second: all interpolations and kinds of crops, not all pairs of them.
@pytest.mark.parametrize("name", ["three", "bicubic, ten", "as OpenCV, ten", "PP-TSM"])
@pytest.mark.slow
def test_openvino_is_within_one_grey_level_in_a_thousandth_of_the_pixels(name: str) -> None:
    spec = make_spec(name)
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = the_core().compile_model(from_onnx(preprocessing_to_onnx(spec)), "CPU", settings)
    for height, width in (*SIZES[2::3], LARGE_SIZES[0]):
        frames = noise(2, height, width)
        found = compiled([frames[None]])["views"]
        apart = levels_apart(found, expected_views(frames, spec), spec)
        assert apart.max() < 1.01, (height, width)
        assert (apart > 0.5).mean() <= 1e-3, (height, width)


@pytest.mark.parametrize("name", ["4:3, three", "bicubic, ten", "as OpenCV, ten", "PP-TSM"])
def test_a_program_of_pytorch_gives_the_same_bits(name: str) -> None:
    spec = make_spec(name)

    class Views(torch.nn.Module):
        def forward(self, frames_BTHWC: torch.Tensor) -> torch.Tensor:
            return prepared_views(frames_BTHWC, spec).flatten(0, 1)

    example = torch.zeros(2, 2, 63, 98, 3, dtype=torch.uint8)
    program = export_program(Views(), example, free_axes=(0, 2, 3)).module()
    for clips, (height, width) in zip((1, 2, 3) * 5, (*SIZES, *LARGE_SIZES), strict=True):
        frames = [noise(2, height, width, seed=seed) for seed in range(clips)]
        found = program(torch.from_numpy(np.stack(frames))).numpy()
        expected = np.concatenate([expected_views(clip, spec) for clip in frames])
        np.testing.assert_array_equal(found, expected, err_msg=f"{clips} x {height} x {width}")


def test_bicubic_without_antialiasing_is_refused() -> None:
    spec = make_spec("bicubic")
    spec = spec.model_copy(update={"input": spec.input.model_copy(update={"antialias": False})})
    with pytest.raises(ExportError, match=r"(?s)Bicubic resizing without antialiasing.*--input clips"):
        preprocessing_to_onnx(spec)
