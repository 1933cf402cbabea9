"""Faults of the file system: every write, fsync, closing, renaming, creation and deletion of a command fails once.

    PYTHONPATH=src python -m tests.fuzz.disk_faults --most 20

After each the command has said so in a few lines and exit code 2 (or went well, with the right result: some files may
fail), what was valid is valid still, and the same command again does its work.

This process loads PyTorch once; each command runs in a copy of it.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from tests.drawing import draw_nothing
from tests.fuzz.samples import SMALL, make_missing

LIBRARY = "CLIPSHIFT_DISK_FAULTS"
PUBLISHED = "published.pth"
LOADED = ("clipshift.training.run", "clipshift.exporting.export", "matplotlib.figure", "torchmetrics",
          "scipy.signal", "onnxruntime", "onnxscript.rewriter", "openvino", "torch.export",
          "torch.onnx._internal.exporter._core", "sympy", "networkx", "torch._dynamo")  # fmt: skip
MANY = 8
"""Equal calls in a row of which not all fail."""
SHORT = -1
"""In place of an error a write takes only half of what it was given; whoever wrote goes on with the rest."""


@dataclass(frozen=True)
class Fault:
    """What happens at a call.

    Attributes:
        code: The number of the error, or `SHORT`.
        lasting: Whether it happens at all later calls, too.
    """

    code: int
    lasting: bool = False

    def strikes(self, call: str) -> bool:
        """Whether a system would answer this call so: removing needs no room."""
        if self.code == SHORT:
            return "write" in call
        return self.code != errno.ENOSPC or call not in {"unlink", "rmdir"}


FAULTS = {
    "ENOSPC": Fault(errno.ENOSPC),
    "EIO": Fault(errno.EIO),
    "EACCES": Fault(errno.EACCES),
    "full": Fault(errno.ENOSPC, lasting=True),
    "short": Fault(SHORT),
}


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        words: Its words, in the folder where it runs.
        prepare: Puts there what is there before.
        check: Raises where what was valid is not any more; after a fault and after a good end.
        result: What the command makes, to be compared between starts.
        once: Whether it refuses to do again what is done.
    """

    words: tuple[str, ...]
    prepare: Callable[[Path, Path], object]
    check: Callable[[Path], object]
    result: Callable[[Path], str]
    once: bool = False


