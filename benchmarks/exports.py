"""Networks x targets x precisions: how fast exports are, how large, and how far from their model.

    python benchmarks/exports.py DATA [--networks tsm-r50 ...] [--models RUN ...] [--forms "onnx fp32" ...]
                                 [--steps write time table] [--to FOLDER] [--ranges 32] [--compared 16] [--threads 2]
                                 [--repeat 9] [--json figures.json]

DATA is a data set: ranges of int8 are measured on its training clips, answers and times on its validation clips.
Networks are recipes with seeded weights and 400 classes, whose batch norms have seen four training clips. Random
classes lie so near to each other that no int8 export passes the check of `clipshift export`; therefore these files are
written without any check, and how far they are from their model is shown, whatever it is. What int8 costs a trained
network is another question: models, run folders or model folders that learned from DATA, go through `clipshift export`
with all of its checks, and what it refuses is shown with the reason.

With --to, exports and figures stay in that folder, and what is there is not done again: write on a busy machine, and
then time on a quiet one, some networks at a time.

Times are from decoded frames to logits, preprocessing included: medians of one clip and the distance between their
quartiles, all forms of a network in turns; "times" is the median of the turns' ratios to PyTorch with the network as it
was trained. "PyTorch" is what `clipshift predict` does with a trained model: batch norms folded, channels-last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ratio, take_turns, write_json

import clipshift
from clipshift.config import DataConfig, ModelSpec, resolve
from clipshift.datasets import read_dataset
from clipshift.datasets.clip import Clip, evenly
from clipshift.errors import UserError
from clipshift.exporting.export import write_files
from clipshift.exporting.parity import compare
from clipshift.exporting.quantization.accuracy_control import Demands
from clipshift.exporting.quantization.calibration import NormalizedViews
from clipshift.exporting.quantization.onnx import quantize_onnx
from clipshift.exporting.quantization.openvino import quantize_openvino
from clipshift.exporting.targets import PRECISIONS, Quantize, check_target, package_versions
from clipshift.inference.export_folder import MODEL_FILES, Export, Precision, Target
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.views import read_views
from clipshift.models.bundle import load_bundle, save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.sampling import frame_sets
from clipshift.preprocessing.transforms import normalize
from clipshift.video import decode, probe

NETWORKS: dict[str, tuple[str, ...]] = {
    "tsn-r50": ("tsn-r50",),
    "tsm-r50": ("tsm-r50",),
    "tsm-mobilenetv2": ("tsm-mobilenetv2",),
    "pptsn-r50": ("pptsn-r50",),
    "pptsm-r50": ("pptsm-r50",),
    "pptsm-r101": ("pptsm-r101",),
    "pptsm-mobilenetv3": ("pptsm-mobilenetv3",),
    "pptsmv2": ("pptsmv2",),
    "pptsmv2-attention": ("pptsmv2", "model.temporal_attention=true"),
    "pptsmv2-16f": ("pptsmv2", "input.segments=16"),
}
"""A recipe each, with settings."""
FORMS: dict[str, tuple[Target, Precision]] = {
    f"{target} {precision}": (target, precision)
    for target, precisions in PRECISIONS.items()
    for precision in precisions
}
AS_TRAINED, TRAINED = "as trained", ("PyTorch", "PyTorch bf16")
"""PyTorch with the network as it was trained, and as `clipshift.load` gives it."""
_CLASSES = 400
_SEEN = 4
"""Clips for the batch norms."""
_TIMED = 8
"""Clips whose frames are timed, one after the other."""

Figures = dict[str, dict[str, Any]]
"""What is known of each form of one network."""


class Clips:
    """The clips of a data set, for all models."""

    def __init__(self, data: str, *, ranges: int, compared: int) -> None:
        dataset = read_dataset(data, DataConfig())
        self.data = data
        self.training = evenly(dataset.train.clips, ranges)
        self.validation = evenly(dataset.validation.clips, compared)


def seeded_model(name: str, clips: Sequence[Clip], folder: Path) -> None:
    """Write the model folder of a network that answers to its input, without training."""
    recipe, *settings = NETWORKS[name]
    config = resolve(recipe, settings=("model.pretrained=false", *settings)).config
    classes = tuple(f"class {number}" for number in range(_CLASSES))
    spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
    random = torch.Generator().manual_seed(1)
    network = Recognizer(
        config.model, segments=config.input.segments, classes=_CLASSES, crop=config.input.crop, generator=random
    )
    torch.nn.init.normal_(network.classifier.weight, std=0.1, generator=random)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # the mean of what it sees
    views = torch.cat([read_views(clip, config.input, DataConfig(), crops=spec.crops)[:1] for clip in clips])
    with torch.no_grad():
        network.train()(normalize(views, config.input.mean, config.input.std))
    save_bundle(folder, network.eval(), spec)


def write_unjudged(model: Path, form: str, clips: Clips, out: Path) -> dict[str, Any]:
    """Write an export without the check that `clipshift export` makes, and say how far it is from its model."""
    target, precision = FORMS[form]
    check_target(target, precision)
    network, spec = load_bundle(model)
    description = Export(
        clipshift=clipshift.__version__,
        target=target,
        precision=precision,
        spec=spec,
        license="not stated",
        versions=package_versions(target),
    )
    out.mkdir(parents=True)
    quantize = unjudged_quantizer(description, clips.training) if precision == "int8" else None
    description = write_files(out, network.eval(), description, quantize)
    compared = compare(clipshift.load(model, device="cpu"), clipshift.load(out, device="cpu"), clips.validation)
    return {
        "largest_difference": compared.largest,
        "mean_difference": compared.gap.mean,
        "agreement": compared.gap.agreement,
        "clips": compared.gap.clips,
        "layers_in_float32": len(description.excluded_layers),
    }


def unjudged_quantizer(description: Export, clips: Sequence[Clip]) -> Quantize:
    """As `clipshift.exporting.quantization.calibration.quantizer`, for a network whose answers nothing is asked of."""
    views = NormalizedViews(clips, description)
    quantize = quantize_onnx if description.target == "onnx" else quantize_openvino

    def quantize_network(network: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
        found = quantize(network, views, views[:1], Demands(lambda _: 1.0, 0.0))
        return found.model, found.excluded

    return quantize_network


def write_judged(model: Path, form: str, clips: Clips, out: Path) -> dict[str, Any]:
    """Export a trained model as a user does."""
    target, precision = FORMS[form]
    int8 = precision == "int8"
    export = clipshift.export(
        model,
        to=target,
        precision=precision,
        out=out,
        data=None if int8 else clips.data,
        calibrate=clips.data if int8 else None,
    ).export
    checked = export.checked
    assert checked is not None
    return {
        "largest_difference": checked.largest_difference,
        "agreement": checked.agreement,
        "clips": checked.clips,
        "accuracy": checked.accuracy,
        "accuracy_of_model": checked.accuracy_of_model,
        "layers_in_float32": len(export.excluded_layers),
    }


def write(
    model: Path,
    forms: Sequence[str],
    clips: Clips,
    folder: Path,
    writer: Callable[[Path, str, Clips, Path], dict[str, Any]],
) -> None:
    """Write those forms of a model that are not in its folder yet."""
    figures = read_figures(folder)
    for form in forms:
        if form in figures:
            continue
        out = folder / form.replace(" ", "-")
        try:
            found = writer(model, form, clips, out)
            names = MODEL_FILES[FORMS[form][0]]
            figures[form] = {"megabytes": sum((out / name).stat().st_size for name in names) / 1e6, **found}
        except UserError as error:
            figures[form] = {"refused": f"{error.what} {error.got or ''}".strip()}
        save_figures(folder, figures)
        print(f"{folder.name}: {form}: {figures[form]}", flush=True)


def measure(model: Path, forms: Sequence[str], clips: Clips, folder: Path, *, threads: int, repeat: int) -> None:
    """Time a model and its exports in turns."""
    figures = read_figures(folder)
    written = [form for form in forms if "megabytes" in figures.get(form, ())]
    trained = clipshift.load(model, device="cpu", threads=threads)
    assert isinstance(trained.scorer, NetworkScorer)
    opened = dict(zip(TRAINED, (trained, clipshift.load(model, device="cpu", amp="bf16")), strict=True))
    opened[AS_TRAINED] = replace(trained, scorer=replace(trained.scorer, as_trained=True))
    opened |= {form: clipshift.load(folder / form.replace(" ", "-"), device="cpu", threads=threads) for form in written}
    settings = trained.spec.input
    frames = [
        decode(clip.path, frame_sets(settings.sampling, probe(clip.path).frames, settings.segments)[0])
        for clip in evenly(clips.validation, _TIMED)
    ]

    def work(one_set: Callable[[np.ndarray], object]) -> Callable[[], object]:
        turns = cycle(frames)  # so that all have the same clip in the same turn
        return lambda: one_set(next(turns))

    times = take_turns({form: work(each.scorer.one_set) for form, each in opened.items()}, repeat=repeat, warm_up=2)
    for form, each in times.items():
        ratios = ratio(times[AS_TRAINED].elapsed_ms, each.elapsed_ms)
        engine = opened[form].engine
        figures[form] = {**figures.get(form, {}), **each.to_json(), "times_as_fast": round(ratios, 3), "engine": engine}
    save_figures(folder, figures)


def read_figures(folder: Path) -> Figures:
    """Of one network, those of earlier runs; nothing if there are none."""
    file = folder / "figures.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def save_figures(folder: Path, figures: Figures) -> None:
    """Keep them beside the exports."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def tables(results: dict[str, Figures], forms: Sequence[str]) -> str:
    """Times, sizes and differences as Markdown, a row for each network."""

    def time(figures: dict[str, Any]) -> str:
        if "elapsed_ms" not in figures:
            return ""
        return f"{figures['elapsed_ms']:.0f} ± {figures['elapsed_spread_ms']:.0f} ({figures['times_as_fast']:.2f})"

    def size(figures: dict[str, Any]) -> str:
        return f"{figures['megabytes']:.1f}" if "megabytes" in figures else ""

    def gap(figures: dict[str, Any]) -> str:
        if "largest_difference" not in figures:
            return "refused" if "refused" in figures else ""
        return f"{figures['largest_difference']:.1e}, {figures['agreement']:.0%}"

    parts = [
        table(
            "Milliseconds of one clip ± quartiles' distance (times as fast)",
            [AS_TRAINED, *TRAINED, *forms],
            results,
            time,
        ),
        table("Megabytes", forms, results, size),
        table("Largest difference of a probability, clips of the same class", forms, results, gap),
    ]
    for name, figures in results.items():
        parts += [f"{name}, {form}: {each['refused']}" for form, each in figures.items() if "refused" in each]
    return "\n\n".join(parts)


