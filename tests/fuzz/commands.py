"""Command lines of random words: every command, with options it has or has not, and values of all kinds."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import sys
from pathlib import Path
from random import Random

from tests.fuzz.mutate_text import WORDS

_COMMANDS = {
    "evaluate": ("--protocol", "--crops", "--clips", "--batch-size", "--bad", "--device", "--amp", "--out", "--fuse",
                 "--weights"),
    "predict": ("--json", "--top", "--crops", "--clips", "--batch-size", "--device", "--amp", "--threads", "--mode"),
    "export": ("--to", "--out", "--precision", "--input", "--data", "--calibrate", "--crops", "--license"),
    "verify": ("--data", "--most", "--out"),
    "convert": ("--to", "--model", "--segments", "--classes"),
    "config": ("--config", "--schema"),
    "models": (),
    "check": ("--json",),
    "report": (),
    "lists": ("--to", "--format", "--multi-label"),
    "frames": ("--to", "--short-side", "--quality", "--plain-names", "--multi-label", "--workers"),
    "repack": ("--to", "--short-side", "--crf", "--group", "--plain-names", "--multi-label", "--workers"),
    "prepare folder": ("--to", "--lists", "--split", "--decode"),
    "prepare ucf101": ("--to", "--lists", "--split", "--decode"),
    "prepare sthv2": ("--to", "--lists", "--decode"),
    "train": ("--out", "--recipe", "--config", "--weights", "--amp", "--overwrite"),
}  # fmt: skip
_INPUTS = ("clips", "clips/val", "run", "export", "run/model", "lists/plain.txt", "lists/folders.yaml",
           "weights/legacy.pth",           "settings/some.yaml", "clips/val/*/*.mp4",
           "run/evaluation", "missing", "videos/h264.mp4", ".")  # fmt: skip
_VALUES = (
    "0", "1", "2", "-1", "3", "1000000", "9" * 20, "1.5", "nan", "cpu", "cuda", "fp32", "bf16", "fp16", "int8", "onnx",
    "torch", "three", "ten", "wrong", "uniform-1x1", "dense-10x1", "out", "out/new", "run", "frames", "clips",
    "mmaction2",    "paddlevideo", "throughput", "tsm-r50", "pptsm", "resnet50", "kinetics400",
    "data.max_frames=5", "train.epochs=1",
    "data.frame_pattern={}", "input.segments=2", "input.segments=-1", "model.backbone=x", "--no-bad", "--help", "-h",
)  # fmt: skip


def make(random: Random, samples: Path, folder: Path) -> object:
    """The words of a command line, and a folder with copies of the samples in which it is given."""
    for name in ("lists", "settings", "weights", "videos", "trained/clips", "trained/run", "trained/export"):
        shutil.copytree(samples / name, folder / Path(name).name)
    command = random.choice(sorted(_COMMANDS))
    words = command.split()
    needed = {"convert": 1, "predict": 2, "evaluate": 2, "verify": 2}.get(words[0], 1)
    likely = {"evaluate": ("run", "clips/val"), "predict": ("run", "videos/h264.mp4"), "verify": ("run", "export")}
    for place in range(needed if random.random() < 0.9 else random.randrange(4)):
        fitting = likely.get(words[0], ("clips/val", "lists/plain.txt"))
        words.append(fitting[place % 2] if random.random() < 0.5 else _any_word(random))
    options = _COMMANDS[command]
    for option in random.sample(options, min(len(options), random.choice((0, 1, 2, 3)))):
        words.append(option if random.random() < 0.97 else option + random.choice(("x", "=", "=1", "-")))
        if random.random() < 0.95:
            words.append(_any_word(random))
    if "--to" in options and "--to" not in words and random.random() < 0.8:
        words += ["--to", "onnx" if command == "export" else "out"]
    if command in {"export", "train"} and "--out" not in words:
        words += ["--out", "out"]
    if command == "train":  # what goes well must end soon
        words += ["model.backbone=test_resnet", "model.pretrained=false", "input.segments=2", "input.crop=32",
                  "input.resize=36", "train.epochs=1", "data.workers=0", "train.threads=1"]  # fmt: skip
    if command in {"frames", "repack"} and "--workers" not in words:
        words += ["--workers", "0"]
    _tame(words, folder)
    (folder / "words.txt").write_text(repr(words), encoding="utf-8", errors="backslashreplace")
    return [word for word in words if "\0" not in word], folder


def _tame(words: list[str], folder: Path) -> None:
    """Keep a command line from starting processes, and from writing where it is told to outside of its folder."""
    for place, option in enumerate(words[:-1]):
        value = words[place + 1]
        if option == "--workers" and value.lstrip("-").isdigit() and value != "0":
            words[place + 1] = "0"
        inside = Path(os.path.realpath(folder / os.path.expanduser(value.replace("\0", ""))))  # noqa: PTH111 - never fails
        if option in {"--to", "--out", "--json"} and not inside.is_relative_to(os.path.realpath(folder)):
            words[place + 1] = "out"


def _any_word(random: Random) -> str:
    return random.choice(random.choice((_INPUTS, _VALUES, _VALUES, WORDS)))


def run(made: tuple[list[str], Path]) -> object:
    """Run the command line in this process; its exit code."""
    from clipshift import cli

    words, folder = made
    arguments, here, given = sys.argv, Path.cwd(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    sys.argv = ["clipshift", *words]
    os.chdir(folder)
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        logging.getLogger().handlers.clear()
        err.flush()
        said = err.buffer.getvalue().decode()
        if end.code not in {0, 1, 2}:
            raise RuntimeError(f"exit code {end.code}: {said}") from None
        return end.code
    finally:
        sys.argv, sys.stdin = arguments, given
        os.chdir(here)
    raise RuntimeError("no exit code")
