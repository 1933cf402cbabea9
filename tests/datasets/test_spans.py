"""Spans of videos as clips: lists of every form, parts, background, and what the tools make of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipshift.config import DataConfig, ReadingConfig
from clipshift.datasets import checksums
from clipshift.datasets.checksums import file_hash, write_data_jsonl
from clipshift.datasets.clip import Clip, Manifest, MarkedVideo
from clipshift.datasets.fragments import fragment, split_fragment
from clipshift.datasets.manifest import read_dataset, read_manifest, read_parts
from clipshift.datasets.spans import background_clips, unmarked
from clipshift.datasets.tools.check import check_data
from clipshift.datasets.tools.transcode import extract_frames
from clipshift.datasets.write_lists import write_lists
from clipshift.errors import DataError
from clipshift.inference.sources import find_clips, is_one_clip
from clipshift.temporal import Segment
from clipshift.temporal.annotations import Annotation, read_annotations, write_annotations
from clipshift.video import open_clip
from tests.datasets.clips import moving_frames, touch, write_video
from tests.video.making import make_video

DATA = DataConfig()
_MARKS = {
    "a.mp4": [("fall", 0.2, 0.6), ("sit", 1.0, 1.5)],
    "b.mp4": [("sit", 0.0, 0.4), ("fall", 1.2, 1.9)],
    "c.mp4": [("fall", 0.8, 1.2)],
    "d.mp4": [("sit", 0.3, 0.9), ("fall", 1.1, 1.6)],
    "e.mp4": [],
}


def marked_videos(subsets: dict[str, str] | None = None, duration: float | None = 2.0) -> list[Annotation]:
    return [
        Annotation(name, tuple(Segment(*mark) for mark in marks), duration, (subsets or {}).get(name))
        for name, marks in _MARKS.items()
    ]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of two seconds at 25 frames a second."""
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(_MARKS):
        write_video(folder / name, moving_frames(50, seed=number))
    return folder


@pytest.fixture
def root(videos: Path, tmp_path: Path) -> Path:
    for path in videos.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def names(manifest: Manifest) -> list[tuple[str, str]]:
    return [(clip.name, manifest.classes[label]) for clip, label in zip(manifest.clips, manifest.labels(), strict=True)]


EXPECTED = [(f"{path}#t={a:g},{b:g}", label) for path, marks in _MARKS.items() for label, a, b in marks]


@pytest.mark.parametrize("name", ["spans.json", "spans.csv", "spans.jsonl", "kinetics.csv"])
def test_spans_in_every_form(root: Path, name: str) -> None:
    marked = marked_videos()
    if name == "kinetics.csv":
        marked = [Annotation(one.path.removesuffix(".mp4"), one.segments) for one in marked if one.segments]
    write_annotations(root / name, marked, "kinetics" if name == "kinetics.csv" else None)
    manifest = read_manifest(root / name, DATA)
    assert manifest.classes == ("fall", "sit")
    assert names(manifest) == EXPECTED
    assert [clip.span for clip in manifest.clips] == [(a, b) for marks in _MARKS.values() for _, a, b in marks]
    known = list(_MARKS)[: 4 if name == "kinetics.csv" else 5]
    assert [video.name for video in manifest.videos] == known
    assert [[(s.label, s.start, s.end) for s in video.segments] for video in manifest.videos] == [
        _MARKS[name] for name in known
    ]
    with manifest.clips[1].open(DATA) as reader:
        assert reader.frame_count == 13  # from 1.00 up to, and not with, 1.50: frames 25 to 37
        np.testing.assert_allclose(reader.boundaries, np.arange(25, 39) / 25, atol=1e-9)


def test_a_list_may_have_spans_whole_videos_and_numbers(root: Path) -> None:
    lines = ["path;label;start;end", "a.mp4;1;0,5;1".replace(",", "."), "a.mp4;0;1;1.5", "c.mp4;1;;"]
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    (root / "classes.txt").write_text("down\nup\n", encoding="utf-8")
    manifest = read_manifest(root / "list.csv", DATA)
    assert names(manifest) == [("a.mp4#t=0.5,1", "up"), ("a.mp4#t=1,1.5", "down"), ("c.mp4", "up")]
    assert manifest.clips[2].span is None
    assert manifest.videos[1].segments == ()


