"""Long made-up videos in which events happen at known times, in the manner of the motion clips.

A stream is one scene of [clipshift.datasets.motion][]. Between the events the thing wanders to and fro by single
stills: around the place where the last event left it, then around any place, then around the place where the next event
begins, with a jump between these; this is the background. An event shows the stills in the order of one of the four
classes, at one of three paces. So a single frame does not tell the class, and little of whether something happens:
every place is seen in the background, too.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clipshift.datasets.motion import CLASSES, FRAMES_PER_SECOND, class_order, draw_stills, encode, make_folder
from clipshift.errors import ConfigError
from clipshift.temporal.annotations import Annotation, write_annotations
from clipshift.temporal.segments import Segment

ANNOTATIONS = ("annotations.json", "annotations.csv")
"""The files of annotations: ActivityNet's form, and a table; both name a video by its file."""

_NOTE = "motion_streams.json"
_FORMAT = 2
_STILLS = 24
_PACES = (18, 24, 30)
"""Frames that an event may last."""
_PAUSES = (2 * FRAMES_PER_SECOND, 6 * FRAMES_PER_SECOND)
"""Least and most frames of background before an event."""
_LAST_PAUSE = FRAMES_PER_SECOND
# The clips of the parts train and val have 0 and 1 in this place: a stream shares no scene with a clip of its seed.
_TAG = 2


@dataclass(frozen=True)
class _Settings:
    format: int
    streams: int
    seconds: float
    size: int
    seed: int


def check_sizes(streams: int, seconds: float, seed: int) -> None:
    """Looks whether streams of these sizes can be made.

    Raises:
        ConfigError: A number is out of its range.
    """
    for name, value, least, most in (
        ("streams", streams, 1, 10_000),
        ("seconds", seconds, 10, 36_000),
        ("seed", seed, 0, math.inf),
    ):
        if not least <= value <= most:
            allowed = f"{least} or more" if most == math.inf else f"{least} to {most}"
            raise ConfigError(f"{name} is out of its range.", where=f"--{name}", got=value, allowed=allowed)


def write_motion_streams(
    folder: Path, *, streams: int = 4, seconds: float = 60.0, size: int = 96, seed: int = 0
) -> Path:
    """Write streams as `0000.mp4` and so on, with their events in `annotations.json` and `annotations.csv`.

    Every fourth one is of the subset `validation`, the others of `training`.

    The result depends on the arguments only; more streams leave the first ones as they are. The folder appears when it
    is complete; one that an earlier call with the same arguments made is left as it is.

    Args:
        folder: Where to write; must not exist, be empty, or be the result of the same call.
        streams: How many, at least 1.
        seconds: Length of each, at least 10 and at most 36 000; rounded to frames, 12 a second.
        size: Side of the square frames in pixels; even, at least 32.
        seed: Seed of all random choices, at least 0.

    Returns:
        `folder`.

    Raises:
        ConfigError: A number is out of its range.
        DataError: The folder holds something else, or cannot be written.
        ValueError: The size is out of its range.
    """
    check_sizes(streams, seconds, seed)
    if size < 32 or size % 2:
        raise ValueError(f"size must be even and at least 32, got {size}")
    settings = _Settings(_FORMAT, streams, float(seconds), size, seed)
    files = [Path(f"{number:04d}.mp4") for number in range(streams)]
    return make_folder(
        folder,
        _NOTE,
        asdict(settings),
        [*files, *map(Path, ANNOTATIONS)],
        lambda made: _write_all(made, files, settings),
    )


def plan_stream(random: np.random.Generator, frames: int) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """What a stream shows when.

    Args:
        random: Where the random choices come from.
        frames: Length of the stream, at least 120.

    Returns:
        int64 (frames,): the still of each frame, from 0 to 23; and the events, at least one, in the order of time. An
        event ends where the first frame after it begins.
    """
    pieces: list[np.ndarray] = []
    events: list[Segment] = []
    place, shown = int(random.integers(_STILLS)), 0
    while True:
        pause, pace = int(random.integers(_PAUSES[0], _PAUSES[1] + 1)), int(random.choice(_PACES))
        if shown + pause + pace + _LAST_PAUSE > frames:
            break
        name = CLASSES[random.integers(len(CLASSES))]
        moves = np.rint(class_order(name, pace) * (_STILLS - 1) / (pace - 1)).astype(np.int64)
        third, anywhere = pause // 3, int(random.integers(_STILLS))
        pieces += [_wander(random, place, third), _wander(random, anywhere, third)]
        pieces += [_wander(random, int(moves[0]), pause - 2 * third)[::-1], moves]
        begin, shown = shown + pause, shown + pause + pace
        events.append(Segment(name, begin / FRAMES_PER_SECOND, shown / FRAMES_PER_SECOND))
        place = int(moves[-1])
    pieces.append(_wander(random, place, frames - shown))
    return np.concatenate(pieces), tuple(events)


def _wander(random: np.random.Generator, place: int, frames: int) -> np.ndarray:
    """int64 (frames,): stills from `place` on, each at most one from the one before, at most three from `place`."""
    stills = np.empty(frames, np.int64)
    now = place
    for index in range(frames):
        stills[index] = now
        now += int(random.integers(-1, 2))
        now = min(max(now, place - 3, 0), place + 3, _STILLS - 1)
    return stills


def _write_all(folder: Path, files: list[Path], settings: _Settings) -> None:
    folder.mkdir()
    frames = round(settings.seconds * FRAMES_PER_SECOND)
    annotations = []
    for number, path in enumerate(files):
        # A stream has its own generator: more streams leave the first ones as they are.
        random = np.random.default_rng(np.random.SeedSequence([settings.seed, _TAG, number]))
        stills_THWC = draw_stills(random, frames=_STILLS, size=settings.size)
        order, events = plan_stream(random, frames)
        encode(folder / path, stills_THWC, order)
        subset = "validation" if number % 4 == 3 else "training"
        annotations.append(Annotation(path.name, events, frames / FRAMES_PER_SECOND, subset))
    for name in ANNOTATIONS:
        write_annotations(folder / name, annotations)
