"""Clips written anew, as frames and as video: the same pictures, whole or not there, and going on after any end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from clipshift.config import DataConfig
from clipshift.datasets.manifest import read_dataset, read_parts
from clipshift.datasets.motion import write_motion_clips
from clipshift.datasets.tools import transcode as rewrite
from clipshift.datasets.tools.check import check_data
from clipshift.datasets.tools.transcode import Transcoded, extract_frames, fitted_size, new_names, repack_videos
from clipshift.datasets.write_lists import ListFormat, alone, write_lists
from clipshift.errors import DataError
from clipshift.parallel.processes import Died, map_processes
from clipshift.video import open_clip, probe
from tests.datasets.clips import moving_frames, touch, write_classes, write_frames, write_video
from tests.video.making import make_video, pictures, with_matrix

pytestmark = pytest.mark.slow

Rewrite = Callable[..., Transcoded]
both = pytest.mark.parametrize("function", [extract_frames, repack_videos])


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def all_frames(path: Path) -> np.ndarray:
    with open_clip(path) as reader:
        return np.stack(list(reader.frames()))


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "clips"
    return write_motion_clips(folder, clips_per_class=2, validation_per_class=1, frames=16, size=64)


@both
def test_the_new_data_set_is_like_the_old_one(function: Rewrite, motion: Path, tmp_path: Path) -> None:
    before = snapshot(motion)
    seen: list[tuple[int, int]] = []
    result = function(motion, tmp_path / "new", workers=2, progress=lambda done, total: seen.append((done, total)))
    assert result.ok
    assert (result.made, result.kept, result.failed) == (12, 0, ())
    assert seen == [(number, 12) for number in range(1, 13)]
    assert snapshot(motion) == before
    assert leftovers(tmp_path / "new") == []
    assert result.lists is not None
    old, new = read_dataset(motion, DataConfig()), read_dataset(result.lists.data, DataConfig())
    assert new.classes == old.classes
    for ours, theirs in ((old.train, new.train), (old.validation, new.validation)):
        assert ours.labels() == theirs.labels()
        for clip, other in zip(ours.clips, theirs.clips, strict=True):
            assert other.path.is_relative_to(tmp_path / "new")
            first, second = all_frames(clip.path), all_frames(other.path)
            assert first.shape == second.shape
            # Frame i is frame i: nearer to it than to its neighbors.
            error = np.abs(first[:, None].astype(float) - second[None]).mean(axis=(2, 3, 4))
            assert (error.argmin(axis=1) == np.arange(16)).all()
            assert error.diagonal().max() < 6
    # The folder by itself is a data set, too, and nothing is wrong with either.
    kinds = {finding.kind for finding in check_data(result.lists.data, DataConfig(max_bad=0)).findings}
    assert kinds <= {"few"}
    assert {clip.path for clip in read_dataset(tmp_path / "new", DataConfig()).train.clips} == {
        clip.path for clip in new.train.clips
    }


def test_frames_are_numbered_from_one_and_declared(motion: Path, tmp_path: Path) -> None:
    result = extract_frames(motion / "val", tmp_path / "new", short_side=32, quality=80, workers=0)
    folder = tmp_path / "new" / "left_to_right" / "0000"
    assert sorted(path.name for path in folder.iterdir()) == [f"img_{number:05d}.jpg" for number in range(1, 17)]
    with Image.open(folder / "img_00001.jpg") as image:
        assert image.size == (32, 32)
    assert result.lists is not None
    row = json.loads(result.lists.lists["train"].read_text().splitlines()[0])
    assert row["frames"] == 16


def test_video_is_h264_in_short_closed_groups_without_sound(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        make_video(tmp_path / "data" / name / "loud.mkv", pictures(50), with_audio=True)
    result = repack_videos(tmp_path / "data", tmp_path / "new", short_side=32, group=6, workers=0)
    assert result.ok
    path = tmp_path / "new" / "a" / "loud.mp4"
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        stream = container.streams.video[0]
        assert (stream.codec_context.codec.canonical_name, stream.width, stream.height) == ("h264", 48, 32)
        assert stream.average_rate == 25
        keys = [number for number, packet in enumerate(container.demux(stream)) if packet.size and packet.is_keyframe]
    assert keys == list(range(0, 50, 6))
    with open_clip(path) as reader:
        for wanted in range(36, 42):
            before = reader.pictures_decoded  # type: ignore[attr-defined]
            reader.read([wanted])
            # At most the key frame, the two after it that others refer to, and the frame itself.
            assert reader.pictures_decoded - before <= 4  # type: ignore[attr-defined]


def test_odd_sizes_and_turned_videos(tmp_path: Path) -> None:
    write_frames(tmp_path / "data" / "a" / "odd", moving_frames(4, width=51, height=37))
    (tmp_path / "data" / "b").mkdir()
    upright = make_video(tmp_path / "plain.mp4", pictures(6))
    with_matrix(tmp_path / "data" / "b" / "turned.mp4", upright, 0, 1, -1, 0)
    assert repack_videos(tmp_path / "data", tmp_path / "new", workers=0).ok
    info = probe(tmp_path / "new" / "a" / "odd.mp4")
    assert (info.width, info.height, info.frames) == (50, 36, 4)
    info = probe(tmp_path / "new" / "b" / "turned.mp4")
    assert (info.width, info.height, info.frames, info.rotation) == (64, 96, 6, 0)
    assert extract_frames(tmp_path / "data", tmp_path / "frames", workers=0).ok
    info = probe(tmp_path / "frames" / "b" / "turned")
    assert (info.width, info.height, info.frames) == (64, 96, 6)


@both
def test_broken_clips_are_listed_and_the_rest_is_done(function: Rewrite, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", ["a", "b"], 3)
    touch(data / "a" / "clip_1.mp4")
    whole = (data / "b" / "clip_2.mp4").read_bytes()
    (data / "b" / "clip_2.mp4").write_bytes(whole[: len(whole) // 2])
    (data / "b" / "empty.mp4").touch()
    result = function(data, tmp_path / "new", workers=2)
    assert not result.ok
    assert [name for name, _ in result.failed] == ["a/clip_1.mp4", "b/clip_2.mp4", "b/empty.mp4"]
    assert result.made == 4
    assert (tmp_path / "new" / "failed.txt").read_text().startswith("a/clip_1.mp4: ")
    assert leftovers(tmp_path / "new") == []
    assert result.lists is not None
    assert sum(result.lists.counts.values()) == 4
    # A file that was mended is done by the same call, and nothing else is done again.
    for name in ("a/clip_1.mp4", "b/clip_2.mp4", "b/empty.mp4"):
        write_video(data / name, moving_frames(7))
    before = snapshot(tmp_path / "new")
    result = function(data, tmp_path / "new", workers=0)
    assert result.ok
    assert (result.made, result.kept) == (3, 4)
    after = snapshot(tmp_path / "new")
    clips = [name for name in before if name.endswith((".mp4", ".jpg"))]
    assert clips
    assert all(after[name] == before[name] for name in clips)
    assert not (tmp_path / "new" / "failed.txt").exists()


@both
def test_what_changed_or_was_damaged_is_made_again(function: Rewrite, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", ["a", "b"], 2)
    function(data, tmp_path / "new", workers=0)
    write_video(data / "a" / "clip_0.mp4", moving_frames(5, seed=9))
    damaged = next((tmp_path / "new" / "b").rglob("*.*g*" if function is extract_frames else "*.mp4"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    with (tmp_path / "new" / "done.jsonl").open("a") as record:
        record.write('{"target": "a/cli')
    result = function(data, tmp_path / "new", workers=0)
    assert (result.ok, result.made, result.kept) == (True, 2, 2)
    result = function(data, tmp_path / "new", workers=0)
    assert (result.ok, result.made, result.kept) == (True, 0, 4)


KILLED_AFTER = """
import os, signal, sys
import clipshift

