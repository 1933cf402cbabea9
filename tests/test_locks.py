"""Locks between real processes; nothing here waits for a time, only for words of the other process."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from clipshift import locks
from clipshift.errors import RunError
from clipshift.locks import LOCK_FILE, hold, hold_folder

HOLDER = """
import sys
from pathlib import Path
from clipshift.errors import RunError
from clipshift.locks import hold_folder
with hold_folder(Path(sys.argv[1]), doing="trains in this folder", error=RunError):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder's lock until its input ends."""
    words = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def holding(folder: Path) -> None:
    with hold_folder(folder, doing="trains in this folder", error=RunError):
        assert (folder / LOCK_FILE).is_file()


def test_the_second_is_told_who_is_there_and_a_killed_one_is_not_asked(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with other_process(folder) as process:
        for _ in range(2):
            with pytest.raises(RunError, match="Another process trains in this folder") as caught:
                holding(folder)
            assert str(caught.value.got).startswith(f"process {process.pid} on {platform.node()}, since 20")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (folder / LOCK_FILE).is_file()
        holding(folder)
    assert list(folder.iterdir()) == []


def test_a_folder_that_was_made_for_the_lock_goes_with_it(tmp_path: Path) -> None:
    holding(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    holding(tmp_path / "old")
    assert list((tmp_path / "old").iterdir()) == []


def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    twice = pytest.raises(RunError, match=f"process {os.getpid()} on")
    with hold_folder(tmp_path, doing="writes", error=RunError), twice:
        holding(tmp_path)
    holding(tmp_path)


def test_who_waits_says_so_and_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with other_process(tmp_path) as process:
        # The other one ends when this one has begun to wait.
        monkeypatch.setattr(time, "sleep", lambda _: process.communicate())
        with hold(tmp_path / LOCK_FILE, doing="fetches it", error=RunError, wait=True):
            assert process.returncode == 0
    assert next(record.getMessage() for record in caplog.records).startswith(f"Waiting: process {process.pid} on")


def note(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**asdict(locks._this_process()), **changed}))


def test_the_note_of_another_host_counts_while_it_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LOCK_FILE
    note(path, host="elsewhere", machine="another boot", pid=7)
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(time, "sleep", lambda _: os.utime(path, (next(clock), next(clock))))
    with pytest.raises(RunError, match="process 7 on elsewhere"):
        holding(tmp_path)
    note(path, host="elsewhere", machine="another boot", pid=7)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    holding(tmp_path)


def test_an_old_note_of_another_host_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / LOCK_FILE
    note(path, machine="another boot")
    os.utime(path, (1, 1))
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("there is nothing to wait for"))
    holding(tmp_path)


def test_without_locks_of_the_system_the_note_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with other_process(tmp_path) as process:
        monkeypatch.setattr(fcntl, "flock", unsupported)
        with pytest.raises(RunError, match=f"process {process.pid} on"):
            holding(tmp_path)
        process.kill()
        process.wait()
        holding(tmp_path)
    # Its number may have gone to a younger process.
    own = locks._this_process()
    (tmp_path / LOCK_FILE).write_text(json.dumps(asdict(replace(own, started="1"))))
    holding(tmp_path)


def test_a_damaged_note_hinders_nobody(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(b"\xff\x00{")
    holding(tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(RunError, match="cannot be locked") as caught:
        holding(tmp_path)
    assert caught.value.got == "Read-only file system"


def test_a_note_that_cannot_be_closed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems write only when a file is closed, and a full one says so then."""
    close = os.close

    def full(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.ENOSPC, "No space left on device")

    with hold_folder(tmp_path, doing="trains in this folder", error=RunError):
        monkeypatch.setattr(os, "close", full)
    monkeypatch.undo()
    holding(tmp_path)
