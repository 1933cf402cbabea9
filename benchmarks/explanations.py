"""Whether explanations find what a network goes by: clips whose class is decided in a known span and place.

    python benchmarks/explanations.py [sign motion] [--clips 300] [--held-out 200] [--epochs 15] [--places 50]
        [--to FOLDER] [--json figures.json]

Each clip shows a disc at a random place of a patterned ground, among two others that move about. For a short span, at
a random time, something happens to the disc, and that alone tells the two classes apart:

- sign: it turns red, or blue. Any one frame of the span tells.
- motion: it runs a circle, clockwise or the other way round, and is back where it was. No single frame tells, nor do
  the frames before and after.

A small TSM learns each from video files by `clipshift train`, and explains held-out files, for their true class, as
`clipshift explain` does. Counted are the clips where the frame whose hiding costs most lies in the span, as in the
pointing game of Zhang et al. (2018); those where the n frames whose hiding costs most are the n of the span; and, of
the first so many clips, those where the hottest place lies on the disc or its circle: of Grad-CAM in the decisive
frame, and of hidden places. Behind each share stands its 95 % interval (Wilson), and what chance would find.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from common import machine
from PIL import Image, ImageDraw

import clipshift
from clipshift.datasets.motion import encode
from clipshift.evaluation.explaining.explanation import Explanation
from clipshift.evaluation.explaining.making import Where, explain_with
from clipshift.evaluation.explaining.occlusion import Fill
from clipshift.evaluation.metrics import wilson_interval
from clipshift.inference.scorer import Scorer

KINDS = ("sign", "motion")
CLASSES = ("first", "second")
FRAMES, SIZE, SEGMENTS = 24, 64, 8
SPAN = {"sign": 6, "motion": 9}
"""Frames; with a frame taken of each three, two and three of eight are in it."""
_RADIUS, _REACH = 6.0, 11.0
"""Of the disc, and of its circle, in pixels."""


@dataclass(frozen=True)
class Planted:
    """A clip and where its evidence lies.

    Attributes:
        frames: uint8 (24, 64, 64, 3).
        label: 0 or 1.
        span: First frame of the evidence, and the one behind the last.
        place: Middle of the evidence, x and y in pixels.
        reach: Pixels from there to its rim.
    """

    frames: np.ndarray
    label: int
    span: tuple[int, int]
    place: tuple[float, float]
    reach: float

    def in_span(self, frame: int) -> bool:
        """Whether a frame shows evidence."""
        return self.span[0] <= frame < self.span[1]


def planted(kind: str, label: int, random: np.random.Generator) -> Planted:
    """Draw a clip; nothing but its span depends on the label."""
    length, room = SPAN[kind], _RADIUS + _REACH + 1
    start = int(random.integers(0, FRAMES - length + 1))
    x, y = random.uniform(room, SIZE - room, 2)
    ground = _ground(random)
    others = [_drift(random) for _ in range(2)]
    grays = [int(value) for value in random.integers(60, 200, 2)]
    base = random.uniform(0, 2 * math.pi)
    frames = np.empty((FRAMES, SIZE, SIZE, 3), np.uint8)
    for frame in range(FRAMES):
        inside = start <= frame < start + length
        image = Image.fromarray(ground)
        pen = ImageDraw.Draw(image)
        for path, gray in zip(others, grays, strict=True):
            _disc(pen, float(path[frame, 0]), float(path[frame, 1]), (gray, gray, gray))
        color, turn = (240, 240, 240), 0.0
        if inside and kind == "sign":
            color = ((220, 40, 40), (40, 60, 220))[label]
        elif inside:
            turn = (1, -1)[label] * 2 * math.pi * (frame - start + 1) / (length + 1)
        across, down = (0.0, 0.0)
        if kind == "motion":  # it starts, and ends, on its circle
            across, down = _REACH * math.cos(base + turn), _REACH * math.sin(base + turn)
        _disc(pen, x + across, y + down, color)
        noise = random.normal(0, 4, (SIZE, SIZE, 1))
        frames[frame] = np.clip(np.asarray(image, np.float32) + noise, 0, 255).astype(np.uint8)
    reach = _RADIUS + (_REACH if kind == "motion" else 0)
    return Planted(frames, label, (start, start + length), (x, y), reach)


def _ground(random: np.random.Generator) -> np.ndarray:
    """uint8 (64, 64, 3): clouds of gray and green."""
    coarse = Image.fromarray(random.uniform(40, 150, (6, 6)).astype(np.float32))
    clouds = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    tint = np.array([1, random.uniform(1, 1.4), 1], np.float32)
    return np.clip(clouds[..., None] * tint, 0, 255).astype(np.uint8)


def _drift(random: np.random.Generator) -> np.ndarray:
    """float64 (24, 2): a walk through the picture, which turns at the rims."""
    start, step = random.uniform(0, SIZE, 2), random.uniform(-3, 3, 2)
    way = start + step * np.arange(FRAMES)[:, None]
    return np.asarray(SIZE - np.abs(way % (2 * SIZE) - SIZE))


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, color: tuple[int, int, int]) -> None:
    pen.ellipse((x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS), fill=color)


@dataclass(frozen=True)
class Row:
    """What was found with one filling of hidden frames, or one way to find places.

    Attributes:
        kind: Of the evidence.
        how: The filling, or the way.
        clips: Held-out clips.
        right: That the network gets right.
        found: In whose span the decisive frame lies, or on whose evidence the hottest place.
        exact: Whose n most decisive frames are the n of the span; None for places.
        chance: The share that chance would find.
    """

    kind: str
    how: str
    clips: int
    right: int
    found: int
    exact: int | None
    chance: float

    def text(self) -> str:
        """A row of the table."""
        low, high = wilson_interval(self.found, self.clips)
        exact = "" if self.exact is None else f"{self.exact / self.clips:.1%}"
        return (
            f"| {self.kind} | {self.how} | {self.right / self.clips:.1%} | {self.found} of {self.clips}: "
            f"{self.found / self.clips:.1%} ({low:.1%} to {high:.1%}) | {exact} | {self.chance:.1%} |"
        )


def write_clips(folder: Path, kind: str, count: int, *, part: int) -> list[tuple[Path, Planted]]:
    """Write clips of both classes in turn, as `CLASS/NUMBER.mp4`; those that are there stay."""
    made = []
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        clip = planted(kind, number % 2, np.random.default_rng([part, number]))
        path = folder / CLASSES[clip.label] / f"{number:04d}.mp4"
        if not path.exists():
            encode(path, clip.frames, np.arange(FRAMES))
        made.append((path, clip))
    return made


def learn(kind: str, options: argparse.Namespace) -> clipshift.Model:
    """Train on clips of a kind, or take the run that is there."""
    folder = options.to / f"{kind}-clips"
    for part, (name, count) in enumerate((("train", options.clips), ("val", 40))):
        write_clips(folder / name, kind, count, part=part)
    run = clipshift.train(
        folder,
        f"train.epochs={options.epochs}",
        *("train.device=cpu", "train.examine=false", "train.unknown=false", "data.workers=1"),
        *options.settings,
        recipe="motion-demo",
        out=options.to / f"{kind}-run",
    )
    return clipshift.load(run.run, device="cpu")


def measure_frames(scorer: Scorer, clips: Sequence[tuple[Path, Planted]], kind: str, fill: Fill) -> Row:
    """Whether the frames are found."""
    right = found = exact = 0
    for path, clip in clips:
        explanation = explain_with(scorer, path, index=clip.label, where="none", fill=fill)
        right += explanation.top(1)[0][0] == CLASSES[clip.label]
        drops = np.array([frame.logit_drop for frame in explanation.frames])
        inside = np.array([clip.in_span(frame.index) for frame in explanation.frames])
        found += bool(inside[drops.argmax()])
        exact += bool(inside[np.argsort(-drops)[: inside.sum()]].all())
    return Row(kind, fill, len(clips), right, found, exact, SPAN[kind] / FRAMES)


def measure_places(scorer: Scorer, clips: Sequence[tuple[Path, Planted]], kind: str, where: Where) -> Row:
    """Whether the places are found."""
    right = found = 0
    shares = []
    for path, clip in clips:
        explanation = explain_with(scorer, path, index=clip.label, where=where)
        right += explanation.top(1)[0][0] == CLASSES[clip.label]
        distances = _distances(explanation, clip)
        found += bool(distances[0] <= clip.reach)
        shares.append(float((distances[1:] <= clip.reach).mean()))
    return Row(kind, where, len(clips), right, found, None, float(np.mean(shares)))


def _distances(explanation: Explanation, clip: Planted) -> np.ndarray:
    """Pixels from the middle of the evidence to the hottest place, then to every cell of its map."""
    heat, place = explanation.heat, explanation.decisive
    assert heat is not None
    assert place is not None
    rows, columns = heat.maps.shape[1:]
    left, top, width, height = heat.box
    cells = [
        (left + width * (column + 0.5) / columns, top + height * (row + 0.5) / rows)
        for row, column in np.ndindex(rows, columns)
    ]
    points = SIZE * np.array([heat.hottest(place), *cells])
    return np.asarray(np.hypot(*(points - clip.place).T))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="sign, motion; by default both")
    parser.add_argument("--clips", type=int, default=300, help="to learn from, of both classes")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--places", type=int, default=50, help="held-out clips whose places are looked for")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--settings", nargs="+", default=[], help="key=value of the training")
    parser.add_argument("--to", type=Path, default=Path("runs") / "explanations")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print(
        "| evidence | how | network right | found (95 % interval) | all n frames | chance |\n|---|---|---|---|---|---|"
    )
    for kind in options.kinds or KINDS:
        scorer = learn(kind, options).scorer
        clips = write_clips(options.to / f"{kind}-held-out", kind, options.held_out, part=2)
        for fill in get_args(Fill):
            rows.append(measure_frames(scorer, clips, kind, fill))
            print(rows[-1].text(), flush=True)
        for where in ("grad-cam", "occlusion"):
            rows.append(measure_places(scorer, clips[: options.places], kind, where))
            print(rows[-1].text(), flush=True)
    if options.json:
        figures = {"machine": machine(), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
