from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from clipshift.config import DataConfig, resolve
from clipshift.datasets import Clip, read_dataset, read_manifest
from clipshift.errors import DataError
from clipshift.inference.sources import find_clips as find_sources
from tests.datasets.clips import moving_frames, touch, write_frames

DATA = DataConfig()


def two_classes(root: Path, clips: int = 3) -> Path:
    touch(*(root / name / f"{name}_{number}.mp4" for name in ("cat", "dog") for number in range(clips)))
    return root


def names(clips: Iterable[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def test_train_and_val_folders_are_taken_as_brought(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "val", clips=1)
    dataset = read_dataset(tmp_path, DATA)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) == 6
    assert names(dataset.validation.clips) == ["val/cat/cat_0.mp4", "val/dog/dog_0.mp4"]
    assert dataset.validation.labels() == [0, 1]
    assert dataset.split == "as brought: train/ and val/"
    assert all(clip.path.is_absolute() and clip.path.exists() for clip in dataset.train.clips)


@pytest.mark.parametrize("held", ["valid", "validation", "Val"])
def test_other_names_of_the_validation_folder(tmp_path: Path, held: str) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / held)
    two_classes(tmp_path / "test")
    dataset = read_dataset(tmp_path, DATA)
    assert dataset.split == f"as brought: train/ and {held}/"
    assert dataset.notes == (f"{tmp_path.name}: not used: test/",)