def progress(done, total):
    if done == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

getattr(clipshift, sys.argv[1])(sys.argv[2], sys.argv[3], workers=2, progress=progress)
"""
"""Kills itself when so many clips are done, while its processes work on others."""


@both
def test_killed_in_the_middle_and_resumed(function: Rewrite, tmp_path: Path) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    for seed in range(12):
        path = data / ("a b", "é")[seed % 2] / f"clip {seed}.v1.mp4"
        write_video(path, moving_frames(40, width=160, height=120, seed=seed))
    for done in (3, 7):
        words = [sys.executable, "-c", KILLED_AFTER, function.__name__, str(data), str(new), str(done)]
        # No process outlives its killed parent: each of them holds the pipe open, whose end is waited for here.
        killed = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False, timeout=1800)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert done <= count_lines(new / "done.jsonl") < 12
        # What is in its place is whole, whatever was under way.
        for clip in whole_clips(new):
            assert probe(clip).frames == 40
    kept = count_lines(new / "done.jsonl")
    finished = function(data, new, workers=2)
    assert (finished.ok, finished.made, finished.kept) == (True, 12 - kept, kept)
    assert len(whole_clips(new)) == 12
    assert leftovers(new) == []
    assert check_data(new / "data.yaml", DataConfig(max_bad=0)).ok


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def whole_clips(folder: Path) -> list[Path]:
    return sorted(path for name in ("a b", "é") for path in (folder / name).glob("*"))


def test_a_second_process_is_kept_out(motion: Path, tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(DataError, match="Another process"), alone(tmp_path):
        pass


def test_other_settings_and_other_folders_are_refused(motion: Path, tmp_path: Path) -> None:
    extract_frames(motion / "val", tmp_path / "new", workers=0)
    with pytest.raises(DataError, match="other settings") as caught:
        extract_frames(motion / "val", tmp_path / "new", quality=80, workers=0)
    assert (caught.value.got, caught.value.allowed) == ("quality=95", "quality=80")
    with pytest.raises(DataError, match="other settings"):
        repack_videos(motion / "val", tmp_path / "new", workers=0)
    with pytest.raises(DataError, match="something else"):
        repack_videos(motion / "val", motion, workers=0)
    with pytest.raises(DataError, match="among the clips"):
        repack_videos(motion / "val", motion / "val" / "small", workers=0)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        repack_videos(motion / "val", tmp_path / "file", workers=0)
    with pytest.raises(DataError, match="out of its range"):
        repack_videos(motion / "val", tmp_path / "x", crf=60, workers=0)
    with pytest.raises(DataError, match="out of its range"):
        extract_frames(motion / "val", tmp_path / "x", quality=0, workers=0)


def test_without_an_encoder_the_alternatives_are_named(
    motion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str, mode: str) -> None:
        raise av.codec.codec.UnknownCodecError(name)

    monkeypatch.setattr(av, "Codec", missing)
    with pytest.raises(DataError, match="no encoder for") as caught:
        repack_videos(motion, tmp_path / "new", workers=0)
    assert "clipshift frames DATA" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_ends_it_with_one_error(motion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(place: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rewrite, "_move", full)
    with pytest.raises(DataError, match="cannot be written") as caught:
        extract_frames(motion, tmp_path / "new", workers=0)
    assert caught.value.got == "No space left on device"
    monkeypatch.undo()
    assert extract_frames(motion, tmp_path / "new", workers=0).ok


def test_real_clips(shared: Path, tmp_path: Path) -> None:
    for folder, name in (("a", "archery_320x240_mpeg4_131f.avi"), ("b", "kinetics_340x256_h264_300f.mp4")):
        (tmp_path / "data" / folder).mkdir(parents=True)
        shutil.copy(shared / "videos" / "clips" / name, tmp_path / "data" / folder)
    result = repack_videos(tmp_path / "data", tmp_path / "new", short_side=128, workers=2)
    assert result.ok
    assert (probe(tmp_path / "new/a/archery_320x240_mpeg4_131f.mp4").frames) == 131
    info = probe(tmp_path / "new/b/kinetics_340x256_h264_300f.mp4")
    assert (info.frames, info.width, info.height) == (300, 170, 128)
    with open_clip(info.path) as reader:
        reader.read([20, 150, 280])
        assert reader.irregular is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/x.avi", "a/y.v1.mp4"], ["a/x", "a/y.v1"]),
        (["a/x.avi", "a/x.mp4", "b/x.avi"], ["a/x.avi", "a/x.mp4", "b/x"]),
        (["a/x.avi", "a/x/y.avi"], ["a/x.avi", "a/x/y"]),
        (["/other/disk/x.avi", "../up/x.avi"], ["other/disk/x", "up/x"]),
        (["up/x.avi", "../up/x.avi"], ["up/x.avi", "up/x.avi_2"]),
        (["a/frames.1", "a/two  blanks.avi"], ["a/frames.1", "a/two  blanks"]),
    ],
)
def test_new_names(names: list[str], expected: list[str]) -> None:
    assert new_names(names, "") == expected
    assert new_names(names, ".mp4") == [f"{name}.mp4" for name in expected]


def test_plain_names(tmp_path: Path) -> None:
    assert new_names(["push up/a  b.avi", "push up/a_b.avi"], "", plain=True) == [
        "push_up/a_b.avi",
        "push_up/a_b.avi_2",
    ]
    data = write_classes(tmp_path / "my data", ["push up", "b"], 1, name="one {} two.mp4")
    result = extract_frames(data, tmp_path / "new", plain_names=True, workers=0)
    assert (tmp_path / "new" / "push_up" / "one_0_two").is_dir()
    assert read_parts(tmp_path / "new" / "data.yaml", DataConfig()).classes == ("b", "push up")
    assert result.ok


def test_fitted_size() -> None:
    assert fitted_size(1920, 1080, 256) == (455, 256)
    assert fitted_size(1920, 1080, 256, even=True) == (454, 256)
    assert fitted_size(240, 320, 256) == (240, 320)
    assert fitted_size(1, 1, None, even=True) == (2, 2)


def die_or_double(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return 2 * number


def test_a_process_that_dies_takes_nothing_with_it() -> None:
    results = dict(map_processes(die_or_double, range(8), 2))
    died = results.pop(3)
    assert isinstance(died, Died)
    assert died.cause.endswith("it crashed (SIGSEGV)")
    assert results == {number: 2 * number for number in range(8) if number != 3}


def test_programs_need_no_guard(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", ["a", "b"], 1)
    code = "import clipshift, sys\nprint('once')\nclipshift.extract_frames(sys.argv[-2], sys.argv[-1], workers=1)\n"
    script = tmp_path / "script.py"
    script.write_text(code)
    ways: list[tuple[list[str], str | None]] = [([str(script)], None), (["-"], code), (["-c", code], None)]
    for number, (words, given) in enumerate(ways):
        new = tmp_path / f"new {number}"
        command = [sys.executable, *words, str(data), str(new)]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
        assert count_lines(new / "done.jsonl") == 2


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_one_by_one_are_those_of_reading(tmp_path: Path, codec: str) -> None:
    path = make_video(tmp_path / "a.avi", pictures(30), codec=codec, options={"g": "10", "bf": "2"})
    with open_clip(path) as reader:
        assert np.array_equal(np.stack(list(reader.frames())), reader.read(range(30)))
    folder = write_frames(tmp_path / "frames", moving_frames(4))
    with open_clip(folder) as reader:
        assert np.array_equal(np.stack(list(reader.frames())), reader.read(range(4)))


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Three clips with one to three of three labels, as a list with commas."""
    for number in range(3):
        write_video(tmp_path / "clips" / f"{number}.mp4", moving_frames(6, seed=number))
    (tmp_path / "train.txt").write_text("clips/0.mp4 run,jump\nclips/1.mp4 sing\nclips/2.mp4 jump,run,sing\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nclasses: [run, jump, sing]\n")
    return tmp_path / "data.yaml"


