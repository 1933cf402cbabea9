"""Data sets in the forms of other tools: as these write them, and there and back with every label and time."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from clipshift.config import DataConfig
from clipshift.datasets.manifest import read_dataset, read_manifest, read_parts
from clipshift.datasets.tool_lists import TOOL_FORMATS, ToolFormat
from clipshift.datasets.write_lists import write_lists
from clipshift.errors import DataError
from clipshift.temporal import Segment
from clipshift.temporal.annotations import Annotation, read_annotations, write_annotations
from tests.datasets.clips import moving_frames, touch, write_frames, write_video

DATA = DataConfig()
Seen = list[tuple[Path, list[str], tuple[float, float] | None]]


def seen(data: Path, *, several: bool = False) -> dict[str, Seen]:
    """Of each part the clips: the file, the names of the labels, and the span."""
    found = read_parts(data, DATA, several=several)
    return {
        name: sorted(
            (clip.path.resolve(), [found.classes[label] for label in clip.labels or (clip.label or 0,)], clip.span)
            for clip in part.clips
        )
        for name, part in found.parts.items()
    }


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    """A list of spans with parts, whose times no frame rate divides."""
    root = tmp_path / "videos"
    for name in ("hall 1.mp4", "sub/hall 1.mp4", "c.mp4"):
        write_video(root / name, moving_frames(4))
    rows = [
        ("hall 1.mp4", "fall, hard", 0.0012, 0.1, "training"),
        ("hall 1.mp4", "sit", 0.05, 0.123456789, "training"),
        ("sub/hall 1.mp4", "sit", 1 / 30, 0.1, "training"),
        ("c.mp4", "fall, hard", 0.02, 0.14, "validation"),
        ("c.mp4", "sit", 0.001, 0.002, "validation"),
    ]
    with (root / "spans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "start", "end", "subset"), *rows])
    return root / "spans.csv"


@pytest.mark.parametrize("form", TOOL_FORMATS)
def test_spans_are_kept_to_the_last_digit(spans: Path, tmp_path: Path, form: ToolFormat) -> None:
    before = seen(spans)
    written = write_lists(spans, tmp_path / form, form=form)
    assert seen(written.data) == before
    assert written.counts == {"train": 3, "val": 2}
    again = write_lists(written.data, tmp_path / "back")
    assert seen(again.data) == before


@pytest.mark.parametrize("form", ["videofolder", "labelstudio"])
def test_several_labels_of_a_clip_are_kept(tmp_path: Path, form: ToolFormat) -> None:
    touch(tmp_path / "v" / "a.mp4", tmp_path / "v" / "b.mp4", tmp_path / "v" / "c.mp4")
    (tmp_path / "v" / "list.jsonl").write_text(
        '{"path": "a.mp4", "label": ["x", "käse, rot"]}\n{"path": "b.mp4", "label": ["x"]}\n'
        '{"path": "c.mp4", "label": ["y"]}\n'
    )
    written = write_lists(tmp_path / "v" / "list.jsonl", tmp_path / form, form=form, multi_label=True)
    assert seen(written.data, several=True) == seen(tmp_path / "v" / "list.jsonl", several=True)
    with pytest.raises(DataError):  # not as clips of one label
        read_parts(written.data, DATA)
    with pytest.raises(DataError, match="several labels"):
        write_lists(tmp_path / "v" / "list.jsonl", tmp_path / "tree", form="fiftyone", multi_label=True)


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_videofolders_are_read_as_folders(tmp_path: Path, name: str) -> None:
    for part, clips in (("train", {"a.mp4": "run", "b.mp4": "jump"}), ("validation", {"c.mp4": "run"})):
        touch(*(tmp_path / part / clip for clip in clips))
        lines = [f'{{"file_name": "{clip}", "label": "{label}"}}' for clip, label in clips.items()]
        if name.endswith("csv"):
            lines = ["file_name,label", *(f"{clip},{label}" for clip, label in clips.items())]
        (tmp_path / part / name).write_text("\n".join(lines) + "\n")
    found = read_dataset(tmp_path, DATA)
    assert found.classes == ("jump", "run")
    assert [(clip.name, clip.label) for clip in found.train.clips] == [("train/a.mp4", 1), ("train/b.mp4", 0)]
    assert [clip.name for clip in found.validation.clips] == ["validation/c.mp4"]
    assert len(read_manifest(tmp_path / "validation", DATA, classes=found.classes)) == 1


def test_a_task_of_cvat_is_a_list(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving_frames(4))
    marks = (Segment("fall", 0, 0.0512), Segment("sit", 0.06, 0.1))
    write_annotations(tmp_path / "task.xml", [Annotation("a.mp4", marks)], fps=25)
    assert seen(tmp_path / "task.xml")["train"] == [
        (tmp_path / "a.mp4", ["fall"], (0, 0.0512)),
        (tmp_path / "a.mp4", ["sit"], (0.06, 0.1)),
    ]


def test_tasks_of_cvat_are_written_beside_the_lists(spans: Path, tmp_path: Path) -> None:
    before = seen(spans)
    written = write_lists(spans, tmp_path / "out", form="cvat")
    assert seen(written.data) == before
    tasks = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.xml")}
    assert sorted(tasks) == ["cvat/train/hall 1-2.xml", "cvat/train/hall 1.xml", "cvat/val/c.xml"]
    found = [one for path in tasks.values() for video in read_annotations(path) for one in video.segments]
    there = sorted((one.label, (one.start, one.end)) for one in found)
    assert there == sorted((labels[0], span) for part in before.values() for _, labels, span in part)
    (video,) = read_annotations(tasks["cvat/val/c.xml"], fps=25)
    assert video.path == "c.mp4"
    whole = write_video(tmp_path / "w" / "a.mp4", moving_frames(4))
    (tmp_path / "w" / "list.csv").write_text("path,label\na.mp4,x\n")
    write_lists(tmp_path / "w" / "list.csv", tmp_path / "whole", form="cvat")
    (video,) = read_annotations(tmp_path / "whole" / "cvat" / "train" / "a.xml")
    assert (video.path, video.segments) == (whole.name, (Segment("x", 0, 4 / 25),))


def test_fiftyone_with_its_own_copies_of_videos(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / "data" / f"{name}.mp4", moving_frames(4))
    labels = {"a": [{"label": 1, "timestamps": [0, 0.1]}], "b": [{"label": 0, "timestamps": [0.05, 0.1]}]}
    (tmp_path / "labels.json").write_text(json.dumps({"classes": ["sit", "fall"], "labels": labels}))
    assert seen(tmp_path)["train"] == [
        (tmp_path / "data" / "a.mp4", ["fall"], (0, 0.1)),
        (tmp_path / "data" / "b.mp4", ["sit"], (0.05, 0.1)),
    ]
    labels["b"] = [{"label": 0, "support": [2, 3]}]
    (tmp_path / "labels.json").write_text(json.dumps({"classes": ["sit", "fall"], "labels": labels}))
    with pytest.raises(DataError, match="given in frames") as caught:
        read_parts(tmp_path, DATA)
    assert "read_annotations" in str(caught.value)


def test_links_of_an_earlier_writing_go_and_files_stay(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "x" / "a.mp4", tmp_path / "v" / "y" / "a.mp4", tmp_path / "v" / "y" / "b.mp4")
    for form in ("fiftyone", "videofolder", "fiftyone"):
        write_lists(tmp_path / "v", tmp_path / "out", form=form)
    out = tmp_path / "out" / "train"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.mp4")) == ["x/a.mp4", "y/a.mp4", "y/b.mp4"]
    assert (out / "x" / "a.mp4").readlink() == tmp_path / "v" / "x" / "a.mp4"
    (tmp_path / "v" / "y" / "b.mp4").unlink()
    (out / "y" / "b.mp4").unlink()
    touch(out / "y" / "b.mp4", tmp_path / "v" / "y" / "b.mp4")
    with pytest.raises(DataError, match="take the place"):
        write_lists(tmp_path / "v", tmp_path / "out", form="fiftyone")
    assert (out / "x" / "a.mp4").is_symlink()


def test_what_a_tool_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_frames(tmp_path / "frames" / name / "clip_1", moving_frames(2))
    with pytest.raises(DataError, match="folders of frames"):
        write_lists(tmp_path / "frames", tmp_path / "out", form="videofolder")
    video = write_video(tmp_path / "v" / "a.mp4", moving_frames(4))
    (tmp_path / "v" / "list.csv").write_text("path,label,start,end\na.mp4,x,0,0.1\na.mp4,y,,\n")
    assert video.exists()
    for form in ("fiftyone", "labelstudio"):
        with pytest.raises(DataError, match="cannot hold together"):
            write_lists(tmp_path / "v" / "list.csv", tmp_path / "out", form=form)
    assert seen(write_lists(tmp_path / "v" / "list.csv", tmp_path / "out", form="videofolder").data)
