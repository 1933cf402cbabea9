"""Regions of the picture as clips: lists, names, readers, and what the tools make of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.config import Config, DataConfig, InputConfig, Region
from clipshift.datasets.checksums import read_data_jsonl, write_data_jsonl
from clipshift.datasets.clip import Clip
from clipshift.datasets.fragments import fragment, split_fragment, stored_region
from clipshift.datasets.manifest import read_dataset, read_manifest, read_parts
from clipshift.datasets.tools.check import check_data
from clipshift.datasets.tools.transcode import extract_frames
from clipshift.datasets.write_lists import write_lists
from clipshift.errors import DataError
from clipshift.evaluation.results import load_evaluation
from clipshift.inference.predictions import Failure, Prediction
from clipshift.inference.sharding.manifest import _row, clip_of
from clipshift.inference.sources import find_clips
from clipshift.probing.shares import key_of
from clipshift.training.stages.data import read_data
from clipshift.video import decode, open_clip
from clipshift.video.region import cut_region
from tests.datasets.clips import moving_frames, write_frames, write_video
from tests.exporting.making import save_model

DATA = DataConfig()
LEFT: Region = (0.0, 0.0, 0.5, 1.0)
RIGHT: Region = (0.5, 0.0, 0.5, 1.0)
PART: Region = (0.333333, 0.25, 0.4, 0.5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of one second, and a list with both halves of each, of two classes."""
    folder = tmp_path_factory.mktemp("regions")
    lines = ["path,label,region"]
    for number, name in enumerate("abc"):
        write_video(folder / f"{name}.mp4", moving_frames(25, seed=number))
        lines += [f"{name}.mp4,left,0 0 0.5 1", f'{name}.mp4,right,"0.5, 0, 0.5, 1"']
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_places_in_names() -> None:
    assert fragment(None, PART) == "#xywh=percent:33.3333,25,40,50"
    assert fragment((1.5, 4.0), LEFT) == "#t=1.5,4&xywh=percent:0,0,50,100"
    assert fragment(None) == ""
    for span, region in ((None, PART), ((1.5, 4.0), PART), ((1.5, 4.0), None), (None, None)):
        assert split_fragment("v/a b.mp4" + fragment(span, region)) == ("v/a b.mp4", span, region)
    for end in ("#xywh=percent:50,0,60,10", "#xywh=percent:0,0,0,10", "#xywh=0,0,10,10", "#xywh=percent:1,2,3"):
        assert split_fragment("a.mp4" + end) == ("a.mp4" + end, None, None)
    clip = Clip(Path("/v/a.mp4"), "v/a.mp4#t=1,2&xywh=percent:0,0,50,100", 0, span=(1.0, 2.0), region=LEFT)
    assert (clip.video_name, clip.source) == ("v/a.mp4", "/v/a.mp4#t=1,2&xywh=percent:0,0,50,100")


