"""How long a causal network takes for one frame of a live stream, from the decoded frame to its answer.

    python benchmarks/streaming.py [--recipe tsm-mobilenetv2-online] [--size 360 640] [--streams 1] [--threads 1]
                                   [--repeat 100] [--json figures.json]

The network has seeded weights and 400 classes: its time does not hang on them. All take the same frames, uint8 as
decoded, and prepare them themselves. "PyTorch, as trained" is the design of MIT's demonstration of online TSM: one
forward pass for each frame, with a list of buffers that goes in and comes out, batch norms not folded. "PyTorch" is
`Model.step` of a trained model. Contestants take turns, so that a busy machine slows all of them alike; how far their
logits are from those of the first one is shown, too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ratio, take_turns, write_json

import clipshift
from clipshift.config import ModelSpec, resolve
from clipshift.exporting.export import write_files
from clipshift.exporting.streaming_graph import describe_streaming
from clipshift.exporting.targets import package_versions
from clipshift.inference.engines.streaming import Stepper
from clipshift.inference.export_folder import Export, Target
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.models.recognizer import Recognizer

_CLASSES = 400
_TARGETS: tuple[Target, ...] = ("onnx", "openvino")


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


def contestants(network: Recognizer, spec: ModelSpec, folder: Path, threads: int) -> dict[str, Stepper]:
    """Everything that can answer to a frame, by name."""
    cpu = torch.device("cpu")
    steppers: dict[str, Stepper] = {
        "PyTorch, as trained": NetworkScorer(network, spec, cpu, as_trained=True).stepper,
        "PyTorch": NetworkScorer(network, spec, cpu).stepper,
    }
    for target in _TARGETS:
        (folder / target).mkdir()
        export = Export(
            clipshift=clipshift.__version__,
            target=target,
            precision="fp32",
            streaming=describe_streaming(network, spec),
            spec=spec,
            license="none",
            versions=package_versions(target),
        )
        write_files(folder / target, network, export)
        scorer = clipshift.load(folder / target, device="cpu", threads=threads).scorer
        assert isinstance(scorer, ExportScorer)
        steppers[target] = scorer.stepper
    return steppers


class Stream:
    """A stream through one contestant, over frames that come again and again."""

    def __init__(self, stepper: Stepper, frames_TBHWC: np.ndarray) -> None:
        self.stepper, self.frames = stepper, frames_TBHWC
        self.state: tuple[Any, ...] = stepper.initial_state(frames_TBHWC.shape[1])
        self.logits: list[np.ndarray] = []

    def step(self) -> None:
        """One frame further."""
        frames_BHWC = self.frames[len(self.logits) % len(self.frames)]
        logits, self.state = self.stepper.step(frames_BHWC, self.state)
        self.logits.append(logits.frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tsm-mobilenetv2-online")
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network, spec = seeded_network(options.recipe)
    blocks = np.random.default_rng(0).integers(
        0, 256, (16, options.streams, options.size[0] // 8, options.size[1] // 8, 3), dtype=np.uint8
    )
    frames_TBHWC = blocks.repeat(8, axis=2).repeat(8, axis=3)
    with tempfile.TemporaryDirectory() as scratch:
        steppers = contestants(network, spec, Path(scratch), options.threads)
        streams = {name: Stream(stepper, frames_TBHWC) for name, stepper in steppers.items()}
        times = take_turns({name: stream.step for name, stream in streams.items()}, repeat=options.repeat, warm_up=5)
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
