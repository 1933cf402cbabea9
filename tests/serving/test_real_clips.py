"""Answers to real clips are those of the command line, to the byte."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import pytest

import clipshift
from clipshift.files import to_json
from clipshift.video import is_video_file
from tests.serving.running import Running

pytestmark = pytest.mark.slow

EVERY = int(os.environ.get("CLIPSHIFT_EVERY_CLIP", "6"))
"""One in so many is tried of the clips of a folder, which are of one kind."""


def test_answers_to_real_clips_are_those_of_the_command_line(
    shared: Path, shared_server: Running, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = sorted(path for path in (shared / "videos").rglob("*") if is_video_file(path))
    folders = groupby(clips, key=lambda path: path.parent)
    model, answered = clipshift.load(gate, device="cpu"), 0
    for clip in (
        each for folder, inside in folders for each in list(inside)[:: 1 if folder.name == "clips" else EVERY]
    ):
        monkeypatch.chdir(clip.parent)
        (expected,) = clipshift.predict(model, clip.name)
        answer = shared_server.client.post(
            "/v1/models/gate/predict", params={"name": clip.name}, content=clip.read_bytes()
        )
        assert answer.content == (to_json(expected.to_json()) + "\n").encode(), clip
        answered += answer.status_code == 200
    assert answered > 200 / EVERY
