"""Every file that cannot be read ends in a VideoError that says why."""

from __future__ import annotations

import gc
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image

from clipshift.config.schema import DataConfig
from clipshift.errors import VideoError
from clipshift.video import Limits, boxes, decode, open_clip, probe
from tests.video.making import make_video, pictures

if TYPE_CHECKING:
    from collections.abc import Callable

_H264 = {"g": "20", "preset": "veryfast", "x264-params": "scenecut=0:bframes=3"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    frames = pictures(60)
    make_video(folder / "end.mp4", frames, options=_H264)
    make_video(folder / "front.mp4", frames, options=_H264, container_options={"movflags": "faststart"})
    make_video(folder / "parts.mp4", frames, options=_H264, container_options={"movflags": "frag_keyframe+empty_moov"})
    make_video(folder / "xvid.avi", frames, codec="mpeg4")
    make_video(folder / "matroska.mkv", frames, options=_H264)
    make_video(folder / "sound.mp4", frames, options=_H264, with_audio=True)
    return folder


def _error(path: Path, action: Callable[[Path], object] = probe) -> VideoError:
    with pytest.raises(VideoError) as caught:
        action(path)
    assert caught.value.where == str(path)
    assert len(str(caught.value).splitlines()) <= 8
    return caught.value


def test_missing(tmp_path: Path) -> None:
    assert _error(tmp_path / "none.mp4").what == "The clip does not exist."


def test_name_that_no_system_allows() -> None:
    assert _error(Path("a\0b.mp4")).what == "The clip cannot be read."


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert _error(tmp_path / "a.mp4").what == "The file is empty."


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    assert _error(path).what == "The clip may not be read."


def test_no_permission_as_the_system_tells_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = _error(folder / "end.mp4")
    assert error.what == "The clip may not be read."
    assert "chmod u+r" in str(error.remedy)


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert _error(tmp_path / "pipe.mp4").what == "The path is neither a file nor a folder."
    assert _error(Path("/dev/zero")).what == "The path is neither a file nor a folder."


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
@pytest.mark.parametrize(
    "content",
    [b"This is a text, not a video.\n" * 50, np.random.default_rng(0).bytes(50_000), b"\0" * 5000, b"x"],
    ids=["text", "noise", "zeros", "one byte"],
)
def test_content_that_is_no_video(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert _error(tmp_path / name).what == "The file is not a video that can be read."


def test_images_are_no_videos(tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    error = _error(tmp_path / "a.png")
    assert error.what == "The file is not a video that can be read."
    assert error.got == "an image, a playlist or another kind of file"


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile 'end.mp4'\n", "#EXTM3U\n#EXTINF:9,\nend.mp4\n"])
def test_playlists_do_not_reach_other_files(text: str, folder: Path) -> None:
    path = folder / "list.mp4"
    path.write_text(text, encoding="utf-8")
    assert _error(path).what == "The file is not a video that can be read."


def test_sound_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        sound.pts = 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    error = _error(path)
    assert error.what == "The file has no video stream."
    assert error.got == "only audio"


def test_sound_beside_the_video_is_no_matter(folder: Path) -> None:
    assert probe(folder / "sound.mp4").frames == 60


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["end.mp4", "front.mp4", "parts.mp4", "xvid.avi", "matroska.mkv"])
def test_cut_off(name: str, share: float, folder: Path, tmp_path: Path) -> None:
    content = (folder / name).read_bytes()
    size = int(share * len(content))
    (tmp_path / name).write_bytes(content[:size])
    error = _error(tmp_path / name)
    assert error.what == "The file is cut off, or was never finished."
    assert str(error.got).startswith(f"{size} bytes of ")
    assert name != "end.mp4" or "moov" in str(error.got)


def test_cut_off_says_how_many_frames_there_are(folder: Path, tmp_path: Path) -> None:
    for name in ("front.mp4", "xvid.avi"):
        content = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(0.7 * len(content))])
        words = str(_error(tmp_path / name).got).split("; ")[1].split()
        assert words[1:] == ["frames", "of", "60"]
        assert 0 < int(words[0]) < 60


