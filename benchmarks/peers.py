"""Answers of the same networks by Paddle Inference and by clipshift: frames to logits, and file to logits.

    python benchmarks/peers.py DATA CLIP [--networks pptsm-r50 pptsmv2-16f] [--paddle 3.3.1 2.6.2]
                               [--forms "openvino bf16" ...] [--environments FOLDER] [--to FOLDER] [--threads 2]
                               [--repeat 9] [--json figures.json]

DATA is a data set, as for `benchmarks/exports.py`; CLIP is the file that is answered for. Networks have seeded weights
and 400 classes. Every version of Paddle gets an environment of its own, into which pip installs it, once if
--environments names a folder that stays. The network is written down step by step from clipshift's, with its weights,
and built of Paddle's own layers; its logits for one input must be clipshift's to 1e-3 of the largest. It runs in Paddle
Inference with oneDNN, prepares frames as the published recipe says, and reads the file by decord.

All take turns, each turn in another order. The table shows elapsed milliseconds, the median and the distance between
the quartiles, and in brackets how often the time fits into that of the quickest Paddle: the median of the turns'
ratios.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from common import ratio, spread, write_json
from exports import FORMS, NETWORKS, Clips, seeded_model, write, write_unjudged
from timm.layers import norm_act
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import fx, nn

import clipshift
from clipshift.models.bundle import load_bundle
from clipshift.models.folding import fold_branches
from clipshift.models.recognizer import DropoutScaledInInference, Recognizer
from clipshift.models.shift import TemporalShift
from clipshift.preprocessing.sampling import frame_sets
from clipshift.video import decode, probe

Step = dict[str, Any]
Turn = Callable[[], tuple[float, float]]
"""Does a piece of work; milliseconds elapsed, and of the CPU."""

PEERS = {
    name: (*NETWORKS[name], "model.shift.order=past_first", *settings)
    for name, settings in {
        "pptsm-r50": (),
        "pptsmv2": (),
        "pptsmv2-16f": ("model.shift.fold_div=16",),
        "tsm-r50": (),
    }.items()
}
"""Recipes and settings, with which channels move as Paddle's operator moves them."""
NETWORKS.update(PEERS)  # what `seeded_model` knows

_PADDLE_FORMS = ("fp32", "bf16")
_SAME = 1e-3
"""Largest difference of Paddle's logits, relative to the largest: it is the same network."""
_REST = 0.3
"""Seconds before each turn: threads of the engine before wait for more work in a loop for so long."""
_SEEN = 4
_ACTIVATIONS = {nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.Sigmoid: "sigmoid"}


class _Tracer(fx.Tracer):
    """Follows a network down to the layers that Paddle has, too."""

    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return isinstance(m, TemporalShift | SelectAdaptivePool2d | norm_act.BatchNormAct2d) or super().is_leaf_module(
            m, qualified_name
        )


