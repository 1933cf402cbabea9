"""What augmentation, mixing, distillation, frames and test views bring on a small data set.

    python benchmarks/small_data.py DATA --weights FILE [key=value ...] [--folds 3] [--group REGEX | --scenes]
        [--seeds 0 1] [--only NAME ...] [--few] [--to FOLDER] [--json figures.json]

Each comparison is a recipe with a few settings changed. Without --folds it learns from the training clips of DATA and
is tested on the validation clips. With them, all clips are dealt into so many parts, whole groups to one part (what
REGEX finds in a clip's name, by default the source that the name tells; with --scenes, what looks alike, for names that
do not tell which clips one camera saw); each part is the test of a training on the others, or, with --few, all other
parts are the test of a training on this one. The tested network is that of the last
epoch, so the test clips choose nothing: the epochs' validation looks at one of them per class, for show.

The table shows the share of tested clips that were right: mean and standard deviation over the seeds, each seed a test
of all clips; and the difference to the baseline over the same clips, folds and seeds, with its standard error over
clips. Every training is kept in FOLDER, so an interrupted benchmark goes on, and one with more seeds or comparisons
adds to what is there. Teachers are the baselines of the same fold, of all seeds that are there; these come first.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import clipshift
from clipshift.config import Crops, ModelSpec, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.datasets import Clip, DataSet, read_dataset
from clipshift.datasets.split import group_of
from clipshift.datasets.tools.near_duplicates import LOOK_FRAMES, look_of
from clipshift.evaluation.results import Evaluation
from clipshift.models.bundle import load_bundle, save_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.training.checkpoint import load_checkpoint
from clipshift.training.run_folder import environment
from clipshift.video.opening import open_clip

BASELINE = "baseline"
_ALIKE = 0.6
"""Least correlation of the median pictures of two clips of one scene."""


@dataclass(frozen=True)
class Comparison:
    """What is changed from the recipe.

    Attributes:
        about: For the table.
        settings: `key=value`.
        taught: Learns from the baselines, too.
    """

    about: str
    settings: tuple[str, ...] = ()
    taught: bool = False


_TAUGHT = (
    "distill.method=teacher",
    "distill.temperature=2",
    "distill.label_weight=0.5",
    "distill.weight=0.5",
)
_PROBE_ALONE = ("train.epochs=1", "optim.lr=1e-12")
"""The classifier stays the linear probe that it starts from, and so does all else."""
COMPARISONS: dict[str, Comparison] = {
    BASELINE: Comparison("the recipe as it is"),
    "still_probe": Comparison(
        "linear probe on still frames, no training",
        ("model.architecture=tsn", "model.motion=false", *_PROBE_ALONE),
    ),
    "probe": Comparison("linear probe of the shifted network, no training", ("model.motion=false", *_PROBE_ALONE)),
    "motion_probe": Comparison(
        "linear probe that reads motion, too, no training", ("model.motion=true", *_PROBE_ALONE)
    ),
    "reads_no_motion": Comparison("the classifier reads no motion, whatever the clips say", ("model.motion=false",)),
    "reads_motion": Comparison("the classifier reads motion, too", ("model.motion=true",)),
    "reads_motion_tsn": Comparison(
        "the classifier reads motion, too; no shift", ("model.motion=true", "model.architecture=tsn")
    ),
    "tsn": Comparison("no shift: TSN", ("model.architecture=tsn",)),
    "plain": Comparison("no multi-scale crop, no flip", ("augment.crop_scales=[1.0]", "augment.flip=0")),
    "color": Comparison(
        "brightness, contrast, saturation 0.4",
        ("augment.brightness=0.4", "augment.contrast=0.4", "augment.saturation=0.4"),
    ),
    "rand_augment": Comparison("RandAugment, 2 operations", ("augment.rand_augment=2",)),
    "mixup": Comparison("mixup 0.2", ("augment.mixup=0.2",)),
    "cutmix": Comparison("CutMix 1.0", ("augment.cutmix=1.0",)),
    "segments_4": Comparison("4 frames", ("input.segments=4",)),
    "segments_16": Comparison("16 frames", ("input.segments=16",)),
    "motion": Comparison("only the region that moves", ("input.region=motion",)),
    "rate": Comparison("three times the learning rate", ("optim.lr=3.0e-4",)),
    "all_layers": Comparison("all layers learn", ("train.frozen_stages=0",)),
    "no_probe": Comparison("no linear probe at the start", ("train.probe=false",)),
    "taught_stored": Comparison("taught by the baselines, stored answers", (*_TAUGHT, "distill.stored=true"), True),
    "taught_live": Comparison("taught by the baselines, live", _TAUGHT, True),
}
TESTS: dict[str, tuple[Crops, int]] = {
    "three crops": ("three_small", 1),
    "three clips": ("center", 3),
}
"""Other tests of the baseline's networks; all else is tested with one clip and its center crop."""


@dataclass(frozen=True)
class Fold:
    """One training's clips: the lists of a `data.yaml` in `folder`, and the test's list."""

    name: str
    folder: Path
    test: Path


