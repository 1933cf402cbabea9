"""Small videos and frame folders for the tests, made anew each time."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def pictures(frames: int, *, width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """A moving pattern with some noise, uint8 (T, H, W, 3); no two frames are alike."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    result = np.empty((frames, height, width, 3), dtype=np.uint8)
    grain = random.integers(0, 24, (height, width, 3))
    for t in range(frames):
        wave = np.stack([(x * 3 + t * 5) % 256, (y * 4 + t * 3) % 256, ((x + y) * 2 - t * 7) % 256], axis=-1)
        noise = random.integers(0, 16, (height // 8, width // 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
        result[t] = (wave + np.roll(grain, t, axis=1) + noise) % 256
    return result


def make_video(
    path: Path,
    frames_THWC: np.ndarray,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    container_options: dict[str, str] | None = None,
    format_name: str | None = None,
    with_audio: bool = False,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Encodes frames at 25 per second, every time to the same bytes; `times` counts in 1/1000 s, for variable rates."""
    without_random_numbers = {"fflags": "+bitexact", **(container_options or {})}
    with av.open(str(path), "w", format=format_name, options=without_random_numbers) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=8000) if with_audio else None
        for number, picture in enumerate(frames_THWC):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is None:
                frame.pts, frame.time_base = number, Fraction(1, 25)
            else:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.float32), format="fltp", layout="mono")
            sound.sample_rate = 8000
            sound.pts = 0
            container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return path


def make_streams(path: Path, streams: Sequence[tuple[np.ndarray, Disposition]]) -> Path:
    """A file with several video streams, whose packets alternate."""
    with av.open(str(path), "w") as container:
        outputs = []
        for frames_THWC, disposition in streams:
            cover = bool(disposition & Disposition.attached_pic)
            stream = container.add_stream("mjpeg" if cover else "libx264", rate=25)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width = frames_THWC.shape[1:3]
            stream.pix_fmt = "yuvj420p" if cover else "yuv420p"
            stream.codec_context.thread_count = 1
            stream.disposition = disposition
            outputs.append((stream, frames_THWC))
        for number in range(max(len(frames) for _, frames in outputs)):
            for stream, frames_THWC in outputs:
                if number < len(frames_THWC):
                    frame = av.VideoFrame.from_ndarray(frames_THWC[number], format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 25)
                    container.mux(stream.encode(frame))
        for stream, _ in outputs:
            container.mux(stream.encode(None))
    return path


def make_folder(path: Path, frames_THWC: np.ndarray, *, pattern: str = "img_{:05d}.jpg", first: int = 1) -> Path:
    """Writes frames as images."""
    path.mkdir(parents=True)
    for number, picture in enumerate(frames_THWC, start=first):
        Image.fromarray(picture).save(path / pattern.format(number))
    return path


def decode_all(path: Path) -> list[np.ndarray]:
    """Every frame of a file as plain PyAV gives it, uint8 (H, W, 3)."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def with_packed_pictures(path: Path, source: Path, *, announced: bool = True) -> Path:
    """Rewrites an MPEG-4 AVI as DivX and Xvid packed B pictures: P with the first B, the other Bs, an empty packet."""
    note = b"\0\0\1\xb2DivX503b1393" + (b"p" if announced else b"")
    # A picture that is not coded: type P, no full second, marker, 5 bits of time, marker, 0.
    empty = b"\0\0\1\xb6" + bytes([0b01010000, 0b01011111])
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        packets = [(bytes(packet), packet.is_keyframe) for packet in container.demux(stream) if packet.size]
    packed: list[tuple[bytes, bool]] = []
    after_b = False
    for data, key in packets:
        is_b = data[:4] == b"\0\0\1\xb6" and data[4] >> 6 == 2
        if is_b and not after_b:
            packed[-1] = packed[-1][0] + data, packed[-1][1]
        elif is_b:
            packed.append((data, False))
        else:
            if after_b:
                packed.append((empty, False))
            head, mark, rest = data.partition(b"\0\0\1\xb2Lavc")
            packed.append((head + note + rest[rest.index(b"\0\0\1") :] if mark else data, key))
        after_b = is_b
    if after_b:
        packed.append((empty, False))
    with av.open(str(path), "w") as container:
        copy = container.add_stream("mpeg4", rate=25)
        copy.width, copy.height, copy.pix_fmt = 96, 64, "yuv420p"
        for number, (data, key) in enumerate(packed):
            packet = av.Packet(data)
            packet.stream = copy
            packet.pts = packet.dts = number
            packet.time_base = Fraction(1, 25)
            packet.is_keyframe = key
            container.mux(packet)
    return path


def with_late_beginning(path: Path, source: Path, frames: int) -> Path:
    """Copies a video so that its first `frames` frames lie before the time 0: an edit list leaves them out."""
    with (
        av.open(str(source)) as origin,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container,
    ):
        stream = origin.streams.video[0]
        copy = container.add_stream_from_template(stream)
        assert stream.time_base is not None
        step = int(1 / (25 * stream.time_base))
        for packet in origin.demux(stream):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts -= frames * step
                packet.dts -= frames * step
                packet.stream = copy
                container.mux(packet)
    return path


def with_matrix(path: Path, source: Path, a: int, b: int, c: int, d: int) -> Path:
    """Copies an MP4 file and writes a display matrix (in whole units) into its track header."""
    data = bytearray(source.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def with_turning_messages(path: Path, source: Path) -> Path:
    """Copies an H.264 stream and puts into each of its key frames a message that turns this picture alone."""
    with av.open(str(source)) as old, av.open(str(path), "w", format="h264") as new:
        stream = old.streams.video[0]
        copied = new.add_stream_from_template(stream)
        turning = av.BitStreamFilterContext("h264_metadata=display_orientation=insert:rotate=90", stream)
        for packet in old.demux(stream):
            for turned in turning.filter(packet if packet.size else None):
                turned.stream = copied
                new.mux(turned)
    return path
