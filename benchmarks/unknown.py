"""How well unknown clips are told from known ones: each class left out in turn, and foreign videos.

    python benchmarks/unknown.py DATA --weights FILE [key=value ...] [--foreign FOLDER ...] [--only CLASS ...]
        [--to FOLDER] [--json figures.json]

DATA is a folder with train/ and val/, each with a folder per class. For each class a network is trained on the other
classes' training clips. Known are the validation clips of these; unknown are all clips of the class that was left out,
and those of the foreign folders. Compared are scores that are high for known clips:

- probability: the largest probability (Hendrycks and Gimpel 2017);
- max logit: the largest logit (Hendrycks et al. 2022);
- energy: the logarithm of the sum of the logits' exponentials (Liu et al. 2020);
- relative Mahalanobis: minus the smallest Mahalanobis distance to a class, less that to all clips (Ren et al. 2021),
  with covariances shrunk as Chen et al. 2010 do (OAS);
- nearest clip: the cosine with the nearest training clip, k = 1 of Sun et al. 2022. This is what clipshift stores.

The table has the mean over the classes of the AUROC, with the smallest and largest, and of the share of unknown clips
that stay where 95 % of the known ones do (FPR at 95 %). Runs are kept in FOLDER; an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import clipshift
from clipshift.config import ModelSpec, ReadingConfig
from clipshift.datasets.clip import Clip
from clipshift.inference.known_clips import KnownClips, familiarity, unit_length
from clipshift.inference.sources import find_clips
from clipshift.inference.views import prefetch_views
from clipshift.models.bundle import load_bundle
from clipshift.models.folding import inference_form
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import normalize


@dataclass(frozen=True)
class Scored:
    """Features (N, D) and logits (N, K) of clips, float64."""

    features: np.ndarray
    logits: np.ndarray


Score = Callable[[Scored], np.ndarray]


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """The probability that a known clip scores higher than an unknown one, ties counting half."""
    gaps = known[:, None] - unknown[None]
    return float(((gaps > 0) + 0.5 * (gaps == 0)).mean())


def false_positives(known: np.ndarray, unknown: np.ndarray, kept: float = 0.95) -> float:
    """The share of unknown clips that stay where the share `kept` of the known ones does."""
    return float((unknown >= np.sort(known)[int((1 - kept) * len(known))]).mean())


def log_sum(logits: np.ndarray) -> np.ndarray:
    """(N,) logarithm of the sum of exponentials."""
    return np.asarray(np.logaddexp.reduce(logits, axis=1))


def mahalanobis(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Squared distances (N,) of rows (N, D) from 0, by the shrunk covariance of `rows`, whose mean is 0."""
    count, width = rows.shape
    trace, squares = (rows**2).sum() / count, ((rows @ rows.T / count) ** 2).sum()
    shrink = ((1 - 2 / width) * squares + trace**2) / ((count + 1 - 2 / width) * (squares - trace**2 / width))
    shrink = float(np.clip(shrink, 1e-6, 1))
    floor = shrink * trace / width
    axes, singular, _ = np.linalg.svd(rows.T / np.sqrt(count), full_matrices=False)
    spread = (1 - shrink) * singular**2

    def distance(others: np.ndarray) -> np.ndarray:
        along = (others @ axes) ** 2 * (spread / (spread + floor))
        return np.asarray(((others**2).sum(axis=1) - along.sum(axis=1)) / floor)

    return distance


def scores(learnt: Scored, labels: np.ndarray) -> dict[str, Score]:
    """All scores, fitted on the training clips."""
    means = np.stack([learnt.features[labels == label].mean(axis=0) for label in np.unique(labels)])
    center = learnt.features.mean(axis=0)
    within, overall = mahalanobis(learnt.features - means[labels]), mahalanobis(learnt.features - center)
    known = KnownClips(unit_length(learnt.features))

    def relative(found: Scored) -> np.ndarray:
        nearest = np.min([within(found.features - mean) for mean in means], axis=0)
        return np.asarray(overall(found.features - center) - nearest)

    return {
        "probability": lambda found: found.logits.max(axis=1) - log_sum(found.logits),
        "max logit": lambda found: found.logits.max(axis=1),
        "energy": lambda found: log_sum(found.logits),
        "relative Mahalanobis": relative,
        "nearest clip": lambda found: familiarity(found.features, known),
    }