def test_several_labels_of_one_span(root: Path) -> None:
    rows = [("a.mp4", "x", 0, 1), ("a.mp4", "y", 0, 1), ("b.mp4", "y", 0, 1)]
    lines = ["path,label,start,end", *(",".join(map(str, row)) for row in rows)]
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    manifest = read_manifest(root / "list.csv", DATA, several=True)
    assert [clip.labels for clip in manifest.clips] == [(0, 1), (1,)]
    with pytest.raises(DataError, match="listed twice, with different labels") as caught:
        read_manifest(root / "list.csv", DATA)
    assert "a.mp4#t=0,1: x (line 2), y (line 3)" in str(caught.value.got)


def test_videos_are_found_by_their_ids(root: Path) -> None:
    (root / "deep" / "er").mkdir(parents=True)
    (root / "c.mp4").rename(root / "deep" / "v_c-c.mp4")
    (root / "d.mp4").rename(root / "deep" / "er" / "d_000003_000013.mp4")
    lines = ["label,youtube_id,time_start,time_end,split", "x,a,0,1,train", "y,c-c,0,1,train", "x,d,3,13,train"]
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    manifest = read_manifest(root / "list.csv", DATA)
    # The last one was cut already.
    assert names(manifest) == [
        ("a.mp4#t=0,1", "x"),
        ("deep/v_c-c.mp4#t=0,1", "y"),
        ("deep/er/d_000003_000013.mp4", "x"),
    ]
    (root / "again").mkdir()
    touch(root / "again" / "c-c.mkv")
    touch(root / "again" / "c-c.mp4")
    with pytest.raises(DataError, match="Several files could be"):
        read_manifest(root / "list.csv", DATA)


def test_subsets_are_the_parts(root: Path) -> None:
    subsets = {"a.mp4": "training", "b.mp4": "Validation", "c.mp4": "testing", "d.mp4": "training", "e.mp4": "testing"}
    path = root / "spans.json"
    write_annotations(path, marked_videos(subsets))
    dataset = read_dataset(path, DATA)
    assert {clip.path.name for clip in dataset.train.clips} == {"a.mp4", "d.mp4"}
    assert {clip.path.name for clip in dataset.validation.clips} == {"b.mp4"}
    assert [video.name for video in dataset.validation.videos] == ["b.mp4"]
    assert dataset.split == "as brought: the subsets training and validation of spans.json"
    assert names(read_manifest(path, DATA)) == names(dataset.validation)
    assert {name: len(part) for name, part in read_parts(path, DATA).parts.items()} == {"train": 4, "val": 2, "test": 1}
    (root / "data.yaml").write_text("train: spans.json\nval: spans.json\n", encoding="utf-8")
    assert names(read_dataset(root / "data.yaml", DATA).validation) == names(dataset.validation)
    # One subset alone is no split.
    write_annotations(path, marked_videos(dict.fromkeys(_MARKS, "validation")))
    assert read_dataset(path, DATA).split.startswith("made here")


def test_a_split_keeps_videos_whole(root: Path) -> None:
    path = root / "spans.csv"
    write_annotations(path, marked_videos())
    for seed in range(8):
        data = DataConfig(validation=0.3, split_seed=seed)
        dataset = read_dataset(path, data)
        sides = [{clip.path for clip in part.clips} for part in (dataset.train, dataset.validation)]
        assert sides[0]
        assert sides[1]
        assert not sides[0] & sides[1]
        assert dataset.train.counts()[0] > 0 < dataset.train.counts()[1]
        assert sorted(names(dataset.train) + names(dataset.validation)) == sorted(EXPECTED)
        assert not {v.path for v in dataset.train.videos} & {v.path for v in dataset.validation.videos}
        assert len(dataset.train.videos) + len(dataset.validation.videos) == 5
        again = read_dataset(path, data)
        assert again == dataset
    assert "whole videos" in dataset.split


def test_shares_of_many_videos_come_close(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["path,label,start,end"]
    for video in range(60):
        touch(tmp_path / f"{video}.mp4")
        marks = random.choice(4, size=random.integers(1, 9), p=[0.5, 0.3, 0.15, 0.05])
        lines += [f"{video}.mp4,{'abcd'[label]},{number},{number + 1}" for number, label in enumerate(marks)]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    dataset = read_dataset(tmp_path / "list.csv", DataConfig(validation=0.25))
    train, held = np.array(dataset.train.counts()), np.array(dataset.validation.counts())
    shares = held / (train + held)
    assert (abs(shares - 0.25) < 0.1).all(), shares


def test_one_video_cannot_be_split(root: Path) -> None:
    lines = ["path,label,start,end", "a.mp4,x,0,1", "a.mp4,y,1,2"]
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="cannot be split"):
        read_dataset(root / "list.csv", DATA)