def _digest(folder: Path, pattern: str) -> str:
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    return " ".join(f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" for path in files)


def _half_trained(samples: Path, here: Path) -> None:
    shutil.copytree(samples / "trained" / "run", here / "run")
    shutil.rmtree(max((here / "run" / "checkpoints").iterdir()))
    (here / "run" / "finished.json").unlink()
    (here / "clips").symlink_to(samples / "trained" / "clips")


def _check_begun(here: Path) -> None:
    """A model that has its name is whole; of checkpoints the newest that was finished is whole."""
    from clipshift.models.bundle import load_bundle
    from clipshift.training.checkpoint import load_checkpoint

    if (here / "run" / "model" / "model.json").exists():
        load_bundle(here / "run" / "model")
    if (here / "run" / "checkpoints").exists():
        found = load_checkpoint(here / "run" / "checkpoints")
        if found is not None and found[3]:
            raise ValueError(f"checkpoints: {found[3]}")


def _check_run(here: Path) -> None:
    from clipshift.models.bundle import load_bundle
    from clipshift.training.checkpoint import load_checkpoint

    load_bundle(here / "run" / "model")
    found = load_checkpoint(here / "run" / "checkpoints")
    if found is None or found[3]:
        raise ValueError(f"checkpoints: {found and found[3]}")


def _model(samples: Path, here: Path) -> None:
    (here / "run").symlink_to(samples / "trained" / "run")
    (here / "clips").symlink_to(samples / "trained" / "clips" / "val")
    (here / "old.jsonl").write_text('{"path": "before.mp4", "error": "what was there before"}\n')


def _check_export(here: Path) -> None:
    from clipshift.inference.export_folder import read_export

    if (here / "out").exists() and any((here / "out").iterdir()):
        read_export(here / "out")


def _check_predictions(here: Path) -> None:
    """Predictions are written as they come: what is there is whole lines, but perhaps for the last."""
    for line in (here / "old.jsonl").read_text().split("\n")[:-1]:
        json.loads(line)


def _check_videos(here: Path) -> None:
    """A video that has its name is whole."""
    _count_frames(here)


def _count_frames(here: Path) -> str:
    """The frames of each video; the bytes are not always the same, because x264 reads memory that it has not set."""
    from clipshift.video import open_clip

    counts = []
    for path in sorted(here.glob("out/*/*.mp4")):
        if not path.parent.name.startswith("."):  # there they are written
            with open_clip(path) as clip:
                counts.append(f"{path.parent.name}: {len(list(clip.frames()))}")
    return ", ".join(counts)


def _check_converted(here: Path) -> None:
    from clipshift.models.bundle import load_bundle

    if (here / "out" / "model.json").exists():  # it takes its name last
        load_bundle(here / "out")


def _check_lists(here: Path) -> None:
    from clipshift.config import DataConfig
    from clipshift.datasets.manifest import read_dataset

    path = here / "out" / "data.yaml"
    if path.exists() and "train:" in path.read_text():  # else the lists are being exchanged
        read_dataset(here / "out" / "data.yaml", DataConfig())


def _check_evaluation(here: Path) -> None:
    from clipshift.evaluation.results import load_evaluation

    if (here / "out" / "metrics.json").exists():
        load_evaluation(here / "out")


def _check_findings(here: Path) -> None:
    json.loads((here / "old.json").read_text())


def _check_nothing(here: Path) -> None:
    """What is written has no state that could be invalid: it is written again by the same command."""


def _clips(samples: Path, here: Path) -> None:
    (here / "clips").symlink_to(samples / "trained" / "clips")


def _published(samples: Path, here: Path) -> None:
    (here / "weights.pth").symlink_to(samples / PUBLISHED)


def _checked(samples: Path, here: Path) -> None:
    (here / "clips").symlink_to(samples / "trained" / "clips")
    (here / "old.json").write_text('{"findings": []}\n')


def _export_to(target: str, pattern: str) -> Command:
    words = ("export", "run", "--to", target, "--out", "out", "--license", "MIT", "--data", "clips")
    return Command(words, _model, _check_export, lambda here: _digest(here / "out", pattern), once=True)


COMMANDS = {
    "predict": Command(
        ("predict", "run", "clips", "--json", "old.jsonl", "--device", "cpu"),
        _model,
        _check_predictions,
        lambda here: str((here / "old.jsonl").read_text().count("\n")),
    ),
    "repack": Command(
        ("repack", "clips", "--to", "out", "--short-side", "32", "--workers", "0"),
        _model,
        _check_videos,
        _count_frames,
    ),
    "frames": Command(
        ("frames", "clips", "--to", "out", "--short-side", "32", "--workers", "0"),
        _model,
        _check_nothing,
        lambda here: _digest(here / "out", "**/*.jpg"),
    ),
    "train": Command(
        ("train", "clips", *SMALL, "--out", "run"),
        _clips,
        _check_begun,
        lambda here: _digest(here / "run", "model/*.safetensors"),
    ),
    "resume": Command(
        ("train", "clips", *SMALL, "--out", "run"),
        _half_trained,
        _check_run,
        lambda here: _digest(here / "run", "model/*.safetensors"),
    ),
    "onnx": _export_to("onnx", "*.onnx"),
    "openvino": _export_to("openvino", "*.bin"),
    "torch": _export_to("torch", "README.md"),
    "evaluate": Command(
        ("evaluate", "run", "clips", "--out", "out", "--device", "cpu"),
        _model,
        _check_evaluation,
        lambda here: _digest(here / "out", "predictions.jsonl"),
    ),
    "convert": Command(
        ("convert", "weights.pth", "--to", "out"),
        _published,
        _check_converted,
        lambda here: _digest(here / "out", "*.safetensors"),
        once=True,
    ),
    "lists": Command(
        ("lists", "clips", "--to", "out"), _clips, _check_lists, lambda here: _digest(here / "out", "[!.]*")
    ),
    "check": Command(
        ("check", "clips", "--json", "old.json"), _checked, _check_findings, lambda here: _digest(here, "old.json")
    ),
}


def run(command: Command, here: Path, *, at: int, fault: Fault | None = None) -> tuple[int, str, list[str]]:
    """Run a command in a copy of this process in which a call fails; its exit code, what it said, and the calls."""
    said, listed = here.parent / "said.txt", here.parent / "calls.txt"
    listed.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        ended = 70
        library = ctypes.CDLL(os.environ[LIBRARY])
        library.calls.restype = ctypes.c_char_p
        try:
            (here / "temporary").mkdir(exist_ok=True)  # what is written there fails, too
            tempfile.tempdir = str(here / "temporary")
            os.environ["TMPDIR"] = tempfile.tempdir
            os.chdir(here)
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.argv = ["clipshift", *command.words]
            from clipshift import cli

            code, lasting = (fault.code, fault.lasting) if fault is not None else (0, False)
            library.arm(str(here).encode(), ctypes.c_long(at), code, int(lasting))
            try:
                cli.main()
            except SystemExit as end:
                ended = end.code if isinstance(end.code, int) else 71
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            calls = library.calls()
            library.arm(b"", ctypes.c_long(0), 0, 0)
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):
                    stream.flush()
            listed.write_bytes(calls.replace(str(here).encode() + b"/", b""))
            os._exit(ended)
    _, status = os.waitpid(pid, 0)
    calls = listed.read_text(errors="replace").splitlines() if listed.exists() else []
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace"), calls