def test_the_test_folder_stands_in_for_a_missing_validation_folder(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test")
    assert read_dataset(tmp_path, DATA).split == "as brought: train/ and test/"


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(*(tmp_path / name / f"{number}.mp4" for name in ("train", "plane") for number in range(5)))
    assert read_dataset(tmp_path, DATA).classes == ("plane", "train")


def test_clips_are_found_at_any_depth_and_sorted(tmp_path: Path) -> None:
    two_classes(tmp_path)
    touch(tmp_path / "cat" / "day 2" / "b.avi", tmp_path / "cat" / "day 2" / "ä ö.MKV", tmp_path / "cat" / "a.mov")
    manifest = read_manifest(tmp_path, DATA)
    assert names(manifest.clips)[:6] == [
        "cat/a.mov",
        "cat/cat_0.mp4",
        "cat/cat_1.mp4",
        "cat/cat_2.mp4",
        "cat/day 2/b.avi",
        "cat/day 2/ä ö.MKV",
    ]


def test_what_is_not_a_video_is_ignored_and_named(tmp_path: Path) -> None:
    two_classes(tmp_path)
    touch(tmp_path / "cat" / "Thumbs.db", tmp_path / "cat" / "notes.txt", tmp_path / "dog" / "._dog_0.mp4")
    touch(tmp_path / "cat" / ".hidden" / "x.mp4", tmp_path / "readme.json", tmp_path / "loose.mp4")
    manifest = read_manifest(tmp_path, DATA)
    assert len(manifest) == 6
    assert manifest.notes[0].endswith("not used, because outside the class folders: loose.mp4")
    assert "ignored 5 files" in manifest.notes[1]
    for name in ("Thumbs.db", "notes.txt", "._dog_0.mp4", ".hidden", "readme.json"):
        assert name in manifest.notes[1]


def test_frame_folders_count_as_one_clip(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for clip in range(2):
            write_frames(tmp_path / label / f"clip{clip}", moving_frames(3))
    write_frames(tmp_path / "a" / "session" / "clip9", moving_frames(3), pattern="{:03d}.png")
    manifest = read_manifest(tmp_path, DATA)
    assert names(manifest.clips) == ["a/clip0", "a/clip1", "a/session/clip9", "b/clip0", "b/clip1"]
    (note,) = manifest.notes
    assert note.startswith("1 frame folder not named as data.frame_pattern says")


@pytest.mark.parametrize(
    ("pattern", "fitting"), [("frame{:04d}.png", "frame{:04d}.png"), ("{:d}.jpg", "{:d}.jpg"), ("f_2_{:02d}.jpg",) * 2]
)
def test_frames_with_other_names_than_the_pattern(tmp_path: Path, pattern: str, fitting: str) -> None:
    for label in ("a", "b"):
        for clip in range(2):
            write_frames(tmp_path / label / f"clip{clip}", moving_frames(3), pattern=pattern)
    # A value that begins with a brace is quoted for YAML, and all of it for the shell.
    setting = f"data.frame_pattern={fitting}" if fitting[0] != "{" else f"'data.frame_pattern=\"{fitting}\"'"
    assert_error(tmp_path, "not named as data.frame_pattern says", f"do:      {setting}")
    assert resolve(settings=shlex.split(setting)).config.data.frame_pattern == fitting
    assert len(read_manifest(tmp_path, DataConfig(frame_pattern=fitting))) == 4


def test_parts_inside_the_classes(tmp_path: Path) -> None:
    for part in ("train", "val"):
        touch(tmp_path / "cat" / part / "1.mp4", tmp_path / "dog" / part / "1.mp4")
    assert_error(tmp_path, "holds training and validation clips", "/train/CLASS/clip.mp4")


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    two_classes(tmp_path / "data")
    touch(tmp_path / "elsewhere" / "far.mp4")
    (tmp_path / "data" / "cat" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data" / "cat")
    assert "cat/linked/far.mp4" in names(read_manifest(tmp_path / "data", DATA).clips)
    assert len(read_manifest(tmp_path / "data", DATA)) == 7


def test_classes_txt_orders_the_classes(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "classes.txt").write_text("dog\ncat\n\nbird\n")
    dataset = read_dataset(tmp_path, DATA)
    assert dataset.classes == ("dog", "cat", "bird")
    assert dataset.train.clips[0].name.startswith("dog/")
    assert dataset.notes[0] == "no training clip of 1 class: bird"


def test_classes_txt_must_cover_the_folders(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "classes.txt").write_text("dog\n")
    with pytest.raises(DataError, match="name that is not a class") as caught:
        read_dataset(tmp_path, DATA)
    assert caught.value.got == "cat"


def test_a_folder_without_a_split_is_split(tmp_path: Path) -> None:
    dataset = read_dataset(two_classes(tmp_path, clips=10), DATA)
    assert (len(dataset.train), len(dataset.validation)) == (16, 4)
    assert dataset.split == "made here: 4 of 20 clips, 20 % of each class, seed 0"


def assert_error(source: Path, *parts: str, classes: list[str] | None = None) -> None:
    read: Callable[[], object] = partial(read_dataset, source, DATA)
    if classes is not None:
        read = partial(read_manifest, source, DATA, classes=classes)
    with pytest.raises(DataError) as caught:
        read()
    text = str(caught.value)
    assert len(text.splitlines()) <= 8
    for part in parts:
        assert part in text


def test_errors_of_folders(tmp_path: Path) -> None:
    assert_error(tmp_path / "none" / "deeper", "was not found", str(tmp_path))
    (tmp_path / "empty").mkdir()
    assert_error(tmp_path / "empty", "is empty", "empty/CLASS/clip.mp4")
    touch(tmp_path / "flat" / "a.mp4", tmp_path / "flat" / "b.mp4")
    assert_error(tmp_path / "flat", "2 videos but no class folders", "move each video")
    touch(tmp_path / "flat" / "train.csv")
    assert_error(tmp_path / "flat", f"name the list instead: {tmp_path / 'flat' / 'train.csv'}")
    touch(tmp_path / "one" / "cat" / "a.mp4", tmp_path / "one" / "cat" / "b.mp4")
    assert_error(tmp_path / "one", "only one class", "cat")
    assert_error(tmp_path / "flat" / "a.mp4", "one video, not a data set")
    touch(tmp_path / "data.zip")
    assert_error(tmp_path / "data.zip", ".zip", "a folder of class folders")


def test_empty_class_folders_are_listed(tmp_path: Path) -> None:
    two_classes(tmp_path)
    for name in ("bird", "cow", "ant", "bee"):
        (tmp_path / name).mkdir()
    assert_error(tmp_path, "4 class folders without a single video", "ant, bee, bird and 1 more", "do:")


def test_frames_directly_in_a_class_folder(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write_frames(tmp_path / "bird", moving_frames(3))
    assert_error(tmp_path, "holds frames where it should hold clips", "bird/clip_1/img_00001.jpg")


def test_a_validation_class_that_training_lacks(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "val")
    touch(tmp_path / "val" / "Cat" / "x.mp4")
    assert_error(tmp_path, "not a class", "Cat", "cat, dog")


def test_a_validation_class_may_be_empty(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "val")
    (tmp_path / "val" / "dog" / "dog_0.mp4").unlink()
    for clip in (tmp_path / "val" / "dog").iterdir():
        clip.unlink()
    dataset = read_dataset(tmp_path, DATA)
    assert dataset.notes == ("no validation clip of 1 class: dog",)


def test_data_yaml_names_parts_classes_and_root(tmp_path: Path) -> None:
    two_classes(tmp_path / "videos")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "train.txt").write_text("cat/cat_0.mp4 1\ndog/dog_0.mp4 0\n")
    (tmp_path / "meta" / "held.csv").write_text("label,path\ncat,cat/cat_1.mp4\n")
    source = tmp_path / "meta" / "data.yaml"
    source.write_text("root: ../videos\ntrain: train.txt\nval: held.csv\nclasses: [dog, cat]\n")
    dataset = read_dataset(source, DATA)
    assert dataset.classes == ("dog", "cat")
    assert names(dataset.train.clips) == ["cat/cat_0.mp4", "dog/dog_0.mp4"]
    assert dataset.train.labels() == [1, 0]
    assert dataset.validation.labels() == [1]
    assert dataset.split == "as brought: train.txt and held.csv"
    assert names(read_manifest(source, DATA).clips) == ["cat/cat_1.mp4"]
    assert read_manifest(source, DATA, classes=["ant", "cat", "dog"]).labels() == [1]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("trian: a\n", "trian"),
        ("train: missing\n", "`train` does not exist"),
        ("train: 3\n", "`train` must be a path"),
        ("- a\n", "does not describe a data set"),
        ("train: [a\n", "cannot be read as YAML"),
        ("classes: [a, b]\n", "names no part"),
        ("train: cat\nclasses: [yes, no]\n", "in quotes"),
        ("train: cat\nclasses: [a, a]\n", "twice"),
        ("train: cat\nval: cat\nvalidation: cat\n", "keep one of them"),
        ("val: cat\n", "no training part"),
    ],
)
def test_errors_of_data_yaml(tmp_path: Path, content: str, part: str) -> None:
    two_classes(tmp_path)
    (tmp_path / "data.yaml").write_text(content)
    assert_error(tmp_path / "data.yaml", part, "data.yaml")


def test_read_manifest_takes_the_validation_part(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", clips=2)
    assert len(read_manifest(tmp_path, DATA)) == 4
    two_classes(tmp_path / "val", clips=1)
    assert names(read_manifest(tmp_path, DATA).clips) == ["val/cat/cat_0.mp4", "val/dog/dog_0.mp4"]
    assert names(read_manifest(tmp_path / "train", DATA).clips)[0] == "cat/cat_0.mp4"


def test_read_manifest_maps_labels_by_name(tmp_path: Path) -> None:
    two_classes(tmp_path, clips=1)
    manifest = read_manifest(tmp_path, DATA, classes=["dog", "ant", "cat"])
    assert manifest.classes == ("dog", "ant", "cat")
    assert {clip.name: clip.label for clip in manifest.clips} == {"cat/cat_0.mp4": 2, "dog/dog_0.mp4": 0}
    assert_error(tmp_path, "not a class", "dog", "cat, bird", classes=["cat", "bird"])


def test_read_manifest_without_a_part_to_measure_on(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    with pytest.raises(DataError, match="no validation and no test part") as caught:
        read_manifest(tmp_path, DATA)
    assert str(tmp_path / "train") in str(caught.value.remedy)


def test_the_real_folders_and_their_lists_agree(shared: Path) -> None:
    source = shared / "videos" / "ucf101_5class"
    dataset = read_dataset(source, DATA)
    assert (len(dataset.train), len(dataset.validation), len(dataset.classes)) == (90, 30, 5)
    for part, manifest in (("train", dataset.train), ("val", dataset.validation)):
        listed = read_manifest(source / f"{part}.txt", DATA)
        assert listed.classes == dataset.classes
        assert {(clip.name, clip.label) for clip in listed.clips} == {
            (clip.name, clip.label) for clip in manifest.clips
        }


def test_jsonl_of_a_run_is_a_list(tmp_path: Path) -> None:
    two_classes(tmp_path)
    rows = [{"path": str(tmp_path / "cat" / "cat_0.mp4"), "label": "cat", "extra": 1}]
    rows.append({"path": "dog/dog_0.mp4", "label": "dog", "extra": 2})
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert names(read_manifest(tmp_path / "list.jsonl", DATA).clips) == ["cat/cat_0.mp4", "dog/dog_0.mp4"]


def test_what_systems_leave_in_folders_is_left_out(tmp_path: Path) -> None:
    two_classes(tmp_path)
    write_frames(tmp_path / "cat" / "folder", moving_frames(2))
    expected = names(read_manifest(tmp_path, DATA).clips)
    for folder in ("@eaDir", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".Trashes"):
        touch(
            tmp_path / folder / "a.mp4", tmp_path / "cat" / folder / "b.mp4", tmp_path / "dog" / "x" / folder / "c.mp4"
        )
    touch(tmp_path / "cat" / "Thumbs.db", tmp_path / "._cat.mp4", tmp_path / "cat" / "folder" / "._img_00001.mp4")
    manifest = read_manifest(tmp_path, DATA)
    assert manifest.classes == ("cat", "dog")
    assert names(manifest.clips) == expected
    found = find_sources([tmp_path], DATA)
    assert sorted(clip.path for clip in found) == sorted(clip.path for clip in manifest.clips)
    matched = find_sources([str(tmp_path / "**" / "*.mp4")], DATA)
    videos = [clip.path for clip in manifest.clips if clip.path.suffix == ".mp4"]
    assert sorted({clip.path for clip in matched}) == sorted(videos)
    named = find_sources([str(tmp_path / "@eaDir" / "*.mp4")], DATA)
    assert [clip.path.name for clip in named] == ["a.mp4"]


def test_yaml_that_stands_for_more_text_than_fits_in_memory(tmp_path: Path) -> None:
    nested = "[" + ", ".join(["&a0 [x, x]", *(f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))]) + "]"
    for text, message in (
        (f"train: .\nclasses: {nested}\n", "must be a list of names"),
        (f"train: {nested}\n", "must be a path"),
        (f"train: {'9' * 5000}\n", "cannot be read as YAML"),
        (f"train: {'[' * 5000}\n", "cannot be read as YAML"),
    ):
        (tmp_path / "data.yaml").write_text(text)
        with pytest.raises(DataError, match=message) as caught:
            read_manifest(tmp_path / "data.yaml", DATA)
        assert len(str(caught.value)) < 4000
