"""Sharded prediction over very many paths, whose processes are killed: the same bytes, how much is done twice?

    python benchmarks/shards.py [--paths 100000] [--shards 4] [--kills 200] [--manifest 1000000] [--json shards.json]

A few small clips of moving shapes are generated, with many links to them. One process answers for the first hundredth
of the paths, and one for all; then all shards do at once, and `kill -9` ends one after another, spread over the whole
work by a seed, and each is started again. The merged file must have the bytes of the uninterrupted one. Every pass of
the network is counted, so that what is above one a path was computed twice. At the end a shard with many rows of
manifest, of which all but ten are answered, goes on. Printed are times, counts and the most memory that a process had.
Exit code 1 if the bytes differ.

Of so many paths the network should cost little: it is a small one of random weights, exported for ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from common import write_json

import clipshift
from clipshift.inference.engines.session import Session
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.writing import write_predictions

LEFT = 10
"""Rows of the large manifest that are not answered yet."""


@dataclass(frozen=True)
class Counting:
    """An engine that adds a byte to a file after each pass: what is written so outlives `kill -9`."""

    session: Session
    file: int

    @property
    def engine(self) -> str:
        """As of the engine that is counted."""
        return self.session.engine

    @property
    def concurrency(self) -> int:
        """As of the engine that is counted."""
        return self.session.concurrency

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """As of the engine that is counted."""
        logits = self.session.run(inputs)
        os.write(self.file, b"." * len(inputs))
        return logits

    def both(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As of the engine that is counted."""
        return self.session.both(inputs)


def work(options: argparse.Namespace) -> int:
    """Be one of the processes: predict, and write down what it cost."""
    began = time.monotonic()
    model = clipshift.load(options.model, threads=1, mode="throughput")
    assert isinstance(model.scorer, ExportScorer)
    if options.counts:
        count = Counting(model.scorer.session, os.open(options.counts, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        model = replace(model, scorer=replace(model.scorer, session=count))
    loaded = time.monotonic()
    first: list[float] = []
    if options.shard:
        clipshift.predict_shard(
            model,
            options.source,
            out=options.out,
            shard=options.shard,
            progress=lambda *_: None if first else first.append(time.monotonic()),
        )
    else:
        write_predictions(clipshift.predict(model, options.source), str(options.out), top=1, say=lambda _: None)
    status = Path("/proc/self/status").read_text().split()
    figures = {
        "seconds": time.monotonic() - began,
        "seconds from the call to the first answer": first[0] - loaded if first else None,
        "most MiB": int(status[status.index("VmHWM:") + 1]) / 1024,
    }
    options.figures.write_text(json.dumps(figures))
    return 0


def start(model: Path, source: Path, out: Path, figures: Path, *words: str) -> subprocess.Popen[bytes]:
    """A process of this script that works."""
    command = [sys.executable, __file__, "--work", "--model", str(model), "--source", str(source), "--out", str(out)]
    return subprocess.Popen([*command, "--figures", str(figures), *words])


def finished(process: subprocess.Popen[bytes], figures: Path) -> dict[str, float]:
    """What a process wrote down at its end."""
    if process.wait():
        raise SystemExit(f"a process ended with {process.returncode}")
    found: dict[str, float] = json.loads(figures.read_text())
    return found


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def rows_in(out: Path) -> dict[int, int]:
    """Whole lines of each part that is being written."""
    return {int(path.name.split("-")[1]): path.read_bytes().count(b"\n") for path in out.glob("part-*")}


def kill_often(model: Path, links: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Answer all shards at once, ending processes when seeded shares of the work are done."""
    chance = random.Random(options.seed)
    at = sorted(chance.uniform(0, options.paths) for _ in range(options.kills))
    counts, out, began = folder / "counts", folder / "answers", time.monotonic()
    counts.mkdir()

    def begin(shard: int) -> subprocess.Popen[bytes]:
        words = ("--shard", f"{shard}/{options.shards}", "--counts", str(counts / str(shard)))
        return start(model, links, out, folder / f"figures-{shard}", *words)

    running = {shard: begin(shard) for shard in range(1, options.shards + 1)}
    kills = lost = 0
    while running:
        time.sleep(0.05)
        for shard in [shard for shard, process in running.items() if process.poll() is not None]:
            if running.pop(shard).returncode:
                raise SystemExit(f"shard {shard} failed")
        if kills < options.kills and running and size_of(counts) >= at[kills]:
            shard = chance.choice(sorted(running))
            before = rows_in(out).get(shard, 0)
            running[shard].send_signal(signal.SIGKILL)
            running[shard].wait()
            lost += max(0, before - rows_in(out).get(shard, 0))
            kills += 1
            running[shard] = begin(shard)
    return {
        "killed, seconds": time.monotonic() - began,
        "kills": kills,
        "answers lost": lost,
        "computed twice": size_of(counts) - options.paths,
    }


def resume(model: Path, links: Path, folder: Path, rows: int) -> dict[str, float]:
    """Go on with a shard of very many rows, of which all but a few are answered."""
    videos = [path.resolve() for path in sorted((links / "000").iterdir())[:100]]
    source, out = folder / "many.txt", folder / "many"
    source.write_text("".join(f"{videos[row % len(videos)]}\n" for row in range(rows)))
    words = ("--shard", "1/1")
    began = time.monotonic()
    process = start(model, source, out, folder / "figures", *words)
    part = out / "part-1-of-1.jsonl.partial"
    while not (part.exists() and b"\n" in part.read_bytes()):
        if process.poll() is not None:
            raise SystemExit("the first process ended too soon")
        time.sleep(0.05)
    process.kill()
    process.wait()
    found, line = time.monotonic() - began, part.read_bytes().splitlines(keepends=True)[0]
    part.write_bytes(line * (rows - LEFT))
    figures = finished(start(model, source, out, folder / "figures", *words), folder / "figures")
    return {
        "manifest, rows": rows,
        "manifest, seconds to make": found,
        "resume, seconds to the first answer": figures["seconds from the call to the first answer"],
        "resume, most MiB": figures["most MiB"],
    }


def main() -> int:
    """Run all ways and print the table."""
    parser = argparse.ArgumentParser(description="Sharded prediction under kills.")
    parser.add_argument("--paths", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--manifest", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    for name in ("--model", "--source", "--out", "--figures", "--counts"):
        parser.add_argument(name, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shard", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(options)
    from many_clips import make_export, make_links

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model, links = make_export(folder), make_links(folder, paths=options.paths, clips=2)
        few, figures = folder / "few.txt", folder / "figures"
        few.write_text("".join(f"{path}\n" for path in sorted(links.rglob("*.mp4"))[: options.paths // 100]))
        small = finished(start(model, few, folder / "few.jsonl", figures), figures)
        whole = finished(start(model, links, folder / "plain.jsonl", figures), figures)
        results = {
            "uninterrupted, seconds": whole["seconds"],
            f"most MiB, {options.paths // 100} paths": small["most MiB"],
            f"most MiB, {options.paths} paths": whole["most MiB"],
        }
        print(results, flush=True)
        results |= kill_often(model, links, folder, options)
        print(results, flush=True)
        merged = clipshift.merge_answers(folder / "answers")
        same = merged.read_bytes() == (folder / "plain.jsonl").read_bytes()
        results |= resume(model, links, folder, options.manifest)
    for name, value in results.items():
        print(f"{name:40}{value:12.1f}")
    print(f"{'the same bytes':40}{'yes' if same else 'no':>12}")
    if options.json:
        write_json(options.json, {**results, "paths": options.paths, "shards": options.shards, "same": same})
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