def judge(command: Command, samples: Path, scratch: Path, *, at: int, fault: Fault, right: str) -> str | None:
    """Let one call fail; what is wrong then, or None."""
    here = _fresh(command, samples, scratch)
    ended, said, calls = run(command, here, at=at, fault=fault)
    where = calls[at - 1] if at <= len(calls) else "no call"
    error = said[said.find("error: ") :] if "error: " in said else ""
    if "Traceback" in said or ended not in {0, 1, 2} or (ended == 2 and not 0 < len(error.splitlines()) <= 8):
        return f"{where}: exit code {ended}: {said[-3000:]}"
    if fault.code == SHORT and ended != 0:
        return f"{where}: exit code {ended}: {said[-1500:]}"
    try:
        command.check(here)
    except Exception as error:
        return f"{where}: exit code {ended}; what was valid is not any more: {type(error).__name__}: {error}"
    if ended == 0 and command.result(here) != right:
        return f"{where}: exit code 0, and another result: {command.result(here)}, {said[-1500:]}"
    if ended == 0 and command.once:
        return None
    ended, said, _ = run(command, here, at=0)
    if ended != 0 or command.result(here) != right:
        return f"{where}: the same command again: exit code {ended}, {command.result(here)}: {said[-1500:]}"
    return None


def make_inputs(samples: Path) -> None:
    """Make the samples, and a file of weights as timm's networks have it."""
    make_missing(samples, torch=True)
    if not (samples / PUBLISHED).exists():
        import timm
        import torch

        torch.save(timm.create_model("mobilenetv2_100", num_classes=3).state_dict(), samples / PUBLISHED)


def _fresh(command: Command, samples: Path, scratch: Path) -> Path:
    here = scratch / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    command.prepare(samples, here)
    return here


def main() -> int:
    """Go through the calls of the commands; 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.disk_faults", description="Lets writes fail.")
    parser.add_argument("--commands", nargs="+", choices=tuple(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--faults", nargs="+", choices=tuple(FAULTS), default=list(FAULTS))
    parser.add_argument("--most", type=int, default=0, help="calls of each command; 0: all")
    parser.add_argument("--first", type=int, default=1, help="number of the first call that fails")
    parser.add_argument("--all", action="store_true", help="each fault at each call, not one of them in turn")
    parser.add_argument("--show", action="store_true", help="name the calls, and let none fail")
    parser.add_argument("--samples", type=Path, help="folder of the samples; made if it is not there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if LIBRARY not in os.environ:
            return start_again(Path(folder))
        samples = (options.samples or Path(folder) / "samples").resolve()
        # In a process of its own: where PyTorch has answered, processes that are forked have no PyTorch.
        make = "import sys, pathlib, tests.fuzz.disk_faults as faults; faults.make_inputs(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", make, str(samples)], check=True)
        for name in LOADED:
            with suppress(ModuleNotFoundError):  # an engine may be missing
                import_module(name)  # once for all that are forked
        draw_nothing(pytest.MonkeyPatch())  # and undoes nothing
        bad = sum(go_through(name, samples, Path(folder).resolve(), options) for name in options.commands)
    return int(bad > 0)


def distinct(calls: list[str]) -> list[int]:
    """Numbers of the calls, from 1; of many equal ones in a row the first two, one in the middle, and the last."""
    chosen: list[int] = []
    for _, row in itertools.groupby(range(len(calls)), key=calls.__getitem__):
        numbers = [number + 1 for number in row]
        chosen += numbers if len(numbers) <= MANY else [*numbers[:2], numbers[len(numbers) // 2], numbers[-1]]
    return chosen


def spread(numbers: list[int], most: int) -> list[int]:
    """At most so many of the numbers, spread evenly; 0: all."""
    if not most or most >= len(numbers):
        return numbers
    return [numbers[n * (len(numbers) - 1) // max(1, most - 1)] for n in range(most)]


def go_through(name: str, samples: Path, scratch: Path, options: argparse.Namespace) -> int:
    """Let calls of a command fail, spread evenly over all, with each fault; how many times something was wrong."""
    command, began = COMMANDS[name], time.monotonic()
    here = _fresh(command, samples, scratch)
    ended, said, calls = run(command, here, at=0)
    if ended != 0 or not calls:
        raise RuntimeError(f"{name} without a fault: exit code {ended}, {len(calls)} calls, {said}")
    command.check(here)
    right = command.result(here)
    chosen = spread(distinct(calls), options.most)
    tried = bad = 0
    if options.show:
        sys.stdout.write("\n".join([f"{name}:", *calls, ""]))
        chosen = []
    for at in [at for at in chosen if at >= options.first]:
        fitting = [word for word in options.faults if FAULTS[word].strikes(calls[at - 1].split()[0])]
        for word in fitting if options.all or not fitting else fitting[at % len(fitting) :][:1]:
            tried += 1
            wrong = judge(command, samples, scratch, at=at, fault=FAULTS[word], right=right)
            if wrong is not None:
                bad += 1
                sys.stdout.write(f"{name}, call {at} of {len(calls)}, {word}: {wrong}\n\n")
                sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"{name}: {len(chosen)} of {len(calls)} calls, {tried} faults, "
        f"{bad} times something was wrong, {seconds:.0f} s\n"
    )
    sys.stdout.flush()
    return bad


def start_again(folder: Path) -> int:
    """Compile the library, and start this program with it."""
    library = folder / "disk_faults.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    environment = os.environ | {LIBRARY: str(library), "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "tests.fuzz.disk_faults", *sys.argv[1:]], env=environment).returncode  # noqa: PLW1510


if __name__ == "__main__":
    sys.exit(main())