@pytest.mark.parametrize("duration", [2.0, None])
def test_background_comes_from_stretches_without_a_label(root: Path, duration: float | None) -> None:
    write_annotations(root / "spans.json", marked_videos(duration=duration))
    data = DataConfig(background=1.0, background_seconds=0.3)
    manifest = read_manifest(root / "spans.json", data)
    assert manifest.classes == ("fall", "sit", "background")
    assert names(manifest)[:7] == EXPECTED
    pieces = [clip for clip in manifest.clips if clip.label == 2]
    assert len(pieces) == 7
    assert {clip.path.name for clip in pieces} == set(_MARKS)  # evenly over all videos
    for clip in pieces:
        assert clip.span is not None
        start, end = clip.span
        assert end - start == pytest.approx(0.3)
        assert start >= 0
        assert end <= 2 + 1e-9
        assert all(end <= a + 1e-9 or start >= b - 1e-9 for _, a, b in _MARKS[clip.path.name])
    assert read_manifest(root / "spans.json", data) == manifest
    half = read_manifest(root / "spans.json", DataConfig(background=0.5, background_seconds=0.3))
    assert half.counts() == [4, 3, 4]
    assert "background" not in read_manifest(root / "spans.json", DATA).classes


def test_background_of_both_parts_and_too_little_of_it(root: Path) -> None:
    write_annotations(root / "spans.csv", marked_videos())
    dataset = read_dataset(root / "spans.csv", DataConfig(background=9.0, validation=0.3))
    assert dataset.train.classes == dataset.validation.classes == ("fall", "sit", "background")
    assert dataset.train.counts()[2] > 0 < dataset.validation.counts()[2]
    assert any("no room for" in note and "of 0.5 s" in note for note in dataset.notes), dataset.notes


def test_a_model_without_background_is_not_measured_on_it(root: Path) -> None:
    write_annotations(root / "spans.csv", marked_videos())
    with pytest.raises(DataError, match="unknown to the model"):
        read_manifest(root / "spans.csv", ReadingConfig(background=1.0), classes=("sit", "fall"))
    known = read_manifest(root / "spans.csv", ReadingConfig(background=1.0), classes=("background", "sit", "fall"))
    assert known.counts()[0] > 0


def test_stretches() -> None:
    marks = (Segment("b", 3.0, 5.0), Segment("a", 0.0, 1.0), Segment("c", 4.0, 4.5), Segment("a", 8.0, 12.0))
    video = MarkedVideo(Path("/a.mp4"), "a.mp4", marks, 10.0)
    assert unmarked(video, 10.0) == [(1.0, 3.0), (5.0, 8.0)]
    assert unmarked(MarkedVideo(Path("/a.mp4"), "a.mp4", ()), 10.0) == [(0.0, 10.0)]
    found = background_clips([video], ReadingConfig(background=0.75, background_seconds=1.0), label=0)
    assert [clip.span for clip in found.clips] == [(1.0, 2.0), (5.0, 6.0), (7.0, 8.0)]
    reading = ReadingConfig(background=0.5, background_seconds=1.4)
    [first, second] = background_clips([video], reading, label=0, whole=True).clips
    assert (first.span, second.span) == ((1.0, 3.0), (6.5, 8.0))


def test_along_a_stream_the_background_reaches_up_to_the_spans(root: Path) -> None:
    subsets = {name: "validation" if name in {"b.mp4", "c.mp4"} else "training" for name in _MARKS}
    write_annotations(root / "spans.csv", marked_videos(subsets))
    pieces, whole = (
        read_dataset(root / "spans.csv", DataConfig(background=1.0, background_seconds=0.3, windows=windows))
        for windows in ("inside", "middle")
    )
    assert any("clips of at least 0.3 s" in note for note in whole.notes)
    label = whole.classes.index("background")

    def of_background(manifest: Manifest) -> list[tuple[float, float]]:
        return [clip.span for clip in manifest.clips if clip.label == label and clip.span is not None]

    marked = {edge for video in whole.train.videos for one in video.segments for edge in (one.start, one.end)}
    ends = [sum(len(marked.intersection(span)) for span in of_background(one.train)) for one in (whole, pieces)]
    assert ends[0] > ends[1]
    assert of_background(whole.validation) == of_background(pieces.validation)


