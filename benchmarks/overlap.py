"""A folder of clips: how much faster than reading and scoring one after the other is it to do both at once?

    python benchmarks/overlap.py FOLDER [--clips 200] [--recipe tsm-mobilenetv2] [--forms trained "onnx fp32" ...]
                                 [--repeat 1] [--json overlap.json] [--chart overlap.png]

Clips of FOLDER (and below), evenly chosen, are linked into one folder and answered for by one model, of seeded weights
(see benchmarks/exports.py), as trained and as exported. One after the other: a clip is read, then the network answers,
then comes the next clip; reading takes one thread, the network all cores, or one. At once: `clipshift predict FOLDER`
without the time to start. The ways take turns. The table shows medians: clips a second, in brackets the cores that were
busy (CPU time over elapsed time), and how many times faster than each of the others doing it at once is.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Literal

from common import bar_chart, measure, ratio, write_json
from exports import FORMS, seeded_model

import clipshift
from clipshift.config import DataConfig
from clipshift.inference.predictions import Failure
from clipshift.inference.predictor import Model, pick_mode
from clipshift.inference.sources import find_clips
from clipshift.parallel.prefetch import available_cores

WAYS = ("one after the other", "the same, network on one core", "at once")
_WARM_UP = 4


def link_clips(source: Path, folder: Path, most: int) -> list[Path]:
    """Links to at most so many clips, spread evenly over the source."""
    paths = [clip.path for clip in find_clips([source], DataConfig())]
    wanted = min(most, len(paths))
    folder.mkdir()
    links = []
    for number in range(wanted):
        path = paths[number * len(paths) // wanted]
        links.append(folder / f"{number:04}{path.suffix}")
        links[-1].symlink_to(path)
    return links


def make_models(recipe: str, folder: Path, forms: list[str], scratch: Path) -> dict[str, Path]:
    """The model in each form."""
    trained = scratch / "trained"
    seeded_model(recipe, list(find_clips([folder], DataConfig()))[:4], trained)
    made: dict[str, Path] = {}
    for form in forms:
        if form == "trained":
            made[form] = trained
            continue
        target, precision = FORMS[form]
        made[form] = scratch / form.replace(" ", "-")
        clipshift.export(trained, to=target, precision=precision, out=made[form], data=str(folder))
    return made


def answer_all(model: Model, sources: Path | list[Path], workers: int | Literal["auto"]) -> None:
    """Answers for all clips."""
    failed = [answer for answer in model.predict_many(sources, workers=workers) if isinstance(answer, Failure)]
    assert not failed, failed


def time_once(path: Path, folder: Path, clips: list[Path], way: str) -> tuple[float, float]:
    """Elapsed and CPU's milliseconds of one way through the folder."""
    # PyTorch's threads are those of the whole process: they are set where a model is loaded.
    threads = 1 if way == WAYS[1] else available_cores()
    model = clipshift.load(
        path, device="cpu", threads=threads, mode=pick_mode([folder]) if way == WAYS[2] else "latency"
    )
    workers: int | Literal["auto"] = "auto" if way == WAYS[2] else 0
    answer_all(model, clips[:_WARM_UP], workers)
    return measure(partial(answer_all, model, folder, workers))


def measure_form(path: Path, folder: Path, clips: list[Path], repeat: int) -> dict[str, Any]:
    """The figures of one form."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        for way, times in taken.items():
            times.append(time_once(path, folder, clips, way))
    figures: dict[str, Any] = {}
    for way, times in taken.items():
        elapsed, cpu = zip(*times, strict=True)
        figures[way] = {
            "seconds": statistics.median(elapsed) / 1e3,
            "clips_per_second": 1e3 * len(clips) / statistics.median(elapsed),
            "busy_cores": ratio(cpu, elapsed),
            "times_slower_than_at_once": ratio(elapsed, [time for time, _ in taken[WAYS[2]]]),
        }
    return figures


def row(form: str, figures: dict[str, Any]) -> str:
    """One line of the table."""
    rates = [f"{figures[way]['clips_per_second']:.1f} ({figures[way]['busy_cores']:.2f})" for way in WAYS]
    times = [f"{figures[way]['times_slower_than_at_once']:.2f}" for way in WAYS[:2]]
    return f"| {form} | {' | '.join(rates + times)} |"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--recipe", default="tsm-mobilenetv2")
    parser.add_argument("--forms", nargs="+", default=["trained", "onnx fp32", "openvino fp32"])
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()

    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="clipshift-") as scratch:
        folder = Path(scratch) / "clips"
        clips = link_clips(options.folder, folder, options.clips)
        models = make_models(options.recipe, folder, options.forms, Path(scratch))
        print(f"{len(clips)} clips, {options.recipe}, clips/s (busy cores)")
        print(f"| form | {' | '.join(WAYS)} | times faster | than on one core |")
        print("|---" * 6 + "|")
        for form, path in models.items():
            results[form] = measure_form(path, folder, clips, options.repeat)
            print(row(form, results[form]), flush=True)
    if options.json is not None:
        write_json(options.json, {"clips": len(clips), "recipe": options.recipe, "forms": results})
    if options.chart is not None:
        groups = {form: {way: figures[way]["clips_per_second"] for way in WAYS} for form, figures in results.items()}
        bar_chart(options.chart, f"{options.recipe}: a folder of {len(clips)} clips", "clips/s", groups)


if __name__ == "__main__":
    main()
