"""Training clips per second over the number of worker processes, and what a clip costs to read.

    python benchmarks/loader.py DATA [key=value ...] [--recipe NAME] [--workers 0 1 2] [--batches 12] [--repeat 3]
                                [--repacked] [--json figures.json] [--chart figure.png]

The loader of the recipe gives batches to nobody: its rate is the most that a network could be fed with. `--repacked`
measures what `clipshift repack` makes of DATA beside it. The two take turns, and so do the numbers of workers; rates
are medians, with the distance between the quartiles. Workers are running when the time begins. What a clip costs is the
CPU time: decoding and changing (crop, scaling, mirror, color) where they happen, collating (the copy into the
batch, which in a worker is shared memory) measured alone, and receiving: all that the training process does for a clip.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from common import line_chart, write_json

from clipshift.config import Config, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.datasets import read_dataset
from clipshift.datasets.tools.transcode import repack_videos
from clipshift.training.loader import Batch, TrainingLoader, training_loader
from clipshift.training.samples import TrainingClips


def endless(loader: TrainingLoader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from loader.batches(epoch)
        epoch += 1


def measure_rate(loader: TrainingLoader, batches: int) -> dict[str, float]:
    """Clips per second after the first batches, and milliseconds of the CPU that a clip takes."""
    stream = endless(loader)
    # What was read ahead while nobody looked at the clock must not count.
    for _ in islice(stream, 2 + 2 * loader.workers):
        pass
    elapsed, cpu = time.perf_counter(), time.process_time()
    clips = sum(len(batch["indices"]) for batch in islice(stream, batches))
    elapsed, cpu = time.perf_counter() - elapsed, time.process_time() - cpu
    decoding, changing = (1000 * seconds for seconds in loader.cost)
    figures = {"clips_per_second": clips / elapsed, "decoding_ms": decoding, "changing_ms": changing}
    if loader.workers:
        figures["receiving_ms"] = 1000 * cpu / clips
    return figures


def collating_ms(clips: TrainingClips, batch_size: int) -> float:
    """Milliseconds of the CPU for the copy of one clip into a batch."""
    read = [clips[0, index % len(clips)]["clip"] for index in range(batch_size)]
    times = []
    for _ in range(7):
        begun = time.process_time()
        torch.stack(read)
        times.append(1000 * (time.process_time() - begun) / batch_size)
    return statistics.median(times)


def measure(data: dict[str, Path], config: Config, workers: list[int], *, batches: int, repeat: int) -> list[Any]:
    sets = {name: TrainingClips(read_dataset(path, config.data).train, config) for name, path in data.items()}
    taken: dict[tuple[str, int], list[dict[str, float]]] = {(name, count): [] for name in sets for count in workers}
    for _ in range(repeat):
        for name, count in taken:
            with training_loader(sets[name], batch_size=config.train.batch_size, workers=count) as loader:
                taken[name, count].append(measure_rate(loader, batches))
    results = []
    for (name, count), runs in taken.items():
        rates = [run["clips_per_second"] for run in runs]
        first, _, third = statistics.quantiles(rates, n=4, method="inclusive") if len(rates) > 1 else (0.0, 0.0, 0.0)
        figures = {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
        figures |= {"spread": round(third - first, 2), "collating_ms": round(collating_ms(sets[name], 8), 3)}
        results.append({"clips": name, "workers": count, **figures})
    return results


def table(results: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| clips | workers | clips/s | decoding | changing | collating | receiving |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in results:
        parts = [each.get(f"{part}_ms") for part in ("decoding", "changing", "collating", "receiving")]
        cells = ["-" if part is None else f"{part:.2f} ms" for part in parts]
        rate = f"{each['clips_per_second']:.1f} ± {each['spread']:.1f}"
        lines.append(f"| {each['clips']} | {each['workers']} | {rate} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--recipe", default=DEFAULT_RECIPE)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--repacked", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    arguments = parser.parse_args()
    config = resolve(arguments.recipe, settings=arguments.settings).config
    torch.set_num_threads(1)  # as in the workers
    with tempfile.TemporaryDirectory() as scratch:
        data = {"original": arguments.data}
        if arguments.repacked:
            data["repacked"] = Path(scratch) / "repacked"
            written = repack_videos(arguments.data, data["repacked"]).lists
            if written is None:
                parser.error("nothing could be repacked")
            data["repacked"] = written.data
        results = measure(data, config, arguments.workers, batches=arguments.batches, repeat=arguments.repeat)
    print(table(results))
    if arguments.json is not None:
        write_json(arguments.json, {"recipe": arguments.recipe, "loader": results})
    if arguments.chart is not None:
        lines = {
            name: [(each["workers"], each["clips_per_second"]) for each in results if each["clips"] == name]
            for name in data
        }
        line_chart(arguments.chart, "Training clips that the loader gives", "workers", {"clips/s": lines})


if __name__ == "__main__":
    main()
