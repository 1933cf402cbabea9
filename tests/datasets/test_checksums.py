from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from clipshift.config import DataConfig
from clipshift.datasets import checksums
from clipshift.datasets.checksums import file_hash, read_data_jsonl, write_data_jsonl
from clipshift.datasets.manifest import DataSet, read_dataset
from clipshift.errors import RunError, VideoError
from tests.datasets.clips import moving_frames, touch, write_classes, write_frames, write_video

DATA = DataConfig(validation=0.5)


@pytest.fixture
def dataset(tmp_path: Path) -> DataSet:
    return read_dataset(write_classes(tmp_path / "data", ["a", "b"], 2), DATA)


def test_data_jsonl_has_a_line_for_each_clip(dataset: DataSet, tmp_path: Path) -> None:
    write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA)
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train", "train", "validation", "validation"]
    assert [row["name"] for row in rows] == [c.name for c in (*dataset.train.clips, *dataset.validation.clips)]
    path = dataset.train.clips[1].path
    assert rows[1] == {
        "name": dataset.train.clips[1].name,
        "path": str(path),
        "label": 1,
        "class": "b",
        "split": "train",
        "frames": 12,
        "width": 64,
        "height": 48,
        "fps": 25.0,
        "seconds": pytest.approx(0.48),
        "pixel_aspect": 1.0,
        "bytes": path.stat().st_size,
        "mtime_ns": path.stat().st_mtime_ns,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "error": None,
    }
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["data.jsonl"]


def test_unchanged_clips_are_not_read_again(dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA)
    changed = dataset.train.clips[0].path
    write_video(changed, moving_frames(20, seed=9))
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_hash(path)

    monkeypatch.setattr(checksums, "file_hash", counted)
    again = write_data_jsonl(tmp_path / "other.jsonl", dataset, DATA, cache=tmp_path / "data.jsonl")
    assert read == [changed]
    assert again[1:] == first[1:]
    assert (again[0].frames, again[0].sha256) == (20, file_hash(changed))


def test_a_clip_of_the_same_size_but_a_later_time_is_read_again(dataset: DataSet, tmp_path: Path) -> None:
    path = dataset.train.clips[0].path
    first = write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, first[0].mtime_ns + 1 if first[0].mtime_ns else 1))
    again = write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA)
    assert again[0].bytes == first[0].bytes
    assert again[0].sha256 == file_hash(path) != first[0].sha256


def test_bad_clips_are_written_down_and_tried_again(dataset: DataSet, tmp_path: Path) -> None:
    bad, gone = dataset.train.clips[0].path, dataset.train.clips[1].path
    touch(bad)
    gone.unlink()
    lines = write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA)
    assert lines[0].error
    assert lines[0].frames is None
    assert lines[0].sha256 == file_hash(bad)
    assert lines[1].error == "No such file or directory"
    assert lines[1].bytes is None
    assert write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA) == lines


def test_a_damaged_cache_is_no_obstacle(dataset: DataSet, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    write_data_jsonl(path, dataset, DATA)
    whole = path.read_text().splitlines()
    path.write_text("\n".join([whole[0], "nonsense", '{"class": 1}', "[]", whole[1][:40]]))
    assert list(read_data_jsonl(path)) == [str(dataset.train.clips[0].path)]
    assert read_data_jsonl(tmp_path / "none.jsonl") == {}


def test_progress_counts_the_clips(dataset: DataSet, tmp_path: Path) -> None:
    counts: list[int] = []
    write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA, progress=counts.append)
    assert counts == [1, 2, 3, 4]


def test_the_hash_of_a_frame_folder_covers_names_and_bytes(tmp_path: Path) -> None:
    one, two = (write_frames(tmp_path / name, moving_frames(3)) for name in ("one", "two"))
    assert file_hash(one) == file_hash(two)
    (two / "img_00003.jpg").rename(two / "img_00004.jpg")
    assert file_hash(one) != file_hash(two)
    (two / "img_00004.jpg").rename(two / "img_00003.jpg")
    (two / "img_00003.jpg").write_bytes(b"")
    assert file_hash(one) != file_hash(two)


def test_what_cannot_be_read_or_written(dataset: DataSet, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="cannot be read"):
        file_hash(tmp_path / "none.mp4")
    with pytest.raises(RunError, match="cannot be written"):
        write_data_jsonl(tmp_path / "none" / "data.jsonl", dataset, DATA)
