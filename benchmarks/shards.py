"""Sharded prediction over very many paths, whose processes are killed: the same bytes, how much is done twice?

    python benchmarks/shards.py [--paths 100000] [--shards 4] [--at-once 2] [--kills 200] [--json shards.json]

A few small clips of moving shapes are generated, with many links to them. An uninterrupted `clipshift predict --json`
answers for all; then `clipshift predict --out --shard` does, so many shards at once, and `kill -9` ends one of its
processes after another, which is started again. The merged file must have the bytes of the uninterrupted one. Printed
are the times, the answers that kills took, and the most memory of a process in the first tenth of the work and in the
last. Exit code 1 if the bytes differ.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import write_json
from many_clips import make_links

import clipshift
from clipshift.config import ModelSpec, resolve
from clipshift.models.bundle import save_bundle
from clipshift.models.recognizer import Recognizer


def make_export(folder: Path) -> Path:
    """A small network of random weights for ONNX Runtime: what is measured is what is around it."""
    settings = ("model.backbone=test_resnet", "model.pretrained=false", "input.segments=4", "input.crop=32")
    config = resolve(settings=(*settings, "input.resize=32")).config
    classes = ("a", "b", "c", "d")
    network = Recognizer(config.model, segments=4, classes=len(classes), generator=torch.Generator().manual_seed(0))
    spec = ModelSpec(clipshift=clipshift.__version__, model=config.model, input=config.input, classes=classes)
    save_bundle(folder / "model", network.eval(), spec)
    return clipshift.export(folder / "model", to="onnx", out=folder / "onnx", license="Apache-2.0").folder


def memory_of(process: subprocess.Popen[bytes]) -> float:
    """Memory in use of a process in MiB; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def answers_in(out: Path) -> int:
    """Whole lines in all parts."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob("part-*"))


def run_shards(model: Path, links: Path, out: Path, options: argparse.Namespace) -> dict[str, float]:
    """Answer all shards, ending processes at random times."""
    chance = random.Random(options.seed)
    waiting = list(range(1, options.shards + 1))
    running: dict[int, subprocess.Popen[bytes]] = {}
    kills, lost, started, memory = 0, 0, time.monotonic(), {"first tenth": 0.0, "last tenth": 0.0}
    pause = 0.0
    while waiting or running:
        while waiting and len(running) < options.at_once:
            shard = waiting.pop(0)
            command = [sys.executable, "-m", "clipshift", "predict", str(model), str(links), "--out", str(out)]
            words = ["--threads", "1", "--shard", f"{shard}/{options.shards}"]
            running[shard] = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL)
        time.sleep(0.2)
        for shard, process in list(running.items()):
            done = answers_in(out) if kills == options.kills else 0
            part = "first tenth" if done < options.paths / 10 else "last tenth" if done > options.paths * 0.9 else None
            if part and kills == options.kills:
                memory[part] = max(memory[part], memory_of(process))
            if process.poll() is not None:
                if process.returncode:
                    raise SystemExit(f"shard {shard} ended with {process.returncode}")
                del running[shard]
        if kills < options.kills and running and time.monotonic() > pause:
            shard = chance.choice(sorted(running))
            process = running.pop(shard)
            before = answers_in(out)
            process.send_signal(signal.SIGKILL)
            process.wait()
            lost += max(0, before - answers_in(out))
            kills += 1
            waiting.insert(0, shard)
            pause = time.monotonic() + chance.uniform(0.5, options.longest_pause)
    return {"seconds": time.monotonic() - started, "kills": kills, "answers lost": lost, **memory}


def main() -> int:
    """Run both ways and print the table."""
    parser = argparse.ArgumentParser(description="Sharded prediction under kills.")
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest-pause", type=float, default=4.0, help="seconds from one kill to the next")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, links = make_export(folder), make_links(folder, paths=options.paths, clips=2)
        plain = folder / "plain.jsonl"
        began = time.monotonic()
        command = [sys.executable, "-m", "clipshift", "predict", str(model), str(links), "--json", str(plain)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        results: dict[str, float] = {"uninterrupted, seconds": time.monotonic() - began}
        results |= run_shards(model, links, folder / "answers", options)
        merged = clipshift.merge_answers(folder / "answers")
        same = merged.read_bytes() == plain.read_bytes()
    for name, value in results.items():
        print(f"{name:24}{value:12.1f}")
    print(f"{'the same bytes':24}{'yes' if same else 'no':>12}")
    if options.json:
        write_json(options.json, {**results, "paths": options.paths, "shards": options.shards, "same": same})
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
