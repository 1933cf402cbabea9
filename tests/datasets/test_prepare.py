"""Public data sets and own folders, arranged as they are published, become lists with their official splits."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from clipshift.config import DataConfig, resolve
from clipshift.datasets.manifest import read_dataset, read_manifest, read_parts
from clipshift.datasets.motion import write_motion_clips
from clipshift.datasets.public.catalog import PUBLIC
from clipshift.datasets.public.class_names import class_names
from clipshift.datasets.public.prepare import Prepared, prepare_data
from clipshift.datasets.write_lists import ListFormat, write_lists
from clipshift.errors import DataError
from tests.datasets.clips import moving_frames, touch, write_frames, write_video


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def lines(path: Path, *texts: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(text + end for text in texts).encode())
    return path


def listed(prepared: Prepared, part: str) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in prepared.lists.lists[part].read_text(encoding="utf-8").splitlines()]
    return [(row["path"], row["label"]) for row in rows]


@pytest.fixture
def ucf(tmp_path: Path) -> tuple[Path, Path]:
    """Two classes as UCF-101's archive and lists."""
    names = [f"v_{name}_g0{group}_c01.avi" for name in ("Archery", "Lunges") for group in (1, 2, 3)]
    videos, lists = tmp_path / "home" / "UCF-101", tmp_path / "home" / "ucfTrainTestlist"
    touch(*(videos / name.split("_")[1] / name for name in names))
    lines(lists / "classInd.txt", "1 Archery", "2 Lunges", end="\r\n")
    for split in (1, 2):
        test = [f"{name.split('_')[1]}/{name}" for name in names if f"_g0{split}_" in name]
        train = [f"{name.split('_')[1]}/{name}" for name in names if f"_g0{split}_" not in name]
        lines(lists / f"testlist0{split}.txt", *test, end="\r\n")
        lines(lists / f"trainlist0{split}.txt", *(f"{p} {1 + p.startswith('L')}" for p in train), end="\r\n")
    return videos, lists


@pytest.mark.parametrize("split", [1, 2])
def test_ucf101(ucf: tuple[Path, Path], tmp_path: Path, split: int) -> None:
    videos, lists = ucf
    before = snapshot(tmp_path / "home")
    prepared = prepare_data("ucf101", videos, tmp_path / "out", lists=lists, split=split)
    assert listed(prepared, "test") == [(f"{name}/v_{name}_g0{split}_c01.avi", name) for name in ("Archery", "Lunges")]
    assert prepared.lists.counts == {"train": 4, "test": 2}
    assert prepared.missing == {}
    # Two of 101 classes: the lists are not the official ones, and that is said.
    assert "the lists have 2 classes; UCF-101 has 101" in prepared.faults
    assert f"names 4 clips; the official one names {9537 if split == 1 else 9586}" in prepared.faults[1]
    assert snapshot(tmp_path / "home") == before
    data = read_dataset(prepared.lists.data, DataConfig())
    assert (len(data.train), len(data.validation), data.classes) == (4, 2, ("Archery", "Lunges"))
    assert data.split == "as brought: train.jsonl and test.jsonl"


def test_official_lists_have_the_official_counts(shared: Path, tmp_path: Path) -> None:
    lists = shared / "labels" / "ucfTrainTestlist"
    videos = shared / "videos" / "ucf101_5class"
    for split in (1, 2, 3):
        prepared = prepare_data("ucf101", videos, tmp_path / "out", lists=lists, split=split)
        assert prepared.listed == dict(PUBLIC["ucf101"].splits[split - 1])
        assert sum(prepared.lists.counts.values()) == 120
        assert len(prepared.faults) == 1
        assert prepared.faults[0].startswith("13200 listed clips not there")
        assert prepared.lists.classes == class_names("ucf101")
    found = read_manifest(prepared.lists.data, DataConfig())
    assert {clip.path.parent.name for clip in found.clips} == {found.classes[label] for label in found.labels()}


def test_lists_are_found_beside_and_in_the_videos(ucf: tuple[Path, Path], tmp_path: Path) -> None:
    videos, lists = ucf
    assert prepare_data("ucf101", videos, tmp_path / "a").lists.counts["test"] == 2
    assert prepare_data("ucf101", videos.parent, tmp_path / "b").lists.counts["test"] == 2
    lists.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="not there") as caught:
        prepare_data("ucf101", videos, tmp_path / "c")
    assert "UCF101TrainTestSplits-RecognitionTask.zip" in str(caught.value)


