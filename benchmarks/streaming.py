"""How long a causal network takes for one frame of a live stream, from the decoded frame to its answer.

    python benchmarks/streaming.py [--recipe tsm-mobilenetv2-online] [--size 360 640] [--streams 1] [--threads 1]
                                   [--repeat 20] [--json figures.json]

The network has seeded weights and 400 classes: its time does not hang on them. The ranges of int8 are measured on the
frames of the benchmark, and nobody judges them. All take the same frames, uint8 as decoded, and prepare them
themselves. "PyTorch, as trained" is the design of MIT's demonstration of online TSM: one
forward pass for each frame, with a list of buffers that goes in and comes out, batch norms not folded. "PyTorch" is
`Model.step` of a trained model. Contestants take turns of several frames, as a stream goes on and finds its weights
in the caches, so that a busy machine slows all of them alike; how far their
logits are from those of the first one is shown, too: over all frames, of the largest logit.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ratio, take_turns, write_json

import clipshift
from clipshift.config import ModelSpec, resolve
from clipshift.exporting.export import write_files
from clipshift.exporting.quantization.accuracy_control import Demands
from clipshift.exporting.quantization.onnx import quantize_onnx
from clipshift.exporting.quantization.openvino import quantize_openvino
from clipshift.exporting.quantization.streams import real_steps
from clipshift.exporting.streaming_graph import describe_streaming
from clipshift.exporting.targets import Quantize, package_versions
from clipshift.inference.engines.streaming import Stepper
from clipshift.inference.export_folder import Export, Precision, Target
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import evaluation_views, normalize

_CLASSES = 400
_TARGETS: tuple[Target, ...] = ("onnx", "openvino")
_FRAMES_A_TURN = 10
_PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")


def seeded_network(recipe: str) -> tuple[Recognizer, ModelSpec]:
    """A network whose batch norms have seen noise, and its description."""
    config = resolve(recipe, settings=("model.pretrained=false",)).config
    classes = tuple(f"class {number}" for number in range(_CLASSES))
    spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
    random = torch.Generator().manual_seed(1)
    network = Recognizer(config.model, segments=config.input.segments, classes=_CLASSES, generator=random)
    torch.nn.init.normal_(network.classifier.weight, std=0.1, generator=random)
    with torch.no_grad():
        network.train()(torch.randn(2, config.input.segments, 3, spec.side, spec.side, generator=random))
    return network.eval(), spec


def contestants(
    network: Recognizer, spec: ModelSpec, folder: Path, threads: int, frames_TBHWC: np.ndarray
) -> dict[str, Stepper]:
    """Everything that can answer to a frame, by name."""
    cpu = torch.device("cpu")
    steppers: dict[str, Stepper] = {
        "PyTorch, as trained": NetworkScorer(network, spec, cpu, as_trained=True).stepper,
        "PyTorch": NetworkScorer(network, spec, cpu).stepper,
    }
    for target, precision in product(_TARGETS, _PRECISIONS):
        place = folder / f"{target} {precision}"
        place.mkdir()
        export = Export(
            clipshift=clipshift.__version__,
            target=target,
            precision=precision,
            streaming=describe_streaming(network, spec),
            spec=spec,
            license="none",
            versions=package_versions(target),
        )
        quantize = unjudged_quantizer(network, export, frames_TBHWC[:, 0]) if precision == "int8" else None
        export = write_files(place, network, export, quantize)
        if export.excluded_layers:
            print(f"{place.name}: in float32: {', '.join(export.excluded_layers)}")
        scorer = clipshift.load(place, device="cpu", threads=threads).scorer
        assert isinstance(scorer, ExportScorer)
        steppers[place.name] = scorer.stepper
    return steppers


def unjudged_quantizer(network: Recognizer, export: Export, frames_THWC: np.ndarray) -> Quantize:
    """Makes int8 of a streaming network with ranges measured on a stream; whatever becomes of its answers."""
    settings = export.spec.input
    views = evaluation_views(frames_THWC, settings, "center")
    clips = [np.asarray(normalize(views, settings.mean, settings.std))]
    streaming = export.streaming
    assert streaming is not None
    steps = real_steps(network, streaming, clips * len(frames_THWC))
    quantize = quantize_onnx if export.target == "onnx" else quantize_openvino

    def quantized(model: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
        found = quantize(model, steps, clips, Demands(lambda _: 1.0, 0.0), streaming)
        return found.model, found.excluded

    return quantized


class Stream:
    """A stream through one contestant, over frames that come again and again."""

    def __init__(self, stepper: Stepper, frames_TBHWC: np.ndarray) -> None:
        self.stepper, self.frames = stepper, frames_TBHWC
        self.state: tuple[Any, ...] = stepper.initial_state(frames_TBHWC.shape[1])
        self.logits: list[np.ndarray] = []

    def go_on(self) -> None:
        """A turn: some frames further."""
        for _ in range(_FRAMES_A_TURN):
            frames_BHWC = self.frames[len(self.logits) % len(self.frames)]
            logits, self.state = self.stepper.step(frames_BHWC, self.state)
            self.logits.append(logits.frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tsm-mobilenetv2-online")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network, spec = seeded_network(options.recipe)
    blocks = np.random.default_rng(0).integers(
        0, 256, (16, options.streams, options.size[0] // 8, options.size[1] // 8, 3), dtype=np.uint8
    )
    frames_TBHWC = blocks.repeat(8, axis=2).repeat(8, axis=3)
    with tempfile.TemporaryDirectory() as scratch:
        steppers = contestants(network, spec, Path(scratch), options.threads, frames_TBHWC)
        streams = {name: Stream(stepper, frames_TBHWC) for name, stepper in steppers.items()}
        times = take_turns({name: stream.go_on for name, stream in streams.items()}, repeat=options.repeat, warm_up=2)
    times = {name: each.divided_by(_FRAMES_A_TURN) for name, each in times.items()}
    first = next(iter(times))
    expected = np.stack(streams[first].logits)
    figures = {}
    print("| | ms per frame | CPU ms | times as fast | logits differ by |\n|---|---|---|---|---|")
    for name, each in times.items():
        row: dict[str, Any] = {**each.to_json(), "times_as_fast": ratio(times[first].cpu_ms, each.cpu_ms)}
        row["error"] = float(np.abs(np.stack(streams[name].logits) - expected).max() / np.abs(expected).max())
        figures[name] = row
        print(
            f"| {name} | {row['elapsed_ms']:.2f} | {row['cpu_ms']:.2f} | {row['times_as_fast']:.2f} "
            f"| {row['error']:.1e} |"
        )
    if options.json:
        write_json(options.json, {"options": vars(options), "figures": figures})


if __name__ == "__main__":
    main()
