"""Training and inference on a GPU: time, memory, share of what the GPU can do, and the loader's rate beside it.

    python benchmarks/gpu.py [--data DATA] [--batch 16 32 64] [--amp bf16 fp16 fp32] [--json gpu.json] [--chart gpu.png]
    python benchmarks/gpu.py --smoke        the same code with a tiny network, on any device

First the peak: the best rate of a large matrix product of each precision. Then, for every precision and batch, eager
and compiled: a whole update of TSM ResNet-50 on clips of 8 x 224 px (forward, backward, guard, optimizer, with the
copy of the clips to the device) and its share of that peak, where the operations are those of the convolutions and
matrix products, forward and backward, as torch counts them; the largest memory; how much of the time the device was
busy, and with which operators; then the rate of forward passes alone. What does not fit in memory is noted as such.
With DATA the training loader's rate is measured with as many workers as a training would have, by itself and beside
the updates. Weights are random and, but for the loader, so are the clips: they do not change the time.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from common import bar_chart, write_json
from torch.autograd.profiler_util import DeviceType  # type: ignore[attr-defined]  # not exported anywhere
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from clipshift.config import Config, resolve
from clipshift.datasets import read_dataset
from clipshift.device import pick_device
from clipshift.inference.network_scorer import network_engine
from clipshift.models.recognizer import Recognizer
from clipshift.training.distributed import Ranks
from clipshift.training.loader import Batch, training_loader, worker_count
from clipshift.training.loop import Trainer
from clipshift.training.objectives import LabelLoss, LearnLabels
from clipshift.training.samples import TrainingClips

CLASSES = 400
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SMOKE = ("model.backbone=test_resnet", "input.segments=4", "input.crop=32", "input.resize=32")


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long."""

    settings: tuple[str, ...]
    batches: tuple[int, ...]
    precisions: tuple[str, ...]
    compiled: tuple[bool, ...]
    backend: str
    steps: int
    side: int
    """Rows and columns of the matrices whose product is the peak."""


def plan_of(options: argparse.Namespace, device: torch.device) -> Plan:
    if options.smoke:
        # Its own compiler needs a C++ compiler on a CPU; the graph, which is what a test can break, does not.
        return Plan(SMOKE, (1, 2), ("bf16", "fp32"), (False, True), "aot_eager", 2, 256)
    precisions = [name for name in options.amp if name != "fp16" or device.type == "cuda"]
    compiled = (False,) if options.no_compile else (False, True)
    return Plan((), tuple(options.batch), tuple(precisions), compiled, "inductor", options.steps, 8192)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, *, repeat: int, warm_up: int = 3) -> float:
    """Mean seconds of one run; the host waits for the device only before the first and after the last."""
    for _ in range(warm_up):
        work()
    wait(device)
    started = time.perf_counter()
    for _ in range(repeat):
        work()
    wait(device)
    return (time.perf_counter() - started) / repeat


def matrix_peak(precision: str, side: int, device: torch.device) -> float:
    """Operations per second of a matrix product, the best of five measurements; fp32 without TF32."""
    a, b = (torch.randn(side, side, device=device).to(DTYPES[precision]) for _ in range(2))
    return 2 * side**3 / min(seconds(lambda: a @ b, device, repeat=10) for _ in range(5))


def config_of(plan: Plan, precision: str, batch: int) -> Config:
    settings = (*plan.settings, "model.pretrained=false", f"train.amp={precision}", f"train.batch_size={batch}")
    return resolve("tsm-r50-k400", settings=settings).config


def random_batch(config: Config, device: torch.device) -> Batch:
    """One batch as the loader gives it, in memory that the device copies from while it computes."""
    size = config.train.batch_size
    shape = (size, config.input.segments, 3, config.input.crop, config.input.crop)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(size) % CLASSES
    if device.type == "cuda":
        clips, labels = clips.pin_memory(), labels.pin_memory()
    return Batch(clips=clips, labels=labels, indices=torch.arange(size), bad=[])


def network_of(config: Config) -> Recognizer:
    return Recognizer(config.model, segments=config.input.segments, classes=CLASSES)


def step_operations(config: Config, device: torch.device) -> int:
    """Operations of one clip's forward and backward pass: two for each multiplication and addition."""
    network = network_of(config).to(device).train()
    clips = torch.zeros(1, config.input.segments, 3, config.input.crop, config.input.crop, device=device)
    with FlopCounterMode(display=False) as counter:
        network(clips).sum().backward()
    return int(counter.get_total_flops())


def busy(work: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Milliseconds of the device's own work in one run, and the operators that took most of them."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiler:
        work()
        wait(device)

    def own_ms(event: Any) -> float:  # noqa: ANN401 - of a private class
        micros = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        return float(micros) / 1e3

    # Operators, not the kernels that they start, which are listed as well.
    events = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    events.sort(key=own_ms, reverse=True)
    return {
        "device_ms": round(sum(own_ms(event) for event in events), 3),
        "operators_ms": {event.key: round(own_ms(event), 3) for event in events[:12]},
    }


def peak_gib(device: torch.device) -> float | None:
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 3) if device.type == "cuda" else None


def fresh(device: torch.device) -> None:
    gc.collect()
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measure_training(config: Config, plan: Plan, device: torch.device, *, compiled: bool) -> dict[str, Any]:
    fresh(device)
    trainer = Trainer(
        network_of(config),
        config,
        Ranks(0, 1, 1, device),
        updates_per_epoch=10**6,
        objective=LearnLabels(LabelLoss(config)),
    )
    trainer.train_mode()
    if compiled:
        trainer.network.compile(backend=plan.backend)
    batch = random_batch(config, device)

    def update() -> float:
        return trainer.update([batch]).loss

    taken = seconds(update, device, repeat=plan.steps)
    return {"step_ms": round(taken * 1e3, 3), "peak_gib": peak_gib(device), **busy(update, device)}


