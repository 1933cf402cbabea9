"""Worker processes: they leave the main script alone, and what ended them is told."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipshift.parallel import spawning
from clipshift.parallel.spawning import (
    explain_death,
    first_dead,
    memory_kills,
    no_shared_memory,
    take_signals,
    worker_context,
)

pytestmark = pytest.mark.slow


def die(number: int) -> None:
    if number < 0:
        os.kill(os.getpid(), -number)
    sys.exit(number)


class Unsendable:
    def __reduce__(self) -> tuple[Any, ...]:
        return _fail, ()


def _fail() -> None:
    raise ModuleNotFoundError("No module named 'decoder'")


def death_of(target: Any, *args: object, clip: str | None = None, killed_before: int | None = None) -> spawning.Death:  # noqa: ANN401
    process = worker_context().Process(target=target, args=args)
    process.start()
    process.join()
    assert first_dead([process]) is process
    return explain_death(process, memory_kills() if killed_before is None else killed_before, clip=clip)


def test_each_cause_has_its_remedy() -> None:
    crash = death_of(die, -signal.SIGSEGV, clip="a.mp4")
    assert (crash.clip, crash.cause) == ("a.mp4", "it crashed (SIGSEGV)")
    assert "memory" not in crash.remedy
    killed = death_of(die, -signal.SIGKILL, clip="a.mp4")
    assert "counts no kill" in killed.cause
    assert killed.clip is None
    assert "memory ran out" in death_of(die, -signal.SIGKILL, killed_before=-1).cause
    full = death_of(die, -signal.SIGBUS)
    assert "SIGBUS" in full.cause
    assert "--shm-size" in full.remedy
    assert death_of(die, 3).cause == "it ended by itself with code 3"
    assert "SIGUSR1" in death_of(die, -signal.SIGUSR1).cause


def test_an_exception_before_the_beginning_is_quoted(capfd: pytest.CaptureFixture[str]) -> None:
    death = death_of(die, Unsendable())
    assert death.cause == "it could not begin: ModuleNotFoundError: No module named 'decoder'"
    assert "Traceback" not in capfd.readouterr().err


def test_the_size_of_shared_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=64e6, used=63e6, free=1e6))
    assert no_shared_memory("full").cause == "full; /dev/shm has 64 MB, of which 1 MB are free now"


def test_kills_for_want_of_memory_are_counted_in_both_versions_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("memory.events", "memory.oom_control"):
        path = tmp_path / name
        path.write_text("oom 3\noom_kill 2\n")
        monkeypatch.setattr(spawning, "_own_cgroup", lambda *_, path=path: [path])
        before = memory_kills()
        path.write_text("oom 4\noom_kill 3\n")
        assert memory_kills() == before + 1


class Signalled:
    """Sends the process that opens it a signal, as a scheduler does while that still begins."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _signalled, ()


def _signalled() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)


def ignore(_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_signals()


def test_signals_wait_until_the_worker_says_what_they_mean() -> None:
    process = worker_context().Process(target=ignore, args=(Signalled(),))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


AGAIN = """
import multiprocessing, os, sys
import clipshift

def nothing():
    pass

print("here", flush=True)
{first}
clipshift.train("no such data", out=sys.argv[1])
"""


def test_a_script_that_is_run_again_by_another_process_ends_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    first = """
if os.environ.setdefault("STARTED_BY", str(os.getpid())) == str(os.getpid()):
    process = multiprocessing.get_context("spawn").Process(target=nothing)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""
    script.write_text(AGAIN.format(first=first))
    done = subprocess.run(
        [sys.executable, str(script), "run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "here\nhere\n"
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert 'if __name__ == "__main__":' in done.stderr
    assert not (tmp_path / "run").exists()
