from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipshift.datasets.folders import is_frame_folder
from clipshift.errors import ConfigError, VideoError
from clipshift.video import Limits, decode, open_clip, probe
from tests.video.making import make_folder, pictures


def _error(path: Path, **arguments: object) -> VideoError:
    with pytest.raises(VideoError) as caught:
        probe(path, **arguments)  # type: ignore[arg-type]
    return caught.value


def test_info_and_frames_of_jpeg_images(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(9))
    with open_clip(folder) as clip:
        info = clip.info
        assert (info.frames, info.width, info.height, info.rotation, info.codec) == (9, 96, 64, 0, "jpeg")
        assert info.fps is None
        assert info.seconds is None
        frames_THWC = clip.read([8, 0, 8])
    assert frames_THWC.dtype == np.uint8
    assert frames_THWC.shape == (3, 64, 96, 3)
    for place, number in enumerate([9, 1, 9]):
        with Image.open(folder / f"img_{number:05d}.jpg") as image:
            assert np.array_equal(frames_THWC[place], np.asarray(image))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("pattern", ["img_{:05d}.png", "{:d}.png", "frame-{:04}.png", "a {} b.png"])
def test_patterns_and_first_numbers(pattern: str, first: int, tmp_path: Path) -> None:
    frames = pictures(12)
    folder = make_folder(tmp_path / "clip", frames, pattern=pattern, first=first)
    (folder / "thumbnail.png").write_bytes(b"")
    info = probe(folder, frame_pattern=pattern)
    assert (info.frames, info.codec) == (12, "png")
    assert np.array_equal(decode(folder, range(12), frame_pattern=pattern), frames)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    picture = pictures(1)[0]
    Image.fromarray(picture[..., 0]).save(tmp_path / "clip/img_00001.png")
    Image.fromarray(np.dstack([picture, picture[..., :1]])).save(tmp_path / "clip/img_00002.png")
    frames_THWC = decode(tmp_path / "clip", [0, 1], frame_pattern="img_{:05d}.png")
    assert np.array_equal(frames_THWC[0], np.dstack([picture[..., 0]] * 3))
    assert np.array_equal(frames_THWC[1], picture)


def test_the_orientation_note_of_an_image_is_not_applied(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(1))
    with Image.open(folder / "img_00001.jpg") as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(folder / "img_00001.jpg", exif=exif)
    assert decode(folder, [0]).shape == (1, 64, 96, 3)


def test_fewer_declared_frames_are_the_first_ones(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(9))
    (folder / "img_00007.jpg").unlink()  # beyond what is declared: no matter
    assert probe(folder, frames=5).frames == 5
    with pytest.raises(IndexError):
        decode(folder, [5], frames=5)


@pytest.mark.parametrize("declared", [10, 1000])
def test_more_declared_frames_than_there_are(declared: int, tmp_path: Path) -> None:
    error = _error(make_folder(tmp_path / "clip", pictures(9)), frames=declared)
    assert error.what == "The folder has fewer frames than its list declares."
    assert (error.got, error.allowed) == ("9 frames", f"the declared {declared}")


def test_no_declared_frames(tmp_path: Path) -> None:
    assert _error(make_folder(tmp_path / "clip", pictures(2)), frames=0).what == "The list declares no frames."


def test_a_gap_names_the_missing_file(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(9))
    (folder / "img_00004.jpg").unlink()
    error = _error(folder)
    assert error.what == "A frame of the folder is missing."
    assert error.where == str(folder / "img_00004.jpg")


def test_a_folder_that_starts_late_misses_its_first_file(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(3), first=5)
    assert _error(folder).where == str(folder / "img_00001.jpg")


@pytest.mark.parametrize(
    ("names", "remedy"),
    [
        ([], "numbered images"),
        (["a.jpg", "notes.txt", "img_00001.jpg.part"], "numbered images"),
        (["a.jpg", "img_1.jpg", "img_00001.png", "img_00001.jpg.part"], "data.frame_pattern=img_{:05d}.png"),
        (["00007.PNG"], "'data.frame_pattern=\"{:05d}.PNG\"'"),
        (["my frame3.jpeg"], "'data.frame_pattern=my frame{:d}.jpeg'"),
    ],
)
def test_a_folder_without_frames(names: list[str], remedy: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    error = _error(tmp_path)
    assert error.what == "The folder holds no frames."
    assert remedy in str(error.remedy)


def test_frames_of_different_sizes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(3))
    Image.fromarray(pictures(1, width=104)[0]).save(folder / "img_00003.jpg")
    decode(folder, [0, 1])
    with pytest.raises(VideoError) as caught:
        decode(folder, [0, 2])
    assert caught.value.what == "The frames of the folder differ in size."
    assert caught.value.where == str(folder / "img_00003.jpg")
    assert caught.value.got == "104x64"


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "cut off"])
@pytest.mark.parametrize("number", [1, 3])
def test_images_that_cannot_be_decoded(content: bytes | None, number: int, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(3))
    file = folder / f"img_{number:05d}.jpg"
    file.write_bytes(file.read_bytes()[:900] if content is None else content)
    with pytest.raises(VideoError) as caught:
        decode(folder, [0, 2])
    assert caught.value.what == "A frame cannot be decoded."
    assert caught.value.where == str(file)


def test_limits(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "clip", pictures(3))
    assert "data.max_pixels" in str(_error(folder, limits=Limits(max_pixels=6143)).remedy)
    assert "data.max_frames" in str(_error(folder, limits=Limits(max_frames=2)).remedy)
    assert probe(folder, limits=Limits(max_pixels=6144, max_frames=3, max_seconds=0.01)).frames == 3


@pytest.mark.parametrize("pattern", ["img.jpg", "{:05d}_{:05d}.jpg", "img_{:5.2f}.jpg", "img_{name}.jpg"])
def test_a_pattern_without_one_number_is_an_error_of_the_configuration(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.frame_pattern"):
        probe(make_folder(tmp_path / "clip", pictures(1)), frame_pattern=pattern)


@pytest.mark.parametrize(
    "pattern", ["img_{:0999999999d}.jpg", "img_{.jpg", "img.jpg", "{:05d}_{:05d}.jpg", "}{:05d}.jpg"]
)
def test_patterns_that_name_no_frames(pattern: str, tmp_path: Path) -> None:
    make_folder(tmp_path / "a", pictures(2))
    with pytest.raises(ConfigError, match="pattern of frame names"):
        probe(tmp_path / "a", frame_pattern=pattern)
    with pytest.raises(ConfigError, match="pattern of frame names"):
        is_frame_folder(tmp_path / "a", pattern)


def test_an_image_that_announces_more_than_pillow_opens(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", pictures(1), pattern="img_{:05d}.png")
    file = tmp_path / "a" / "img_00001.png"
    data = bytearray(file.read_bytes())
    data[16:24] = struct.pack(">II", 10**6, 10**6)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    file.write_bytes(data)
    with pytest.raises(VideoError, match="larger than Pillow opens"):
        probe(tmp_path / "a", frame_pattern="img_{:05d}.png")
