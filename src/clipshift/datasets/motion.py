"""A small made-up data set of real video files in which only the order of the frames tells the classes apart.

One scene is a set of stills: a colored thing at the places of one path from left to right. Each class shows the same
stills in another order: to the right, to the left, to the right and back, to the left and back. So whoever ignores the
order of the frames, as TSN does, can do no better than chance (one in four), whatever it learns; and a network that
mixes features between frames, as TSM does, can tell the classes apart.

Every frame is coded on its own (no motion compensation), so that no trace of its neighbors is left in a frame.
"""

from __future__ import annotations

import colorsys
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from clipshift.errors import DataError
from clipshift.files import from_json

CLASSES = ("left_to_right", "right_to_left", "right_and_back", "left_and_back")
"""The four classes; the folders are named after them."""

PARTS = ("train", "val")
"""The two parts; no scene is in both."""

_NOTE = "motion.json"
_FORMAT = 1
FRAMES_PER_SECOND = 12
"""Of all clips."""
# Scenes are drawn at this multiple of their size and averaged down: smooth edges, movement by fractions of a pixel.
_OVERSAMPLE = 2
_SPRITE = 96
_SHAPES = ("disc", "ring", "triangle", "square", "pentagon", "star", "cross")
_PATTERNS = ("clouds", "slope", "stripes", "tiles", "pebbles")


@dataclass(frozen=True)
class _Settings:
    format: int
    clips_per_class: int
    validation_per_class: int
    frames: int
    size: int
    seed: int


def write_motion_clips(
    folder: Path,
    *,
    clips_per_class: int = 64,
    validation_per_class: int = 24,
    frames: int = 24,
    size: int = 96,
    seed: int = 0,
) -> Path:
    """Write the clips as `train/CLASS/*.mp4` and `val/CLASS/*.mp4`; the result depends on the arguments only.

    Clips of one number in the four classes of a part (`train/left_to_right/0007.mp4`, `train/right_to_left/0007.mp4`
    and so on) consist of the same stills. With the default of 24 frames, the middles of 8 segments are the same stills
    for the two classes of a pair, too.

    The folder appears when it is complete, not before. One that an earlier call with the same arguments made is left
    as it is.

    Args:
        folder: Where to write; must not exist, be empty, or be the result of the same call.
        clips_per_class: Training clips of each class, at least 1.
        validation_per_class: Validation clips of each class, at least 1.
        frames: Frames per clip, at least 4; they play at 12 frames per second.
        size: Side of the square frames in pixels; even, at least 32.
        seed: Seed of all random choices, at least 0.

    Returns:
        `folder`.

    Raises:
        DataError: The folder holds something else, or cannot be written.
        ValueError: An argument is out of its range.
    """
    settings = _Settings(_FORMAT, clips_per_class, validation_per_class, frames, size, seed)
    _check_ranges(settings)
    files = [path for part in PARTS for path in _files(part, settings)]
    return make_folder(folder, _NOTE, asdict(settings), files, lambda made: _write_all(made, settings))


