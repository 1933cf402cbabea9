"""What the texts of the code tell people to type is what the command line and the configuration take."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import clipshift
from clipshift.cli import app
from clipshift.config import resolve, setting
from clipshift.config.text import valid_keys
from clipshift.errors import ConfigError
from clipshift.models.zoo import ZOO
from clipshift.weights.published import published_weights

SOURCE = Path(clipshift.__file__).parent
VALUE = "VALUE"
"""Stands for what a text fills in."""

COMMAND = re.compile(
    r"(?<![\w/])clipshift ([a-z0-9]+(?:-[a-z]+)*)((?: (?:[A-Z_]{2,}|--[a-z-]+(?: [a-z0-9]+)?|[a-z]+\.[a-z_.]+=\S+))*)"
)
SETTING = re.compile(
    r"(?<![\w./-])(data|input|model|train|optim|augment|distill|evaluate)\.([a-z0-9_.]+)(?![a-z0-9_.(])(?:=(\[[^\]]*\]|[^\s;,)'\"`]*))?"
)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
FILES = {"yaml", "json", "jsonl", "txt", "csv", "log", "onnx", "xml", "bin", "pt2", "pkl", "safetensors"}

PREPARE = ("prepare ucf101", "prepare hmdb51", "prepare kinetics400", "prepare sthv2", "prepare jester")
# Which commands print the texts of a part of the code; an option that a text tells to add must be one of each.
PRINTED_BY = {
    "exporting/push.py": ("push",),
    "evaluation/calibrating.py": ("calibrate",),
    "exporting/verifying.py": ("verify",),
    "exporting": ("export",),
    "serving": ("serve",),
    "training/distributed.py": ("train",),
    "training/event_fitting.py": ("fit-events",),
    "training": ("train",),
    "weights/convert.py": ("convert",),
    "weights/recognition.py": ("convert",),
    "weights/wrappers.py": ("convert",),
    "weights/hints.py": ("convert",),
    "models/pretrained.py": ("train", "check", "learning-curve"),
    "probing/label_check.py": ("check",),
    "probing/label_page.py": ("check",),
    "probing": ("learning-curve",),
    "models/online.py": ("train",),
    "inference/sharding/merging.py": ("merge",),
    "inference/sharding": ("predict",),
    "remote.py": ("predict",),
    "inference/video_scores.py": ("timeline", "evaluate", "fit-events"),
    "timelines/making.py": ("timeline",),
    "timelines/measuring.py": ("evaluate", "fit-events"),
    "datasets/public/splits.py": PREPARE,
    "datasets/public/prepare.py": PREPARE,
    "datasets/public/catalog.py": ("prepare ucf101", "prepare kinetics400"),
    "datasets/tools/check.py": ("check",),
    "evaluation/evaluator.py": ("evaluate",),
    "evaluation/fusion.py": ("evaluate",),
    "evaluation/report/page.py": ("evaluate",),
    "evaluation/report/mistakes.py": ("report",),
    "evaluation/explaining": ("explain",),
    "inference/engines/onnxruntime.py": ("predict", "evaluate", "benchmark"),
}
# Texts that name the command in words of their own.
SAID_OTHERWISE = {
    "export again with --crops": ("export",),
    "export with --precision": ("export",),
    "export with --streaming": ("export",),
    "trained on dense windows of a video": ("evaluate",),
    "export with --input": ("export",),
    "frames, repack and lists take --multi-label": ("frames", "repack", "lists"),
}


def texts() -> Iterator[tuple[str, str]]:
    """Every text in the code that is no documentation, with its place; what an f-string fills in is `VALUE`."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        skipped = parts | {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                filled = (part.value if isinstance(part, ast.Constant) else VALUE for part in node.values)
                yield name, "".join(map(str, filled))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                yield name, node.value


TEXTS = list(texts())