def test_missing_clips_are_listed_and_left_out(ucf: tuple[Path, Path], tmp_path: Path) -> None:
    videos, lists = ucf
    (videos / "Lunges" / "v_Lunges_g01_c01.avi").unlink()
    prepared = prepare_data("folder", videos, tmp_path / "out", lists=lists)
    assert not prepared.ok
    assert prepared.missing == {"test": ("Lunges/v_Lunges_g01_c01",)}
    assert (tmp_path / "out" / "missing.txt").read_text() == "Lunges/v_Lunges_g01_c01\n"
    assert any("1 of 2 clips" in line for line in prepared.lines())
    touch(videos / "Lunges" / "v_Lunges_g01_c01.avi")
    assert prepare_data("folder", videos, tmp_path / "out", lists=lists).ok
    assert not (tmp_path / "out" / "missing.txt").exists()


def test_broken_clips_are_found_where_asked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            write_video(tmp_path / "videos" / name / f"{name} {number}.mp4", moving_frames(9, seed=number))
    whole = (tmp_path / "videos" / "a" / "a 1.mp4").read_bytes()
    (tmp_path / "videos" / "a" / "a 1.mp4").write_bytes(whole[:700])
    lines(tmp_path / "lists" / "trainlist01.txt", "a/a 0.mp4", "a/a 1.mp4", "b/b 0.mp4", "b/b 1.mp4")
    lines(tmp_path / "lists" / "testlist01.txt", "a/a 2.mp4", "b/b 2.mp4")
    assert prepare_data("folder", tmp_path / "videos", tmp_path / "out", lists=tmp_path / "lists").ok
    seen: list[tuple[int, int | None]] = []
    prepared = prepare_data(
        "folder",
        tmp_path / "videos",
        tmp_path / "out",
        lists=tmp_path / "lists",
        decode=True,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (6, 6)
    assert [text.split(":")[0] for text in prepared.broken] == ["a/a 1.mp4"]
    assert prepared.lists.counts == {"train": 3, "test": 2}
    assert "a/a 1.mp4" in (tmp_path / "out" / "broken.txt").read_text()


def test_odd_names(tmp_path: Path) -> None:
    names = ["two  blanks.mp4", "v1.0.final.cut.mov", "тест—编 é.avi", "#hash & [brackets];.mkv", "ends in 7.mp4"]
    touch(*(tmp_path / "my videos" / folder / name for folder in ("push up", "Kniebeuge ü") for name in names))
    (tmp_path / "my videos" / "empty").mkdir()
    train = [f"{folder}/{name}" for folder in ("push up", "Kniebeuge ü") for name in names[:3]]
    test = [f"{folder}/{name}" for folder in ("push up", "Kniebeuge ü") for name in names[3:]]
    lines(tmp_path / "my videos" / "trainlist01.txt", *train)
    lines(tmp_path / "my videos" / "testlist01.txt", *test)
    prepared = prepare_data("folder", tmp_path / "my videos", tmp_path / "out")
    assert prepared.ok
    assert [path for path, _ in listed(prepared, "train")] == train
    assert [path for path, _ in listed(prepared, "test")] == test
    data = read_dataset(prepared.lists.data, DataConfig())
    assert data.classes == ("Kniebeuge ü", "push up")
    # The same where every line ends in a label.
    lines(tmp_path / "my videos" / "trainlist01.txt", *(f"{path} {1 + (path[0] == 'p')}" for path in train))
    assert [
        path for path, _ in listed(prepare_data("folder", tmp_path / "my videos", tmp_path / "out"), "train")
    ] == train


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    touch(tmp_path / "v" / "a" / "a.mp4", tmp_path / "v" / "b" / "b.mp4")
    try:
        (tmp_path / "v" / "a" / "a.mp4").rename(tmp_path / "v" / "a" / name)
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    written = write_lists(tmp_path / "v", tmp_path / "out")
    assert {clip.path.name for clip in read_parts(written.data, DataConfig()).parts["train"].clips} == {name, "b.mp4"}


def test_hmdb51(tmp_path: Path) -> None:
    for name in class_names("hmdb51"):
        files = [f"Some (2003) #{number} {name}_u_nm_np1_fr_med_{number}.avi" for number in range(3)]
        touch(*(tmp_path / "org" / name / file for file in files))
        rows = [f"{file} {mark} " for file, mark in zip(files, (1, 2, 0), strict=True)]
        lines(tmp_path / "testTrainMulti_7030_splits" / f"{name}_test_split3.txt", *rows)
    prepared = prepare_data("hmdb51", tmp_path / "org", tmp_path / "out", split=3)
    assert prepared.lists.counts == {"train": 51, "test": 51}
    assert any("51 clips in no list of this split" in note for note in prepared.notes)
    assert listed(prepared, "train")[1] == ("cartwheel/Some (2003) #0 cartwheel_u_nm_np1_fr_med_0.avi", "cartwheel")
    lines(tmp_path / "testTrainMulti_7030_splits" / "kick_test_split3.txt", "clip.avi 4")
    with pytest.raises(DataError, match="not understood"):
        prepare_data("hmdb51", tmp_path / "org", tmp_path / "out", split=3)


@pytest.mark.parametrize("flat", [True, False])
def test_kinetics400(tmp_path: Path, flat: bool) -> None:
    header = "label,youtube_id,time_start,time_end,split"
    rows = [
        "air drumming,--x_y-1aAbB,5,15,train",
        "abseiling,2aBcDeFgHiJ,10,20,train",
        "abseiling,gone0000000,0,10,train",
    ]
    lines(tmp_path / "lists" / "train.csv", header, *rows)
    lines(tmp_path / "lists" / "validate.csv", header, "zumba,zzzzzzzzzzz,128,138,val")
    lines(tmp_path / "lists" / "test.csv", "youtube_id,time_start,time_end,split", "ttttttttttt,1,11,test")
    folders = ["", "", ""] if flat else ["air_drumming", "abseiling", "zumba"]
    names = ["--x_y-1aAbB_000005_000015.mp4", "2aBcDeFgHiJ.mkv", "zzzzzzzzzzz_000128_000138.mp4"]
    touch(*(tmp_path / "k400" / folder / name for folder, name in zip(folders, names, strict=True)))
    touch(tmp_path / "k400" / "replacement" / names[0])
    prepared = prepare_data("kinetics400", tmp_path / "k400", tmp_path / "out", lists=tmp_path / "lists")
    assert prepared.ok
    assert prepared.lists.counts == {"train": 2, "val": 1}
    assert prepared.missing == {"train": ("gone0000000_000000_000010",)}
    assert listed(prepared, "train")[0] == (f"replacement/{names[0]}", "air drumming")
    assert any("no longer available" in note for note in prepared.notes)
    assert any("test.csv has no labels" in note for note in prepared.notes)
    lines(tmp_path / "lists" / "train.csv", header, "no such class,2aBcDeFgHiJ,10,20,train")
    with pytest.raises(DataError, match="none of Kinetics-400"):
        prepare_data("kinetics400", tmp_path / "k400", tmp_path / "out", lists=tmp_path / "lists")


def test_sthv2(tmp_path: Path) -> None:
    names = class_names("sthv2")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "labels.json").write_text(json.dumps({name: str(i) for i, name in enumerate(names)}))
    template = names[1].replace("something", "[something]")
    rows = [{"id": "12", "label": "x", "template": template}, {"id": "7", "template": names[0]}]
    (tmp_path / "labels" / "train.json").write_text(json.dumps(rows))
    (tmp_path / "labels" / "validation.json").write_text(json.dumps([{"id": "9", "template": names[173]}]))
    touch(*(tmp_path / "20bn-something-something-v2" / f"{number}.webm" for number in (7, 9, 12)))
    prepared = prepare_data(
        "sthv2", tmp_path / "20bn-something-something-v2", tmp_path / "out", lists=tmp_path / "labels"
    )
    assert listed(prepared, "train") == [("12.webm", names[1]), ("7.webm", names[0])]
    assert listed(prepared, "val") == [("9.webm", names[173])]
    assert prepared.faults == (
        "the list of train names 2 clips; the official one names 168913",
        "the list of val names 1 clip; the official one names 24777",
    )


