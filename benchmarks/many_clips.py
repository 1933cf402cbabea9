"""Prediction over very many paths: is its time linear, and its memory flat?

    python benchmarks/many_clips.py [--paths 10000] [--clips 8] [--json many.json] [--chart many.png]

A few small clips of moving shapes are generated, with many links to them, and `clipshift predict` answers for all, into
a file, with a small network of random weights: what is measured is what is around the network. The table shows, after
each tenth of the paths, the time since the tenth before for a path and the memory in use. Time is the CPU's,
which other programs on the machine change little. Exit code 1 if the last fifth took over 1.2 times as long as the
second, or if memory grew by more than 5 % and 8 MiB from the second tenth to the end.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
from common import line_chart, write_json

import clipshift
from clipshift.config import ModelSpec, resolve
from clipshift.datasets.motion import write_motion_clips
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.predictions import Failure, Prediction
from clipshift.inference.predictor import Model, predict
from clipshift.inference.writing import write_predictions
from clipshift.models.bundle import save_bundle
from clipshift.models.recognizer import Recognizer

TENTHS = 10
Point = tuple[int, float, float, float]
"""Answers so far, CPU's seconds, elapsed seconds, memory in use in MiB."""


def small_model() -> Model:
    settings = ("model.backbone=test_resnet", "model.pretrained=false", "input.segments=8", "input.crop=64")
    config = resolve(settings=(*settings, "input.resize=64")).config
    classes = ("a", "b", "c", "d")
    network = Recognizer(config.model, segments=config.input.segments, classes=len(classes)).eval()
    spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
    return Model(NetworkScorer(network, spec, torch.device("cpu")))


def make_links(folder: Path, *, paths: int, clips: int) -> Path:
    """A folder with links to a few generated clips."""
    videos = sorted(write_motion_clips(folder / "motion", clips_per_class=clips, validation_per_class=1).rglob("*.mp4"))
    links = folder / "links"
    for number in range(paths):
        # Not all in one folder, as nobody's videos are.
        link = links / f"{number // 1000:03}" / f"{number:06}.mp4"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(videos[number % len(videos)])
    return links


def make_export(folder: Path) -> Path:
    """A small network of random weights for ONNX Runtime: what is measured is what is around it."""
    settings = ("model.backbone=test_resnet", "model.pretrained=false", "input.segments=4", "input.crop=32")
    config = resolve(settings=(*settings, "input.resize=32")).config
    classes = ("a", "b", "c", "d")
    network = Recognizer(config.model, segments=4, classes=len(classes), generator=torch.Generator().manual_seed(0))
    spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
    save_bundle(folder / "model", network.eval(), spec)
    return clipshift.export(folder / "model", to="onnx", out=folder / "onnx", license="Apache-2.0").folder


def memory_mib() -> float:
    """Memory in use by this process now, as the kernel counts it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watched(answers: Iterable[Prediction | Failure], paths: int, points: list[Point]) -> Iterator[Prediction | Failure]:
    """Passes answers on and notes, after each tenth of the paths, what was used so far."""
    started, cpu = time.perf_counter(), time.process_time()
    for count, answer in enumerate(answers, start=1):
        yield answer
        if count % (paths // TENTHS) == 0:
            elapsed = time.perf_counter() - started
            points.append((count, time.process_time() - cpu, elapsed, memory_mib()))


def verdict(points: list[Point]) -> tuple[float, float]:
    """How many times as long as the second fifth the last one took, and by how many MiB memory grew since the first."""
    seconds = [point[1] for point in points]
    second, last = seconds[3] - seconds[1], seconds[9] - seconds[7]
    return last / second, points[9][3] - points[1][3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paths", type=int, default=10_000)
    parser.add_argument("--clips", type=int, default=2, help="clips of each of the four kinds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    if options.paths < TENTHS:
        parser.error(f"--paths must be at least {TENTHS}")

    # A network this small is quicker with one thread, and threads that wait for work would count as CPU time.
    torch.set_num_threads(1)
    points: list[Point] = []
    model = small_model()
    with tempfile.TemporaryDirectory() as scratch:
        links = make_links(Path(scratch), paths=options.paths, clips=options.clips)
        answers = watched(predict(model, links), options.paths, points)
        failed = write_predictions(answers, str(Path(scratch) / "out.jsonl"), top=1, say=lambda _: None)
    assert not failed, f"{failed} clips could not be read"

    print(f"{'paths':>8}{'ms a path':>12}{'elapsed s':>12}{'memory MiB':>12}")
    start = (0, 0.0, 0.0, 0.0)
    for (before, used, *_), (count, cpu, elapsed, memory) in pairwise([start, *points]):
        print(f"{count:>8}{1e3 * (cpu - used) / (count - before):>12.2f}{elapsed:>12.1f}{memory:>12.1f}")
    slower, grown = verdict(points)
    print(f"the last fifth took {slower:.2f} times the second fifth's time; memory grew by {grown:.1f} MiB")
    if options.json is not None:
        keys = ("paths", "processor_s", "elapsed_s", "memory_mib")
        rows = [dict(zip(keys, point, strict=True)) for point in points]
        write_json(options.json, {"points": rows, "last_to_second_fifth": slower, "memory_growth_mib": grown})
    if options.chart is not None:
        panels = {
            "CPU time, s": {"": [(point[0], point[1]) for point in points]},
            "memory, MiB": {"": [(point[0], point[3]) for point in points]},
        }
        line_chart(options.chart, "clipshift predict over many paths", "paths", panels)
    sys.exit(slower > 1.2 or grown > max(8.0, 0.05 * points[1][3]))


if __name__ == "__main__":
    main()
