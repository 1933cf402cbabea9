"""The way into the command line, and out of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

_WATCHED = """
import atexit, sys
from clipshift.cli import run

class Kept:
    def __del__(self):
        print("taken apart", flush=True)

kept = Kept()
sys.argv = ["clipshift", *sys.argv[1:]]
sys.modules["clipshift.cli.entry"].main = {main}
try:
    run()
finally:
    atexit.register(print, "last words")
"""


def _run(main: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WATCHED.format(main=main), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("main", "code"),
    [("sys.modules['clipshift.cli.entry'].main", 0), ("lambda: sys.exit(2)", 2), ("sys.exit", 0)],
)
def test_a_command_ends_with_its_code_and_without_taking_python_apart(main: str, code: int) -> None:
    ended = _run(main)
    assert ended.returncode == code
    assert ended.stdout.splitlines()[-1] == "last words"
    assert ended.stderr == ""


def test_words_and_bugs_reach_standard_error() -> None:
    said, bug = _run("lambda: sys.exit('words')"), _run("lambda: 1 / 0")
    assert (said.returncode, said.stderr, said.stdout) == (1, "words\n", "last words\n")
    assert bug.returncode == 1
    assert "ZeroDivisionError" in bug.stderr
