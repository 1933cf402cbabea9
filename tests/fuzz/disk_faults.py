"""Faults of the file system: every write, fsync, renaming and creation of a command fails once.

    PYTHONPATH=src python -m tests.fuzz.disk_faults --most 20

After each the command has said so in a few lines and exit code 2 (or went well: some files may fail), what was valid is
valid still, and the same command again does its work.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.fuzz.samples import SMALL

CODES = (errno.ENOSPC, errno.EIO, errno.EACCES)
LIBRARY = "CLIPSHIFT_DISK_FAULTS"


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        words: Its words, in the folder where it runs.
        prepare: Puts there what is there before.
        check: Raises where what was valid is not any more; after a fault and after a good end.
        result: What the command makes, to be compared between starts.
    """

    words: tuple[str, ...]
    prepare: Callable[[Path, Path], object]
    check: Callable[[Path], object]
    result: Callable[[Path], str]


def _digest(folder: Path, pattern: str) -> str:
    files = sorted(path for path in folder.glob(pattern) if path.is_file())
    return " ".join(f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" for path in files)


def _half_trained(samples: Path, here: Path) -> None:
    shutil.copytree(samples / "trained" / "run", here / "run")
    shutil.rmtree(max((here / "run" / "checkpoints").iterdir()))
    (here / "run" / "finished.json").unlink()
    (here / "clips").symlink_to(samples / "trained" / "clips")


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
    (here / "old.jsonl").write_text('"what was there before"\n')


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
    from clipshift.video import open_clip

    for path in here.glob("out/**/*.mp4"):
        if not path.name.startswith("."):
            with open_clip(path) as clip:
                list(clip.frames())


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
        lambda here: _digest(here / "out", "**/*.mp4"),
    ),
    "train": Command(
        ("train", "clips", *SMALL, "--out", "run"),
        _half_trained,
        _check_run,
        lambda here: _digest(here / "run", "model/*.safetensors"),
    ),
    "export": Command(
        ("export", "run", "--to", "onnx", "--out", "out", "--license", "MIT", "--data", "clips"),
        _model,
        _check_export,
        lambda here: _digest(here / "out", "*.onnx"),
    ),
}


def run(command: Command, here: Path, *, at: int, code: int = 0) -> tuple[int, str, int]:
    """Run a command in a copy of this process in which a call fails; its exit code, what it said, and the calls."""
    said, count = here.parent / "said.txt", here.parent / "calls.txt"
    pid = os.fork()
    if pid == 0:
        ended = 70
        try:
            os.chdir(here)
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.argv = ["clipshift", *command.words]
            library = ctypes.CDLL(os.environ[LIBRARY])
            library.calls.restype = ctypes.c_long
            from clipshift import cli

            library.arm(str(here).encode(), ctypes.c_long(at), code, 0)
            try:
                cli.main()
            except SystemExit as end:
                ended = end.code if isinstance(end.code, int) else 71
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            calls = library.calls()
            library.arm(b"", ctypes.c_long(0), 0, 0)
            count.write_text(str(calls))
            os._exit(ended)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace"), int(count.read_text())


def judge(command: Command, samples: Path, scratch: Path, *, at: int, code: int, right: str) -> str | None:
    """Let one call fail; what is wrong then, or None."""
    here = scratch / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    command.prepare(samples, here)
    ended, said, _ = run(command, here, at=at, code=code)
    error = said[said.find("error: ") :] if "error: " in said else ""
    if "Traceback" in said or ended not in {0, 1, 2} or (ended == 2 and not 0 < len(error.splitlines()) <= 8):
        return f"exit code {ended}: {said[-1500:]}"
    try:
        command.check(here)
    except Exception as error:
        return f"what was valid is not any more: {type(error).__name__}: {error}"
    ended, said, _ = run(command, here, at=0)
    if ended != 0 or command.result(here) != right:
        return f"the same command again: exit code {ended}, {command.result(here)}: {said[-1500:]}"
    return None


def main() -> int:
    """Go through the calls of the commands; 1 if a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.disk_faults", description="Lets writes fail.")
    parser.add_argument("--commands", nargs="+", choices=tuple(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--most", type=int, default=0, help="calls of each command; 0: all")
    parser.add_argument("--samples", type=Path, help="folder of the samples; made if it is not there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if LIBRARY not in os.environ:
            return start_again(Path(folder))
        samples = (options.samples or Path(folder) / "samples").resolve()
        # In a process of its own: where PyTorch has answered, processes that are forked have no PyTorch.
        make = (
            "import sys, pathlib, tests.fuzz.samples as made; made.make_missing(pathlib.Path(sys.argv[1]), torch=True)"
        )
        subprocess.run([sys.executable, "-c", make, str(samples)], check=True)
        import_module("clipshift.training.run")  # once for all that are forked
        bad = sum(go_through(name, samples, Path(folder).resolve(), options.most) for name in options.commands)
    return int(bad > 0)


def go_through(name: str, samples: Path, scratch: Path, most: int) -> int:
    """Let calls of a command fail, spread evenly over all; how many faults there were."""
    command, here = COMMANDS[name], scratch / "here"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    command.prepare(samples, here)
    ended, said, calls = run(command, here, at=0)
    if ended != 0 or not calls:
        raise RuntimeError(f"{name} without a fault: exit code {ended}, {calls} calls, {said}")
    right = command.result(here)
    chosen = range(1, calls + 1) if not most else sorted({1 + n * (calls - 1) // max(1, most - 1) for n in range(most)})
    bad = 0
    for at in chosen:
        code = CODES[at % len(CODES)]
        wrong = judge(command, samples, scratch, at=at, code=code, right=right)
        if wrong is not None:
            bad += 1
            sys.stdout.write(f"{name}, call {at} of {calls}, {errno.errorcode[code]}: {wrong}\n\n")
    sys.stdout.write(f"{name}: {len(chosen)} of {calls} calls failed, {bad} times something was wrong\n")
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