def make_folder(
    folder: Path, note: str, settings: dict[str, Any], files: Sequence[Path], write: Callable[[Path], None]
) -> Path:
    """Make a folder that appears when it is complete, with a note of its settings; one made alike stays as it is.

    Args:
        folder: Where; must not exist, be empty, or be the result of the same call.
        note: Name of the file in it that holds the settings.
        settings: What the content depends on, for JSON.
        files: Paths in it of what `write` writes.
        write: Called with a folder, which it makes and fills.

    Raises:
        DataError: The folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    try:
        if _is_done(folder, note, settings, files):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            made = Path(scratch) / "made"
            write(made)
            (made / note).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise DataError(
            "The motion clips cannot be written.", where=folder, got=error, remedy="name a folder on a writable disk"
        ) from error
    return folder


def class_order(name: str, frames: int) -> np.ndarray:
    """The order in which a class shows the stills of a scene.

    Args:
        name: One of `CLASSES`.
        frames: Number of stills; still 0 has the thing at the left end of its path, the last one at the right end.

    Returns:
        int64 (frames,): a permutation. The classes that come back use every second still on the way out and the
        others on the way back.
    """
    there = np.arange(frames)
    there_and_back = np.concatenate([np.arange(0, frames, 2), np.arange(1, frames, 2)[::-1]])
    orders = {
        "left_to_right": there,
        "right_to_left": there[::-1],
        "right_and_back": there_and_back,
        "left_and_back": frames - 1 - there_and_back,
    }
    return orders[name].copy()


def draw_stills(random: np.random.Generator, *, frames: int, size: int) -> np.ndarray:
    """Draw one scene: a thing at the places of one path, from its left end to its right end.

    Thing, path, ground and everything else is drawn at random, without a class. The camera trembles from still to
    still independently, so that a tremble says nothing about an order.

    Args:
        random: Where the random choices come from.
        frames: Number of stills.
        size: Side of the stills in pixels.

    Returns:
        uint8 (frames, size, size, 3), RGB.
    """
    side = size * _OVERSAMPLE
    margin = max(2, round(0.02 * side))
    ground, tone = _ground(random, side + 2 * margin)
    sprite = _sprite(random, tone)
    radius = random.uniform(0.1, 0.16)
    growth = random.uniform(-0.2, 0.2)
    angle, spin = random.uniform(0, 360), random.uniform(-60, 60)
    shadow = Image.new("RGBA", sprite.size, (0, 0, 0, 255))
    shadow.putalpha(sprite.getchannel("A").point(lambda value: value * 0.35))
    path = _path(random, frames, reach=1.2 * radius + 0.01)
    trembles = random.integers(-margin, margin + 1, size=(frames, 2))
    grain = random.normal(0, random.uniform(1.5, 5.0), size=(frames, size, size, 1)).astype(np.float32)
    stills = np.empty((frames, size, size, 3), np.uint8)
    for index, ((x, y), (dx, dy)) in enumerate(zip(path, trembles.tolist(), strict=True)):
        along = 2 * index / max(1, frames - 1) - 1
        extent = max(4, round(2 * radius * (1 + growth * along) * side))
        turned = angle + spin * along
        canvas = ground.crop((margin + dx, margin + dy, margin + dx + side, margin + dy + side))
        corner_x, corner_y = round(x * side - dx - extent / 2), round(y * side - dy - extent / 2)
        drop = max(1, extent // 12)
        for image, offset in ((shadow, drop), (sprite, 0)):
            stamp = image.rotate(turned, Image.Resampling.BILINEAR).resize((extent, extent), Image.Resampling.BILINEAR)
            canvas.paste(stamp, (corner_x + offset, corner_y + offset), stamp)
        still = np.asarray(canvas.reduce(_OVERSAMPLE), np.float32)
        stills[index] = np.clip(still + grain[index] + 0.5, 0, 255).astype(np.uint8)
    return stills


def _check_ranges(settings: _Settings) -> None:
    smallest = {"clips_per_class": 1, "validation_per_class": 1, "frames": 4, "size": 32, "seed": 0}
    for name, least in smallest.items():
        value = getattr(settings, name)
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if settings.size % 2:
        raise ValueError(f"size must be even, got {settings.size}")


def _is_done(folder: Path, note: str, settings: dict[str, Any], files: Sequence[Path]) -> bool:
    """Whether the folder is the result of the same call; false where it is absent or empty."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise DataError("Output path is a file, not a folder.", where=folder, remedy="name another folder")
    if not any(folder.iterdir()):
        return False
    try:
        found = from_json((folder / note).read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError):
        found = None
    if found != settings:
        raise DataError(
            "The folder for the motion clips holds something else.",
            where=folder,
            got="other files" if found is None else f"clips made with other settings ({note})",
            allowed="an empty or new folder, or the clips of the same settings",
            remedy="name another folder, or delete this one",
        )
    missing = [path for path in files if not (folder / path).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the motion clips are missing.",
            where=folder,
            got=f"no {missing[0].as_posix()}",
            remedy="delete the folder and start again",
        )
    return True


def _files(part: str, settings: _Settings) -> list[Path]:
    count = settings.clips_per_class if part == PARTS[0] else settings.validation_per_class
    return [Path(part, name, f"{number:04d}.mp4") for number in range(count) for name in CLASSES]


def _write_all(folder: Path, settings: _Settings) -> None:
    for tag, part in enumerate(PARTS):
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
        for path in _files(part, settings):
            if path.parent.name == CLASSES[0]:
                # A scene has its own generator: more clips leave the first ones as they are.
                random = np.random.default_rng(np.random.SeedSequence([settings.seed, tag, int(path.stem)]))
                stills_THWC = draw_stills(random, frames=settings.frames, size=settings.size)
            encode(folder / path, stills_THWC, class_order(path.parent.name, settings.frames))


def encode(path: Path, stills_THWC: np.ndarray, order: np.ndarray) -> None:
    """Write H.264 (MPEG-4 part 2 where PyAV was built without x264), every frame coded on its own, alike.

    Args:
        path: The file, MP4.
        stills_THWC: uint8 (stills, height, width, 3), RGB.
        order: int64 (frames,): the still of each frame.
    """
    codec: Literal["libx264", "mpeg4"] = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    options = {"libx264": {"qp": "22", "preset": "ultrafast"}, "mpeg4": {"qmin": "3", "qmax": "3"}}[codec]
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart", "fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=Fraction(FRAMES_PER_SECOND), options=options)
        stream.height, stream.width = stills_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1
        stream.thread_count = 1
        for still in order.tolist():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stills_THWC[still], format="rgb24")))
        container.mux(stream.encode(None))


