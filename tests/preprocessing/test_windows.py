"""Frames at a rate of the network's own, by the times at which they are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipshift.config import Config, InputConfig, ModelSpec
from clipshift.errors import VideoError
from clipshift.preprocessing.sampling import segment_middles, training_frames
from clipshift.preprocessing.windows import (
    choose_test_frames,
    choose_training_frames,
    sets_of_array,
    spread_windows,
)
from clipshift.video import open_clip
from clipshift.video.timed import TimedFrame, frames_at_rate
from tests.video.making import make_folder, make_video, pictures

VARIABLE = np.cumsum(np.random.default_rng(3).integers(5, 90, 80)).tolist()


def even(frames: int, fps: float) -> np.ndarray:
    return np.asarray(np.arange(frames + 1) / fps)


def on_display(boundaries: np.ndarray, ticks: np.ndarray) -> list[int]:
    """The last frame that began by each tick, looked for one by one."""
    return [max([i for i in range(len(boundaries) - 1) if boundaries[i] <= tick + 1e-6] or [0]) for tick in ticks]


@pytest.mark.parametrize("fps", [12, 24, 30, 60])
def test_a_span_as_long_as_the_window_has_the_published_middles(fps: int) -> None:
    found = spread_windows(even(10 * fps, fps), 3.0, 5.0, rate=4, segments=8)
    assert found == [[3 * fps + frame for frame in segment_middles(2 * fps, 8)]]


def test_the_rhythm_is_that_of_the_clock_whatever_the_frame_rate() -> None:
    variable = np.append(0.0, np.cumsum(np.random.default_rng(0).uniform(0.005, 0.12, 300)))
    for boundaries in (even(100, 7), even(1000, 60), variable):
        middle = boundaries[-1] / 2
        [frames] = spread_windows(boundaries, 1.0, float(boundaries[-1]) - 1.0, rate=3, segments=6)
        ticks = middle + (np.arange(6) - 2.5) / 3
        assert frames == on_display(boundaries, ticks)
        assert (np.abs(np.diff(boundaries[frames]) - 1 / 3) < 0.15).all()


def test_a_window_sees_what_a_stream_would() -> None:
    boundaries = np.append(0.0, np.cumsum(np.random.default_rng(1).uniform(0.01, 0.3, 40)))
    picture = np.zeros((1, 1, 3), np.uint8)
    shown = [TimedFrame(float(time), picture + number) for number, time in enumerate(boundaries[:-1])]
    ticks = [int(tick.frame[0, 0, 0]) for tick in frames_at_rate(shown, 5.0)]
    # The window that begins at 0: the span is as long as it reaches.
    [frames] = spread_windows(boundaries, 0.0, (len(ticks) - 1) / 5, rate=5.0, segments=len(ticks))
    assert frames == ticks


def test_a_span_that_is_shorter_lies_inside_the_window_and_that_inside_the_video() -> None:
    boundaries = even(100, 10)
    for start, end, first in [(4.0, 4.5, 2.5), (0.2, 0.6, 0.0), (9.5, 9.9, 6.5), (4.0, 4.0, 2.25)]:
        [frames] = spread_windows(boundaries, start, end, rate=2, segments=8)
        assert frames == on_display(boundaries, first + np.arange(8) / 2)
    # A video that is shorter than the window: its last frame stays on display.
    [frames] = spread_windows(even(15, 10), 0.5, 1.0, rate=2, segments=8)
    assert frames == [0, 5, 10, 14, 14, 14, 14, 14]


def test_several_windows_are_spread_over_the_span() -> None:
    boundaries = even(1000, 10)
    sets = spread_windows(boundaries, 20.0, 80.0, rate=2, segments=5, clips=4)
    room = 60.0 - 4 / 2
    assert [frames[0] for frames in sets] == on_display(boundaries, 20 + room * np.array([1, 3, 5, 7]) / 8)
    assert all(200 <= frame < 800 for frames in sets for frame in frames)
    assert sets_of_array(30, InputConfig(segments=4, rate=2.0), 3) == [[4, 5, 6, 7], [13, 14, 15, 16], [22, 23, 24, 25]]
    assert sets_of_array(3, InputConfig(segments=4, rate=2.0)) == [[0, 1, 2, 2]]
    assert sets_of_array(8, InputConfig(segments=4)) == [[1, 3, 5, 7]]


def test_training_windows_reach_all_of_a_span_and_nothing_else(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", pictures(80), options={"preset": "ultrafast"}, times=VARIABLE)
    settings = InputConfig(segments=5, rate=8.0)
    with open_clip(path, span=(1.0, 2.5)) as reader:
        begins, firsts = reader.stretch.video.boundaries[:-1], []
        for seed in range(300):
            random = np.random.default_rng(seed)
            video, frames = choose_training_frames(reader, "random", settings, random)
            assert video is reader.stretch.video
            after = np.random.default_rng(seed)
            training_frames("random", 40, 5, after)
            assert random.random() == after.random()  # as many draws as without a rate
            firsts.append(frames[0])
            ends = reader.stretch.video.boundaries[1:]
            assert all(begins[frame] < 2.5 and ends[frame] > 1.0 for frame in frames)
        random = np.random.default_rng(7)
        again = choose_training_frames(reader, "dense", settings, random)[1]
        assert again == choose_training_frames(reader, "random", settings, np.random.default_rng(7))[1]
    lowest, highest = on_display(reader.stretch.video.boundaries, np.array([1.0, 2.0 - 1e-3]))
    assert set(firsts) == set(range(lowest, highest + 1))


def test_training_windows_by_their_middle_are_those_of_a_stream(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", pictures(80), options={"preset": "ultrafast"}, times=VARIABLE)
    settings = InputConfig(segments=5, rate=4.0)  # from the first to the last tick 1 s, half of it to the middle

    def firsts_of(span: tuple[float, float]) -> set[int]:
        with open_clip(path, span=span) as reader:
            randoms = map(np.random.default_rng, range(400))
            return {
                choose_training_frames(reader, "random", settings, random, by_middle=True)[1][0] for random in randoms
            }

    with open_clip(path) as reader:
        boundaries = reader.stretch.video.boundaries
    end = float(boundaries[-1])
    for (start, stop), (first, last) in {
        (1.0, 1.4): (0.5, 0.9),  # shorter than the window
        (1.0, 2.6): (0.5, 2.1),
        (0.1, 0.9): (0.0, 0.4),  # the window stays inside the video
        (0.0, 0.3): (0.0, 0.0),  # and is moved there, if none has its middle in the span
        (end - 0.8, end): (end - 1.3, end - 1.0),
    }.items():
        lowest, highest = on_display(boundaries, np.array([first, max(first, last - 1e-3)]))
        found = firsts_of((start, stop))
        assert lowest <= min(found) <= lowest + 1, (start, stop)
        assert highest - 1 <= max(found) <= highest, (start, stop)


def test_training_windows_hold_a_shorter_span(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", pictures(80), options={"preset": "ultrafast"}, times=VARIABLE)
    settings = InputConfig(segments=5, rate=4.0)
    with open_clip(path, span=(1.5, 1.9)) as reader:
        boundaries = reader.stretch.video.boundaries
        for seed in range(50):
            _, frames = choose_training_frames(reader, "random", settings, np.random.default_rng(seed))
            first, last = boundaries[frames[0]], boundaries[frames[-1] + 1]
            assert first <= 1.5
            assert last >= 1.9
            assert last - first < 1.0 + 0.2


def test_without_a_rate_nothing_changes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", pictures(30), options={"preset": "ultrafast"})
    settings = InputConfig(segments=4)
    with open_clip(path) as reader:
        assert choose_test_frames(reader, settings) == (reader, [segment_middles(30, 4)])
        assert choose_training_frames(reader, "random", settings, np.random.default_rng(0)) == (
            reader,
            training_frames("random", 30, 4, np.random.default_rng(0)),
        )
    folder = make_folder(tmp_path / "frames", pictures(8))
    with open_clip(folder) as reader:
        assert choose_test_frames(reader, settings)[1] == [segment_middles(8, 4)]
        with pytest.raises(VideoError, match="does not say when"):
            choose_test_frames(reader, InputConfig(segments=4, rate=2.0))


def test_a_rate_knows_any_number_of_windows() -> None:
    settings = InputConfig(sampling="ends", rate=2.0)
    assert Config(input=settings, evaluate={"clips": 10}).evaluate.clips == 10  # type: ignore[arg-type]
    spec = ModelSpec(clipshift="0", model=Config().model, input=settings, classes=("a", "b"), clips=10)
    assert ModelSpec.model_validate_json(spec.model_dump_json()).input.rate == 2.0
    for rate in (0.0, -1.0, 2000.0):
        with pytest.raises(ValueError, match="rate"):
            InputConfig(rate=rate)
