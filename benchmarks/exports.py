"""Exports networks to every target and precision, and shows how well they agree, how large and how fast they are.

    python benchmarks/exports.py DATA [--networks tsm-r50 ...] [--models FOLDER ...] [--calibrate DATA]
                                 [--forms "onnx fp32" ...] [--threads 2] [--repeat 9] [--json figures.json]

DATA are clips to compare and to time on (a folder of videos, a pattern); their labels do not matter. Networks are
recipes, with seeded weights whose batch norms have seen some of these clips, 400 classes, and the recipe's frames and
crop. Models are run folders or model folders; with --calibrate, the data set that they learned from, they are exported
to int8, too. What cannot be exported here, or does not pass export's own check, is shown with the reason.

The times of a network are from decoded frames to logits, preprocessing included: medians of one clip, measured in turns
with the trained form in PyTorch; "times" says how often the export fits into that.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from common import write_json

import clipshift
from clipshift.config import DataConfig, ModelSpec, resolve
from clipshift.data.stream import read_views
from clipshift.data.transforms import normalise
from clipshift.deployment.targets import PRECISIONS
from clipshift.engines import Precision, Target
from clipshift.engines.exported import MODEL_FILES
from clipshift.errors import UserError
from clipshift.inference.sources import find_clips
from clipshift.models.bundle import save_bundle
from clipshift.models.recognizer import Recognizer

NETWORKS = (
    "tsn-r50",
    "tsm-r50",
    "tsm-mobilenetv2",
    "pptsn-r50",
    "pptsm-r50",
    "pptsm-r101",
    "pptsm-mobilenetv3",
    "pptsmv2",
)
FORMS: dict[str, tuple[Target, Precision]] = {
    f"{target} {precision}": (target, precision)
    for target, precisions in PRECISIONS.items()
    for precision in precisions
}
_CLASSES = 400


def seeded_model(recipe: str, data: str, folder: Path) -> Path:
    """A model folder of a recipe's network that answers to its input, without training."""
    config = resolve(recipe, settings=("model.pretrained=false",)).config
    classes = tuple(f"class {number}" for number in range(_CLASSES))
    spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
    random = torch.Generator().manual_seed(1)
    network = Recognizer(
        config.model, segments=config.input.segments, classes=_CLASSES, crop=config.input.crop, generator=random
    )
    torch.nn.init.normal_(network.classifier.weight, std=0.1, generator=random)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of what it sees
    clips = list(find_clips([data], DataConfig()))[:4]
    views = torch.cat([read_views(clip, config.input, DataConfig(), crops=spec.crops)[:1] for clip in clips])
    with torch.no_grad():
        network.train()(normalise(views, config.input.mean, config.input.std))
    save_bundle(folder, network.eval(), spec)
    return folder


def measure(
    model: Path, data: str, calibrate: str | None, forms: Sequence[str], scratch: Path, threads: int, repeat: int
) -> Iterator[dict[str, Any]]:
    """Exports one model and gives the figures of each form, the trained one first."""
    exported: dict[str, Path] = {}
    checks: dict[str, dict[str, Any]] = {}
    for form in forms:
        target, precision = FORMS[form]
        source = {"calibrate": calibrate} if precision == "int8" else {"data": data}
        try:
            done = clipshift.export(
                model, to=target, precision=precision, out=scratch / form.replace(" ", "-"), **source
            )
        except UserError as error:
            checks[form] = {"refused": f"{error.what} {error.got or ''}".strip()}
            continue
        checked = done.export.checked
        assert checked is not None
        exported[form] = done.folder
        checks[form] = {
            "megabytes": sum((done.folder / name).stat().st_size for name in MODEL_FILES[done.export.target]) / 1e6,
            "largest_difference": checked.largest_difference,
            "agreement": checked.agreement,
            "clips": checked.clips,
            "layers_in_float32": len(done.export.kept),
        }
    speeds = clipshift.benchmark(model, *exported.values(), videos=data, threads=threads, repeat=repeat).speeds
    yield {"form": "trained", "network_ms": speeds[0].network.median, "engine": speeds[0].engine}
    times = dict(zip(exported, speeds[1:], strict=True))
    for form, check in checks.items():
        figures = {"form": form, **check}
        if form in times:
            figures |= {"network_ms": times[form].network.median, "engine": times[form].engine}
            figures["times"] = speeds[0].network.median / times[form].network.median
        yield figures


def row(name: str, figures: dict[str, Any]) -> str:
    """One line of the table."""
    if "refused" in figures:
        return f"| {name} | {figures['form']} | {figures['refused']} | | | | |"
    if figures["form"] == "trained":
        return f"| {name} | trained, PyTorch | | | | {figures['network_ms']:.0f} | 1 |"
    same = f"{figures['agreement']:.1%} of {figures['clips']}"
    return (
        f"| {name} | {figures['form']} | {figures['largest_difference']:.1e} | {same} | {figures['megabytes']:.1f} | "
        f"{figures['network_ms']:.0f} | {figures['times']:.2f} |"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--models", nargs="*", default=())
    parser.add_argument("--calibrate")
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    print("| network | form | probabilities differ by | same class | MB | ms | times |")
    print("|---" * 7 + "|")
    with tempfile.TemporaryDirectory(prefix="clipshift-") as scratch:
        for name in (*arguments.networks, *arguments.models):
            folder = Path(scratch) / f"{len(results)}"
            model = Path(name)
            forms = arguments.forms
            if name in arguments.networks:
                model = seeded_model(name, arguments.data, folder / "model")
            if name in arguments.networks or arguments.calibrate is None:
                forms = [form for form in forms if FORMS[form][1] != "int8"]
            results[model.name if name in arguments.models else name] = found = []
            figures_of = measure(
                model, arguments.data, arguments.calibrate, forms, folder, arguments.threads, arguments.repeat
            )
            for figures in figures_of:
                found.append(figures)
                print(row(name, figures), flush=True)
    if arguments.json is not None:
        write_json(arguments.json, {"networks": results})


if __name__ == "__main__":
    main()
