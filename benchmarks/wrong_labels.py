"""How well wrong labels are found: planted ones, over several seeds.

    python benchmarks/wrong_labels.py DATA --weights FILE [key=value ...] [--share 0.05] [--seeds 20]
        [--features FILE] [--json figures.json]

The features of all clips of DATA are taken once, as `clipshift check --with-model` does. For each seed, that share of
the clips gets the label of another class, drawn evenly; the sources of clips stay as their names tell. The clips are
then ranked, and looked at are

- precision: of as many clips at the top of the ranking as labels were planted, the share that is planted;
- of the clips that are counted as suspicious, how many there are, and the shares that are planted, and of the planted.

With --features, they are kept in a file and read from it the next time.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import write_json

from clipshift.config import resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.datasets.clip import Manifest
from clipshift.datasets.manifest import read_parts
from clipshift.parallel.prefetch import pick_threads
from clipshift.probing.features import ClipFeatures, frozen_network, read_features
from clipshift.probing.label_check import rank_clips


def plant(labels: np.ndarray, share: float, classes: int, *, seed: int) -> np.ndarray:
    """Labels (N,) of which the share, rounded, is another class each, drawn evenly."""
    random = np.random.default_rng(seed)
    chosen = random.choice(len(labels), round(share * len(labels)), replace=False)
    planted = labels.copy()
    planted[chosen] = (labels[chosen] + random.integers(1, classes, len(chosen))) % classes
    return planted


def measure(manifest: Manifest, read: ClipFeatures, share: float, seed: int) -> dict[str, float]:
    """Plant, rank, and count."""
    labels = np.array([clip.label for clip in read.clips])
    planted = plant(labels, share, len(manifest.classes), seed=seed)
    wrong = {clip.name for clip, was, now in zip(read.clips, labels, planted, strict=True) if was != now}
    clips = tuple(replace(clip, label=int(label)) for clip, label in zip(read.clips, planted, strict=True))
    check = rank_clips(manifest, replace(read, clips=clips), about="")
    top = [clip.name in wrong for clip in check.ranked[: len(wrong)]]
    counted = [clip.name in wrong for clip in check.suspects]
    return {
        "seed": seed,
        "planted": len(wrong),
        "precision": sum(top) / len(wrong),
        "counted": len(counted),
        "planted_of_counted": sum(counted) / max(1, len(counted)),
        "counted_of_planted": sum(counted) / len(wrong),
        "agreeing": check.agreeing / len(check.ranked),
    }


def features_of(options: argparse.Namespace) -> tuple[Manifest, ClipFeatures]:
    """All clips of the data, and their features."""
    config = resolve(DEFAULT_RECIPE, settings=options.settings).config
    found = read_parts(options.data, config.data)
    clips = tuple(clip for part in found.parts.values() for clip in part.clips)
    manifest = Manifest(options.data, found.classes, clips)
    if options.features and options.features.is_file():
        stored = np.load(options.features)
        rows = {name: row for row, name in enumerate(stored["names"].tolist())}
        read = tuple(clip for clip in clips if clip.name in rows)
        order = [rows[clip.name] for clip in read]
        return manifest, ClipFeatures(read, *(stored[kind][order] for kind in ("mean", "deviation", "inner")))
    network = frozen_network(config, options.weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    taken = read_features(network, clips, config.data, device=device, workers=pick_threads("auto"))
    if options.features:
        names = [clip.name for clip in taken.clips]
        np.savez(options.features, names=names, mean=taken.mean, deviation=taken.deviation, inner=taken.inner)
    return manifest, taken


def table(rows: list[dict[str, float]]) -> str:
    """The rows as Markdown, and their mean with its standard error over the seeds."""
    keys = list(rows[0])
    lines = [" | ".join(keys), "|".join(["---"] * len(keys))]
    lines += [" | ".join(f"{row[key]:.3g}" for key in keys) for row in rows]
    values = np.array([[row[key] for key in keys[1:]] for row in rows])
    error = values.std(axis=0, ddof=min(1, len(rows) - 1)) / np.sqrt(len(rows))
    means = [f"{mean:.3f} ± {each:.3f}" for mean, each in zip(values.mean(axis=0), error, strict=True)]
    return "\n".join(f"| {line} |" for line in [*lines, " | ".join(["mean", *means])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--weights")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    manifest, read = features_of(options)
    rows = [measure(manifest, read, options.share, seed) for seed in range(options.seeds)]
    print(table(rows))
    if options.json:
        write_json(options.json, {"clips": len(read.clips), "share": options.share, "rows": rows})


if __name__ == "__main__":
    main()
