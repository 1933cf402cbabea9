"""Small clips, scores and run folders that the tests of this room make for themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from clipshift.config import InputConfig
from clipshift.datasets.manifest import Clip, Manifest
from clipshift.evaluation.metrics import compute_metrics
from clipshift.evaluation.results import ClipScore, Evaluation

SETTINGS = InputConfig(segments=2, resize=16, crop=12)
CLASSES = ("jump", "run", "swim")


def frame_folder(path: Path, *, seed: int, frames: int = 5) -> Path:
    """A clip of random pictures as a frame folder."""
    random = np.random.default_rng(seed)
    path.mkdir(parents=True)
    for number in range(1, frames + 1):
        pixels = random.integers(0, 256, (18, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"img_{number:05d}.jpg", quality=95)
    return path


def broken_clip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this is no video")
    return path


def make_manifest(root: Path, *, clips: int, broken: Sequence[int] = ()) -> Manifest:
    """Clips of all classes in turn; those numbered in `broken` cannot be read."""
    made = []
    for number in range(clips):
        label = number % len(CLASSES)
        name = f"{CLASSES[label]}/{number:02d}"
        path = broken_clip(root / f"{name}.mp4") if number in broken else frame_folder(root / name, seed=number)
        made.append(Clip(path, path.relative_to(root).as_posix(), label))
    return Manifest(root, CLASSES, tuple(made))


class SmallNetwork(nn.Module):
    """Logits of clips, with modules that behave differently in training."""

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.frozen = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(8, classes)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.frozen.eval()
        self.batches: list[int] = []

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        self.batches.append(len(clips_BTCHW))
        batch, frames = clips_BTCHW.shape[:2]
        maps = torch.relu(self.norm(self.convolution(clips_BTCHW.flatten(0, 1))))
        features = self.frozen(maps.mean(dim=(2, 3))).unflatten(0, (batch, frames)).mean(dim=1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


def make_evaluation(
    root: Path, classes: Sequence[str], *, per_class: int = 3, bad: int = 1, confused: bool = True
) -> Evaluation:
    """An evaluation of clips under `root`, which need not be there; every third video is wrong."""
    random = np.random.default_rng(0)
    scores = []
    for number in range(per_class * len(classes)):
        label = number % len(classes)
        path = root / f"clip{number}.mp4"
        logits = random.normal(0, 1, len(classes)).astype(np.float32)
        target = (label + 1) % len(classes) if confused and number % 3 == 1 else label
        logits[target] = 4 + number % 5
        if number < bad:
            scores.append(ClipScore(path.name, str(path), label, None, "The file is cut off."))
        else:
            scores.append(ClipScore(path.name, str(path), label, tuple(logits.tolist()), None))
    scored = [score for score in scores if score.logits is not None]
    metrics = compute_metrics(
        torch.tensor([score.logits for score in scored]).reshape(len(scored), len(classes)),
        torch.tensor([score.label for score in scored], dtype=torch.int64),
        classes,
        bad_labels=[score.label for score in scores if score.logits is None],
    )
    return Evaluation(tuple(classes), tuple(scores), metrics, "2 frames, 1 clip x 1 center crop", 1.5, str(root))


def make_records(*, epochs: int, updates: int = 4, top5: bool = False) -> list[dict[str, object]]:
    """Lines of `metrics.jsonl`."""
    records: list[dict[str, object]] = []
    for epoch in range(epochs):
        for step in range(updates):
            update = epoch * updates + step + 1
            records.append(
                {
                    "kind": "step",
                    "update": update,
                    "epoch": epoch,
                    "step": step,
                    "loss": 2 / update,
                    "lr": 0.01 / update,
                }
            )
        validation = {"top1": 0.5 + 0.1 * epoch, "mean_class": 0.4, "loss": 1.0} | ({"top5": 0.9} if top5 else {})
        records.append(
            {
                "kind": "epoch",
                "update": (epoch + 1) * updates,
                "epoch": epoch,
                "train_loss": 1.0,
                "validation": validation,
                "seconds": 2,
            }
        )
    return records


def write_lines(path: Path, lines: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