def test_what_follows_the_video_may_be_missing(folder: Path, tmp_path: Path) -> None:
    """An AVI file without its index at the end still has all its frames."""
    content = (folder / "xvid.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content[: content.rindex(b"idx1")])
    assert probe(tmp_path / "a.avi").frames == 60


def test_limits_name_the_setting_to_raise(folder: Path) -> None:
    path = folder / "end.mp4"
    error = _error(path, lambda path: probe(path, limits=Limits(max_pixels=96 * 64 - 1)))
    assert error.got == "96x64 = 6144 pixels; data.max_pixels is 6143"
    assert "data.max_pixels=6144" in str(error.remedy)
    error = _error(path, lambda path: probe(path, limits=Limits(max_frames=59)))
    assert "data.max_frames=60" in str(error.remedy)
    error = _error(path, lambda path: probe(path, limits=Limits(max_seconds=2.3)))
    assert "data.max_seconds=3" in str(error.remedy)
    assert probe(path, limits=Limits(max_pixels=96 * 64, max_frames=60, max_seconds=2.4)).frames == 60


def test_limits_come_from_the_configuration() -> None:
    assert Limits.of(DataConfig(max_pixels=5, max_frames=6, max_seconds=7.0)) == Limits(5, 6, 7.0)
    assert Limits() == Limits.of(DataConfig())


def test_absurd_sizes_in_the_header(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "xvid.avi").read_bytes())
    place = content.index(b"strf") + 8 + 4
    content[place : place + 8] = struct.pack("<ii", 60000, 60000)
    (tmp_path / "a.avi").write_bytes(content)
    # The size in the stream itself is the true one, and all that is decoded.
    with open_clip(tmp_path / "a.avi") as clip:
        assert (clip.info.width, clip.info.height) == (96, 64)


def test_frames_that_are_really_large_are_not_decoded(tmp_path: Path) -> None:
    frame = np.zeros((1, 2048, 4096, 3), dtype=np.uint8)
    path = make_video(tmp_path / "large.mkv", frame, options={"preset": "ultrafast"})
    content = path.read_bytes()
    # A header that understates: PixelWidth and PixelHeight of 64 each.
    for element, size in ((b"\xb0\x82", 4096), (b"\xba\x82", 2048)):
        assert content.count(element + struct.pack(">H", size)) == 1
        content = content.replace(element + struct.pack(">H", size), element + struct.pack(">H", 64))
    path.write_bytes(content)
    error = _error(path, lambda path: probe(path, limits=Limits(max_pixels=100_000)))
    assert error.what in {
        "The frames are larger than the configuration allows.",
        "The video is damaged: a frame cannot be decoded.",
    }


def test_sizes_that_change(tmp_path: Path) -> None:
    small = make_video(tmp_path / "small.h264", pictures(10), options=_H264)
    large = make_video(tmp_path / "large.h264", pictures(10, width=128), options=_H264)
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    error = _error(path)
    assert error.what == "The size of the frames changes within the video."
    assert error.got == "128x64"


