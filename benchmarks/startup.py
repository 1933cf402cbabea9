"""How long the commands take to begin, and how much memory they need.

    python benchmarks/startup.py [--repeat 5] [--json startup.json] [--chart startup.png]

Every command runs in a process of its own, in turns. The table shows the processor's time, the elapsed time and the
largest memory of each: nothing (Python itself), imports, `clipshift --help`, and `clipshift predict` for one generated
clip with TSM MobileNetV2 of random weights. PyTorch and timm alone are there to compare with.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import bar_chart, write_json


def run(words: list[str]) -> tuple[float, float, float]:
    """Elapsed and processor's milliseconds and largest memory in MiB of one command.

    Raises:
        RuntimeError: The command failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    # Not process.wait(): the kernel tells what a process used only to the one that collects it.
    _, status, used = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return 1e3 * elapsed, 1e3 * (used.ru_utime + used.ru_stime), used.ru_maxrss / 1024


def prepare(folder: Path) -> None:
    """Write a model, and clips to answer for."""
    import clipshift
    from clipshift.config import ModelSpec, resolve
    from clipshift.data.motion import write_motion_clips
    from clipshift.models.bundle import save_bundle
    from clipshift.models.recognizer import Recognizer

    write_motion_clips(folder / "motion", clips_per_class=1, validation_per_class=1)
    config = resolve("tsm-mobilenetv2", settings=["model.pretrained=false"]).config
    network = Recognizer(config.model, segments=config.input.segments, classes=4)
    classes = ("a", "b", "c", "d")
    spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
    save_bundle(folder / "model", network, spec)


def run_apart(work: Callable[[Path], None], folder: Path) -> None:
    """Do it in another process: the largest memory of a child counts from what its parent has when it is started."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0


def commands(model: Path, clip: Path) -> dict[str, list[str]]:
    return {
        "python": ["-c", "pass"],
        "import clipshift": ["-c", "import clipshift"],
        "clipshift --help": ["-m", "clipshift", "--help"],
        "clipshift config": ["-m", "clipshift", "config"],
        "import torch": ["-c", "import torch"],
        "import torch, timm": ["-c", "import torch, timm"],
        "clipshift.load": ["-c", "import clipshift; clipshift.load"],
        "clipshift predict": ["-m", "clipshift", "predict", str(model), str(clip)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        run_apart(prepare, Path(scratch))
        todo = commands(Path(scratch) / "model", min(Path(scratch).rglob("*.mp4")))
        taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in todo}
        for _ in range(options.repeat):
            for name, words in todo.items():
                taken[name].append(run(words))

    rows: list[dict[str, Any]] = []
    print(f"{'':24}{'processor ms':>14}{'elapsed ms':>14}{'memory MiB':>14}")
    for name, runs in taken.items():
        elapsed, processor, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:24}{processor:>14.0f}{elapsed:>14.0f}{memory:>14.0f}")
        rows.append({"command": name, "processor_ms": processor, "elapsed_ms": elapsed, "memory_mib": memory,
                     "least_processor_ms": min(run[1] for run in runs)})  # fmt: skip
    if options.json is not None:
        write_json(options.json, {"commands": rows})
    if options.chart is not None:
        groups = {row["command"]: {"processor's time": row["processor_ms"]} for row in rows}
        bar_chart(options.chart, "Until the command is done", "ms", groups)


if __name__ == "__main__":
    main()
