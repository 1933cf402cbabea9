"""The scores of a long video: a row of probabilities at every tick, kept in files while they come."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipshift.errors import ConfigError, VideoError
from clipshift.inference.looking import Look
from clipshift.inference.observing import Observation, check_rate, observe_ticks
from clipshift.parallel.prefetch import prefetch
from clipshift.video.limits import Limits
from clipshift.video.long_file import LongFile
from clipshift.video.timed import TimedFrame

if TYPE_CHECKING:
    from clipshift.inference.predictor import Model
    from clipshift.progress import Progress

_TIMES, _PROBABILITIES = "times.f64", "probabilities.f32"


@dataclass(frozen=True, eq=False)
class VideoScores:
    """What a model said along a video.

    Attributes:
        times: float64 (N,), seconds since the video's first frame, rising; mapped from a file.
        probabilities: float32 (N, K), in [0, 1]; mapped from a file.
        seconds: Time at which the last frame ends.
        frames: Frames of the video that were decoded.
        notes: What is to be known of the video: damage that was left out, an end that is missing.
    """

    times: np.ndarray
    probabilities: np.ndarray
    seconds: float
    frames: int
    notes: tuple[str, ...]


def check_way(model: Model, *, window: bool) -> None:
    """Raise an error, with what to do, for a model that cannot go along a video in this way.

    Raises:
        ConfigError: It takes from later frames, or several crops, and no window is asked for.
        ExportError: It is an export that takes clips, and no window is asked for.
    """
    if window:
        return
    try:
        _ = model.scorer.stepper
    except ConfigError as error:
        if error.where == "crops":
            raise
        remedy = "let it answer for a sliding window: --window (window=True); or train a network that is causal"
        raise ConfigError(error.what, where=error.where, got=error.got, allowed=error.allowed, remedy=remedy) from error


def score_video(  # noqa: PLR0913
    model: Model,
    path: Path,
    rate: float,
    folder: Path,
    *,
    window: bool = False,
    longest_display: float = 10.0,
    threads: int = 1,
    look: Look | None = None,
    progress: Progress | None = None,
) -> VideoScores:
    """Runs a model along a video file, in memory that does not grow with its length; each frame is decoded once.

    Args:
        model: What answers.
        path: The file.
        rate: Frames a second that the network sees.
        folder: Where the scores go, in two files; it is there, and is empty.
        window: Whether the model answers for a sliding window of the last frames.
        longest_display: Seconds that a frame is shown at most; where frames are missing for longer, the network begins
            anew.
        threads: Threads of the decoder.
        look: The part of the video that is looked at; of a track, `window` must be true. None: all of it.
        progress: Called with the seconds that are done and all of them.

    Returns:
        The scores.

    Raises:
        ConfigError: The model cannot go along a video, or there is no such rate.
        ExportError: The model is an export that takes clips, and `window` is false.
        VideoError: The video cannot be read, it or the track is too short for one answer, or the track leaves the
            picture.
        OSError: The scores cannot be written.
    """
    check_way(model, window=window)
    settings, reading = model.spec.input, model.spec.reading
    file = LongFile(path, limits=Limits.of(reading), threads=threads, square_pixels=settings.pixel_aspect == "apply")
    with ExitStack() as stack:
        stack.enter_context(file)
        times = stack.enter_context((folder / _TIMES).open("wb"))
        rows = stack.enter_context((folder / _PROBABILITIES).open("wb"))
        ticks = file.frames_at_rate(check_rate(rate), longest_display=longest_display)
        ahead = stack.enter_context(closing(_ahead(ticks if look is None else look.along(ticks))))
        cut = None if look is None else look.window
        observed = 0
        for observation in observe_ticks(model, ahead, rate, window=window, cut=cut):
            times.write(np.float64(observation.time).tobytes())
            rows.write(np.asarray(observation.probabilities, np.float32).tobytes())
            observed += 1
            _tell(progress, observation, file)
    if not observed:
        length = file.end if look is None or look.seconds is None else look.seconds
        what = "video" if look is None else "part of the video"
        raise too_short(path, length, settings.segments if window else 1, rate, what=what)
    return VideoScores(
        np.memmap(folder / _TIMES, np.float64, "r"),
        np.memmap(folder / _PROBABILITIES, np.float32, "r", shape=(observed, len(model.classes))),
        file.end,
        file.pictures_read,
        file.notes,
    )


def too_short(path: Path | str, seconds: float, needed: int, rate: float, *, what: str = "video") -> VideoError:
    """What is to be said of a video without an answer, as it has fewer than the needed frames."""
    return VideoError(
        f"The {what} is too short for one answer.",
        where=path,
        got=f"{seconds:.2f} s",
        allowed=f"{needed} frames at {rate:g} a second",
    )


def _tell(progress: Progress | None, observation: Observation, file: LongFile) -> None:
    if progress is not None:
        done = int(observation.time)
        progress(done, max(done, int(file.seconds or 0)))


def _ahead(items: Generator[TimedFrame]) -> Generator[TimedFrame]:
    """Frames that are made in a thread, a little ahead of their use."""
    try:
        with closing(prefetch(lambda _: next(items, None), count(), 1)) as results:
            for item in results:
                if item is None:
                    return
                yield item
    finally:
        items.close()
