"""A process that runs cases one after the other: reads `KIND NUMBER` a line, writes an outcome as JSON a line.

The line `samples 0` has it make the samples first, with `samples 1` also those that need PyTorch, with `samples 2` also
the exports.

What a damaged file does to the process (a crash, no end, all memory) ends this process and not the campaign.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path

from tests.fuzz import watch
from tests.fuzz.cases import run_case, warm
from tests.fuzz.samples import make_missing

_ROOM = 6 << 30
"""Bytes of addresses beyond those of the start: an allocation that is larger fails, and spares the machine."""


def main(seed: int, samples: Path, folder: Path) -> None:
    """Run the cases that standard input names."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what is printed meanwhile is no answer
    (folder / "temporary").mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(folder / "temporary")
    sys.dont_write_bytecode = True
    watch.install()
    warmed: set[str] = set()
    for line in sys.stdin:
        kind, number = line.split()
        if kind == "samples":
            make_missing(samples, torch=number >= "1", exports=number == "2")
            print("{}", file=answers, flush=True)
            continue
        if kind not in warmed:
            warm(kind, samples, folder / "warm")
            warmed.add(kind)
            _limit_memory()
        outcome = run_case(kind, seed, int(number), samples, folder / "case")
        print(json.dumps(asdict(outcome)), file=answers, flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _ROOM, hard))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
