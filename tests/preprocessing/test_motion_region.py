"""`input.region=motion`: what moves is found, alike everywhere, and cut before everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.config import AugmentConfig, InputConfig, ReadingConfig, Region, resolve
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError, VideoError
from clipshift.inference import views
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.views import read_views, views_of_frames
from clipshift.preprocessing.motion_region import cell_means, motion_region, seen_frames
from clipshift.preprocessing.transforms import evaluation_views, training_clip
from clipshift.video import decode
from clipshift.video.region import cut_region
from tests.datasets.clips import write_video
from tests.exporting.making import CAUSAL, save_model

SETTINGS = InputConfig(segments=4, resize=40, crop=32, region="motion")
HEIGHT, WIDTH = 120, 160


def with_square(
    places: list[tuple[int, int]], *, side: int = 20, noise: int = 0, light: int = 0, seed: int = 0
) -> np.ndarray:
    """Frames of a still background with a bright square at these places (x, y), noise, and light that changes."""
    random = np.random.default_rng(seed)
    background = random.integers(60, 120, (HEIGHT, WIDTH, 3))
    frames = np.repeat(background[None], len(places), axis=0)
    for number, (x, y) in enumerate(places):
        frames[number, y : y + side, x : x + side] = 230
        frames[number] += light * number
    if noise:
        frames += random.integers(-noise, noise + 1, frames.shape)
    return np.clip(frames, 0, 255).astype(np.uint8)


def box(region: Region | None) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in pixels."""
    assert region is not None
    x, y, width, height = region
    return x * WIDTH, y * HEIGHT, (x + width) * WIDTH, (y + height) * HEIGHT


MOVING = [(20, 70), (30, 70), (40, 75), (50, 75)]


@pytest.mark.parametrize(("noise", "light"), [(0, 0), (12, 0), (0, 9), (8, 9)])
def test_what_moves_is_inside_and_most_else_is_not(noise: int, light: int) -> None:
    left, top, right, bottom = box(motion_region(with_square(MOVING, noise=noise, light=light)))
    assert left <= 22
    assert top <= 72
    assert right >= 68
    assert bottom >= 93
    assert (right - left) * (bottom - top) < 0.3 * WIDTH * HEIGHT
    assert right - left == pytest.approx(bottom - top, abs=0.01)  # a square


def test_faint_changes_all_over_do_not_outweigh_something_small() -> None:
    """As of compression: in a third of the picture still cells flicker, by little."""
    frames = with_square([(20, 20), (24, 20), (28, 24), (32, 24)], side=10).astype(np.int64)
    frames[::2, :, -60:] += 3
    left, top, right, bottom = box(motion_region(frames.astype(np.uint8)))
    assert right < WIDTH - 60
    assert (left, top) <= (20, 20)
    assert bottom >= 34


def test_a_small_thing_keeps_something_around_it_and_the_edge_is_not_crossed() -> None:
    left, top, right, bottom = box(motion_region(with_square([(0, 0), (2, 0)], side=6)))
    assert (left, top) == (0, 0)
    assert right == pytest.approx(0.4 * HEIGHT, abs=0.01)
    assert bottom == pytest.approx(0.4 * HEIGHT, abs=0.01)


def test_where_nothing_stands_out_all_of_the_picture_is_seen() -> None:
    still = with_square([(20, 20)] * 4)
    assert motion_region(still) is None
    assert motion_region(still[:1]) is None
    assert motion_region(with_square([(20, 20)] * 4, light=8)) is None
    frames, settings = seen_frames(still, SETTINGS)
    assert frames.shape == still.shape
    assert settings.region is None


def test_cells_are_means_in_whole_numbers() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 100, 250, 3), dtype=np.uint8)
    cells = cell_means(frames)  # 3 x 3 pixels; the last row and column have fewer
    assert cells.shape == (2, 34, 84)
    assert cells[1, 2, 3] == int(frames[1, 6:9, 9:12].astype(int).sum() * 16 // 27)
    assert cells[0, 33, 83] == int(frames[0, 99:, 249:].astype(int).sum() * 16 // 3)


def test_views_and_training_clips_are_those_of_frames_that_were_cut() -> None:
    frames, without = with_square(MOVING, noise=6), SETTINGS.model_copy(update={"region": None})
    cut = cut_region(frames, motion_region(frames))
    assert cut.shape[1] < HEIGHT
    assert (evaluation_views(frames, SETTINGS, "ten") == evaluation_views(cut, without, "ten")).all()
    one, other = (
        training_clip(given, how, AugmentConfig(), np.random.default_rng(3))[0]
        for given, how in ((frames, SETTINGS), (cut, without))
    )
    assert (one == other).all()


def test_the_region_is_that_of_all_frames_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = with_square([(4 * number, 60) for number in range(30)])
    path = write_video(tmp_path / "a.mp4", frames, quality=2)
    clip, read = Clip(path, "a.mp4", None), ReadingConfig()
    found = read_views(clip, SETTINGS, read, crops="center", clips=3)
    assert (found == views_of_frames(decode(path, range(30)), SETTINGS, crops="center", clips=3)).all()
    monkeypatch.setattr(views, "_PIECE_BYTES", 3 * HEIGHT * WIDTH * 3)  # three frames at a time
    assert (read_views(clip, SETTINGS, read, crops="center", clips=3) == found).all()
    own = Clip(path, "a.mp4", None, region=(0.0, 0.0, 0.5, 1.0))
    with pytest.raises(VideoError, match="a region of its own"):
        read_views(own, SETTINGS, read, crops="center")


def test_an_export_is_given_what_moves(tmp_path: Path, small_clips: Path) -> None:
    folder = save_model(tmp_path / "model", input=SETTINGS)
    done = clipshift.export(folder, to="onnx", out=tmp_path / "onnx", data=small_clips, license="Apache-2.0")
    assert any("the file cannot" in line for line in done.lines())
    model, exported = clipshift.load(folder), clipshift.load(tmp_path / "onnx")
    assert isinstance(exported.scorer, ExportScorer)
    path = write_video(tmp_path / "a.mp4", with_square([(4 * number, 60) for number in range(30)]), quality=2)
    for clips in (1, 2):
        expected = model.predict(path, clips=clips).probabilities
        answers = [exported.predict(given, clips=clips) for given in (path, decode(path, range(30)))]
        for answer in answers:
            assert np.abs(answer.probabilities - expected).max() <= 1e-5
    many = np.stack([with_square(MOVING), with_square([(90, 10), (90, 15), (95, 20), (95, 25)])])
    assert exported.scorer.sets(many) == pytest.approx(
        np.stack([model.scorer.one_set(frames) for frames in many]), abs=1e-4
    )


def test_an_explanation_shows_and_hides_what_is_seen(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", input=SETTINGS)
    frames = with_square(MOVING)
    why = clipshift.explain(folder, frames, where="occlusion")
    assert any("in which something moves" in note for note in why.notes)
    assert why.probabilities == pytest.approx(clipshift.load(folder).predict(frames).probabilities, abs=1e-6)
    cut = cut_region(frames, motion_region(frames))
    assert why.pictures.shape[1:3] == cut.shape[1:3]


def test_a_stream_cannot_be_cut_to_what_moves(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", model=CAUSAL, input=SETTINGS)
    with pytest.raises(ConfigError, match="one frame at a time"):
        clipshift.load(folder).start()


def test_what_is_no_region_is_said() -> None:
    assert resolve(settings=["input.region=motion"]).config.input.region == "motion"
    with pytest.raises(ConfigError, match="or motion, got 'middle'"):
        resolve(settings=["input.region=middle"])
