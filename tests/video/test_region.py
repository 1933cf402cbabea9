"""Training and answers alike see the pixels of `input.region`, and no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.config import AugmentConfig, InputConfig, Region
from clipshift.preprocessing.transforms import evaluation_views, training_clip
from clipshift.video.region import cut_region, pixel_box, pixel_edges
from tests.exporting.making import noise, save_model

REGION: Region = (0.25, 0.125, 0.5, 0.75)


def in_region(frames_THWC: np.ndarray, *, outside: int) -> np.ndarray:
    """Frames of which everything outside the region has one level."""
    changed = np.full_like(frames_THWC, outside)
    left, top, right, bottom = pixel_box(REGION, *frames_THWC.shape[1:3])
    changed[:, top:bottom, left:right] = frames_THWC[:, top:bottom, left:right]
    return changed


@pytest.mark.parametrize(
    ("start", "length", "pixels", "expected"),
    [
        (0.0, 1.0, 7, (0, 7)),
        (0.25, 0.5, 8, (2, 6)),
        (0.5, 0.5, 5, (3, 5)),  # 2.5 is rounded up
        (1 / 3, 2 / 3, 9, (3, 9)),
        (0.999, 0.001, 10, (9, 10)),  # one pixel at least, inside
        (0.0, 0.001, 10, (0, 1)),
    ],
)
def test_edges_are_rounded_to_pixels(start: float, length: float, pixels: int, expected: tuple[int, int]) -> None:
    assert pixel_edges(start, length, pixels) == expected


def test_a_region_has_width_along_columns_and_height_along_rows() -> None:
    assert pixel_box((0.25, 0.0, 0.5, 0.1), 100, 200) == (50, 0, 150, 10)
    assert pixel_box(None, 100, 200) == (0, 0, 200, 100)


def test_views_and_training_clips_of_a_region_are_those_of_frames_that_were_cut() -> None:
    frames, without = noise(2, 48, 64), InputConfig(segments=2, resize=40, crop=32)
    settings, cut = without.model_copy(update={"region": REGION}), cut_region(frames, REGION)
    assert cut.shape == (2, 36, 32, 3)
    for crops in ("center", "ten"):
        assert (evaluation_views(frames, settings, crops) == evaluation_views(cut, without, crops)).all()
    draws = [np.random.default_rng(3) for _ in range(2)]
    one, other = (
        training_clip(given, how, AugmentConfig(), random)[0]
        for given, how, random in zip((frames, cut), (settings, without), draws, strict=True)
    )
    assert (one == other).all()


def test_what_lies_outside_the_region_has_no_part_in_an_answer_nor_in_an_explanation(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", input=InputConfig(segments=2, resize=40, crop=32, region=REGION))
    model, frames = clipshift.load(folder), noise(2, 64, 64)
    dark, bright = (in_region(frames, outside=level) for level in (0, 255))
    answers = [model.predict(each).probabilities for each in (dark, bright, cut_region(frames, REGION))]
    assert (answers[0] == answers[1]).all()
    assert not np.allclose(answers[0], answers[2], rtol=1e-7, atol=0)  # frames are whole ones: it is cut again
    where = clipshift.explain(model, dark, where="grad-cam").heat
    assert where is not None
    x, y, width, height = where.box
    assert REGION[0] <= x
    assert x + width <= REGION[0] + REGION[2]
    assert REGION[1] <= y
    assert y + height <= REGION[1] + REGION[3]


def test_an_export_takes_whole_frames_and_cuts_the_region_itself(tmp_path: Path, small_clips: Path) -> None:
    folder = save_model(tmp_path / "model", input=InputConfig(segments=2, resize=40, crop=32, region=REGION))
    clipshift.export(folder, to="onnx", out=tmp_path / "onnx", data=small_clips, license="Apache-2.0")
    exported, clip = clipshift.load(tmp_path / "onnx"), min(small_clips.rglob("*.mp4"))
    expected, found = (each.predict(clip).probabilities for each in (clipshift.load(folder), exported))
    assert np.abs(found - expected).max() <= 1e-5
    frames = noise(2, 64, 64)
    dark, bright = (exported.predict(in_region(frames, outside=level)).probabilities for level in (0, 255))
    assert (dark == bright).all()
