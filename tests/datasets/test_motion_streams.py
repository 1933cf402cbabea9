"""The motion streams: real files with the events that the annotations name, the same for the same seed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from clipshift.cli import app
from clipshift.datasets.motion import CLASSES, draw_stills
from clipshift.datasets.motion_streams import plan_stream, write_motion_streams
from clipshift.errors import ConfigError, DataError
from clipshift.temporal.annotations import check_spans, read_annotations


def small(folder: Path, *, streams: int = 2, seed: int = 0) -> Path:
    return write_motion_streams(folder, streams=streams, seconds=15, size=32, seed=seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("streams") / "made")


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("seed", range(20))
def test_plan(seed: int) -> None:
    frames = 120 if seed % 2 else 1440
    order, events = plan_stream(np.random.default_rng(seed), frames)
    assert order.shape == (frames,)
    assert (order.min() >= 0, order.max() < 24) == (True, True)
    assert len(events) >= 1 + 10 * (frames == 1440)
    background = np.ones(frames, bool)
    end = 0
    for event in events:
        begin, stop = round(event.start * 12), round(event.end * 12)
        assert begin - end >= 24
        shown = order[begin:stop]
        assert {0, 23} <= set(shown.tolist())
        first, last = int(shown[0]), int(shown[-1])
        assert event.label == {(0, 23): CLASSES[0], (23, 0): CLASSES[1]}.get(
            (first, last), CLASSES[2] if first == 0 else CLASSES[3]
        )
        background[begin:stop] = False
        end = stop
    assert frames - end >= 12
    # Background: one still at most from frame to frame, but for two jumps before each event.
    if frames == 1440:
        assert len(set(order[background].tolist())) > 18
    steps = np.abs(np.diff(order))[background[1:] & background[:-1]]
    assert (steps > 1).sum() <= 2 * len(events)


def test_files_and_annotations(folder: Path) -> None:
    names = ["0000.mp4", "0001.mp4", "annotations.csv", "annotations.json", "motion_streams.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    annotations = read_annotations(folder / "annotations.json")
    assert read_annotations(folder / "annotations.csv") == annotations
    assert [one.path for one in annotations] == names[:2]
    assert check_spans(annotations, classes=CLASSES) == []
    with av.open(str(folder / "0001.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate or 0) == 12
    assert len(frames) / 12 == annotations[1].duration == 15
    random = np.random.default_rng(np.random.SeedSequence([0, 2, 1]))
    stills = draw_stills(random, frames=24, size=32)
    order, events = plan_stream(random, 180)
    assert events == annotations[1].segments
    assert np.abs(np.stack(frames).astype(float) - stills[order]).mean() < 8


def test_result_depends_on_the_seed_only(folder: Path, tmp_path: Path) -> None:
    assert hashes(small(tmp_path / "again")) == hashes(folder)
    assert hashes(small(tmp_path / "other", seed=1))["0000.mp4"] != hashes(folder)["0000.mp4"]
    more = hashes(small(tmp_path / "more", streams=3))
    assert [more[name] for name in ("0000.mp4", "0001.mp4")] == [hashes(folder)[f"000{one}.mp4"] for one in (0, 1)]


def test_same_call_keeps_and_other_settings_are_refused(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert small(folder) == folder
    with pytest.raises(DataError, match="other settings"):
        small(folder, seed=1)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    "words",
    [
        "--streams 0", "--streams 1 --seconds 9.9", "--streams 1 --seconds nan", "--streams 1 --seed -1", "--seconds 9",
    ],
)  # fmt: skip
def test_numbers_out_of_range(words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"out of its range|long videos"):
        app(["prepare", "motion", str(tmp_path / "made"), *words.split()], exit_on_error=False, print_error=False)
    assert not (tmp_path / "made").exists()