def score_clips(network: Recognizer, spec: ModelSpec, paths: Sequence[Path]) -> Scored:
    """Features and logits of the videos that can be read."""
    features, logits = [], []
    clips = [Clip(path, str(path), None) for path in paths]
    with torch.inference_mode():
        for read in prefetch_views(clips, spec.input, spec.reading, workers=0):
            if read.views is not None:
                found = network.features(normalize(read.views, spec.input.mean, spec.input.std))
                features.append(found.mean(dim=(0, 1)).double().numpy())
                logits.append(network.classify(found).mean(dim=0).double().numpy())
    return Scored(np.stack(features), np.stack(logits))


def videos(folder: Path) -> list[Path]:
    """All video files below a folder."""
    return [clip.path for clip in find_clips([folder], ReadingConfig())]


def without_class(data: Path, left: str, folder: Path) -> Path:
    """The data set without a class, as links."""
    for part in ("train", "val"):
        for source in sorted((data / part).iterdir()):
            if source.is_dir() and source.name != left:
                (folder / part).mkdir(parents=True, exist_ok=True)
                link = folder / part / source.name
                if not link.is_symlink():
                    link.symlink_to(source.resolve())
    return folder


def measure(left: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Train without a class, and measure all scores: a row for each score and kind of unknown clips."""
    data = without_class(options.data, left, options.to / "data" / left)
    run = options.to / "runs" / left
    off = ("train.examine=false", "train.unknown=false")
    result = clipshift.train(data, *options.settings, *off, out=run, weights=options.weights)
    loaded, spec = load_bundle(result.run / "model")
    network = inference_form(loaded)
    by_class = [videos(data / "train" / name) for name in spec.classes]
    learnt = score_clips(network, spec, [path for paths in by_class for path in paths])
    labels = np.repeat(np.arange(len(by_class)), [len(paths) for paths in by_class])
    known = score_clips(network, spec, videos(data / "val"))
    unknown = {"left out": [path for part in ("train", "val") for path in videos(options.data / part / left)]}
    if options.foreign:
        unknown["foreign"] = [path for folder in options.foreign for path in videos(folder)]
    rows: list[dict[str, object]] = []
    for kind, paths in unknown.items():
        others = score_clips(network, spec, paths)
        for name, score in scores(learnt, labels).items():
            inside, outside = score(known), score(others)
            figures = {"auroc": auroc(inside, outside), "fpr95": false_positives(inside, outside)}
            counts = {"known": len(inside), "unknown": len(outside)}
            rows.append({"class": left, "kind": kind, "score": name, **figures, **counts})
    return rows


def table(rows: Sequence[dict[str, object]]) -> str:
    """The rows as Markdown, averaged over the classes."""
    lines = ["| unknown clips | score | AUROC | from, to | FPR at 95 % | classes |", "|---|---|---|---|---|---|"]
    for kind, name in dict.fromkeys((row["kind"], row["score"]) for row in rows):
        own = [row for row in rows if (row["kind"], row["score"]) == (kind, name)]
        areas, shares = ([float(str(row[key])) for row in own] for key in ("auroc", "fpr95"))
        lines.append(
            f"| {kind} | {name} | {statistics.fmean(areas):.3f} | {min(areas):.2f}, {max(areas):.2f} | "
            f"{statistics.fmean(shares):.3f} | {len(own)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--weights")
    parser.add_argument("--foreign", type=Path, nargs="+", default=[])
    parser.add_argument("--only", nargs="+", help="leave out these classes alone")
    parser.add_argument("--to", type=Path, default=Path("runs") / "unknown")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    classes = sorted(path.name for path in (options.data / "train").iterdir() if path.is_dir())
    rows = [row for left in options.only or classes for row in measure(left, options)]
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
