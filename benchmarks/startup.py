"""How long the commands take to begin, and how much memory they need.

    python benchmarks/startup.py [--repeat 5] [--json startup.json] [--chart startup.png]

Every command runs in a process of its own, in turns. The table shows the CPU time, the elapsed time and the
largest memory of each: nothing (Python itself), imports, `clipshift --help`, and `clipshift predict` for one generated
clip with TSM MobileNetV2 of random weights, as trained and as exported to ONNX. "as a library" is a program of one's
own with the trained model, up to its first answer: `clipshift.load` and `predict`. PyTorch and timm alone are there to
compare with. The last rows, run once, are for memory: a model of TSM R50, 400 classes, is trained for an epoch of two
updates of two clips without workers (and validated, with its report), predicts, and is exported to ONNX in float32;
the export predicts, too.
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

_LIBRARY = """
import os, sys, clipshift
clipshift.load(sys.argv[1], device="cpu").predict(sys.argv[2])
os._exit(0)  # what Python does at its end is another matter
"""


def run(words: list[str]) -> tuple[float, float, float]:
    """Elapsed and CPU's milliseconds and largest memory in MiB of one command.

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
    """Write models, and clips to answer for."""
    import clipshift
    from clipshift.config import ModelSpec, resolve
    from clipshift.datasets.motion import write_motion_clips
    from clipshift.models.bundle import save_bundle
    from clipshift.models.recognizer import Recognizer

    write_motion_clips(folder / "motion", clips_per_class=1, validation_per_class=1)
    for recipe, count in (("tsm-mobilenetv2", 4), ("tsm-r50", 400)):
        config = resolve(recipe, settings=["model.pretrained=false"]).config
        network = Recognizer(config.model, segments=config.input.segments, classes=count, crop=config.input.crop)
        classes = tuple(f"class {number}" for number in range(count))
        spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
        save_bundle(folder / recipe, network, spec)
    clipshift.export(folder / "tsm-mobilenetv2", to="onnx", out=folder / "exported")


def run_apart(work: Callable[[Path], None], folder: Path) -> None:
    """Do it in another process: the largest memory of a child counts from what its parent has when it is started."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0


def commands(folder: Path) -> dict[str, list[str]]:
    """What is run in turns."""
    clip = str(min(folder.rglob("*.mp4")))
    predict = ["-m", "clipshift", "predict"]
    return {
        "python": ["-c", "pass"],
        "import clipshift": ["-c", "import clipshift"],
        "clipshift --help": ["-m", "clipshift", "--help"],
        "clipshift config": ["-m", "clipshift", "config"],
        "import torch": ["-c", "import torch"],
        "import torch, timm": ["-c", "import torch, timm"],
        "clipshift.load": ["-c", "import clipshift; clipshift.load"],
        "as a library": ["-c", _LIBRARY, str(folder / "tsm-mobilenetv2"), clip],
        "clipshift predict": [*predict, str(folder / "tsm-mobilenetv2"), clip],
        "clipshift predict, ONNX": [*predict, str(folder / "exported"), clip],
    }


def large_commands(folder: Path) -> dict[str, list[str]]:
    """What is run once, for its memory; the last one needs what the one before it writes."""
    clip, model, exported = str(min(folder.rglob("*.mp4"))), str(folder / "tsm-r50"), str(folder / "large")
    settings = ["train.epochs=1", "train.batch_size=2", "data.workers=0", "model.pretrained=false"]
    data = [str(folder / "motion"), "--out", str(folder / "run")]
    return {
        "R50: train": ["-m", "clipshift", "train", *data, "--recipe", "tsm-r50", *settings],
        "R50: predict": ["-m", "clipshift", "predict", model, clip],
        "R50: export": ["-m", "clipshift", "export", model, "--to", "onnx", "--out", exported],
        "R50: predict, ONNX": ["-m", "clipshift", "predict", exported, clip],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--chart", type=Path)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        run_apart(prepare, Path(scratch))
        todo = commands(Path(scratch))
        taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in todo}
        for _ in range(options.repeat):
            for name, words in todo.items():
                taken[name].append(run(words))
        for name, words in large_commands(Path(scratch)).items():
            taken[name] = [run(words)]

    rows: list[dict[str, Any]] = []
    print(f"{'':24}{'CPU ms':>14}{'elapsed ms':>14}{'memory MiB':>14}")
    for name, runs in taken.items():
        elapsed, cpu, memory = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:24}{cpu:>14.0f}{elapsed:>14.0f}{memory:>14.0f}")
        rows.append({"command": name, "cpu_ms": cpu, "elapsed_ms": elapsed, "memory_mib": memory,
                     "least_processor_ms": min(run[1] for run in runs)})  # fmt: skip
    if options.json is not None:
        write_json(options.json, {"commands": rows})
    if options.chart is not None:
        groups = {row["command"]: {"memory": row["memory_mib"]} for row in rows}
        bar_chart(options.chart, "Largest memory of each command", "MiB", groups)


if __name__ == "__main__":
    main()
