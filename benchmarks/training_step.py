"""Where the time of a training step goes: decoding, augmentation, network, waiting.

    python benchmarks/training_step.py DATA [key=value ...] [--recipe NAME] [--steps 8] [--json figures.json]

First each part alone, in this process: the median of one clip's decoding and augmentation, and of one batch's
normalization, forward pass, backward pass and update. Then whole updates with the recipe's own loader, and the share of
their time that the network spent waiting for clips. Weights are random: they do not change the time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipshift.config import Config, resolve
from clipshift.config.recipes import DEFAULT_RECIPE
from clipshift.datasets import read_dataset
from clipshift.device import autocast, pick_device
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.sampling import segment_random
from clipshift.preprocessing.transforms import normalize, training_clip
from clipshift.training.distributed import Ranks
from clipshift.training.loader import training_loader, worker_count
from clipshift.training.loop import Trainer
from clipshift.training.losses import classification_loss
from clipshift.training.objectives import LabelLoss, LearnLabels
from clipshift.training.run_folder import environment
from clipshift.training.samples import TrainingClips
from clipshift.video import open_clip


def median_ms(work: Callable[[], object], repeat: int) -> float:
    """Median time of a piece of work in milliseconds, the first two runs not counted."""
    times = []
    for _ in range(repeat + 2):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[2:])


def reading(clips: TrainingClips, config: Config, repeat: int) -> dict[str, float]:
    """Milliseconds for one clip: decoding, and augmentation."""
    chosen = np.random.default_rng(0).permutation(len(clips))[: repeat * 3]
    decoding, augmenting = [], []
    for index in chosen:
        random = np.random.default_rng(int(index))
        started = time.perf_counter()
        with open_clip(clips.manifest.clips[index].path) as reader:
            frames_THWC = reader.read(segment_random(reader.info.frames, config.input.segments, random))
        decoded = time.perf_counter()
        training_clip(frames_THWC, config.input, config.augment, random)
        decoding.append(1000 * (decoded - started))
        augmenting.append(1000 * (time.perf_counter() - decoded))
    return {"decode a clip": statistics.median(decoding), "augment a clip": statistics.median(augmenting)}


def network_parts(trainer: Trainer, batch: Any, repeat: int) -> dict[str, float]:  # noqa: ANN401 - a TypedDict
    """Milliseconds for one batch: normalization, forward, forward and backward, whole update."""
    config, device = trainer.config, trainer.ranks.device
    labels = batch["labels"].to(device)
    trainer.train_mode()

    def prepare() -> torch.Tensor:
        return normalize(batch["clips"].to(device), config.input.mean, config.input.std)

    clips = prepare()

    def forward() -> torch.Tensor:
        with autocast(device, config.train.amp):
            return classification_loss(trainer.network(clips), labels)

    normalizing, ahead = median_ms(prepare, repeat), median_ms(forward, repeat)
    both = median_ms(lambda: forward().backward(), repeat)  # type: ignore[no-untyped-call]
    whole = median_ms(lambda: trainer.update([batch]), repeat)
    return {
        "normalize a batch": normalizing,
        "forward": ahead,
        "backward": both - ahead,
        "clip gradients, update": max(whole - both - normalizing, 0.0),
        "whole update": whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--recipe", default=DEFAULT_RECIPE)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    config = resolve(options.recipe, settings=[*options.settings, "model.pretrained=false"]).config
    dataset = read_dataset(options.data, config.data)
    clips, device = TrainingClips(dataset.train, config), pick_device(config.train.device)
    network = Recognizer(config.model, segments=config.input.segments, classes=len(dataset.classes))
    trainer = Trainer(
        network, config, Ranks(0, 1, 1, device), updates_per_epoch=10**6, objective=LearnLabels(LabelLoss(config))
    )
    workers = worker_count(config.data.workers)
    size = config.train.batch_size

    with training_loader(clips, batch_size=size, workers=workers, pin_memory=device.type == "cuda") as loader:
        parts = reading(clips, config, options.steps)
        parts |= network_parts(trainer, next(iter(loader.batches(0))), options.steps)
        endless = (batch for epoch in range(10**6) for batch in loader.batches(epoch))
        list(islice(endless, 2))  # the workers' start is not a step's time
        started, waited = time.perf_counter(), 0.0
        for _ in range(options.steps):
            asked = time.perf_counter()
            batch = next(endless)
            waited += time.perf_counter() - asked
            trainer.update([batch])
        seconds = time.perf_counter() - started

    print(f"{config.model.architecture} {config.model.backbone}, {config.train.amp}, {size} clips of "
          f"{config.input.segments} x {config.input.crop} px, {device}, {workers} workers")  # fmt: skip
    for name, value in parts.items():
        print(f"  {name:24}{value:9.1f} ms")
    reading_ms = size * (parts["decode a clip"] + parts["augment a clip"])
    print(f"  {'reading : network':24}{reading_ms / parts['whole update']:9.2f} of one core's time for a batch")
    print(f"  {'with the loader':24}{1000 * seconds / options.steps:9.1f} ms an update, "
          f"{options.steps * size / seconds:.2f} clips/s, waiting {waited / seconds:.0%}")  # fmt: skip
    if options.json:
        figures = {"parts_ms": parts, "update_ms": 1000 * seconds / options.steps, "waiting": waited / seconds}
        options.json.write_text(json.dumps(figures | {"environment": environment()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
