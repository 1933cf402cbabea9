"""Tracks of boxes as clips: what a list may say, what is looked at, and the answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.config import DataConfig, InputConfig
from clipshift.datasets.checksums import record_clips
from clipshift.datasets.list_rows import list_lines
from clipshift.datasets.manifest import read_dataset, read_manifest
from clipshift.datasets.tracks import Facts, Stretch, Track, is_tracks, read_tracks, region_of, stretches
from clipshift.errors import DataError, VideoError
from clipshift.inference.predictions import Failure, Prediction
from clipshift.inference.sharding.manifest import _row, clip_of
from clipshift.inference.sources import clips_of_tracks, find_clips
from clipshift.inference.writing import as_text
from clipshift.training.start import follow_spans
from clipshift.video import decode
from clipshift.video.region import cut_region
from tests.datasets.clips import moving_frames, write_video
from tests.exporting.making import save_model

DATA = DataConfig()
HEADER = "path,track,time,x,y,w,h,label"
FACTS = Facts(200, 100, 10.0)


def of_rows(folder: Path, *rows: str, header: str = HEADER) -> list[Track]:
    path = folder / "tracks.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    assert is_tracks(path)
    return read_tracks(path, list_lines(path, "rows"))


def pixels(region: tuple[float, ...]) -> list[float]:
    x, y, width, height = region
    return [round(value, 3) for value in (x * 200, y * 100, width * 200, height * 100)]


def test_rows_become_tracks_in_the_order_of_time(tmp_path: Path) -> None:
    one, other = of_rows(tmp_path, "a.mp4,7,2,40,10,20,30,sit", "a.mp4,8,0,1,2,3,4,", "a.mp4,7,1.5,20,10,20,30,sit")
    assert (one.name, one.path, one.pixels, one.labels, one.lines) == ("7", "a.mp4", True, ("sit", "sit"), (4, 2))
    assert one.times.tolist() == [1.5, 2.0]
    assert one.boxes[0].tolist() == [20, 10, 20, 30]
    assert other.labels == ("",)
    (shares,) = of_rows(tmp_path, "a.mp4,7,0,-0.02,0.5,0.4,0.6", header=HEADER.removesuffix(",label"))
    assert not shares.pixels


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a.mp4,1,0,1,1,0,5,"], "no area"),
        (["a.mp4,1,0,1,1,5,-5,"], "no area"),
        (["a.mp4,1,-1,1,1,5,5,"], "before the video"),
        (["a.mp4,1,0,1,1,5,nan,"], "`h` is not a number"),
        (["a.mp4,1,0,1,1,5,5,", "a.mp4,1,0,2,2,5,5,"], "two boxes at one time"),
        (["a.mp4,,0,1,1,5,5,"], "The track is missing"),
        (["a.mp4,1,0,0.1,0.1,0.2,0.2,", "a.mp4,2,0,1,1,50,50,"], "pixels or in shares"),
        (["a.mp4,1,0,300,0.1,0.2,0.2,"], "pixels or in shares"),
        (["a.mp4,1,0,300,100,1.8,40,"], "pixels or in shares"),
        (["a.mp4,1,0,1,1,5,"], "not understood"),
    ],
)
def test_rows_that_cannot_be_meant(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        of_rows(tmp_path, *rows)
    assert str(tmp_path / "tracks.csv") in str(error.value.where)


def test_a_label_holds_until_the_next_box_with_another_one(tmp_path: Path) -> None:
    labels = ["", "sit", "sit", "fall", "fall", ""]
    rows = [f"a.mp4,1,{time},10,10,20,30,{label}" for time, label in enumerate(labels)]
    (track,) = of_rows(tmp_path, *rows)
    assert stretches(track, None) == [
        Stretch(2, 0, (0.0, 1.0), ""),
        Stretch(3, 0, (1.0, 3.0), "sit"),
        Stretch(5, 0, (3.0, 5.0), "fall"),
    ]
    assert [stretch.span for stretch in stretches(track, 0.75)][1:4] == [
        (0.5, 1.0), (1.0, pytest.approx(5 / 3)), (pytest.approx(5 / 3), pytest.approx(7 / 3)),
    ]  # fmt: skip
    (alone,) = of_rows(tmp_path, "a.mp4,1,2.5,10,10,20,30,sit")
    assert stretches(alone, 1.0) == [Stretch(2, 0, (2.5, 2.5), "sit")]


def test_what_is_looked_at_holds_all_boxes_of_the_stretch(tmp_path: Path) -> None:
    (track,) = of_rows(tmp_path, "a.mp4,1,0,60,40,20,20,", "a.mp4,1,2,80,40,20,20,", "a.mp4,1,9,150,10,20,20,")
    assert region_of(track, (0.0, 2.0), FACTS, 0.0) == ((0.3, 0.3, 0.2, 0.4), False)  # 60 to 100, 30 to 70: a square
    (x, y, width, height), _ = region_of(track, (0.0, 2.0), FACTS, 0.25)
    assert pixels((x, y, width, height)) == [55, 25, 50, 50]
    half, _ = region_of(track, (0.5, 1.5), FACTS, 0.0)  # boxes between two rows: 65 to 95
    assert pixels(half) == [65, 35, 30, 30]
    edge, _ = region_of(track, (8.9, 9.0), FACTS, 1.0)  # the square would begin above the picture, and is moved inside
    assert edge[1] == 0
    assert edge[2] * 200 == pytest.approx(edge[3] * 100, abs=1e-3)
    all_of_it, cut = region_of(track, (0.0, 9.0), FACTS, 0.25)
    assert (pixels(all_of_it)[3], cut) == (100, False)  # higher than the picture: cut


def test_boxes_beyond_the_picture(tmp_path: Path) -> None:
    (track,) = of_rows(tmp_path, "a.mp4,1,0,-0.1,0.2,0.3,0.3,", "a.mp4,1,2,-0.2,0.2,0.3,0.3,")
    region, cut = region_of(track, (0.0, 0.0), FACTS, 0.0)
    assert cut
    assert region[0] == 0
    with pytest.raises(VideoError, match="leaves the picture"):
        region_of(track, (0.0, 2.0), FACTS, 0.0)
    with pytest.raises(VideoError, match="beyond the end"):
        region_of(track, (10.0, 12.0), FACTS, 0.0)
    # What lies behind the end is not looked at.
    assert region_of(track, (0.0, 2.0), Facts(200, 100, 0.5), 0.0)[1]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of one second, and two tracks in each with a label of their own."""
    folder = tmp_path_factory.mktemp("tracks")
    rows = [HEADER]
    for number, name in enumerate("abc"):
        write_video(folder / f"{name}.mp4", moving_frames(25, seed=number))
        for track, label in enumerate(("left", "right")):
            rows += [f"{name}.mp4,{track},{time},{8 + 24 * track},10,16,24,{label}" for time in (0, 0.4, 0.8)]
    (folder / "tracks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_tracks_are_learnt_from(videos: Path) -> None:
    data = DataConfig(validation=0.3, rate_from_spans=True)
    found = read_dataset(videos / "tracks.csv", data)
    assert found.classes == ("left", "right")
    clips = [*found.train.clips, *found.validation.clips]
    assert len(clips) == 6
    assert not {clip.path for clip in found.train.clips} & {clip.path for clip in found.validation.clips}
    assert clips[0].span == (0.0, 0.8)
    assert clips[0].track is not None
    assert clips[0].region == pytest.approx((0.015625, 0.145833, 0.46875, 0.625), abs=2e-6)
    assert {record.error for record in record_clips(found, data, workers=0)} == {None}
    settings = clipshift.config.resolve(settings=[{"data": {"rate_from_spans": True}}])
    assert follow_spans(settings, found).config.input.rate == 10.0  # 8 frames in 0.8 s
    shorter = read_manifest(videos / "tracks.csv", DataConfig(track_seconds=0.4))
    assert [clip.span for clip in shorter.clips[:2]] == [(0.0, 0.4), (0.4, 0.8)]


def test_what_is_wrong_with_one_track_is_said_and_ends_nothing(videos: Path, tmp_path: Path) -> None:
    rows = [HEADER]
    for name in "ab":
        rows += [f"{videos}/{name}.mp4,1,{time},8,10,16,24,left" for time in (0, 0.8)]
        rows += [f"{videos}/{name}.mp4,2,{time},{50 if time else 30},10,16,24,right" for time in (0, 0.8)]
    rows += [f"{videos}/a.mp4,3,{time},60,10,16,24,right" for time in (0, 0.8)]
    rows += [f"{videos}/a.mp4,4,{time},6,10,16,24,right" for time in (5, 6)]
    rows += [f"{videos}/a.mp4,5,{time},6,10,16,24," for time in (0, 0.5)]
    path = tmp_path / "tracks.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    found = read_manifest(path, DATA)
    notes = "\n".join(found.notes)
    assert "2 of 6 clips of tracks cannot be looked at, such as line 10: Track 3 leaves the picture." in notes
    assert "boxes of 2 clips reach beyond the picture" in notes
    assert "1 part of tracks without a label" in notes
    errors = [record.error for record in record_clips(read_dataset(path, DataConfig(validation=0.4)), DATA, workers=0)]
    assert [error for error in errors if error] == [
        "Track 3 leaves the picture.",
        "Track 4 lies beyond the end of the video.",
    ]
    rows += [f"gone.mp4,1,{time},8,10,16,24,left" for time in (0, 1)]
    path.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(DataError, match="do not exist"):
        read_dataset(path, DATA)
    *_, last = find_clips([str(path)], DATA)
    assert last.error is not None
    assert "does not exist" in last.error.what
    (tmp_path / "bare.csv").write_text("\n".join(row.rpartition(",")[0] + "," for row in rows[1:]), encoding="utf-8")
    bare = (tmp_path / "bare.csv").read_text(encoding="utf-8")
    (tmp_path / "bare.csv").write_text(f"{HEADER}\n{bare}", encoding="utf-8")
    with pytest.raises(DataError, match="no labels"):
        read_dataset(tmp_path / "bare.csv", DATA)


def test_one_answer_for_each_track_and_stretch(videos: Path, tmp_path: Path) -> None:
    settings = InputConfig(segments=2, resize=40, crop=32)
    folder = save_model(tmp_path / "model", classes=("left", "right"), input=settings)
    model, tracks = clipshift.load(folder), videos / "tracks.csv"
    answers = list(model.predict_many([], workers=0, tracks=tracks))
    assert [answer.track.name for answer in answers if answer.track is not None] == ["0", "1"] * 3
    first = answers[0]
    assert isinstance(first, Prediction)
    assert first.to_json()["track"] == "0"
    assert " track 0: " in as_text(first, 1)
    (clip, *_) = find_clips([str(tracks)], model.spec.reading)
    assert clip.region is not None
    cut = cut_region(decode(videos / "a.mp4", range(20)), clip.region)
    np.testing.assert_allclose(first.probabilities, model.predict(cut).probabilities, rtol=1e-6)
    assert clip_of(json.dumps(_row(clip)).encode()) == clip
    again = model.predict_many(tracks, workers=0)  # as a list
    assert [answer.path for answer in again] == [answer.path for answer in answers]
    some = list(model.predict_many([videos / "b.mp4", videos / "z.mp4"], workers=0, tracks=tracks))
    assert [Path(answer.path.partition("#")[0]).name for answer in some] == ["b.mp4", "b.mp4", "z.mp4"]
    assert isinstance(some[2], Failure)
    assert "no track of this video" in some[2].error
    for wrong in (videos / "a.mp4", videos / "gone.csv"):
        with pytest.raises(DataError, match="no list of tracks"):
            list(clips_of_tracks(wrong, [], DATA))
    result = clipshift.evaluate(folder, tracks)
    assert [score.region for score in result.scores][:1] == [clip.region]