@pytest.mark.parametrize("header", [False, True])
def test_jester(tmp_path: Path, header: bool) -> None:
    for number in (3, 14, 15):
        write_frames(tmp_path / "20bn-jester-v1" / str(number), moving_frames(3, seed=number), pattern="{:05d}.jpg")
    train = (
        ["video_id,label,frames", "3,Swiping Right,3", "14,Stop Sign,3"]
        if header
        else ["3;Swiping Right", "14;Stop Sign"]
    )
    held = ["video_id,label,frames", "15,Swiping Left,3"] if header else ["15;Swiping Left"]
    lines(tmp_path / ("Train.csv" if header else "jester-v1-train.csv"), *train)
    lines(tmp_path / ("Validation.csv" if header else "jester-v1-validation.csv"), *held)
    prepared = prepare_data("jester", tmp_path / "20bn-jester-v1", tmp_path / "out", decode=True)
    assert listed(prepared, "train") == [("3", "Swiping Right"), ("14", "Stop Sign")]
    assert prepared.broken == ()
    setting = shlex.split(prepared.lines()[-1])[-1]
    settings = resolve(settings=[setting]).config.data
    assert settings.frame_pattern == "{:05d}.jpg"
    assert len(read_dataset(prepared.lists.data, settings).train) == 2


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_unpacked_once(ucf: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    videos, lists = ucf
    packed = tmp_path / f"UCF101.{kind}"
    if kind == "zip":
        shutil.make_archive(str(tmp_path / "UCF101"), "zip", videos.parent, "UCF-101")
        shutil.make_archive(str(tmp_path / "lists"), "zip", lists.parent, "ucfTrainTestlist")
    else:
        with tarfile.open(packed, "w:gz") as archive:
            archive.add(videos, "UCF-101")
    chosen = tmp_path / "lists.zip" if kind == "zip" else lists
    prepared = prepare_data("folder", packed, tmp_path / "out", lists=chosen)
    assert prepared.ok
    assert prepared.lists.counts == {"train": 4, "test": 2}
    assert len(read_dataset(prepared.lists.data, DataConfig()).train) == 4
    clip = next((tmp_path / "out" / "unpacked").rglob("*.avi"))
    time = clip.stat().st_mtime_ns
    prepare_data("folder", packed, tmp_path / "out", lists=chosen)
    assert clip.stat().st_mtime_ns == time


def test_archives_that_cannot_be_unpacked(ucf: tuple[Path, Path], tmp_path: Path) -> None:
    _, lists = ucf
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.avi", bytes(range(256)) * 40)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be unpacked"):
        prepare_data("ucf101", tmp_path / "cut.zip", tmp_path / "out", lists=lists)
    assert list((tmp_path / "out").glob("unpacked/*")) == []
    (tmp_path / "UCF101.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match="not unpacked here") as caught:
        prepare_data("ucf101", tmp_path / "UCF101.rar", tmp_path / "out", lists=lists)
    assert "unrar x 'UCF101.rar'" in str(caught.value)
    rars = tmp_path / "rars"
    lines(rars / "Archery.rar", "Rar!")
    lines(rars / "Lunges.rar", "Rar!")
    with pytest.raises(DataError, match="None of the clips") as caught:
        prepare_data("ucf101", rars, tmp_path / "out", lists=lists)
    assert 'for f in *.rar; do unrar x "$f"; done' in str(caught.value)
    lines(tmp_path / "parts" / "20bn-jester-v1-00", "x")
    lines(tmp_path / "jester" / "jester-v1-train.csv", "1;Stop Sign")
    lines(tmp_path / "jester" / "jester-v1-validation.csv", "2;Stop Sign")
    with pytest.raises(DataError, match="None of the clips") as caught:
        prepare_data("jester", tmp_path / "parts", tmp_path / "out", lists=tmp_path / "jester")
    assert "cat 20bn-jester-v1-?? | tar -xz" in str(caught.value)


def test_wrong_arguments(ucf: tuple[Path, Path], tmp_path: Path) -> None:
    videos, lists = ucf
    with pytest.raises(DataError, match="no such split"):
        prepare_data("ucf101", videos, tmp_path / "out", lists=lists, split=4)
    with pytest.raises(DataError, match="no such data set"):
        prepare_data("ucf102", videos, tmp_path / "out", lists=lists)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such folder"):
        prepare_data("ucf101", tmp_path / "none", tmp_path / "out", lists=lists)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="None of the clips") as caught:
        prepare_data("ucf101", empty, tmp_path / "out", lists=lists)
    assert "unrar x UCF101.rar" in str(caught.value)
    with pytest.raises(DataError, match="lists of the split"):
        prepare_data("folder", videos, tmp_path / "out", lists=lists, split=3)