def measure_inference(config: Config, plan: Plan, device: torch.device, *, compiled: bool) -> dict[str, Any]:
    fresh(device)
    network = network_of(config).to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    if compiled:
        network.compile(backend=plan.backend)
    engine = network_engine(network, config.input, device, config.train.amp)
    clips = random_batch(config, device)["clips"]
    taken = seconds(lambda: engine(clips), device, repeat=plan.steps)
    return {"forward_ms": round(taken * 1e3, 3), "peak_gib": peak_gib(device)}


def measure(plan: Plan, device: torch.device) -> list[dict[str, Any]]:
    peaks = {precision: matrix_peak(precision, plan.side, device) for precision in plan.precisions}
    operations = step_operations(config_of(plan, "fp32", 1), device)
    rows: list[dict[str, Any]] = []
    for precision, compiled, batch in product(plan.precisions, plan.compiled, plan.batches):
        config = config_of(plan, precision, batch)
        row: dict[str, Any] = {"precision": precision, "compiled": compiled, "batch": batch}
        row["peak_tflops"] = round(peaks[precision] / 1e12, 3)
        try:
            row["training"] = trained = measure_training(config, plan, device, compiled=compiled)
            rate = operations * batch / (trained["step_ms"] / 1e3)
            trained["clips_per_second"] = round(1e3 * batch / trained["step_ms"], 2)
            trained["tflops"] = round(rate / 1e12, 4)
            trained["share_of_peak"] = round(rate / peaks[precision], 4)
            trained["busy"] = round(min(1.0, trained["device_ms"] / trained["step_ms"]), 3)
            row["inference"] = answered = measure_inference(config, plan, device, compiled=compiled)
            answered["clips_per_second"] = round(1e3 * batch / answered["forward_ms"], 2)
        except torch.OutOfMemoryError as error:
            row["error"] = str(error).splitlines()[0]
        print(line(row), flush=True)
        rows.append(row)
    return rows


def line(row: dict[str, Any]) -> str:
    form = f"{row['precision']}  {'compiled' if row['compiled'] else 'eager':8}  batch {row['batch']:3}"
    if "error" in row:
        return f"{form}  {row['error']}"
    trained, answered = row["training"], row["inference"]
    memory = "" if trained["peak_gib"] is None else f"  {trained['peak_gib']:.1f} GiB"
    return (
        f"{form}  step {trained['step_ms']:9.1f} ms  {trained['clips_per_second']:8.1f} clips/s  "
        f"{trained['share_of_peak']:6.1%} of the peak  busy {trained['busy']:4.0%}{memory}  "
        f"forward alone {answered['clips_per_second']:8.1f} clips/s"
    )


def measure_loader(data: Path, plan: Plan, device: torch.device) -> dict[str, Any]:
    """Clips per second of the training loader by itself, and of updates that it feeds."""
    config = config_of(plan, plan.precisions[0], plan.batches[0])
    dataset = read_dataset(data, config.data)
    workers, size = worker_count(config.data.workers), config.train.batch_size
    clips, cuda = TrainingClips(dataset.train, config), device.type == "cuda"
    trainer = Trainer(
        network_of(config),
        config,
        Ranks(0, 1, 1, device),
        updates_per_epoch=10**6,
        objective=LearnLabels(LabelLoss(config)),
    )
    trainer.train_mode()
    with training_loader(clips, batch_size=size, workers=workers, pin_memory=cuda) as loader:
        endless = (batch for epoch in range(10**6) for batch in loader.batches(epoch))
        list(islice(endless, 2 * workers + 2))  # the workers' start, and what they had read ahead by then
        alone, _ = rate(endless, plan.steps, size, lambda _: None)
        fed, waiting = rate(endless, plan.steps, size, lambda batch: trainer.update([batch]))
    print(f"loader: {alone:.1f} clips/s by itself with {workers} workers; training {fed:.1f}, waiting {waiting:.0%}")
    return {
        "workers": workers,
        "batch": size,
        "precision": config.train.amp,
        "alone_clips_per_second": round(alone, 2),
        "training_clips_per_second": round(fed, 2),
        "waiting": round(waiting, 3),
    }


def rate(batches: Iterator[Batch], count: int, size: int, use: Callable[[Batch], object]) -> tuple[float, float]:
    """Clips per second, and the share of the time spent waiting for batches."""
    started, waited = time.perf_counter(), 0.0
    for _ in range(count):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        use(batch)
    taken = time.perf_counter() - started
    return count * size / taken, waited / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--amp", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="a tiny network and few steps: only shows that it runs")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()

    device = pick_device(options.device)
    plan = plan_of(options, device)
    rows = measure(plan, device)
    figures: dict[str, Any] = {"device": str(device), "plan": asdict(plan), "rows": rows}
    if options.data is not None:
        figures["loader"] = measure_loader(options.data, plan, device)
    if options.json is not None:
        write_json(options.json, figures)
    if options.chart is not None:
        groups: dict[str, dict[str, float]] = {}
        for row in rows:
            if "training" in row:
                form = f"{row['precision']} {'compiled' if row['compiled'] else 'eager'}"
                groups.setdefault(f"batch {row['batch']}", {})[form] = 100 * row["training"]["share_of_peak"]
        bar_chart(options.chart, "A training step's share of the matrix product's peak", "%", groups)


if __name__ == "__main__":
    main()
