"""What commands print and write: any name, any encoding, full disks, closed pipes, values that begin with a hyphen."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import clipshift.cli
from clipshift.cli import app
from tests.conftest import MakeExport

pytestmark = pytest.mark.slow

ROOT = Path(clipshift.cli.__file__).parents[1]
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
ODD = [b"b\xffd.mp4", b"esc\x1b[31m.mp4", b"x :smile: \xf0\x9f\x8e\xac.mp4", b"line\nbreak.mp4"]


@pytest.fixture(scope="module")
def gate(exported: MakeExport) -> Path:
    """An export: what commands say does not hang on the engine, and this one starts without PyTorch."""
    return exported("onnx").folder


@pytest.fixture(scope="module")
def odd_clips(small_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    clip = min(small_clips.rglob("*.mp4"))
    for name in ODD:
        shutil.copy(clip, os.fsdecode(os.fsencode(folder) + b"/" + name))
    return folder


def run(
    *words: str | Path, stdout: int | str = subprocess.PIPE, given: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """The command as a user starts it; `stdout` may be a file's name."""
    command = [sys.executable, "-m", "clipshift", *map(str, words)]
    variables = {**os.environ, **environment}
    if isinstance(stdout, str):
        with open(stdout, "wb") as file:  # noqa: PTH123
            return subprocess.run(
                command, stdout=file, stderr=subprocess.PIPE, input=given, env=variables, check=False, timeout=1800
            )
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, input=given, env=variables, check=False, timeout=1800
    )


def test_names_of_all_kinds_in_text_and_in_json(gate: Path, odd_clips: Path, tmp_path: Path) -> None:
    """A narrow encoding, bytes that are no text, what controls terminals, and codes of emojis."""
    out = tmp_path / "out.jsonl"
    done = run("predict", gate, odd_clips, "--json", out, PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("cp1252")
    assert len(text.splitlines()) == len(ODD)
    for shown in (r"b\xffd.mp4: ", r"esc\x1b[31m.mp4: ", r"x :smile: \U0001f3ac.mp4: ", r"line\nbreak.mp4: "):
        assert shown in text
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n") if line]
    assert {os.fsencode(Path(row["path"]).name) for row in rows} == set(ODD)


def test_json_on_standard_output_is_json_in_every_encoding(gate: Path, odd_clips: Path) -> None:
    done = run("predict", gate, odd_clips, "--json", "-", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {os.fsencode(Path(row["path"]).name) for row in rows} == set(ODD)


def test_paths_come_from_standard_input(gate: Path, small_clips: Path, odd_clips: Path) -> None:
    clip = min(small_clips.rglob("*.mp4"))
    lines = [os.fsencode(clip), os.fsencode(odd_clips) + b"/" + ODD[0], b""]
    done = run("predict", gate, "-", "--json", "-", given=b"\r\n".join(lines))
    assert done.returncode == 0, done.stderr
    assert [os.fsencode(json.loads(line)["path"]) for line in done.stdout.splitlines()] == lines[:2]


@FULL
@pytest.mark.parametrize(
    "words",
    [
        ("predict", "MODEL", "CLIPS", "--json", "/dev/full"),
        ("check", "CLIPS", "--json", "/dev/full"),
    ],
)
def test_a_full_disk_is_said_in_words(words: tuple[str, ...], gate: Path, small_clips: Path) -> None:
    places = {"MODEL": str(gate), "CLIPS": str(small_clips)}
    done = run(*(places.get(word, word) for word in words))
    assert done.returncode == 2
    said = done.stderr.decode()
    assert said.startswith("error: The output cannot be written.")
    assert "No space left on device" in said
    assert "/dev/full" in said
    assert len(said.splitlines()) <= 8


@FULL
@pytest.mark.parametrize("words", [("models",), ("config",), ("--help",), ("check", "CLIPS")])
def test_standard_output_on_a_full_disk(words: tuple[str, ...], small_clips: Path) -> None:
    done = run(*(str(small_clips) if word == "CLIPS" else word for word in words), stdout="/dev/full")
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert said.startswith("error: The output cannot be written.")
    assert "Exception" not in said


def test_a_reader_that_goes_away_and_one_that_never_was() -> None:
    command = f"{sys.executable} -m clipshift models"
    for rest in ("| head -n 1; exit ${PIPESTATUS[0]}", ">&-", "<&- >/dev/null 2>&-"):
        shell = f"{command} {rest}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, check=False, timeout=1800)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["-x"], ["=-x"], ["=--odd"]])
def test_values_may_begin_with_a_hyphen(
    words: list[str], small_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    option = ["--json", *words] if not words[0].startswith("=") else [f"--json{words[0]}"]
    if words == ["=--odd"]:
        with pytest.raises(SystemExit) as end:
            app(["check", str(small_clips), *option])
        assert end.value.code != 0
        return
    with pytest.raises(SystemExit):
        app(["check", str(small_clips), *option])
    assert json.loads((tmp_path / "-x").read_text())["source"]


def test_an_option_in_the_place_of_a_value_is_no_value(small_clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        app(["check", str(small_clips), "--json", "--top"])
    assert end.value.code != 0
    assert "is an option and no value" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_only_one_place_prints() -> None:
    """Everything else goes through `clipshift.console`, which knows encodings, emoji codes and full disks."""
    offenders = []
    for path in ROOT.rglob("*.py"):
        if path.name == "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
            if name in {"print", "Console"}:
                offenders.append(f"{path.name}:{node.lineno}")  # type: ignore[attr-defined]
    assert not offenders