def test_damage_is_reported_where_it_is_needed(folder: Path, tmp_path: Path) -> None:
    """Zeros over one picture: frames that do not need it are read, frames that do are refused."""
    content = bytearray((folder / "matroska.mkv").read_bytes())
    with av.open(str(folder / "matroska.mkv")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    victim = packets[41]  # the first P picture of the third group
    assert packets[40].is_keyframe
    body = bytes(victim)
    place = content.index(body)
    content[place + 40 : place + len(body)] = bytes(len(body) - 40)
    path = tmp_path / "a.mkv"
    path.write_bytes(content)
    assert np.array_equal(decode(path, [5, 39]), decode(folder / "matroska.mkv", [5, 39]))
    error = _error(path, lambda path: decode(path, [5, 59]))
    assert error.what == "The video is damaged: a frame cannot be decoded."


@pytest.mark.parametrize("name", ["front.mp4", "xvid.avi", "matroska.mkv", "parts.mp4"])
def test_random_damage_ends_in_frames_or_in_a_video_error(name: str, folder: Path, tmp_path: Path) -> None:
    content = (folder / name).read_bytes()
    random = np.random.default_rng(3)
    refused = set[str | None]()
    for _ in range(25):
        damaged = bytearray(content)
        for place in random.integers(30, len(content), random.choice([1, 3, 20])):
            damaged[place] = random.integers(256)
        path = tmp_path / name
        path.write_bytes(damaged)
        try:
            with open_clip(path) as clip:
                frames = clip.read([0, clip.info.frames // 2, clip.info.frames - 1])
            assert frames.shape == (3, clip.info.height, clip.info.width, 3)
        except VideoError as error:
            refused.add(error.where)
    assert refused == {str(tmp_path / name)}


def test_no_file_stays_open(folder: Path, tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files")
    content = (folder / "front.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    gc.disable()  # what is open must be closed, not collected
    try:
        before = len(list(descriptors.iterdir()))
        for _ in range(5):
            decode(folder / "front.mp4", [0, 30])
            with pytest.raises(VideoError):
                probe(tmp_path / "cut.mp4")
            with pytest.raises(IndexError):
                decode(folder / "front.mp4", [60])
            open_clip(folder / "matroska.mkv").close()
        assert len(list(descriptors.iterdir())) == before
    finally:
        gc.enable()


def test_nothing_is_written_to_the_screen(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray((folder / "matroska.mkv").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 500] = bytes(500)
    (tmp_path / "a.mkv").write_bytes(content)
    with pytest.raises(VideoError), open_clip(tmp_path / "a.mkv") as clip:
        clip.read(range(clip.info.frames))
    assert capfd.readouterr() == ("", "")


def test_indices_outside_the_clip_are_a_bug_of_the_caller(folder: Path) -> None:
    with open_clip(folder / "end.mp4") as clip:
        for wrong in (60, -1):
            with pytest.raises(IndexError, match=f"frame {wrong} of a clip with 60 frames"):
                clip.read([0, wrong])
        assert clip.read([]).shape == (0, 64, 96, 3)
    with pytest.raises(ValueError, match="closed"):
        clip.read([0])
    clip.close()


def test_tables_that_announce_billions_of_frames_take_no_memory(tmp_path: Path) -> None:
    data = bytearray(make_video(tmp_path / "a.mp4", pictures(8), options={"bf": "0"}).read_bytes())
    sizes, chunks, times = (data.index(name) for name in (b"stsz", b"stsc", b"stts"))
    for place in (sizes + 12, chunks + 16, times + 12):
        data[place : place + 4] = struct.pack(">I", 2**31 - 1)
    data[sizes + 8 : sizes + 12] = struct.pack(">I", 1)  # of one byte each: no table follows
    (tmp_path / "b.mp4").write_bytes(data)
    with pytest.raises(VideoError, match="announces more frames") as caught:
        probe(tmp_path / "b.mp4")
    assert caught.value.got == "2147483647 samples"


def test_fragments_that_announce_billions_of_frames(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = make_video(tmp_path / "a.mp4", pictures(8), container_options=options)
    assert probe(path).frames == 8
    data = bytearray(path.read_bytes())
    place = data.index(b"trun") + 8
    data[place : place + 4] = struct.pack(">I", 2**31 - 1)
    (tmp_path / "b.mp4").write_bytes(data)
    with pytest.raises(VideoError, match="announces more frames"):
        probe(tmp_path / "b.mp4")


def test_boxes_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "_MOST_BOXES", 50)
    (tmp_path / "a.mp4").write_bytes(struct.pack(">I4s", 8, b"free") * 60)
    with pytest.raises(VideoError, match="more boxes"):
        probe(tmp_path / "a.mp4")


def test_sound_of_a_sample_each_tick_is_not_counted(tmp_path: Path) -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    def track(handler: bytes) -> bytes:
        tables = box(b"stts", struct.pack(">IIII", 0, 1, 48_000, 1)) + box(b"stsz", struct.pack(">III", 0, 2, 48_000))
        media = box(b"hdlr", struct.pack(">II4s", 0, 0, handler)) + box(b"minf", box(b"stbl", tables))
        return box(b"trak", box(b"mdia", media))

    file = tmp_path / "a.mp4"
    file.write_bytes(box(b"moov", track(b"soun") + track(b"vide")))
    with file.open("rb") as opened:
        found = boxes.read_boxes(opened, file.stat().st_size)
    assert found == boxes.Boxes(end=file.stat().st_size, indexed=True, samples=48_000)