def test_lists_of_both_forms_mean_the_same(videos: Path) -> None:
    found = read_manifest(videos / "list.csv", DATA)
    assert [clip.region for clip in found.clips] == [LEFT, RIGHT] * 3
    assert found.clips[1].name == "a.mp4#xywh=percent:50,0,50,100"
    assert len({key_of(clip) for clip in found.clips}) == 6
    rows = [{"path": clip.path.name, "label": "x", "region": list(clip.region or ())} for clip in found.clips]
    (videos / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    again = read_manifest(videos / "list.jsonl", DATA)
    assert [clip.name for clip in again.clips] == [clip.name for clip in found.clips]
    for name in ("list.csv", "list.jsonl"):
        assert [clip.region for clip in find_clips([str(videos / name)], DATA)] == [LEFT, RIGHT] * 3
    assert not found.notes  # neither half is the other


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("0 0 0.5", "not four numbers"),
        ("a b c d", "not a number"),
        ("0 0 0.5 1.2", "inside the picture"),
        ("0 0 0 1", "inside the picture"),
        ("-0.1 0 0.5 1", "inside the picture"),
        ("100 20 64 128", "inside the picture"),
    ],
)
def test_malformed_regions(tmp_path: Path, region: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"path,label,region\na.mp4,x,{region}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_manifest(path, DATA)
    assert error.value.where == f"{path}:2"
    (clip,) = find_clips([str(path)], DATA)
    assert clip.error is not None
    with pytest.raises(ValueError, match="region"):
        stored_region([0, 0, "a", 1])


def test_readers_give_the_region_of_every_frame(videos: Path, tmp_path: Path) -> None:
    whole = decode(videos / "a.mp4", range(25))
    with open_clip(videos / "a.mp4", region=PART, span=(0.2, 0.6)) as reader:
        assert (reader.info.width, reader.info.height, reader.info.frames) == (26, 24, 10)
        assert (reader.read([0, 9]) == cut_region(whole[[5, 14]], PART)).all()
        assert (np.stack(list(reader.frames(1, 2))) == cut_region(whole[6:8], PART)).all()
        part = reader.stretch
        assert (part.start, part.end) == (0.2, 0.6)
        assert (part.video.read([0]) == cut_region(whole[:1], PART)).all()
        assert len(reader.boundaries) == 11
    frames = write_frames(tmp_path / "frames", whole, pattern="img_{:05d}.png")
    (clip,) = find_clips([f"{frames}{fragment(None, PART)}"], DataConfig(frame_pattern="img_{:05d}.png"))
    with clip.open(DataConfig(frame_pattern="img_{:05d}.png")) as reader:
        assert (reader.read([3]) == cut_region(whole[3:4], PART)).all()


def test_a_video_in_several_regions_stays_on_one_side(videos: Path) -> None:
    for seed in range(4):
        found = read_dataset(videos / "list.csv", DataConfig(validation=0.3, split_seed=seed))
        sides = [{clip.path for clip in part.clips} for part in (found.train, found.validation)]
        assert not sides[0] & sides[1]
        assert len(found.train) + len(found.validation) == 6


def test_contradictions_are_of_the_same_region(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    lines = ["path,label,region", f"{videos}/a.mp4,x,0 0 0.5 1", f"{videos}/a.mp4,y,0 0 0.5 1"]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match="listed twice"):
        read_manifest(path, DATA)
    path.write_text("\n".join([*lines[:2], lines[1]]), encoding="utf-8")
    assert "listed more than once" in read_manifest(path, DATA).notes[0]
    spans = ["path,label,start,end,region", *(f"{videos}/{name}.mp4,x,0,0.5,0 0 0.5 1" for name in "ab")]
    path.write_text("\n".join([*spans, f"{videos}/c.mp4,y,0,0.5,0 0 0.5 1"]), encoding="utf-8")
    with pytest.raises(DataError, match="Stretches without a label"):
        read_manifest(path, DataConfig(background=1.0))
    assert read_manifest(path, DATA).videos == ()


def test_lists_are_written_and_read_back(videos: Path, tmp_path: Path) -> None:
    written = write_lists(videos / "list.csv", tmp_path / "lists")
    before, after = read_manifest(videos / "list.csv", DATA), read_parts(written.data, DATA).parts["train"]
    assert [clip.region for clip in after.clips] == [clip.region for clip in before.clips]
    for form in ("mmaction2", "videofolder", "labelstudio", "cvat"):
        with pytest.raises(DataError, match="regions of the picture"):
            write_lists(videos / "list.csv", tmp_path / form, form=form)


def test_regions_are_cut_into_files(videos: Path, tmp_path: Path) -> None:
    result = extract_frames(videos / "list.csv", tmp_path / "frames", workers=0)
    assert result.made == 6
    assert result.lists is not None
    made = read_parts(result.lists.data, DATA).parts["train"]
    assert [clip.path.name for clip in made.clips[:2]] == ["a_x0_0_50_100", "a_x50_0_50_100"]
    with made.clips[0].open(DATA) as reader:
        assert (reader.info.width, reader.info.height, reader.info.frames) == (32, 48, 25)


def test_records_and_stored_predictions_know_the_region(videos: Path, tmp_path: Path) -> None:
    dataset = read_dataset(videos / "list.csv", DataConfig(validation=0.3))
    records = write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA)
    assert {record.width for record in records} == {32}
    assert len({record.sha256 for record in records}) == 3
    clips = [*dataset.train.clips, *dataset.validation.clips]
    assert [record.region for record in records] == [clip.region for clip in clips]
    assert set(read_data_jsonl(tmp_path / "data.jsonl")) == {clip.source for clip in clips}
    assert write_data_jsonl(tmp_path / "data.jsonl", dataset, DATA) == records
    for clip in find_clips([str(videos / "list.csv")], DATA):
        assert clip_of(json.dumps(_row(clip)).encode()) == clip


def test_check_takes_regions_of_one_video_for_no_copies(videos: Path) -> None:
    report = check_data(videos / "list.csv", DataConfig(validation=0.3), workers=0)
    assert not {"duplicate", "leak", "contradiction", "unreadable"} & {finding.kind for finding in report.findings}


def test_answers_are_those_of_frames_that_were_cut(videos: Path, tmp_path: Path) -> None:
    spec = InputConfig(segments=2, resize=40, crop=32)
    folder = save_model(tmp_path / "model", classes=("left", "right"), input=spec)
    model = clipshift.load(folder)
    answers = list(model.predict_many(videos / "list.csv", workers=0))
    for answer, region in zip(answers[:2], (LEFT, RIGHT), strict=True):
        assert isinstance(answer, Prediction)
        cut = cut_region(decode(videos / "a.mp4", range(25)), region)
        np.testing.assert_allclose(answer.probabilities, model.predict(cut).probabilities, rtol=1e-6)
    (again,) = model.predict_many(answers[1].path, workers=0)
    assert isinstance(again, Prediction)
    assert isinstance(answers[1], Prediction)
    assert (again.probabilities == answers[1].probabilities).all()
    result = clipshift.evaluate(folder, videos / "list.csv", out=tmp_path / "result")
    assert [score.region for score in result.scores] == [LEFT, RIGHT] * 3
    assert load_evaluation(tmp_path / "result").scores == result.scores


def test_a_region_of_the_model_and_one_of_the_clip_are_refused(videos: Path, tmp_path: Path) -> None:
    settings = InputConfig(segments=2, resize=40, crop=32, region=LEFT)
    folder = save_model(tmp_path / "model", classes=("left", "right"), input=settings)
    for answer in clipshift.load(folder).predict_many(videos / "list.csv", workers=0):
        assert isinstance(answer, Failure)
        assert "a region of its own" in answer.error
    with pytest.raises(DataError, match="regions of their own"):
        clipshift.evaluate(folder, videos / "list.csv")
    with pytest.raises(DataError, match="regions of their own"):
        read_data(videos / "list.csv", Config(input=settings))
