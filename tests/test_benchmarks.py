"""The benchmark of small data sets: who is tested by whom, what the figures mean, and one run of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import small_data

from clipshift.config import DataConfig
from clipshift.datasets import Clip, read_dataset
from clipshift.datasets.motion import write_motion_clips
from clipshift.temporal.annotations import read_annotations
from clipshift.video.long_file import LongFile
from tests.datasets.clips import write_frames


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "clips"
    return write_motion_clips(folder, clips_per_class=4, validation_per_class=2, frames=8, size=40)


def test_every_clip_is_tested_once_by_those_of_other_groups(clips: Path) -> None:
    dataset = read_dataset(clips, DataConfig())
    names = [clip.name for clip in (*dataset.train.clips, *dataset.validation.clips)]
    everything = list(range(24))
    assert small_data.deal(dataset, 0, None, few=False) == [(everything[:16], everything[16:])]

    parts = small_data.deal(dataset, 2, r"(\d+)\.mp4$", few=False)
    assert sorted(i for _, test in parts for i in test) == everything
    for learn, test in parts:
        assert sorted(learn + test) == everything
        assert not {names[i][-8:] for i in learn} & {names[i][-8:] for i in test}
    few = small_data.deal(dataset, 2, r"(\d+)\.mp4$", few=True)
    assert [(test, learn) for learn, test in few] == parts
    with pytest.raises(SystemExit, match="finds nothing"):
        small_data.deal(dataset, 2, "no such name", few=False)


def test_clips_of_one_scene_are_in_one_fold(tmp_path: Path) -> None:
    tall, wide = np.zeros((2, 8, 32, 32, 3), np.uint8)
    tall[:, :, :16], wide[:, :16] = 200, 200
    between = tall // 2 + wide // 2
    clips = []
    for name, frames in {"a": tall, "b": wide, "c": tall + 9, "d": 255 - between, "e": between}.items():
        clips.append(Clip(write_frames(tmp_path / name, frames), name, 0))
    assert small_data.scenes(clips[:4]) == ["a", "b", "a", "d"]
    assert small_data.scenes(clips) == ["a", "a", "a", "d", "a"]


def test_figures() -> None:
    def answers(*right: float) -> small_data.Answers:
        places = [(seed, "fold0", clip) for seed in (0, 1) for clip in "abcd"]
        return {place: [each, 2 - each] for place, each in zip(places, right, strict=True)}

    base = answers(1, 0, 0, 0, 1, 1, 0, 0)
    found = answers(1, 1, 1, 0, 1, 1, 0, 0)
    row = small_data.summary("two more", found, base)
    assert row["top1_of_seeds"] == [75, 50]
    assert row["top1"] == 62.5
    assert row["top1_deviation"] == pytest.approx(17.678, abs=1e-3)
    # Over clips, of means over seeds: 0, 1/2, 1/2, 0.
    assert row["top1_difference"] == 25
    assert row["top1_difference_error"] == pytest.approx(100 * (1 / 12) ** 0.5 / 2)
    assert row["loss_difference"] == -0.25
    assert small_data.summary("itself", base, base)["top1_difference_error"] == 0


def test_a_run_goes_on_and_grows(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["model.backbone=test_resnet", "model.pretrained=false", "input.segments=4", "input.crop=32"]
    settings += ["input.resize=36", "train.epochs=1", "train.batch_size=4", "data.workers=0", "train.device=cpu"]

    def run(*options: str) -> list[list[str]]:
        words = [str(clips), *settings, "--folds", "2", "--to", str(tmp_path / "to"), *options]
        monkeypatch.setattr(sys, "argv", ["small_data.py", *words])
        small_data.main()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]

    first = run("--only", "baseline")
    assert [row[0] for row in first] == ["the recipe as it is", *(f"test: {name}" for name in small_data.TESTS)]
    assert first[0][1] == "24"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "to" / "baseline").rglob("result.json")}
    assert len(before) == 2
    second = run("--only", "taught_stored", "--json", str(tmp_path / "figures.json"))
    assert second[0] == first[0]
    assert second[1][0].startswith("taught by the baselines")
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["learnt_and_tested"] == [[12, 12], [12, 12]]
    assert [row["tested"] for row in figures["rows"]] == [24] * 4
    settings[-1] = "train.device=auto"
    with pytest.raises(SystemExit, match="other settings"):
        run("--only", "baseline")


def test_a_looped_clip_is_as_long_as_it_says(clips: Path, tmp_path: Path) -> None:
    from timeline import loop_clip

    clip = next((clips / "val").rglob("*.mp4"))
    with LongFile(clip) as file:
        frames, seconds = len(list(file.pictures())), file.end
    loop_clip(clip, tmp_path / "long.mp4", 5 * seconds)
    with LongFile(tmp_path / "long.mp4") as file:
        times = [picture.time for picture in file.pictures()]
        assert file.left_out == 0
    assert len(times) == 5 * frames
    assert times == pytest.approx([k * seconds / frames for k in range(5 * frames)], abs=1e-3)


def test_stitched_videos_say_where_their_clips_are(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stitched

    monkeypatch.setattr(stitched, "PAUSE", (0.2, 0.8))
    options = argparse.Namespace(clips=clips, background=[clips], held_out=1, seed=0)
    stitched.stitch(options, tmp_path / "streams")
    notes = read_annotations(tmp_path / "streams" / "annotations.json")
    counts = Counter(note.subset for note in notes for _ in note.segments)
    assert counts == {"training": 12, "validation": 4, "testing": 8}
    for note in notes:
        with LongFile(tmp_path / "streams" / note.path) as file:
            assert sum(1 for _ in file.pictures()) == round(12 * (note.duration or 0))
        edges = [0.0, *(edge for one in note.segments for edge in (one.start, one.end)), note.duration or 0]
        assert all(one.duration == pytest.approx(8 / 12) for one in note.segments)
        assert all(0.1 < begin - end < 0.9 for end, begin in zip(edges[::2], edges[1::2], strict=True))
    dataset = read_dataset(tmp_path / "streams" / "clips.yaml", DataConfig())
    assert (len(dataset.train), len(dataset.validation)) == (12, 4)
