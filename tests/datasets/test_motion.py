"""The motion clips: real files, the same for the same seed, and only the order of frames tells their classes apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from clipshift.datasets import motion
from clipshift.datasets.motion import CLASSES, PARTS, class_order, draw_stills, write_motion_clips
from clipshift.errors import DataError
from clipshift.preprocessing.sampling import segment_middles


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "clips"
    return write_motion_clips(folder, clips_per_class=3, validation_per_class=2, size=64)


def read_all(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def small(folder: Path, *, seed: int = 0, clips_per_class: int = 1) -> Path:
    return write_motion_clips(
        folder, clips_per_class=clips_per_class, validation_per_class=1, frames=8, size=32, seed=seed
    )


@pytest.mark.parametrize("frames", [4, 8, 24, 25])
def test_every_class_shows_every_still_once(frames: int) -> None:
    orders = {name: class_order(name, frames).tolist() for name in CLASSES}
    for order in orders.values():
        assert sorted(order) == list(range(frames))
    assert len({tuple(order) for order in orders.values()}) == len(CLASSES)


@pytest.mark.parametrize("frames", [8, 24])
def test_the_pairs_mirror_one_another(frames: int) -> None:
    assert class_order("right_to_left", frames).tolist() == class_order("left_to_right", frames)[::-1].tolist()
    out, mirrored = class_order("right_and_back", frames), class_order("left_and_back", frames)
    assert (mirrored == frames - 1 - out).all()
    assert (np.diff(out[: frames // 2]) > 0).all()
    assert (np.diff(out[frames // 2 :])[1:] < 0).all()


@pytest.mark.parametrize(("one", "other"), [("left_to_right", "right_to_left"), ("right_and_back", "left_and_back")])
def test_tested_frames_of_a_pair_are_the_same_stills(one: str, other: str) -> None:
    middles = segment_middles(24, 8)
    assert sorted(class_order(one, 24)[middles]) == sorted(class_order(other, 24)[middles])


def test_files_of_a_scene_hold_the_same_decoded_frames_in_the_order_of_their_class(clips: Path) -> None:
    for part, number in (("train", 0), ("train", 2), ("val", 1)):
        stills = read_all(clips / part / CLASSES[0] / f"{number:04d}.mp4")
        assert stills.shape == (24, 64, 64, 3)
        assert len({still.tobytes() for still in stills}) == 24
        for name in CLASSES[1:]:
            frames = read_all(clips / part / name / f"{number:04d}.mp4")
            # Bit by bit, after H.264: coding leaves no trace of a neighbor, so of the order, in a frame.
            np.testing.assert_array_equal(frames, stills[class_order(name, 24)])


def test_order_leaves_no_trace_without_x264_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    folder = small(tmp_path / "clips")
    stills = read_all(folder / "val" / CLASSES[0] / "0000.mp4")
    for name in CLASSES[1:]:
        frames = read_all(folder / "val" / name / "0000.mp4")
        np.testing.assert_array_equal(frames, stills[class_order(name, 8)])
    with av.open(str(folder / "val" / CLASSES[0] / "0000.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"


def test_the_files_show_what_was_drawn(clips: Path) -> None:
    drawn = draw_stills(np.random.default_rng(np.random.SeedSequence([0, 0, 1])), frames=24, size=64)
    found = read_all(clips / "train" / "left_to_right" / "0001.mp4")
    assert np.abs(found.astype(float) - drawn).mean() < 8


def test_the_thing_moves_from_left_to_right() -> None:
    rights = []
    for seed in range(6):
        stills = draw_stills(np.random.default_rng(seed), frames=9, size=48).astype(float)
        # What is not in the scene's median picture is the thing.
        thing = np.abs(stills - np.median(stills, axis=0)).sum(axis=-1)
        thing[thing < 90] = 0
        columns = (thing.sum(axis=1) * np.arange(48)).sum(axis=1) / thing.sum(axis=(1, 2))
        rights.append(columns[-1] - columns[0])
    assert min(rights) > 0.3 * 48


def test_scenes_differ(clips: Path) -> None:
    files = [path for part in PARTS for path in sorted((clips / part / "left_to_right").iterdir())]
    firsts = [read_all(path)[0].astype(float) for path in files]
    distances = [np.abs(a - b).mean() for i, a in enumerate(firsts) for b in firsts[:i]]
    assert min(distances) > 10


def test_layout_and_file_properties(clips: Path) -> None:
    assert sorted(path.name for path in clips.iterdir()) == ["motion.json", "train", "val"]
    for part, count in (("train", 3), ("val", 2)):
        assert sorted(path.name for path in (clips / part).iterdir()) == sorted(CLASSES)
        for name in CLASSES:
            names = sorted(path.name for path in (clips / part / name).iterdir())
            assert names == [f"{number:04d}.mp4" for number in range(count)]
    with av.open(str(clips / "val" / CLASSES[0] / "0000.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (64, 64, 24)
        assert float(stream.average_rate or 0) == 12
        assert all(packet.is_keyframe for packet in container.demux(stream) if packet.size)


def test_result_depends_on_the_seed_only(tmp_path: Path) -> None:
    first, again, other = small(tmp_path / "a"), small(tmp_path / "b"), small(tmp_path / "c", seed=1)
    assert hashes(first) == hashes(again)
    assert len(set(hashes(first).values()) & set(hashes(other).values())) == 0


def test_more_clips_keep_the_first_ones(tmp_path: Path) -> None:
    few, more = hashes(small(tmp_path / "few")), hashes(small(tmp_path / "more", clips_per_class=2))
    clips = {name: value for name, value in few.items() if name.endswith(".mp4")}
    assert clips.items() <= more.items()


def test_same_call_again_keeps_the_files(tmp_path: Path) -> None:
    folder = small(tmp_path / "clips")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}
    assert small(folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")} == before


def test_empty_folder_is_used_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    small(tmp_path / "clips")
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_foreign_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="holds something else") as caught:
        small(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_clips_of_other_settings_are_refused(tmp_path: Path) -> None:
    folder = small(tmp_path / "clips")
    before = hashes(folder)
    with pytest.raises(DataError, match="other settings"):
        small(folder, seed=1)
    assert hashes(folder) == before


def test_damaged_earlier_result_is_refused(tmp_path: Path) -> None:
    folder = small(tmp_path / "clips")
    (folder / "val" / "right_to_left" / "0000.mp4").unlink()
    with pytest.raises(DataError, match="1 of the motion clips are missing"):
        small(folder)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clips").write_text("a file")
    with pytest.raises(DataError, match="is a file"):
        small(tmp_path / "clips")
    with pytest.raises(DataError, match="cannot be written"):
        small(tmp_path / "clips" / "below")


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path, stills_THWC: np.ndarray, order: np.ndarray) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(motion, "encode", full_disk)
    with pytest.raises(DataError, match="No space left"):
        small(tmp_path / "clips")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"clips_per_class": 0}, "clips_per_class must be at least 1"),
        ({"frames": 3}, "frames must be at least 4"),
        ({"size": 30}, "size must be at least 32"),
        ({"size": 33}, "size must be even"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_motion_clips(tmp_path / "clips", **wrong)
    assert list(tmp_path.iterdir()) == []