def _path(random: np.random.Generator, frames: int, *, reach: float) -> list[tuple[float, float]]:
    """Places (x, y) as shares of the side, from left to right, at least `reach` away from the borders."""
    half = random.uniform(0.22, 0.5 - reach)
    center = random.uniform(reach + half, 1 - reach - half)
    level, tilt, bend = random.uniform(0.25, 0.75), random.uniform(-0.2, 0.2), random.uniform(-0.2, 0.2)
    hurry = random.uniform(0, 0.8)
    progress = np.linspace(0, 1, frames)
    # From an even pace to one that starts and ends slowly.
    progress = (1 - hurry) * progress + hurry * progress**2 * (3 - 2 * progress)
    along = 2 * progress - 1
    x = center + half * along
    y = np.clip(level + tilt * along + bend * (1 - along**2), reach, 1 - reach)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _color(random: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """float32 (3,): RGB in [0, 255] of a random hue."""
    rgb = colorsys.hsv_to_rgb(random.uniform(0, 1), random.uniform(*saturation), random.uniform(*value))
    return np.array(rgb, np.float32) * 255


def _noise(random: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """float32 (side, side): smooth noise with about `cells` bumps along a side, in [0, 1]."""
    coarse = Image.fromarray(random.uniform(0, 1, size=(cells, cells)).astype(np.float32))
    fine: np.ndarray = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return fine.clip(0, 1)


def _pattern(random: np.random.Generator, side: int) -> np.ndarray:
    """float32 (side, side): a pattern of random kind in [0, 1]."""
    kind = _PATTERNS[random.integers(len(_PATTERNS))]
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / side
    turn = random.uniform(0, 2 * math.pi)
    across: np.ndarray = math.cos(turn) * columns + math.sin(turn) * rows
    along: np.ndarray = math.cos(turn) * rows - math.sin(turn) * columns
    waves = random.uniform(3, 9) * 2 * math.pi
    clouds: np.ndarray = 0.6 * _noise(random, side, 4) + 0.4 * _noise(random, side, 11)
    if kind == "clouds":
        return clouds
    if kind == "slope":
        return (across - across.min()) / np.ptp(across)  # type: ignore[no-any-return]
    # The hyperbolic tangent makes edges of what changes sign.
    steep: np.ndarray
    if kind == "stripes":
        steep = 3 * np.sin(waves * across)
    elif kind == "tiles":
        steep = 6 * np.sin(waves * across) * np.sin(waves * along)
    else:
        steep = 12 * (_noise(random, side, 18) - 0.5)
    return 0.5 + 0.5 * np.tanh(steep)


def _ground(random: np.random.Generator, side: int) -> tuple[Image.Image, np.ndarray]:
    """A square patterned ground and its mean color, float32 (3,) in [0, 255]."""
    mix = _pattern(random, side)
    first = _color(random, (0.1, 0.6), (0.25, 0.95))
    second = np.clip(first * random.uniform(0.6, 1.4) + random.uniform(-30, 30, size=3), 0, 255)
    light = 0.85 + 0.3 * _noise(random, side, 3)
    picture_HWC = np.clip((first + mix[..., None] * (second - first)) * light[..., None], 0, 255)
    tone = picture_HWC.mean(axis=(0, 1))
    return Image.fromarray(picture_HWC.astype(np.uint8)), tone


def _sprite(random: np.random.Generator, tone: np.ndarray) -> Image.Image:
    """A thing of random shape, RGBA, in a color that stands out from the ground's mean color `tone`."""
    shape = _SHAPES[random.integers(len(_SHAPES))]
    choices = [_color(random, (0.55, 1.0), (0.35, 1.0)) for _ in range(6)]
    color = max(choices, key=lambda choice: float(np.abs(choice - tone).sum()))
    large = 4 * _SPRITE
    mask = Image.new("L", (large, large), 0)
    draw = ImageDraw.Draw(mask)
    middle = large / 2
    if shape in ("disc", "ring"):
        draw.circle((middle, middle), 0.44 * large, fill=255)
        if shape == "ring":
            draw.circle((middle, middle), 0.22 * large, fill=0)
    else:
        draw.polygon([(middle + x * large, middle + y * large) for x, y in _corners(shape)], fill=255)
    mask = mask.reduce(4)
    inner = np.asarray(mask.filter(ImageFilter.GaussianBlur(_SPRITE / 16)), np.float32)[..., None] / 255
    shade = np.linspace(1.15, 0.85, _SPRITE, dtype=np.float32)[:, None, None]
    # Darker towards the rim: the thing looks solid and keeps an outline on a ground of its own color.
    body = np.clip(color * shade * (0.35 + 0.65 * np.clip(2.2 * inner - 1, 0, 1)), 0, 255)
    sprite = Image.fromarray(body.astype(np.uint8))
    sprite.putalpha(mask)
    return sprite


def _corners(shape: str) -> list[tuple[float, float]]:
    """Corners of a shape around (0, 0), inside a circle of radius 0.48."""
    if shape == "cross":
        arm, width = 0.44, 0.15
        quarter = [(width, -arm), (width, -width), (arm, -width)]
        corners = []
        for _ in range(4):
            corners += quarter
            quarter = [(-y, x) for x, y in quarter]
        return corners
    count = {"triangle": 3, "square": 4, "pentagon": 5, "star": 10}[shape]
    radii = [0.48, 0.21 if shape == "star" else 0.48]
    turns = [2 * math.pi * corner / count for corner in range(count)]
    return [
        (radii[corner % 2] * math.sin(turn), -radii[corner % 2] * math.cos(turn)) for corner, turn in enumerate(turns)
    ]
