"""Small videos and data sets for the tests of this room."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from clipshift.datasets.manifest import Clip, Manifest


def moving_frames(frames: int, *, width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    """uint8 (T, H, W, 3): two soft blobs that move over a soft background, all drawn from the seed."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / min(width, height)
    background = 110 + 50 * np.sin(random.uniform(2, 7) * x + random.uniform(2, 7) * y + random.uniform(0, 6))
    time = np.arange(frames)[:, None, None] / max(1, frames - 1)
    picture = np.repeat(background[None], frames, axis=0)
    for _ in range(2):
        (x0, x1), (y0, y1) = random.uniform(0, width / height, 2), random.uniform(0, 1, 2)
        square = (x - x0 - (x1 - x0) * time) ** 2 + (y - y0 - (y1 - y0) * time) ** 2
        picture = picture + 90 * np.exp(-square / 0.02)
    colors = picture[..., None] * np.array([1.0, 0.8, 0.6])
    return np.asarray(np.clip(colors, 0, 255).astype(np.uint8))


def write_video(
    path: Path, frames_THWC: np.ndarray, *, fps: int = 25, codec: str = "mpeg4", quality: int | None = None
) -> Path:
    """Writes a video; `quality` is the quantizer of mpeg4 (2 good, 31 bad) or the CRF of libx264."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {}
    if quality is not None:
        options = {"crf": str(quality)} if codec == "libx264" else {"qmin": str(quality), "qmax": str(quality)}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.time_base = Fraction(1, fps)
        for picture in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_frames(folder: Path, frames_THWC: np.ndarray, *, pattern: str = "img_{:05d}.jpg") -> Path:
    """Writes a frame folder, numbered from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(frames_THWC, start=1):
        Image.fromarray(picture).save(folder / pattern.format(number), quality=95)
    return folder


def write_classes(
    root: Path, classes: list[str], clips: int, *, frames: int = 12, name: str = "clip_{}.mp4", seed: int = 0
) -> Path:
    """Writes a folder of class folders with real, different videos."""
    for label, class_name in enumerate(classes):
        for number in range(clips):
            pictures = moving_frames(frames, seed=seed + 1000 * label + number)
            write_video(root / class_name / name.format(number), pictures)
    return root


def touch(*paths: Path) -> None:
    """Makes files that look like videos by their names only; each has other bytes."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(path))


def manifest_of(*names: str, classes: tuple[str, ...] = ("a", "b"), root: Path = Path("/nowhere")) -> Manifest:
    """A manifest of clips that need not exist; the first folder of a name is its class."""
    clips = [Clip(path=root / name, name=name, label=classes.index(name.split("/")[0])) for name in names]
    return Manifest(source=root, classes=classes, clips=tuple(clips))
