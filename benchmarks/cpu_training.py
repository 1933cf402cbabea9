"""A training step on the CPU, beside a plain implementation of the same network.

    python benchmarks/cpu_training.py [--amp fp32 bf16] [--clips 2] [--steps 3] [--turns 2] [--json cpu.json]
                                      [--chart cpu.png]

TSM ResNet-50, clips of 8 x 224 px, SGD with momentum and clipped gradients: forward, backward, update; in float32, or
with the forward pass in mixed precision. Two rows more are of fine-tuning, whose early layers are frozen: the same
network, and the default recipe. `plain` is torchvision's ResNet-50 with the shift as the paper's authors
publish it, which fills a tensor of zeros by slices, in the usual memory format. `kept` is the same process with memory
settings of the C library (`KEPT`): without them blocks of over 32 MiB go back to the system when they are freed, and
every page of the next one costs a page fault. Every contestant runs in processes of its own, in turns. The table shows
the median of the steps' CPU time (user and system) with its spread (distance of the quartiles), elapsed time,
page faults and largest memory; a ratio is plain's CPU time to a contestant's, both in the same precision.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import bar_chart, spread, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

KEPT = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"}
# Threads that wait for each other in a loop would count as CPU time.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
SEGMENTS, CLASSES, SIDE = 8, 400, 224


def plain_network() -> nn.Module:
    """TSM ResNet-50 as one would write it down from the paper."""
    import torch
    from torch import nn
    from torchvision.models import resnet50

    class Shifted(nn.Module):
        def __init__(self, conv: nn.Module) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, x: Tensor) -> Tensor:
            frames, channels, height, width = x.shape
            x = x.view(frames // SEGMENTS, SEGMENTS, channels, height, width)
            fold = channels // 8
            out = torch.zeros_like(x)
            out[:, :-1, :fold] = x[:, 1:, :fold]
            out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
            out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
            return self.conv(out.view(frames, channels, height, width))  # type: ignore[no-any-return]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frames = resnet50(num_classes=CLASSES)
            for stage in (self.frames.layer1, self.frames.layer2, self.frames.layer3, self.frames.layer4):
                for block in stage:
                    block.conv1 = Shifted(block.conv1)

        def forward(self, clips_BTCHW: Tensor) -> Tensor:
            return self.frames(clips_BTCHW.flatten(0, 1)).unflatten(0, (-1, SEGMENTS)).mean(1)  # type: ignore[no-any-return]

    return Network()


def plain_step(clips: Tensor, labels: Tensor, amp: str) -> Callable[[], object]:
    import torch
    from torch import nn

    network = plain_network().train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=amp == "bf16"):
            logits = network((clips / 255 - mean) / std)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 20.0)
        optimizer.step()
        return loss.item()

    return step


def clipshift_step(clips: Tensor, labels: Tensor, recipe: str, amp: str) -> Callable[[], object]:
    import torch

    from clipshift.config import resolve
    from clipshift.models.recognizer import Recognizer
    from clipshift.training.distributed import Ranks
    from clipshift.training.loader import Batch
    from clipshift.training.loop import Trainer
    from clipshift.training.objectives import LabelLoss, LearnLabels

    settings = ["model.pretrained=false", f"train.batch_size={len(clips)}", f"train.amp={amp}"]
    config = resolve(recipe, settings=settings).config
    network = Recognizer(config.model, segments=SEGMENTS, classes=CLASSES)
    trainer = Trainer(network, config, Ranks(0, 1, 1, torch.device("cpu")), 10**6, LearnLabels(LabelLoss(config)))
    trainer.train_mode()
    batch = Batch(clips=clips, labels=labels, indices=torch.arange(len(clips)), bad=[])
    return lambda: trainer.update([batch])


CONTESTANTS: dict[str, tuple[str | None, dict[str, str]]] = {
    "plain": (None, {}),
    "plain, kept": (None, KEPT),
    "clipshift": ("tsm-r50-k400", {}),
    "clipshift, kept": ("tsm-r50-k400", KEPT),
    "fine-tuning (tsm-r50), kept": ("tsm-r50", KEPT),
    "default (MobileNetV2), kept": ("finetune", KEPT),
}


def measure(recipe: str | None, amp: str, clips: int, steps: int) -> list[dict[str, float]]:
    """What each step used, but for two that warm up."""
    import torch

    pixels = torch.randint(0, 256, (clips, SEGMENTS, 3, SIDE, SIDE), dtype=torch.uint8)
    labels = torch.arange(clips) % CLASSES
    step = plain_step(pixels, labels, amp) if recipe is None else clipshift_step(pixels, labels, recipe, amp)
    rows = []
    for number in range(steps + 2):
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        step()
        elapsed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
        if number >= 2:
            rows.append({
                "elapsed_s": elapsed,
                "user_s": after.ru_utime - before.ru_utime,
                "system_s": after.ru_stime - before.ru_stime,
                "page_faults": after.ru_minflt - before.ru_minflt,
                "peak_gib": after.ru_maxrss / 2**20,
            })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--amp", nargs="+", choices=["fp32", "bf16"], default=["fp32"])
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--only", choices=list(CONTESTANTS), help=argparse.SUPPRESS)  # how it starts its own processes
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(CONTESTANTS[options.only][0], options.amp[0], options.clips, options.steps)))
        return

    taken: dict[str, dict[str, list[dict[str, float]]]] = {
        amp: {name: [] for name in CONTESTANTS} for amp in options.amp
    }
    for _ in range(options.turns):
        for amp, contestants in taken.items():
            for name, (_, settings) in CONTESTANTS.items():
                words = [sys.executable, __file__, "--only", name, "--amp", amp]
                words += ["--clips", str(options.clips), "--steps", str(options.steps)]
                environment = os.environ | ENVIRONMENT | settings
                done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                contestants[name] += json.loads(done.stdout.splitlines()[-1])

    figures: dict[str, dict[str, Any]] = {amp: {} for amp in taken}
    print(f"{'':34}{'CPU s':>17}{'of it system':>14}{'ratio':>8}{'elapsed s':>11}{'faults':>10}{'GiB':>7}")
    for amp, contestants in taken.items():
        for name, rows in contestants.items():
            row = {key: statistics.median(step[key] for step in rows) for key in rows[0]}
            used = [step["user_s"] + step["system_s"] for step in rows]
            row |= {"processor_s": statistics.median(used), "processor_spread_s": spread(used)}
            figures[amp][name] = row
            ratio = figures[amp]["plain"]["processor_s"] / row["processor_s"]
            print(
                f"{f'{amp}, {name}':34}{row['processor_s']:>9.2f} ± {row['processor_spread_s']:<5.2f}"
                f"{row['system_s']:>14.2f}{ratio:>7.2f}x"
                f"{row['elapsed_s']:>11.2f}{row['page_faults']:>10.0f}{row['peak_gib']:>7.2f}"
            )
    if options.json is not None:
        write_json(options.json, {"clips": options.clips, "medians": figures, "steps": taken})
    if options.chart is not None:
        bars = {name: {amp: figures[amp][name]["processor_s"] for amp in figures} for name in CONTESTANTS}
        bar_chart(options.chart, "A training step of TSM ResNet-50", "CPU time, s", bars)


if __name__ == "__main__":
    main()
