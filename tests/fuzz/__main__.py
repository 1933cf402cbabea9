"""The long run: `python -m tests.fuzz --help`."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue

from tests.fuzz.cases import KINDS, Kind, Outcome

LONGEST = 240
"""Seconds by the clock after which a case counts as one without an end."""


SHORT = {"video": 400, "frames": 100, "list": 150, "data": 150, "config": 150, "weights": 40, "model": 15,
         "run": 2, "checkpoint": 5, "command": 12}  # fmt: skip
"""Cases of the run that the tests make: half a minute of CPU time. The other kinds need samples that take longer."""


_MOST_CONCEALED = 0.01
"""Share of a kind's cases whose damage a decoder may hide without a word: it was seen in 1 of 400."""


@dataclass
class Tally:
    """What was seen of a kind of input."""

    results: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    slowest: float = 0.0
    grown: int = 0

    def add(self, number: int, outcome: Outcome) -> None:
        self.results[outcome.result if outcome.good else "faults"] += 1
        if not outcome.good:
            self.faults[outcome.result].append(number)
        self.seconds += outcome.seconds
        self.slowest = max(self.slowest, outcome.seconds)
        self.grown = max(self.grown, outcome.grown)


class Worker(threading.Thread):
    """Runs cases in a child process, which is started again where a case ended it."""

    def __init__(self, options: argparse.Namespace, queue: Queue[tuple[str, int]], folder: Path) -> None:
        super().__init__(daemon=True)
        self.options, self.queue, self.folder = options, queue, folder
        self.child: subprocess.Popen[str] | None = None
        self.seen: list[tuple[str, int, Outcome]] = []

    def run(self) -> None:
        while True:
            try:
                kind, number = self.queue.get_nowait()
            except Empty:
                break
            outcome = self._case(kind, number)
            self.seen.append((kind, number, outcome))
            if not outcome.good:
                keep(self.options, kind, number, outcome, self.folder / "case")
        if self.child is not None:
            self.child.kill()
            self.child.wait()

    def _case(self, kind: str, number: int) -> Outcome:
        self._start()
        line, ready = self._ask(kind, number)
        if line:
            return Outcome(**json.loads(line))
        child = self.child
        assert child is not None
        child.kill()
        code = child.wait()
        self.child = None
        log = (self.folder.parent / f"{self.folder.name}.log").read_text(encoding="utf-8", errors="replace")[-4000:]
        return Outcome(f"died: code {code}" if ready else "died: no end", log, 0, 0)

    def make_samples(self, kinds: list[Kind]) -> None:
        """Have the child make what is damaged later."""
        self._start()
        needed = max(2 if kind.exports else int(kind.torch) for kind in kinds)
        line, _ = self._ask("samples", needed, seconds=4 * LONGEST)
        if not line:
            raise RuntimeError("the samples cannot be made: see above")

    def _start(self) -> None:
        if self.child is None or self.child.poll() is not None:
            command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.child"]
            words = [str(self.options.seed), str(self.options.samples), str(self.folder)]
            errors = (self.folder.parent / f"{self.folder.name}.log").open("w")
            self.child = subprocess.Popen(
                [*command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            errors.close()

    def _ask(self, kind: str, number: int, seconds: float = LONGEST) -> tuple[str, bool]:
        """What the child says, and whether it said anything or ended in time."""
        assert self.child is not None
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{kind} {number}\n")
        self.child.stdin.flush()
        ready, _, _ = select.select([self.child.stdout], [], [], seconds)
        return self.child.stdout.readline() if ready else "", bool(ready)


def keep(options: argparse.Namespace, kind: str, number: int, outcome: Outcome, case: Path) -> None:
    """Copy the input of a fault, and what was found, into the folder of findings."""
    folder = options.findings / f"{kind}-{options.seed}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(case, folder, symlinks=True)
    (folder / "finding.txt").write_text(
        f"{outcome.result}\n{outcome.seconds:.2f} s of CPU time, grown by {outcome.grown >> 20} MiB\n"
        f"again: {again(kind, options.seed, number)}\n\n{outcome.detail}\n",
        encoding="utf-8",
        errors="backslashreplace",
    )


def again(kind: str, seed: int, number: int) -> str:
    """The command that runs one case again."""
    return f"PYTHONPATH=src python -m tests.fuzz --kinds {kind} --seed {seed} --first {number} --cases 1"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Reads damaged input of every kind.")
    parser.add_argument("--cases", type=int, default=1000, help="cases of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS))
    parser.add_argument("--short", action="store_true", help="the few cases of each kind that the tests run")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so many; 0: never")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for what was found")
    parser.add_argument("--samples", type=Path, help="folder of the samples; made if it is not there")
    return parser.parse_args()


def main() -> int:
    """Run the campaign and print its figures; 1 if it found a fault."""
    options = arguments()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    here = Path(__file__).resolve().parents[2]
    path = [str(here / "src"), str(here), os.environ.get("PYTHONPATH", "")]
    os.environ |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(path)}
    with tempfile.TemporaryDirectory() as scratch:
        options.samples = (options.samples or Path(scratch) / "samples").resolve()
        queue: Queue[tuple[str, int]] = Queue()
        for kind, number in planned(options):
            queue.put((kind, number))
        workers = [Worker(options, queue, Path(scratch) / f"worker{number}") for number in range(options.workers)]
        workers[0].make_samples([KINDS[kind] for kind in {kind for kind, _ in planned(options)}])
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + options.minutes * 60
        while any(worker.is_alive() for worker in workers):
            time.sleep(0.2)
            if options.minutes and time.monotonic() > deadline:
                with queue.mutex:
                    queue.queue.clear()
        return report([entry for worker in workers for entry in worker.seen])


def planned(options: argparse.Namespace) -> list[tuple[str, int]]:
    """Kinds and numbers of the cases, the kinds in turns so that all get their share of the minutes."""
    if options.short:
        return [(kind, number) for kind in options.kinds for number in range(SHORT.get(kind, 0))]
    numbers = range(options.first, options.first + options.cases)
    return [(kind, number) for number in numbers for kind in options.kinds]


def report(seen: list[tuple[str, int, Outcome]]) -> int:
    """Print figures for each kind, and each kind of fault with its cases; 1 if there is one."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    for kind, number, outcome in seen:
        tallies[kind].add(number, outcome)
    sys.stdout.write("kind          cases  answers  refused  concealed  faults  seconds  slowest  MiB grown\n")
    for kind, tally in tallies.items():
        results = tally.results
        sys.stdout.write(
            f"{kind:12}{sum(results.values()):7}{results['answer']:9}{results['refused']:9}{results['concealed']:11}"
            f"{results['faults']:8}{tally.seconds:9.1f}{tally.slowest:9.2f}{tally.grown >> 20:11}\n"
        )
    for kind, tally in tallies.items():
        for fault, numbers in tally.faults.items():
            sys.stdout.write(f"{kind}: {fault}: {len(numbers)} cases, such as {sorted(numbers)[:6]}\n")
    many = [
        kind for kind, tally in tallies.items() if tally.results["concealed"] > _MOST_CONCEALED * tally.results.total()
    ]
    if many:
        sys.stdout.write(f"{', '.join(many)}: more than {_MOST_CONCEALED:.0%} concealed\n")
    return int(bool(many) or any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
