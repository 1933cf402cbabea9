"""A short run of the campaign: the same few cases of each kind every time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.mutate_containers import damaged, pieces_of, replace_piece
from tests.fuzz.mutate_text import damaged_text, damaged_value
from tests.fuzz.samples import SAME
from tests.video.making import make_video, pictures

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are limited and measured as Linux has it")
def test_damaged_input_of_every_kind_is_answered_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--short", "--findings", str(tmp_path / "findings")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [path.read_text(encoding="utf-8") for path in sorted(tmp_path.glob("findings/*/finding.txt"))[:3]]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr[-2000:], *found])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the library that lets writes fail is for Linux")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler of C")
def test_writes_that_fail_leave_what_was_valid(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.disk_faults", "--commands", "predict", "--most", "2"]
    path = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.ts"])
def test_pieces_cover_the_file_and_can_be_put_back(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name == "clip.avi" else "libx264"
    data = make_video(tmp_path / name, pictures(6), codec=codec, container_options=SAME).read_bytes()
    pieces = pieces_of(data)
    assert len(pieces) > 10
    assert sum(piece.end - piece.start for piece in pieces if not any(
        outer.content <= piece.start and piece.end <= outer.end for outer in pieces if outer is not piece
    )) == len(data)  # fmt: skip
    for piece in pieces:
        assert replace_piece(data, pieces, piece, data[piece.start : piece.end], repair=True) == data


def test_a_case_is_the_same_every_time_and_none_leaves_a_trace_in_the_next() -> None:
    data = bytes(range(256)) * 8
    for number in range(50):
        damaged_value({"a": [1, {"b": None}], "c": "x"}, Random(number))
    for make in (
        lambda random: damaged(data, random),
        lambda random: damaged_text("a: 1\nb: [2, 3]\n", random),
        lambda random: repr(damaged_value({"a": [1, {"b": None}], "c": "x"}, random)),
    ):
        assert [make(Random(n)) for n in range(50)] == [make(Random(n)) for n in range(50)]