def parse(command: str, words: list[str]) -> None:
    """Parse a command line as the program does, without running it."""
    app.parse_args([*command.split(), *words], exit_on_error=False, print_error=False)


def options_of(command: str) -> set[str]:
    found = app
    for name in command.split():
        found = found[name]
    arguments = found.assemble_argument_collection()
    return {name for argument in arguments for name in argument.names if name.startswith("--")}


def test_the_texts_are_found() -> None:
    remedies = [text for _, text in TEXTS if COMMAND.search(text) or SETTING.search(text)]
    assert len(remedies) > 100
    assert any("clipshift check DATA" in text for text in remedies)
    assert ("video/limits.py", f"cut the clip, or add the setting data.max_seconds={VALUE}") in TEXTS


def test_commands_are_commands() -> None:
    seen = 0
    for place, text in TEXTS:
        for match in COMMAND.finditer(text):
            command, words = match[1], shlex.split(match[2])
            if place == "doctor.py" or command in {"and", "does", "uses", "run", "knows", "reads", "lists", "with"}:
                continue  # a sentence about the product
            try:
                app[command]
            except KeyError:
                pytest.fail(f"{place}: {text!r}: there is no command {command}")
            complete = text[match.end() :].lstrip(" ")[:3] != "..."
            if words and complete:
                parse(command, words)
                seen += 1
    assert seen > 12


def test_settings_are_settings() -> None:
    keys, seen = set(valid_keys()), 0
    for place, text in TEXTS:
        for section, key, value in SETTING.findall(text):
            name = f"{section}.{key.rstrip('.')}"
            if key.rpartition(".")[2] in FILES or VALUE in name or place.startswith("temporal/annotations/"):
                continue  # a file, what is not known here, or a key of somebody's JSON
            assert name in keys or any(known.startswith(f"{name}.") for known in keys), f"{place}: {text!r}: {name}"
            # The messages of the schema are of values that need one another.
            if value and VALUE not in value and not place.startswith("config/schema"):
                resolve(settings=[f"{name}={value}"])
                seen += 1
    assert seen > 10


def commands_for(place: str, text: str) -> tuple[str, ...]:
    """The commands that take the options in a text."""
    for words, commands in SAID_OTHERWISE.items():
        if words in text:
            return commands
    for part, commands in PRINTED_BY.items():
        if place.startswith(part):
            return commands
    return ()


def test_options_are_options_of_what_prints_them() -> None:
    seen = 0
    for place, text in TEXTS:
        # Those within a command are parsed with it.
        options = OPTION.findall(
            re.sub("(pip install|docker run|mlflow ui|tensorboard|trackio show) [^;]*", "", COMMAND.sub("", text))
        )
        if not options or place.startswith("cli/") or " " not in text:
            continue
        commands = commands_for(place, text)
        assert commands, f"{place}: {text!r}: which command takes this?"
        for command in commands:
            assert set(options) <= options_of(command), f"{place}: {text!r}: {command}"
            seen += 1
    assert seen > 20


def test_the_parsers_refuse_what_is_none() -> None:
    for words in (["DATA", "--nonsense", "1"], []):
        with pytest.raises(Exception, match=r"Unknown option|requires an argument"):
            parse("check", words)
    with pytest.raises(ConfigError):
        resolve(settings=["data.max_second=1"])


@pytest.mark.parametrize(
    "pattern", ["f_{:05d}.jpg", "{:d}.png", "my clip {:d}.jpg", "a: {:d}.jpg", "#{:d}.jpg", "it's {:d}.jpg", "1"]
)
def test_a_printed_setting_is_read_again(pattern: str) -> None:
    (word,) = shlex.split(setting("data.frame_pattern", pattern))
    assert resolve(settings=[word]).config.data.frame_pattern == pattern


def test_weights_to_train_from_name_a_recipe() -> None:
    names = [entry.model for entry in published_weights().values() if entry.segments == 1]
    assert names
    for name in names:
        resolve(name)
        assert name in ZOO
