"""A network in Paddle Inference, for `benchmarks/peers.py`: in an environment with paddlepaddle, without clipshift.

    python benchmarks/peers_paddle.py FOLDER THREADS

FOLDER holds `network.json`, the steps of the network, and `weights.npz`. Requests come as lines of JSON, and so do the
answers: what a piece of work gave and how long it took. The preparation of frames is that of the published recipe, as
it is told: the short side to 256 by Pillow, the square in the center, normalized in NumPy.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GLOG_minloglevel", "3")

import numpy as np
import paddle
from paddle import inference, nn
from paddle.nn import functional as F
from PIL import Image

MEAN, STD = (np.array(each, np.float32) for each in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
_ACTIVATIONS = {"relu": F.relu, "sigmoid": F.sigmoid, "leaky_relu": F.leaky_relu}


class Network(nn.Layer):  # type: ignore[misc]
    """From clips (B, T, 3, H, W) to logits (B, K), by the steps that `benchmarks/peers.py` wrote down."""

    def __init__(self, description: dict[str, Any], weights: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.steps, self.segments = description["steps"], description["segments"]
        self.scale = description["scale"]
        for number, step in enumerate(self.steps):
            layer = _layer(step, weights)
            if layer is not None:
                self.add_sublayer(f"step{number}", layer)
        self.classifier = _with(nn.Linear(*weights["classifier.weight"].T.shape), weights, "classifier", turned=True)

    def forward(self, clips: Any) -> Any:  # noqa: ANN401 - Paddle is not typed
        """The steps, one after the other."""
        known = {"x": paddle.reshape(clips, [-1, *clips.shape[2:]])}
        last = "x"
        for number, step in enumerate(self.steps):
            given = [known[name] for name in step["of"]]
            known[step["name"]] = self._do(step, getattr(self, f"step{number}", None), given)
            last = step["name"]
        features = paddle.reshape(known[last], [-1, self.segments, known[last].shape[-1]]) * self.scale
        return self.classifier(features.mean(axis=1))

    def _do(self, step: dict[str, Any], layer: Any, given: list[Any]) -> Any:  # noqa: ANN401
        kind = step["kind"]
        if layer is not None:
            return layer(*given)
        if kind in _ACTIVATIONS:
            return _ACTIVATIONS[kind](given[0], **step.get("options", {}))
        if kind == "add":
            return given[0] + given[1]
        if kind == "multiply":
            return given[0] * given[1]
        if kind == "mean":
            mean = F.adaptive_avg_pool2d(given[0], 1)
            return mean if step["keep"] else paddle.flatten(mean, 1)
        if kind == "flatten":
            return paddle.flatten(given[0], 1)
        if kind == "shift":
            return F.temporal_shift(given[0], self.segments, step["ratio"])
        raise ValueError(kind)


def _layer(step: dict[str, Any], weights: dict[str, np.ndarray]) -> Any:  # noqa: ANN401
    name, options = step["name"], step.get("options", {})
    if step["kind"] == "convolution":
        bias = None if f"{name}.bias" in weights else False
        return _with(nn.Conv2D(**options, bias_attr=bias), weights, name)
    if step["kind"] == "norm":
        return _with(nn.BatchNorm2D(options["channels"], epsilon=options["epsilon"]), weights, name)
    if step["kind"] == "max_pool":
        return nn.MaxPool2D(**options)
    if step["kind"] == "average_pool":
        return nn.AvgPool2D(**options, exclusive=True)
    return None


def _with(layer: Any, weights: dict[str, np.ndarray], name: str, *, turned: bool = False) -> Any:  # noqa: ANN401
    names = {"weight": "weight", "bias": "bias", "_mean": "mean", "_variance": "variance"}
    for theirs, ours in names.items():
        tensor = getattr(layer, theirs, None)
        if tensor is not None:
            array = weights[f"{name}.{ours}"]
            tensor.set_value(array.T.copy() if turned and array.ndim == 2 else array)
    return layer


def predictor(folder: Path, threads: int, *, bf16: bool, leaky: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Paddle Inference with oneDNN, as its tools set it up; `leaky` networks have leaky ReLUs."""
    model = next(path for suffix in ("json", "pdmodel") if (path := folder / f"model.{suffix}").exists())
    config = inference.Config(str(model), str(folder / "model.pdiparams"))
    config.disable_gpu()
    config.enable_mkldnn()
    config.set_cpu_math_library_num_threads(threads)
    config.disable_glog_info()
    if bf16:
        config.enable_mkldnn_bfloat16()
    if paddle.__version__.startswith("2."):
        config.enable_memory_optim()  # Paddle 3 refuses it for PP-TSMv2
    elif leaky:
        # It reads the slope of a leaky ReLU as another type than it is stored, and ends the process.
        config.delete_pass("conv_activation_onednn_fuse_pass")
        config.delete_pass("conv_activation_mkldnn_fuse_pass")
    made = inference.create_predictor(config)
    given = made.get_input_handle(made.get_input_names()[0])
    found = made.get_output_handle(made.get_output_names()[0])

    def run(clips: np.ndarray) -> np.ndarray:
        given.copy_from_cpu(clips)
        made.run()
        return np.asarray(found.copy_to_cpu())

    return run


def prepared(frames_THWC: np.ndarray) -> np.ndarray:
    """The network's input, (1, T, 3, 224, 224), of decoded frames."""
    height, width = frames_THWC.shape[1:3]
    size = (int(256 * width / height), 256) if height < width else (256, int(256 * height / width))
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    box = (left, top, left + 224, top + 224)
    scaled = [Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR).crop(box) for frame in frames_THWC]
    clip = (np.stack([np.asarray(picture) for picture in scaled]).astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(clip.transpose(0, 3, 1, 2)[None])


def decoded(path: str, indices: list[int]) -> np.ndarray:
    """Frames of a file, by the library that the published recipes name."""
    from decord import VideoReader

    return np.asarray(VideoReader(path).get_batch(indices).asnumpy())


def main() -> None:
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT), 1)  # what Paddle prints is no answer
    os.dup2(1, 2)
    description = json.loads((folder / "network.json").read_text())
    network = Network(description, dict(np.load(folder / "weights.npz")))
    network.eval()
    shape = [None, description["segments"], 3, 224, 224]
    paddle.jit.save(network, str(folder / "model"), input_spec=[paddle.static.InputSpec(shape, "float32")])
    leaky = any(step["kind"] == "leaky_relu" for step in description["steps"])
    runs = {form: predictor(folder, threads, bf16=form == "bf16", leaky=leaky) for form in sys.argv[3:]}
    print(json.dumps({"paddle": paddle.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        wish = json.loads(line)
        frames = np.load(wish["frames"]) if "frames" in wish else None
        started, cpu = time.perf_counter(), time.process_time()
        if "clip" in wish:
            clips = np.load(wish["clip"])
        else:
            clips = prepared(decoded(wish["file"], wish["indices"]) if frames is None else frames)
        logits = runs[wish["form"]](clips)
        taken = 1e3 * (time.perf_counter() - started), 1e3 * (time.process_time() - cpu)
        print(json.dumps({"ms": taken[0], "cpu_ms": taken[1], "logits": logits.ravel().tolist()}), file=answers)
        answers.flush()


if __name__ == "__main__":
    main()