def table(
    title: str, columns: Sequence[str], results: dict[str, Figures], cell: Callable[[dict[str, Any]], str]
) -> str:
    """One of them."""
    rows = [["network", *columns], ["---"] * (len(columns) + 1)]
    rows += [[name, *(cell(figures.get(form, {})) for form in columns)] for name, figures in results.items()]
    return f"{title}:\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--models", nargs="*", default=[], type=Path)
    parser.add_argument(
        "--forms", nargs="+", default=[form for form in FORMS if not form.startswith("torch")], choices=list(FORMS)
    )
    parser.add_argument("--steps", nargs="+", default=["write", "time", "table"], choices=["write", "time", "table"])
    parser.add_argument("--to", type=Path, help="default: a folder that is gone afterwards")
    parser.add_argument("--ranges", type=int, default=32, help="training clips for int8 of seeded networks")
    parser.add_argument("--compared", type=int, default=16, help="validation clips to compare seeded networks on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    clips = Clips(arguments.data, ranges=arguments.ranges, compared=arguments.compared)
    with tempfile.TemporaryDirectory(prefix="clipshift-") as scratch:
        folder = arguments.to or Path(scratch)
        models = {name: folder / name / "model" for name in arguments.networks}
        models |= {model.name: model for model in arguments.models}
        for name, model in models.items():
            seeded = name in arguments.networks
            if "write" in arguments.steps:
                if seeded and not model.is_dir():
                    seeded_model(name, clips.training[:: len(clips.training) // _SEEN][:_SEEN], model)
                write(model, arguments.forms, clips, folder / name, write_unjudged if seeded else write_judged)
            if "time" in arguments.steps:
                measure(
                    model, arguments.forms, clips, folder / name, threads=arguments.threads, repeat=arguments.repeat
                )
        results = {name: read_figures(folder / name) for name in models}
    if "table" in arguments.steps:
        print(tables(results, arguments.forms))
    if arguments.json is not None:
        write_json(arguments.json, {"networks": results})


if __name__ == "__main__":
    main()