def labels_of(data: Path, settings: DataConfig) -> list[tuple[str, ...]]:
    part = read_parts(data, settings, several=True).parts["train"]
    return [tuple(part.classes[label] for label in clip.labels) for clip in part.clips]


def test_several_labels_are_kept(several: Path, tmp_path: Path) -> None:
    settings, labels = DataConfig(), [("run", "jump"), ("sing",), ("run", "jump", "sing")]
    forms: tuple[ListFormat, ...] = ("clipshift", "mmaction2")
    for form in forms:
        written = write_lists(several, tmp_path / form, form=form, multi_label=True)
        assert labels_of(written.data, settings) == labels
    with pytest.raises(DataError, match="each clip one"):
        write_lists(several, tmp_path / "paddle", form="paddlevideo", multi_label=True)

    frames = extract_frames(several, tmp_path / "frames", multi_label=True, workers=0).lists
    assert frames is not None
    assert labels_of(frames.data, settings) == labels
    # Frame folders have a number of frames before the labels.
    again = write_lists(frames.data, tmp_path / "again", form="mmaction2", multi_label=True)
    assert again.lists["train"].read_text().splitlines()[2].split()[1:] == ["6", "0", "1", "2"]
    assert labels_of(again.data, settings) == labels


def test_several_labels_that_were_not_said(several: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not in the list of classes") as caught:
        write_lists(several, tmp_path / "lists")
    assert "train.multi_label=true" in str(caught.value)
    assert "frames, repack and lists take --multi-label" in str(caught.value)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    write_classes(tmp_path / "old", ["a", "b"], 2)
    make_video(tmp_path / "old" / "a" / "wide.mp4", pictures(9, width=96), pixel_aspect=Fraction(64, 45))
    repacked = repack_videos(tmp_path / "old", tmp_path / "new", short_side=32, workers=0)
    assert any("1 clip with pixels that are not square" in note for note in repacked.notes)
    with open_clip(tmp_path / "new" / "a" / "wide.mp4", square_pixels=True) as reader:
        assert (reader.info.width, reader.info.height) == (68, 32)
    assert probe(tmp_path / "new" / "a" / "wide.mp4").width == 48
    framed = extract_frames(tmp_path / "old", tmp_path / "frames", workers=0)
    assert any("images are written as stored" in note for note in framed.notes)
    assert probe(tmp_path / "frames" / "a" / "wide").width == 96
