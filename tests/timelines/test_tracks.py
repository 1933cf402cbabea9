"""Time lines of a part of the picture: of a region, and of each track."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.datasets.motion_streams import write_motion_streams
from clipshift.errors import ConfigError, DataError, OutputError
from tests.exporting.making import CAUSAL, SETTINGS, save_model

RATE = 6.0
HEADER = "path,track,time,x,y,w,h\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream of ten seconds, a causal model, and the same with a region of its own."""
    folder = tmp_path_factory.mktemp("parts")
    write_motion_streams(folder / "streams", streams=1, seconds=10, size=32)
    save_model(folder / "causal", model=CAUSAL)
    region = SETTINGS.model_copy(update={"region": (0.25, 0.25, 0.5, 0.5)})
    save_model(folder / "looking", model=CAUSAL, input=region)
    rows = [f"streams/0000.mp4,still,{time},0.25,0.25,0.5,0.5" for time in (1, 3)]
    rows += [f"streams/0000.mp4,a/b,{time},{0.1 * time},0.25,0.5,0.5" for time in (0, 4)]
    (folder / "tracks.csv").write_text(HEADER + "\n".join(rows), encoding="utf-8")
    return folder


def answers(line: clipshift.Timeline | clipshift.Failure) -> tuple[np.ndarray, np.ndarray]:
    assert isinstance(line, clipshift.Timeline)
    with np.load(line.folder / "scores.npz") as stored:
        return stored["times"], stored["probabilities"]


def test_a_region_of_a_video_is_what_a_model_with_that_region_sees(folder: Path, tmp_path: Path) -> None:
    video = folder / "streams" / "0000.mp4"
    part = f"{video}#xywh=percent:25,25,50,50"
    [found] = clipshift.timeline(folder / "causal", part, out=tmp_path / "part", rate=RATE)
    [expected] = clipshift.timeline(folder / "looking", video, out=tmp_path / "whole", rate=RATE)
    (times, one), (_, other) = answers(found), answers(expected)
    assert len(times) > 10
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    [again] = clipshift.timeline(folder / "causal", part, out=tmp_path / "part", rate=RATE)
    assert isinstance(again, clipshift.Timeline)
    assert not again.made
    with pytest.raises(OutputError):  # another part of the video
        clipshift.timeline(folder / "causal", video, out=tmp_path / "part", rate=RATE)
    [both] = clipshift.timeline(folder / "looking", part, out=tmp_path / "both", rate=RATE)
    assert isinstance(both, clipshift.Failure)
    assert "a region of its own" in both.error


def test_a_time_line_for_each_track(folder: Path, tmp_path: Path) -> None:
    model = clipshift.load(folder / "causal", settings="data.track_margin=0")
    found = clipshift.timeline(
        model, out=tmp_path / "out", rate=RATE, window=True, tracks=folder / "tracks.csv", workers=0
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0000-track-a_b", "0000-track-still"]
    still, moving = found
    times, probabilities = answers(still)
    assert isinstance(still, clipshift.Timeline)
    assert still.video.endswith("0000.mp4 track still")
    window = (SETTINGS.segments - 1) / RATE
    assert times[0] == pytest.approx(1 + window, abs=1 / RATE)
    assert times[-1] == pytest.approx(3, abs=1 / RATE)
    # As long as its box stands still, it is a region.
    part = f"{folder}/streams/0000.mp4#xywh=percent:25,25,50,50"
    [region] = clipshift.timeline(folder / "causal", part, out=tmp_path / "part", rate=RATE, window=True)
    all_times, expected = answers(region)
    np.testing.assert_allclose(probabilities, expected[np.isin(all_times, times)], rtol=0, atol=1e-6)
    assert not np.allclose(answers(moving)[1][: len(expected)], expected[: len(answers(moving)[1])], atol=1e-6)
    cause = json.loads((still.folder / "segments.json").read_text(encoding="utf-8"))["cause"]
    assert cause["part"]["track"] == "still"
    again = clipshift.timeline(
        model, out=tmp_path / "out", rate=RATE, window=True, tracks=folder / "tracks.csv", workers=0
    )
    assert [isinstance(line, clipshift.Timeline) and line.made for line in again] == [False, False]


def test_what_is_wrong_with_one_track_is_its_own(folder: Path, tmp_path: Path) -> None:
    path, video = tmp_path / "tracks.csv", folder / "streams" / "0000.mp4"
    rows = [f"{video},short,{time},0.25,0.25,0.5,0.5" for time in (1, 1.1)]
    rows += [f"{video},leaves,{time},{0.9 * time - 0.9},0.25,0.5,0.5" for time in (1, 3)]
    rows += [f"{video},good,{time},0.25,0.25,0.5,0.5" for time in (0, 3)]
    path.write_text(HEADER + "\n".join(rows), encoding="utf-8")
    named = (video, tmp_path / "other.mp4")
    found = clipshift.timeline(
        folder / "causal", *named, out=tmp_path / "out", rate=RATE, window=True, tracks=path, workers=0
    )
    errors = [line.error if isinstance(line, clipshift.Failure) else "" for line in found]
    assert "too short for one answer" in errors[0]
    assert "Track leaves leaves the picture" in errors[1]
    assert errors[2] == ""
    assert "no track of this video" in errors[3]


def test_what_tracks_cannot_have(folder: Path, tmp_path: Path) -> None:
    tracks, out = folder / "tracks.csv", tmp_path / "out"
    with pytest.raises(ConfigError, match="remembers earlier frames"):
        clipshift.timeline(folder / "causal", out=out, rate=RATE, tracks=tracks)
    with pytest.raises(ConfigError, match="regions of their own"):
        clipshift.timeline(folder / "looking", out=out, rate=RATE, window=True, tracks=tracks)
    with pytest.raises(ConfigError, match="whole videos"):
        clipshift.timeline(
            folder / "causal", out=out, rate=RATE, window=True, tracks=tracks, annotated=tmp_path / "a.mp4"
        )
    with pytest.raises(DataError, match="no list of tracks"):
        clipshift.timeline(folder / "causal", out=out, rate=RATE, window=True, tracks=folder / "streams" / "0000.mp4")
