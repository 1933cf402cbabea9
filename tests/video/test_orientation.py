from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from clipshift.errors import VideoError
from clipshift.video import decode, probe
from tests.video.making import decode_all, make_video, pictures, with_matrix, with_turning_messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _turned(quarters: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: np.rot90(image, quarters)


# The matrix (p, q) -> (a p + c q, b p + d q), q downwards; the turn, clockwise; and the same in NumPy.
_CASES: dict[str, tuple[tuple[int, int, int, int], int, Callable[[np.ndarray], np.ndarray]]] = {
    "upright": ((1, 0, 0, 1), 0, _turned(0)),
    "phone held upright": ((0, 1, -1, 0), 90, _turned(-1)),
    "upside down": ((-1, 0, 0, -1), 180, _turned(2)),
    "phone held the other way": ((0, -1, 1, 0), 270, _turned(1)),
    "selfie": ((-1, 0, 0, 1), 0, np.fliplr),
    "flipped": ((1, 0, 0, -1), 180, np.flipud),
    "transposed": ((0, 1, 1, 0), 270, lambda image: image.transpose(1, 0, 2)),
    "transposed and turned": ((0, -1, -1, 0), 90, lambda image: np.rot90(image.transpose(1, 0, 2), 2)),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("stored") / "stored.mp4", pictures(12), options={"preset": "veryfast"})


@pytest.mark.parametrize("case", _CASES)
def test_frames_come_as_shown(case: str, stored: Path, tmp_path: Path) -> None:
    matrix, rotation, shown = _CASES[case]
    path = with_matrix(tmp_path / "turned.mp4", stored, *matrix)
    info = probe(path)
    assert info.rotation == rotation
    assert (info.width, info.height) == ((64, 96) if matrix[0] == 0 else (96, 64))
    frames_THWC = decode(path, [11, 3])
    assert frames_THWC.shape == (2, info.height, info.width, 3)
    assert frames_THWC.flags.c_contiguous
    reference = decode_all(stored)
    for place, number in enumerate([11, 3]):
        assert np.array_equal(frames_THWC[place], shown(reference[number]))


def test_other_angles_are_refused(stored: Path, tmp_path: Path) -> None:
    path = with_matrix(tmp_path / "turned.mp4", stored, 1, 1, -1, 1)
    with pytest.raises(VideoError) as caught:
        probe(path)
    assert caught.value.got == "45 degrees clockwise"
    assert caught.value.allowed == "0, 90, 180 or 270"


def test_all_frames_are_turned_as_the_first_one(tmp_path: Path) -> None:
    """Where single pictures carry turns of their own, another frame than the first cannot tell it."""
    plain = make_video(tmp_path / "plain.h264", pictures(24), options={"x264-params": "keyint=8:scenecut=0"})
    path = with_turning_messages(tmp_path / "turned.h264", plain)
    reference = decode_all(plain)
    frames_THWC = decode(path, [11, 3])
    assert probe(path).rotation == 270
    for place, number in enumerate([11, 3]):
        assert np.array_equal(frames_THWC[place], np.rot90(reference[number]))