def test_other_lists_are_not_overwritten(ucf: tuple[Path, Path], tmp_path: Path) -> None:
    videos, lists = ucf
    lines(tmp_path / "mine" / "train.txt", "a.mp4 0")
    with pytest.raises(DataError, match="not written by clipshift"):
        prepare_data("folder", videos, tmp_path / "mine", lists=lists)
    assert (tmp_path / "mine" / "train.txt").read_text() == "a.mp4 0\n"


def test_command(ucf: tuple[Path, Path], tmp_path: Path) -> None:
    videos, lists = ucf
    command = [sys.executable, "-m", "clipshift", "prepare", "folder", str(videos), "--lists", str(lists)]
    done = subprocess.run([*command, "--to", str(tmp_path / "o")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [
        "own folder, split 1: 2 classes",
        "  train 4 of 4 clips",
        "  test  2 of 2 clips",
    ]
    (videos / "Lunges" / "v_Lunges_g02_c01.avi").unlink()
    done = subprocess.run([*command, "--to", str(tmp_path / "o")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 listed clip not there" in done.stdout


@pytest.mark.parametrize("form", get_args(ListFormat))
def test_lists_in_all_forms_read_back_the_same(tmp_path: Path, form: ListFormat) -> None:
    videos = write_motion_clips(tmp_path / "motion", clips_per_class=2, validation_per_class=1, frames=4, size=32)
    written = write_lists(videos, tmp_path / form, form=form)
    again = write_lists(written.data, tmp_path / "again")
    first, second = (read_dataset(source, DataConfig()) for source in (videos, again.data))
    for ours, theirs in ((first.train, second.train), (first.validation, second.validation)):
        read_back = [(clip.path.resolve(), clip.label) for clip in theirs.clips]
        assert [(clip.path, clip.label) for clip in ours.clips] == read_back
    assert first.classes == second.classes
    if form in ("paddlevideo", "mmaction2"):
        line = written.lists["train"].read_text().splitlines()[0]
        assert line == "train/left_and_back/0000.mp4 0"
    if form == "paddlevideo":
        assert (tmp_path / form / "label_map.txt").read_text().splitlines()[1] == "1 left_to_right"


def test_lists_of_frame_folders_tell_their_frames(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_frames(tmp_path / "data" / name / "clip_1", moving_frames(5))
    written = write_lists(tmp_path / "data", tmp_path / "out", form="mmaction2")
    assert written.lists["train"].read_text() == "a/clip_1 5 0\nb/clip_1 5 1\n"
    assert [clip.frames for clip in read_parts(written.data, DataConfig()).parts["train"].clips] == [5, 5]
    touch(tmp_path / "data" / "b" / "video.mp4")
    with pytest.raises(DataError, match="holds one kind"):
        write_lists(tmp_path / "data", tmp_path / "out", form="mmaction2")


def test_what_other_systems_cannot_read_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "data" / "a" / "one two.mp4", tmp_path / "data" / "b" / "b.mp4")
    with pytest.raises(DataError, match="path with blanks") as caught:
        write_lists(tmp_path / "data", tmp_path / "out", form="paddlevideo")
    assert "--plain-names" in str(caught.value)
    touch(tmp_path / "numbers" / "1" / "a.mp4", tmp_path / "numbers" / "2" / "b.mp4")
    with pytest.raises(DataError, match="called by numbers"):
        write_lists(tmp_path / "numbers", tmp_path / "out", form="paddlevideo")
    written = write_lists(tmp_path / "numbers", tmp_path / "fine")
    assert read_parts(written.data, DataConfig()).parts["train"].labels() == [0, 1]