def describe(network: Recognizer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The steps of a network, as `benchmarks/peers_paddle.py` takes them, and their weights."""
    found = _Steps(network.backbone)
    names: dict[fx.Node, str] = {}
    for node in _Tracer().trace(network.backbone).nodes:
        of = [names[each] for each in node.args if isinstance(each, fx.Node) and each in names]
        if node.op == "placeholder":
            names[node] = "x"
        elif node.op == "call_module":
            names[node] = found.layer(network.backbone.get_submodule(str(node.target)), of)
        elif node.op in {"call_function", "call_method"}:
            names[node] = found.function(node, of)
    for name, value in network.classifier.named_parameters():
        found.weights[f"classifier.{name}"] = value.detach().numpy()
    dropout = network.dropout
    scale = 1 - dropout.p if isinstance(dropout, DropoutScaledInInference) else 1.0
    return {"steps": found.steps, "segments": network.segments, "scale": scale}, found.weights


class _Steps:
    """Steps and weights, as they are found."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.steps: list[Step] = []
        self.weights: dict[str, np.ndarray] = {}

    def add(self, kind: str, of: list[str], **more: Any) -> str:  # noqa: ANN401
        """Notes a step; its name."""
        self.steps.append({"kind": kind, "name": f"{kind}{len(self.steps)}", "of": of, **more})
        return str(self.steps[-1]["name"])

    def function(self, node: fx.Node, of: list[str]) -> str:
        """Notes a function that the network's code calls.

        Raises:
            ValueError: Paddle's side does not know it.
        """
        name = getattr(node.target, "__name__", str(node.target))
        if name == "conv2d":  # of a convolution that shifts first
            where = str(node.args[1]).removesuffix("_weight").replace("_", ".")
            return self.convolution(self.backbone.get_submodule(where), of)
        if name == "mean":
            return self.add("mean", of, keep=True)
        kind = {"add": "add", "iadd": "add", "mul": "multiply", "sigmoid": "sigmoid"}.get(name)
        if kind is None:
            raise ValueError(f"no such function in Paddle's network: {name}")
        return self.add(kind, of)

    def layer(self, layer: Any, of: list[str]) -> str:  # noqa: ANN401
        """Notes a layer."""
        found = next((note for kind, note in _LAYERS.items() if isinstance(layer, kind)), _Steps.activation)
        return str(found(self, layer, of))

    def convolution(self, conv: Any, of: list[str]) -> str:  # noqa: ANN401
        """Notes a convolution, without the shift before it."""
        options = {
            "in_channels": conv.in_channels,
            "out_channels": conv.out_channels,
            "kernel_size": list(conv.kernel_size),
            "stride": list(conv.stride),
            "padding": list(conv.padding),
            "groups": conv.groups,
        }
        name = self.add("convolution", of, options=options)
        for key, value in conv.named_parameters(recurse=False):
            self.weights[f"{name}.{key}"] = value.detach().numpy()
        return name

    def norm(self, norm: Any, of: list[str]) -> str:  # noqa: ANN401
        """Notes a batch norm, and the activation that timm's have."""
        name = self.add("norm", of, options={"channels": norm.num_features, "epsilon": norm.eps})
        arrays = {"weight": norm.weight, "bias": norm.bias, "mean": norm.running_mean, "variance": norm.running_var}
        for key, value in arrays.items():
            self.weights[f"{name}.{key}"] = value.detach().numpy()
        return self.activation(norm.act, [name]) if isinstance(norm, norm_act.BatchNormAct2d) else name

    def pool(self, pool: Any, of: list[str]) -> str:  # noqa: ANN401
        """Notes a pooling of windows."""
        options = {"kernel_size": pool.kernel_size, "stride": pool.stride, "padding": pool.padding}
        kind = "max_pool" if isinstance(pool, nn.MaxPool2d) else "average_pool"
        return self.add(kind, of, options=options | {"ceil_mode": pool.ceil_mode})

    def mean(self, pool: SelectAdaptivePool2d, of: list[str]) -> str:
        """Notes the mean over a picture."""
        return self.add("mean", of, keep=not isinstance(pool.flatten, nn.Flatten))

    def shift(self, shift: TemporalShift, of: list[str]) -> str:
        """Notes a temporal shift.

        Raises:
            ValueError: Paddle's operator shifts otherwise.
        """
        if shift.order != "past_first":
            raise ValueError("Paddle's operator shifts otherwise")
        return self.add("shift", of, ratio=1 / shift.fold_div)

    def flatten(self, _: nn.Flatten, of: list[str]) -> str:
        """Notes that the axes of a picture go."""
        return self.add("flatten", of)

    def activation(self, layer: Any, of: list[str]) -> str:  # noqa: ANN401
        """Notes an activation.

        Raises:
            ValueError: Paddle's side does not know it.
        """
        if isinstance(layer, nn.Identity):
            return of[0]
        kind = next((kind for each, kind in _ACTIVATIONS.items() if isinstance(layer, each)), None)
        if kind is None:
            raise ValueError(f"no such layer in Paddle's network: {type(layer).__name__}")
        options = {"negative_slope": layer.negative_slope} if isinstance(layer, nn.LeakyReLU) else {}
        return self.add(kind, of, options=options)


_LAYERS: dict[type[nn.Module], Callable[..., str]] = {
    nn.Conv2d: _Steps.convolution,
    nn.BatchNorm2d: _Steps.norm,
    nn.MaxPool2d: _Steps.pool,
    nn.AvgPool2d: _Steps.pool,
    SelectAdaptivePool2d: _Steps.mean,
    TemporalShift: _Steps.shift,
    nn.Flatten: _Steps.flatten,
}


class Paddle:
    """A network in a process of its own, in the environment of a version of Paddle."""

    def __init__(self, version: str, environments: Path, folder: Path, threads: int) -> None:
        program = Path(__file__).with_name("peers_paddle.py")
        words = [str(environment(version, environments)), str(program), str(folder), str(threads), *_PADDLE_FORMS]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = str(self._answer()["paddle"])

    def ask(self, **wish: Any) -> dict[str, Any]:  # noqa: ANN401
        """Lets it work; what it gave, and how long it took.

        Raises:
            RuntimeError: Its process ended.
        """
        assert self._process.stdin is not None
        print(json.dumps(wish), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"Paddle ended with {self._process.wait()}")
        return dict(json.loads(line))

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def environment(version: str, folder: Path) -> Path:
    """Python of an environment with this version of Paddle, which is made if it is not there."""
    place = folder / f"paddle-{version}"
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (place / "ready").exists():
        venv.create(place, with_pip=True, clear=True)
        # Paddle 2 is built for NumPy 1, and imports setuptools without asking for it.
        older = ["numpy<2", "setuptools"] if version.startswith("2.") else []
        packages = [f"paddlepaddle=={version}", "decord", "pillow", *older]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (place / "ready").touch()
    return python


def turns_of(
    network: str, folder: Path, clip: Path, arguments: argparse.Namespace, stack: ExitStack
) -> dict[str, dict[str, Turn]]:
    """What is timed: by what it begins with (frames, the file), then by who does it."""
    recognizer, spec = load_bundle(folder / "model")
    indices = frame_sets(spec.input.sampling, probe(clip).frames, spec.input.segments)[0]
    frames_THWC = decode(clip, indices)
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clipshift-")))
    np.save(scratch / "frames.npy", frames_THWC)
    found: dict[str, dict[str, Turn]] = {"frames": {}, "file": {}}

    for form in ("PyTorch", "PyTorch bf16", *arguments.forms):
        amp = "bf16" if form == "PyTorch bf16" else "fp32"
        place = folder / ("model" if form.startswith("PyTorch") else form.replace(" ", "-"))
        model = clipshift.load(place, device="cpu", amp=amp, threads=arguments.threads)  # type: ignore[arg-type]
        found["frames"][form] = _timed(lambda model=model: model.scorer.one_set(frames_THWC))  # type: ignore[misc]
        found["file"][form] = _timed(lambda model=model: model.predict(clip))  # type: ignore[misc]

    description, weights = describe(fold_branches(recognizer).eval())
    for version in arguments.paddle:
        work = scratch / version
        work.mkdir()
        (work / "network.json").write_text(json.dumps(description), encoding="utf-8")
        np.savez(work / "weights.npz", **weights)  # type: ignore[arg-type]  # by name
        paddle = Paddle(version, arguments.environments, work, arguments.threads)
        stack.callback(paddle.close)
        check_same(network, recognizer, paddle, work / "clip.npy")
        for form in _PADDLE_FORMS:
            name = f"Paddle {paddle.version} {form}"
            whole = {"file": str(clip), "indices": indices, "form": form}
            found["frames"][name] = _asked(paddle, {"frames": str(scratch / "frames.npy"), "form": form})
            found["file"][name] = _asked(paddle, whole)
    return found


def check_same(network: str, recognizer: Recognizer, paddle: Paddle, file: Path) -> None:
    """Holds Paddle's logits of one clip against clipshift's.

    Raises:
        RuntimeError: They are others: it is not the same network.
    """
    generator = torch.Generator().manual_seed(0)
    clip_BTCHW = torch.randn(1, recognizer.segments, 3, 224, 224, generator=generator)
    with torch.no_grad():
        expected = recognizer.eval()(clip_BTCHW).numpy().ravel()
    np.save(file, clip_BTCHW.numpy())
    logits = np.array(paddle.ask(clip=str(file), form="fp32")["logits"])
    difference = float(np.abs(logits - expected).max() / np.abs(expected).max())
    print(f"{network}: Paddle {paddle.version} differs by {difference:.1e} of the largest logit", flush=True)
    if not difference <= _SAME:
        raise RuntimeError("Paddle's network is another one")


def _timed(work: Callable[[], object]) -> Turn:
    def turn() -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        work()
        return 1e3 * (time.perf_counter() - started), 1e3 * (time.process_time() - cpu)

    return turn


def _asked(paddle: Paddle, wish: dict[str, Any]) -> Turn:
    def turn() -> tuple[float, float]:
        answer = paddle.ask(**wish)
        return answer["ms"], answer["cpu_ms"]

    return turn


def take_all(turns: Mapping[str, Turn], repeat: int) -> dict[str, dict[str, Any]]:
    """Times all in turns, each turn in another order; two turns before those do not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(repeat + 2):
        random.Random(number).shuffle(names)
        for name in names:
            time.sleep(_REST)
            pair = turns[name]()
            if number >= 2:
                taken[name].append(pair)
    elapsed = {name: [each for each, _ in pairs] for name, pairs in taken.items()}
    quickest = min((name for name in turns if name.startswith("Paddle")), key=lambda name: median(elapsed[name]))
    return {
        name: {
            "ms": round(median(elapsed[name]), 1),
            "spread_ms": round(spread(elapsed[name]), 1),
            "cpu_ms": round(median(cpu for _, cpu in pairs), 1),
            "times_as_fast": round(ratio(elapsed[quickest], elapsed[name]), 2),
        }
        for name, pairs in taken.items()
    }


def table(results: dict[str, dict[str, dict[str, dict[str, Any]]]]) -> str:
    """The figures as Markdown."""
    columns = [(network, begin) for network, begins in results.items() for begin in begins]
    lines = [
        f"| | {' | '.join(f'{network}, from {begin}' for network, begin in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    names = list(dict.fromkeys(name for network, begin in columns for name in results[network][begin]))
    for name in names:
        cells = []
        for network, begin in columns:
            each = results[network][begin].get(name)
            cells.append(
                "" if each is None else f"{each['ms']:.0f} ± {each['spread_ms']:.0f} ({each['times_as_fast']:.2f})"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--networks", nargs="+", default=["pptsm-r50", "pptsmv2-16f"], choices=list(PEERS))
    parser.add_argument("--paddle", nargs="+", default=["3.3.1", "2.6.2"], help="versions")
    parser.add_argument(
        "--forms", nargs="*", default=["openvino bf16", "openvino int8", "onnx fp32", "onnx int8"], choices=list(FORMS)
    )
    parser.add_argument("--environments", type=Path, help="of Paddle; default: a folder that is gone afterwards")
    parser.add_argument("--to", type=Path, help="for models and exports; default: a folder that is gone afterwards")
    parser.add_argument("--ranges", type=int, default=12, help="training clips for int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clips = Clips(arguments.data, ranges=arguments.ranges, compared=1)
    results = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clipshift-")))
        arguments.environments = arguments.environments or scratch
        for network in arguments.networks:
            folder = (arguments.to or scratch) / network
            if not (folder / "model").is_dir():
                seeded_model(network, clips.training[:: len(clips.training) // _SEEN][:_SEEN], folder / "model")
            write(folder / "model", arguments.forms, clips, folder, write_unjudged)
            with ExitStack() as inner:
                turns = turns_of(network, folder, arguments.clip, arguments, inner)
                results[network] = {begin: take_all(each, arguments.repeat) for begin, each in turns.items()}
    print(table(results))
    if arguments.json is not None:
        write_json(arguments.json, {"networks": results})


if __name__ == "__main__":
    main()
