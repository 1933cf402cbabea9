"""A run folder as a training leaves it, without one, and libraries that misbehave."""

from __future__ import annotations

import json
from pathlib import Path

SETTINGS = {"train": {"epochs": 2, "seed": 0, "track": ["dvc"], "patience": None}, "model": {"backbone": "test_resnet"}}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)

MISBEHAVING = {
    "raises": "raise RuntimeError('the library is out of order')",
    "exits": "import sys; sys.exit('the library exits')",
    "ends": "import os; os._exit(3)",
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
    "reads": "import sys; raise RuntimeError('read ' + repr(sys.stdin.read()))",
}
"""What is done by importing a library."""


def record(kind: str, update: int, **values: object) -> str:
    return json.dumps({"kind": kind, "update": update, **values}) + "\n"


STEP = record("step", 1, epoch=0, step=1, loss=1.5, lr=0.1)
EPOCH = record("epoch", 2, epoch=0, train_loss=1.25, lr=0.1, seconds=3.0, validation={"top1": 0.5, "loss": 1.0})
LATER = record("epoch", 4, epoch=1, train_loss=1.0, lr=0.05, seconds=3.0, validation={"top1": 0.75, "loss": 0.5})


def make_run(folder: Path, records: str = STEP + EPOCH) -> Path:
    """A finished run: settings, records, an evaluation, a report, a plot and a model."""
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(SETTINGS))
    (folder / "metrics.jsonl").write_text(records)
    (folder / "report.html").write_text("<html>the report</html>")
    for name in ("evaluation", "plots", "model"):
        (folder / name).mkdir()
    (folder / "evaluation" / "metrics.json").write_text(
        json.dumps({"format": 1, "top1": 0.75, "topk": {"5": 1.0}, "classes": ["a", "b"], "bad_policy": "wrong"})
    )
    (folder / "plots" / "loss.png").write_bytes(PIXEL)
    (folder / "model" / "model.json").write_text("{}")
    return folder


def misbehaving(folder: Path, package: str, how: str) -> Path:
    """A folder of modules with a library that does so when it is imported."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(MISBEHAVING[how] + "\n")
    return folder
