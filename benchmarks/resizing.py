"""What ONNX's own operator for resizing gives in engines, beside the product with matrices that exports have.

    python benchmarks/resizing.py [--interpolation bilinear bicubic] [--repeat 9] [--threads 1] [--json figures.json]

Contestants prepare 8 frames: scaled to a short side of 256, of which the square in the center is taken. They are ONNX
graphs: "matrix" is what exports begin with (`clipshift.preprocessing.graph`); the others have ONNX's Resize with
`antialias=1`: on uint8 in one node, with both values of `exclude_outside`; or on float32 in two, of columns and of
rows, each rounded, as PyTorch and Pillow do. All, and Pillow, are compared with `clipshift.preprocessing.transforms`,
which networks learn from. Frames are noise, where every difference shows, and a soft picture with edges. Times are of
the CPU, for the picture, and behind them is the median of their ratios to "matrix" in each turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from common import ratio, take_turns, write_json
from onnx import ModelProto, helper
from PIL import Image

from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.exporting.onnx_graph import OPSET, preprocessing_to_onnx
from clipshift.exporting.openvino_graph import from_onnx
from clipshift.inference.engines.openvino import the_core
from clipshift.preprocessing.onnx_nodes import FLOAT, UINT8, Nodes, Value
from clipshift.preprocessing.transforms import cut_views, evaluation_views, scaled_size

Run = Callable[[np.ndarray], np.ndarray]

_FRAMES = 8
_SIZES = ((240, 320), (256, 340), (360, 640), (405, 720), (719, 1277), (1080, 1920))
_RESIZES = {
    "Resize, uint8": (1, False),
    "Resize, uint8, exclude_outside=0": (0, False),
    "Resize, float32, rounded by axis": (1, True),
}
"""`exclude_outside`, and whether columns and rows are rounded apart."""


def settings_of(interpolation: str) -> InputConfig:
    """Settings without a change of range, so that views are gray levels by 255."""
    sizes = {"segments": _FRAMES, "resize": 256, "crop": 256}
    return InputConfig.model_validate({**sizes, "interpolation": interpolation, "mean": (0.0,) * 3, "std": (1.0,) * 3})


def resize_graph(size: tuple[int, int], settings: InputConfig, exclude_outside: int, by_axis: bool) -> ModelProto:
    """A graph from frames uint8 (1, 8, H, W, 3) of one size to views float32 in [0, 1], with ONNX's Resize."""
    nodes = Nodes("")
    # Inputs that are left out have the empty name.
    nothing = nodes.value("", FLOAT)
    mode = {"bilinear": "linear", "bicubic": "cubic"}[settings.interpolation]

    def resize(value: Value, height: int, width: int) -> Value:
        sizes = nodes.integer([_FRAMES, 3, height, width])
        return nodes.add("Resize", value, nothing, nothing, sizes, mode=mode, antialias=1, cubic_coeff_a=-0.5,
                         exclude_outside=exclude_outside, coordinate_transformation_mode="half_pixel")  # fmt: skip

    def rounded(value: Value) -> Value:
        return (value + 0.5).floor().at_least(0).at_most(255)

    height, width = scaled_size(*size, settings)
    pixels = nodes.value("frames", UINT8).reshape(_FRAMES, *size, 3).turn(0, 3, 1, 2)
    if by_axis:
        narrow = rounded(resize(pixels.cast(FLOAT), size[0], width))
        pixels = rounded(resize(narrow, height, width))
    else:
        pixels = resize(pixels, height, width).cast(FLOAT)
    for axis, length in ((2, height), (3, width)):
        pixels = pixels.part(nodes.integer((length - settings.crop) // 2), nodes.integer(settings.crop), axis=axis)
    nodes.add("Identity", pixels / 255, out="views")
    takes = helper.make_tensor_value_info("frames", UINT8, [1, _FRAMES, *size, 3])
    gives = helper.make_tensor_value_info("views", FLOAT, [_FRAMES, 3, settings.crop, settings.crop])
    graph = helper.make_graph(nodes.nodes, "resize", [takes], [gives], nodes.constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", OPSET)])


def graphs_of(size: tuple[int, int], settings: InputConfig) -> dict[str, ModelProto]:
    """All contestants by name."""
    spec = ModelSpec(clipshift="0", model=ModelConfig(), input=settings, classes=("a", "b"))
    resizes = {name: resize_graph(size, settings, *how) for name, how in _RESIZES.items()}
    return {"matrix": preprocessing_to_onnx(spec), **resizes}


def in_onnxruntime(model: ModelProto, threads: int) -> Run:
    """The graph in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda frames: np.asarray(session.run(["views"], {"frames": frames[None]})[0])


def in_openvino(model: ModelProto, threads: int) -> Run:
    """The graph in OpenVINO."""
    chosen = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = the_core().compile_model(from_onnx(model), "CPU", chosen)
    return lambda frames: np.array(compiled([frames[None]])["views"])


_ENGINES = {
    f"ONNX Runtime {onnxruntime.__version__}": in_onnxruntime,
    f"OpenVINO {version('openvino').partition('-')[0]}": in_openvino,
}


def pictures(size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Frames uint8 (8, H, W, 3): noise, and soft areas with edges."""
    random = np.random.default_rng(sum(size))
    noise = random.integers(0, 256, (_FRAMES, *size, 3), dtype=np.uint8)
    soft = torch.from_numpy(random.random((_FRAMES, 3, 12, 16)) * 255)
    soft = torch.nn.functional.interpolate(soft, size=size, mode="bicubic").clamp(0, 255)
    box = np.s_[..., size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2]
    soft[box] = 255 - soft[box]
    return {"noise": noise, "picture": soft.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()}


def with_pillow(frames: np.ndarray, settings: InputConfig) -> np.ndarray:
    """Pillow's own resizing, and the crop: gray levels (1, 8, 3, side, side)."""
    height, width = scaled_size(frames.shape[1], frames.shape[2], settings)
    kind = Image.Resampling[settings.interpolation.upper()]
    scaled = np.stack([np.asarray(Image.fromarray(frame).resize((width, height), kind)) for frame in frames])
    return cut_views(torch.from_numpy(scaled).permute(0, 3, 1, 2), settings, "center").numpy()


def difference(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """The largest difference in gray levels, and the share of values that differ at all, in per cent."""
    apart = np.abs(found.astype(np.float64).reshape(expected.shape) - expected)
    return {"largest": float(apart.max()), "differ_percent": float(100 * (apart > 0.5).mean())}


def compare(size: tuple[int, int], settings: InputConfig, repeat: int, threads: int) -> list[dict[str, Any]]:
    """One row for each engine and graph."""
    frames = pictures(size)
    expected = {name: evaluation_views(each, settings, "center").numpy() for name, each in frames.items()}
    common = {"size": f"{size[1]}x{size[0]}", "interpolation": settings.interpolation}
    apart = {name: difference(with_pillow(each, settings), expected[name]) for name, each in frames.items()}
    rows: list[dict[str, Any]] = [{**common, "engine": "Pillow", "graph": "", **apart}]
    for engine, compiled in _ENGINES.items():
        runs = {name: compiled(graph, threads) for name, graph in graphs_of(size, settings).items()}
        times = take_turns(
            {name: lambda run=run: run(frames["picture"]) for name, run in runs.items()},  # type: ignore[misc]
            repeat=repeat,
        )
        for name, run in runs.items():
            apart = {kind: difference(np.rint(run(each) * 255), expected[kind]) for kind, each in frames.items()}
            slower = ratio(times[name].cpu_ms, times["matrix"].cpu_ms)
            rows.append({**common, "engine": engine, "graph": name, **apart, **times[name].to_json(), "ratio": slower})
    return rows


def show(row: dict[str, Any]) -> str:
    """A line for the screen."""
    said = f"{row['size']:>10} {row['interpolation']:9} {row['engine']:22} {row['graph']:34}"
    for kind in ("noise", "picture"):
        said += f" {kind} {row[kind]['largest']:3.0f} {row[kind]['differ_percent']:8.4f} %"
    return said + (f" {row['cpu_ms']:8.1f} ms {row['ratio']:6.2f}" if "ratio" in row else "")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interpolation", nargs="+", choices=("bilinear", "bicubic"), default=["bilinear", "bicubic"])
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows = []
    for interpolation in asked.interpolation:
        for size in _SIZES:
            for row in compare(size, settings_of(interpolation), asked.repeat, asked.threads):
                rows.append(row)
                print(show(row), flush=True)
    if asked.json is not None:
        write_json(asked.json, {"rows": rows})


if __name__ == "__main__":
    main()