def row(text: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        path = root / "list.csv"
        path.write_text("path,label,start,end,subset\na.mp4,x,0,1,\nb.mp4,y,0,1,\n" + text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("make", "part", "where"),
    [
        (row("c.mp4,x,1,0.5,\n"), "ends before it starts", "list.csv:4"),
        (row("c.mp4,x,-1,0.5,\n"), "starts before the video", "list.csv:4"),
        (row("c.mp4,x,one,2,\n"), "not a number", "list.csv:4"),
        (row("c.mp4,x,nan,2,\n"), "not a number", "list.csv:4"),
        (row("c.mp4,x,1,,\n"), "end is not a number", "list.csv:4"),
        (row("c.mp4,,1,2,\n"), "not understood", "list.csv:4"),
        (row("gone.mp4,x,1,2,\n"), "1 of 3 listed clips do not exist", "list.csv"),
        (row("c.mp4,x,0,1,train\n"), "has no subset", "list.csv:2"),
    ],
)
def test_rows_that_cannot_be(root: Path, make: Callable[[Path], Path], part: str, where: str) -> None:
    with pytest.raises(DataError, match=part) as caught:
        read_dataset(make(root), DATA)
    assert str(caught.value.where).endswith(where)
    assert len(str(caught.value).splitlines()) <= 8


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{}", "neither the form"),
        ('{"database": {}}', "is empty"),
        ('{"database": {"a.mp4": {"annotations": []}}}', "marks nothing"),
        ('{"database": {"a.mp4": {"annotations": [{"label": "x", "segment": [1]}]}}}', "a start and an end"),
        ('{"database": {"a.mp4": {"subset": "odd", "annotations": [{"label": "x", "segment": [0, 1]}]}}}', "subset"),
        ("[]", "is empty"),
        ("{", "not JSON"),
    ],
)
def test_json_that_cannot_be(root: Path, content: str, part: str) -> None:
    (root / "list.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=part):
        read_dataset(root / "list.json", DATA)


def test_classes_that_the_model_does_not_know(root: Path) -> None:
    write_annotations(root / "spans.json", marked_videos())
    with pytest.raises(DataError, match=r"not one of the expected classes|not in the list of classes") as caught:
        read_manifest(root / "spans.json", DATA, classes=("fall", "stand"))
    assert "database.a.mp4.annotations[1]" in str(caught.value.where)


def test_absent_videos_are_kept_for_a_measurement(root: Path) -> None:
    write_annotations(root / "spans.json", marked_videos())
    (root / "b.mp4").unlink()
    manifest = read_manifest(root / "spans.json", DATA)
    assert names(manifest) == EXPECTED
    assert "2 of 7 listed clips do not exist" in manifest.notes[-1]
    with pytest.raises(DataError, match="do not exist"):
        read_dataset(root / "spans.json", DATA)


def test_lists_of_spans_are_written_and_read_back(root: Path, tmp_path: Path) -> None:
    subsets = {"b.mp4": "validation", **dict.fromkeys(("a.mp4", "c.mp4", "d.mp4", "e.mp4"), "training")}
    write_annotations(root / "spans.json", marked_videos(subsets))
    written = write_lists(root / "spans.json", tmp_path / "lists")
    assert written.counts == {"train": 5, "val": 2}
    before, after = read_dataset(root / "spans.json", DATA), read_dataset(written.data, DATA)
    assert [clip.span for clip in after.train.clips] == [clip.span for clip in before.train.clips]
    assert names(after.validation) == names(before.validation)
    for form in ("mmaction2", "paddlevideo"):
        with pytest.raises(DataError, match="spans of videos"):
            write_lists(root / "spans.json", tmp_path / form, form=form)


def test_frames_of_spans_are_cut_out(root: Path, tmp_path: Path) -> None:
    write_annotations(root / "spans.csv", marked_videos())
    result = extract_frames(root / "spans.csv", tmp_path / "frames", workers=0)
    assert result.made == 7
    assert len(list((tmp_path / "frames" / "a_1_1.5").iterdir())) == 13
    assert result.lists is not None
    assert len(read_parts(result.lists.data, DATA).parts["train"]) == 7
    again = extract_frames(root / "spans.csv", tmp_path / "frames", workers=0)
    assert (again.made, again.kept) == (0, 7)


def test_check_finds_odd_spans(root: Path) -> None:
    lines = [
        "path,label,start,end",
        "a.mp4,x,0,1",
        "a.mp4,y,0.9,1.4",
        "a.mp4,x,1.5,1.5",
        "b.mp4,y,0.5,0.52",
        "b.mp4,x,1.5,2.4",
        "c.mp4,x,0,1",
        "c.mp4,y,1000,1900",
        "d.mp4,x,0,1",
        "d.mp4,y,1,2",
    ]
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    report = check_data(root / "list.csv", DataConfig(validation=0.3), workers=1)
    kinds = {finding.kind: finding for finding in report.findings}
    assert not report.ok
    assert "milliseconds" in kinds["unreadable"].details[0]
    assert kinds["unreadable"].clips == ("c.mp4#t=1000,1900",)
    assert kinds["overlap_span"].clips == ("a.mp4#t=0.9,1.4",)
    assert kinds["empty_span"].clips == ("a.mp4#t=1.5,1.5",)
    assert kinds["short_span"].clips == ("b.mp4#t=0.5,0.52",)
    assert set(kinds["beyond_span"].clips) == {"b.mp4#t=1.5,2.4", "c.mp4#t=1000,1900"}
    # Spans of one video have its bytes, and look alike: neither is a copy.
    assert not {"duplicate", "leak", "contradiction"} & set(kinds)


def test_records_of_spans(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_annotations(root / "spans.csv", marked_videos())
    dataset = read_dataset(root / "spans.csv", DataConfig(validation=0.3))
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return file_hash(path)

    monkeypatch.setattr(checksums, "file_hash", counted)
    records = write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA)
    assert sorted(path.name for path in read) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]  # once each
    rows = [json.loads(line) for line in (tmp_path / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    clips = [*dataset.train.clips, *dataset.validation.clips]
    assert [(row["start"], row["end"]) for row in rows] == [clip.span for clip in clips]
    assert [row["name"] for row in rows] == [clip.name for clip in clips]
    for one, clip in zip(rows, clips, strict=True):
        assert clip.span is not None
        assert one["seconds"] == pytest.approx(clip.span[1] - clip.span[0])
    read.clear()
    assert write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA) == records
    assert read == []


def test_sources_of_predictions(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    write_annotations(root / "spans.json", marked_videos())
    write_annotations(root / "spans.jsonl", marked_videos())
    for name in ("spans.json", "spans.jsonl"):
        found = list(find_clips([name], DATA))
        assert [(clip.name, clip.span) for clip in found if clip.span is not None] == [
            (f"{path}{fragment((a, b))}", (a, b)) for path, marks in _MARKS.items() for _, a, b in marks
        ]
    for clip in find_clips(["spans.json"], DATA):  # what a prediction calls a span is a source itself
        (again,) = find_clips([clip.name], DATA)
        assert again == clip
    assert is_one_clip(["a.mp4#t=0.5,1"], DATA)
    (gone,) = find_clips(["gone.mp4#t=0.5,1"], DATA)
    assert gone.error is not None
    odd = root / "odd#t=1,2.mp4"
    odd.symlink_to(root / "a.mp4")
    (whole,) = find_clips([str(odd)], DATA)
    assert whole.span is None
    assert whole.error is None


def test_times_in_names() -> None:
    assert fragment((0.0, 1.5)) == "#t=0,1.5"
    assert fragment((1 / 3, 1000.1234567)) == "#t=0.333333,1000.123457"
    assert split_fragment("a b#t=0.25,4") == ("a b", (0.25, 4.0), None)
    for name in ("a.mp4", "a.mp4#t=4", "a.mp4#t=4,1", "a.mp4#t=x,y", "a.mp4#t=1,2.mp4"):
        assert split_fragment(name) == (name, None, None)
    clip = Clip(Path("/v/a.mp4"), "v/a.mp4#t=1,2", 0, span=(1.0, 2.0))
    assert (clip.video_name, clip.source) == ("v/a.mp4", "/v/a.mp4#t=1,2")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.vtt", "a.srt", "a.eaf"])
def test_round_trips_of_a_variable_frame_rate_mean_the_same_frames(name: str, tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(2).integers(5, 90, 40)).tolist()
    path = make_video(tmp_path / "a.mkv", moving_frames(40), options={"preset": "ultrafast"}, times=times)
    begins = (np.array(times) - times[0]) / 1000
    # Marks between the frames, as a person makes them, and at frames.
    random = np.random.default_rng(4)
    marks = [tuple(sorted(random.uniform(0, begins[-1], 2))) for _ in range(10)]
    marks += [(float(begins[one]), float(begins[one + 5])) for one in range(0, 30, 6)]
    segments = tuple(Segment("x", start, end) for start, end in marks)
    write_annotations(tmp_path / name, [Annotation("a.mkv", segments)])
    (found,) = read_annotations(tmp_path / name, video="a.mkv")
    for one, (start, end) in zip(found.segments, marks, strict=True):
        assert abs(one.start - start) <= 1e-3
        assert abs(one.end - end) <= 1e-3
    for one, (start, end) in zip(found.segments[10:], marks[10:], strict=True):
        # Times of this file are whole milliseconds, as those of the forms: not a frame is lost.
        with open_clip(path, span=(start, end)) as before, open_clip(path, span=(one.start, one.end)) as after:
            assert before.frame_count == after.frame_count == 5
            assert np.array_equal(before.boundaries, after.boundaries)
