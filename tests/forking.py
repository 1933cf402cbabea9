"""Commands as processes of their own, without the seconds in which PyTorch is imported: forked from one that has it.

`python -m tests.forking` takes a command a line, as JSON, and answers with how it ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from tests.drawing import draw_nothing

_BLANK = "--blank"
ROOT = Path(__file__).resolve().parents[1]


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    """As of `subprocess`: the exit code, or minus the number of the signal that ended it."""
    output: str
    errors: str


def fork(action: Callable[[], object]) -> Ended:
    """Do something in a child of its own, in a session of its own, and wait for its end."""
    sys.stdout.flush()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os._exit(exit_code(action))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
        return Ended(code, *texts)


def exit_code(action: Callable[[], object]) -> int:
    """The exit code of a process that does something, and nothing else."""
    code = 0
    try:
        action()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


class Commands:
    """Runs `clipshift` commands; a context manager, as long as which the process lives that they are forked from.

    Args:
        draws: Whether reports have pictures; otherwise these are blank.
    """

    def __init__(self, *, draws: bool = True) -> None:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.forking", *([] if draws else [_BLANK])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def run(self, words: Sequence[str | Path], folder: Path) -> Ended:
        """Run `clipshift` with these words, in a folder."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([[str(word) for word in words], str(folder)]) + "\n")
        self._server.stdin.flush()
        return Ended(*json.loads(self._server.stdout.readline()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()


def _serve() -> None:
    import clipshift.cli
    import clipshift.training.run  # with PyTorch, before the first fork

    if _BLANK in sys.argv:
        draw_nothing(pytest.MonkeyPatch())

    for line in sys.stdin:
        words, folder = json.loads(line)

        def command(words: list[str] = words, folder: str = folder) -> None:
            os.chdir(folder)
            sys.argv = ["clipshift", *words]
            clipshift.cli.main()

        sys.stdout.write(json.dumps(fork(command)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
