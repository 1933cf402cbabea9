"""A process that is confined can neither write, nor look around, nor reach out; and it is ended in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, os, socket, sys
from clipshift.serving.confinement import allow_processor_seconds, confine

secret, own, pid, other = sys.argv[1], os.memfd_create("own"), sys.argv[2], sys.argv[3]
os.write(own, b"mine")
answers = {"protections": confine(64 * 1024 * 1024)}

def attempt(name, work):
    try:
        work()
        answers[name] = "done"
    except (OSError, MemoryError) as error:
        answers[name] = type(error).__name__

attempt("own", lambda: open(f"/proc/self/fd/{own}", "rb").read())
attempt("python", lambda: __import__("colorsys"))
attempt("memory", lambda: bytearray(100 * 1024 * 1024))
attempt("read", lambda: open(secret).read())
attempt("list", lambda: os.listdir(os.path.dirname(secret)))
attempt("write", lambda: open(secret + ".new", "w").write("x" * 10000))
attempt("descriptor", lambda: open(f"/proc/{pid}/fd/{other}").read())
attempt("memory of another", lambda: open(f"/proc/{pid}/mem"))
attempt("socket", lambda: socket.socket())
attempt("signal", lambda: os.kill(int(pid), 0))
print(json.dumps(answers), flush=True)
if len(sys.argv) > 4:
    allow_processor_seconds(1)
    while True:
        pass
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    secret = tmp_path_factory.mktemp("secret") / "upload"
    secret.write_text("of another", encoding="utf-8")
    upload = os.memfd_create("upload")
    os.write(upload, b"of another")
    try:
        done = run(str(secret), str(os.getpid()), str(upload))
    finally:
        os.close(upload)
    assert done.returncode == 0, done.stderr
    assert not Path(f"{secret}.new").exists() or not Path(f"{secret}.new").stat().st_size
    answered: dict[str, str] = json.loads(done.stdout)
    return answered


def test_its_own_clip_can_be_read_and_memory_is_bounded(answers: dict[str, str]) -> None:
    assert answers["protections"][0] == "limits"
    assert (answers["own"], answers["python"], answers["memory"]) == ("done", "done", "MemoryError")


def test_no_file_can_be_written(answers: dict[str, str]) -> None:
    assert answers["write"] in {"PermissionError", "OSError"}


def test_uploads_of_others_cannot_be_seen(answers: dict[str, str]) -> None:
    if not any(each.startswith("landlock") for each in answers["protections"]):
        pytest.skip("this kernel has no Landlock")
    for name in ("read", "list", "descriptor", "memory of another"):
        assert answers[name] in {"PermissionError", "FileNotFoundError"}, name


def test_nothing_outside_can_be_reached(answers: dict[str, str]) -> None:
    if "seccomp" not in answers["protections"]:
        pytest.skip("this system has no libseccomp")
    assert answers["socket"] == "PermissionError"


def test_processor_time_is_bounded(tmp_path: Path) -> None:
    done = run(str(tmp_path), str(os.getpid()), "0", "spin")
    assert done.returncode == -signal.SIGXCPU