def scenes(clips: Sequence[Clip]) -> list[str]:
    """Of each clip, the name of the first one of its scene: what looks alike is one, and so is what joins two."""
    pictures = []
    for clip in clips:
        with open_clip(clip.path) as reader:
            count = reader.frame_count
            look = look_of(reader.read([(2 * i + 1) * count // (2 * LOOK_FRAMES) for i in range(LOOK_FRAMES)]))
        picture = np.median(look, axis=0).ravel()
        pictures.append((picture - picture.mean()) / max(float(picture.std()), 1e-9))
    alike = np.stack(pictures) @ np.stack(pictures).T / pictures[0].size > _ALIKE
    scene = np.arange(len(clips))
    while True:
        joined = np.where(alike, scene, len(clips)).min(axis=1)
        if (joined == scene).all():
            return [clips[int(i)].name for i in scene]
        scene = joined


def deal(
    dataset: DataSet, folds: int, pattern: str | None, few: bool, by_scene: bool = False
) -> list[tuple[list[int], list[int]]]:
    """Positions among all clips, training before validation ones, that each fold learns from and is tested on."""
    clips = [*dataset.train.clips, *dataset.validation.clips]
    everything = list(range(len(clips)))
    if not folds:
        return [(everything[: len(dataset.train)], everything[len(dataset.train) :])]
    groups = scenes(clips) if by_scene else []
    for clip in clips if not by_scene else ():
        found = re.search(pattern, clip.name) if pattern else None
        if pattern and found is None:
            raise SystemExit(f"--group {pattern!r} finds nothing in {clip.name}")
        groups.append(found[1 if found.re.groups else 0] if found else group_of(clip))
    order = {group: number for number, group in enumerate(sorted(set(groups), key=lambda name: (len(name), name)))}
    parts = []
    for fold in range(folds):
        inside = [i for i in everything if order[groups[i]] % folds == fold]
        outside = [i for i in everything if order[groups[i]] % folds != fold]
        parts.append((inside, outside) if few else (outside, inside))
    return parts


def write_fold(dataset: DataSet, name: str, learn: Sequence[int], test: Sequence[int], folder: Path) -> Fold:
    clips = [*dataset.train.clips, *dataset.validation.clips]
    first: dict[int | None, int] = {}
    for i in test:
        first.setdefault(clips[i].label, i)
    folder.mkdir(parents=True, exist_ok=True)
    for part, positions in {"train": learn, "look": sorted(first.values()), "test": test}.items():
        rows = [{"path": str(clips[i].path), "label": dataset.classes[clips[i].label or 0]} for i in positions]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    names = json.dumps(list(dataset.classes))
    (folder / "data.yaml").write_text(f"train: train.jsonl\nval: look.jsonl\nclasses: {names}\n", encoding="utf-8")
    (folder / "test.yaml").write_text(f"test: test.jsonl\nclasses: {names}\n", encoding="utf-8")
    return Fold(name, folder, folder / "test.yaml")


def last_epoch(run: Path) -> tuple[Recognizer, ModelSpec]:
    """The network as it was at the end of a run, and not at its best epoch."""
    found = load_checkpoint(run / "checkpoints")
    if found is None:
        raise SystemExit(f"{run} has no checkpoint")
    network, spec = load_bundle(run / "model")
    spec = spec.model_copy(update={"calibration": None, "unknown": None})  # fitted on the best epoch's network
    tensors = found[0]
    prefix = "ema.module." if any(name.startswith("ema.") for name in tensors) else "network."
    network.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    return network, spec


def answers(evaluation: Evaluation) -> dict[str, list[float]]:
    """Of each clip, whether it was right, and the loss of its label; an unreadable one is wrong, its loss missing."""
    found = {}
    for score in evaluation.scores:
        loss = float("nan") if score.logits is None else -float(score.chances()[score.label].log())
        found[score.path] = [float(score.correct), round(loss, 5)]
    return found


def train_one(name: str, fold: Fold, seed: int, options: argparse.Namespace) -> Path:
    """Train and test one comparison, unless that was done before; returns the file of its result."""
    comparison = COMPARISONS[name]
    folder: Path = options.to / name / f"{fold.name}-seed{seed}"
    done = folder / "result.json"
    settings = [*comparison.settings, *options.settings, f"train.seed={seed}"]
    if done.is_file():
        before = json.loads(done.read_text(encoding="utf-8"))["settings"]
        if before != settings:
            raise SystemExit(f"{folder} was trained with other settings, {before}: choose another --to")
        return done
    lesson = []
    if comparison.taught:
        teachers = sorted(
            str(path.parent) for path in options.to.glob(f"{BASELINE}/{fold.name}-seed*/final/model.json")
        )
        if not teachers:
            raise SystemExit(f"{name} needs {BASELINE} of {fold.name} first")
        lesson = [f"distill.teacher={json.dumps(teachers)}"]
    cpu, started = time.process_time(), time.monotonic()
    run, data = folder / "run", fold.folder / "data.yaml"
    clipshift.train(data, *settings, *lesson, out=run, recipe=options.recipe, weights=options.weights)
    seconds = {"cpu": time.process_time() - cpu, "elapsed": time.monotonic() - started}
    network, spec = last_epoch(run)
    tests = {"center crop": answers(clipshift.evaluate((network, spec), fold.test))}
    if name == BASELINE:
        for test, (crops, clips) in TESTS.items():
            tests[test] = answers(clipshift.evaluate((network, spec), fold.test, crops=crops, clips=clips))
        save_bundle(folder / "final", network, spec)
    for part in ("checkpoints", "model"):
        shutil.rmtree(run / part)
    result = {"settings": settings, "taught_by": lesson, "seconds": seconds, "tests": tests}
    done.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return done


Answers = dict[tuple[int, str, str], list[float]]
"""Of each (seed, fold, clip): whether it was right, and the loss of its label."""


def collect(test: str, results: dict[tuple[int, str], Path]) -> Answers:
    """The answers of a comparison's trainings, whose files are given by (seed, fold)."""
    found: Answers = {}
    for (seed, fold), path in results.items():
        tests = json.loads(path.read_text(encoding="utf-8"))["tests"]
        found |= {(seed, fold, clip): answer for clip, answer in tests[test].items()}
    return found


def difference(found: Answers, base: Answers, figure: int) -> tuple[float, float]:
    """Mean difference of a figure over the same clips, folds and seeds, and its standard error over clips."""
    by_clip: dict[str, list[float]] = {}
    for key in found.keys() & base.keys():
        by_clip.setdefault(key[2], []).append(found[key][figure] - base[key][figure])
    differences = [statistics.fmean(each) for each in by_clip.values()]
    return statistics.fmean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def summary(about: str, found: Answers, base: Answers) -> dict[str, Any]:
    """The figures of one row: shares in percent, losses in nats."""
    seeds = sorted({seed for seed, _, _ in found})
    shares = [100 * statistics.fmean(a[0] for key, a in found.items() if key[0] == seed) for seed in seeds]
    right, right_error = difference(found, base, 0)
    loss, loss_error = difference(found, base, 1)
    return {
        "about": about,
        "seeds": seeds,
        "tested": len(found),
        "top1": statistics.fmean(shares),
        "top1_of_seeds": shares,
        "top1_deviation": statistics.stdev(shares) if len(shares) > 1 else None,
        "top1_difference": 100 * right,
        "top1_difference_error": 100 * right_error,
        "loss": statistics.fmean(a[1] for a in found.values()),
        "loss_difference": loss,
        "loss_difference_error": loss_error,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| | tested | top-1, % | to the baseline | loss | to the baseline | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = "" if row["top1_deviation"] is None else f" ± {row['top1_deviation']:.1f}"
        seconds = row.get("seconds")
        lines.append(
            f"| {row['about']} | {row['tested']} | {row['top1']:.1f}{spread} "
            f"| {row['top1_difference']:+.1f} ± {row['top1_difference_error']:.1f} | {row['loss']:.2f} "
            f"| {row['loss_difference']:+.2f} ± {row['loss_difference_error']:.2f} "
            f"| {'' if seconds is None else f'{seconds:.0f} s'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--weights")
    parser.add_argument("--recipe", default=DEFAULT_RECIPE)
    parser.add_argument("--folds", type=int, default=0)
    grouping = parser.add_mutually_exclusive_group()
    grouping.add_argument("--group")
    grouping.add_argument("--scenes", action="store_true")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--to", type=Path, default=Path("small_data"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    dataset = read_dataset(options.data, resolve(settings=options.settings).config.data)
    parts = deal(dataset, options.folds, options.group, options.few, options.scenes)
    folds = [
        write_fold(dataset, f"fold{number}", learn, test, options.to.resolve() / "lists" / f"fold{number}")
        for number, (learn, test) in enumerate(parts)
    ]
    names = [BASELINE, *(name for name in options.only if name != BASELINE)]
    results: dict[str, dict[tuple[int, str], Path]] = {name: {} for name in names}
    for name in names:
        for seed in options.seeds:
            for fold in folds:
                results[name][seed, fold.name] = train_one(name, fold, seed, options)

    base = collect("center crop", results[BASELINE])
    rows = []
    for name, files in results.items():
        row = summary(COMPARISONS[name].about, collect("center crop", files), base)
        row["settings"] = COMPARISONS[name].settings
        row["seconds"] = statistics.fmean(
            json.loads(path.read_text(encoding="utf-8"))["seconds"]["cpu"] for path in files.values()
        )
        rows.append(row)
    rows += [summary(f"test: {test}", collect(test, results[BASELINE]), base) for test in TESTS]
    print(table(rows))
    if options.json:
        figures = {
            "data": f"{len(dataset.train)} + {len(dataset.validation)} clips of {len(dataset.classes)} classes",
            "learnt_and_tested": [[len(learn), len(test)] for learn, test in parts],
            "recipe": options.recipe,
            "settings": options.settings,
            "rows": rows,
            "environment": environment(),
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
