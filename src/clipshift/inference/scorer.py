"""Scores of videos, whichever engine gave them: the average over a video's views, and what every engine can do.

Layouts: T frames, K classes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from clipshift.config import Average, EvaluateConfig, ModelSpec
from clipshift.datasets.clip import Clip
from clipshift.errors import VideoError
from clipshift.parallel.prefetch import UntilError

if TYPE_CHECKING:
    from torch import Tensor

    from clipshift.inference.engines.streaming import Stepper


@dataclass(frozen=True, eq=False)
class ScoredClip:
    """A clip with its logits, or why it could not be read."""

    clip: Clip
    logits: np.ndarray | None
    """float32 (K,), averaged over the views; the logarithms of the probabilities where these are averaged."""
    error: str | None
    """One line."""
    familiarity: float | None = None
    """Of the clip, averaged over the views, where the model remembers clips."""


class Scorer(Protocol):
    """What turns videos into logits: a PyTorch network or an exported file, with its preprocessing."""

    @property
    def spec(self) -> ModelSpec:
        """Class names, preprocessing, views, and where the model is from."""

    def with_spec(self, spec: ModelSpec) -> Scorer:
        """The same model with another description: other frames, views or limits of reading."""

    @property
    def engine(self) -> str:
        """What runs the network, for people."""

    def stream(self, clips: Iterable[Clip], protocol: EvaluateConfig, *, workers: int) -> Iterator[ScoredClip]:
        """Score clips in their order, read as `spec.reading` says and ahead in `workers` threads; nothing grows."""

    def frames(self, frames_THWC: np.ndarray, protocol: EvaluateConfig) -> np.ndarray:
        """Score one decoded video, all its frames uint8 (T, H, W, 3) RGB: logits float32 (K,).

        Raises:
            VideoError: The array is not a video.
        """

    def familiar_frames(self, frames_THWC: np.ndarray, protocol: EvaluateConfig) -> tuple[np.ndarray, float | None]:
        """The same as `frames`, and the familiarity, where the model remembers clips."""

    def one_set(self, frames_THWC: np.ndarray) -> np.ndarray:
        """Score exactly these frames, as many as the model takes, uint8 (T, H, W, 3): logits float32 (K,)."""

    def familiar_set(self, frames_THWC: np.ndarray) -> float | None:
        """The familiarity of exactly these frames, where the model remembers clips."""

    @property
    def stepper(self) -> Stepper:
        """The model, one frame at a time.

        Raises:
            ConfigError: It takes from later frames.
            ExportError: The exported file takes clips.
        """


@dataclass
class ViewAverage:
    """The running average of a video's views, of which K numbers are kept, however many views there are.

    Averaged are the logits, or the probabilities softmax(logits), of which the logarithm is given: it takes the place
    of logits, softmax(log(p)) being p.
    """

    average: Average = "logits"
    measured: bool = False
    """Whether behind the logits of a view stands its familiarity; averaged as it is."""
    views: int = 0
    _familiarity: float = 0.0
    _total: np.ndarray | None = field(default=None, repr=False)

    def add(self, logits: np.ndarray) -> None:
        """Take in the logits (K,) of one more view."""
        # Double precision: the average does not depend on which views shared a batch.
        logits = logits.astype(np.float64)
        self.views += 1
        if self.measured:
            self._familiarity += float(logits[-1])
            logits = logits[:-1]
        if self.average == "logits":
            self._total = logits if self._total is None else self._total + logits
        else:
            shifted = logits - logits.max()
            logs = shifted - np.log(np.exp(shifted).sum())
            # The logarithm of a sum of probabilities, also of such that are too small for a floating-point number.
            self._total = logs if self._total is None else np.logaddexp(self._total, logs)

    def result(self) -> np.ndarray:
        """The averaged logits, or logarithms of the averaged probabilities, float32 (K,).

        Raises:
            ValueError: No view was added.
        """
        if self._total is None:
            raise ValueError("there is no view to average")
        total = self._total / self.views if self.average == "logits" else self._total - math.log(self.views)
        return np.asarray(total, dtype=np.float32)

    @property
    def familiarity(self) -> float | None:
        """The averaged familiarity, where it is measured."""
        return self._familiarity / self.views if self.measured and self.views else None


View = TypeVar("View", bound="np.ndarray | Tensor")


def score_in_batches(
    reading: Generator[tuple[Clip, Sequence[View], str | None]],
    run: Callable[[list[View]], np.ndarray],
    *,
    batch_size: int,
    average: Average,
    measured: bool = False,
) -> Iterator[ScoredClip]:
    """Score clips in their order, in memory that does not grow with their number.

    Views of several videos share a forward pass, and those of one video may need several.

    Args:
        reading: Clips with their views, or with none and why they could not be read; closed at the end.
        run: From views of one shape, at most `batch_size`, to logits (B, K).
        batch_size: Views in one forward pass.
        average: What is averaged over a video's views.
        measured: Whether `run` gives (B, K + 1), with the familiarity behind the logits.

    Yields:
        Every clip with its logits or its error.
    """
    pending: deque[_Pending] = deque()
    waiting: list[tuple[_Pending, View]] = []

    def flush() -> None:
        if waiting:
            logits_BK = run([view for _, view in waiting])
            for (video, _), logits in zip(waiting, logits_BK, strict=True):
                video.scores.add(logits)
            waiting.clear()

    with closing(reading):
        read = UntilError(reading)
        for clip, views, error in read:
            video = _Pending(clip, len(views), error, ViewAverage(average, measured))
            pending.append(video)
            for view in views:
                if waiting and waiting[0][1].shape != view.shape:
                    flush()
                waiting.append((video, view))
                if len(waiting) == batch_size:
                    flush()
            while pending and pending[0].done:
                yield pending.popleft().result()
        flush()
        for video in pending:
            yield video.result()
        read.raise_error()


def score_concurrently(
    read: Callable[[], Iterable[View]],
    run: Callable[[list[View]], np.ndarray],
    clip: Clip,
    average: Average,
    measured: bool = False,
) -> ScoredClip:
    """Score one clip in the thread that calls, with a forward pass for each view.

    Args:
        read: Gives the views, or raises a VideoError.
        run: From one view to logits (1, K); called from several threads.
        clip: Whose views they are.
        average: What is averaged over them.
        measured: As for `score_in_batches`.
    """
    try:
        views = read()
    except VideoError as error:
        return ScoredClip(clip, None, one_line(error))
    scores = ViewAverage(average, measured)
    for view in views:
        scores.add(run([view])[0])
    return ScoredClip(clip, scores.result(), None, scores.familiarity)


@dataclass
class _Pending:
    """A video whose views are on their way."""

    clip: Clip
    views: int
    error: str | None
    scores: ViewAverage

    @property
    def done(self) -> bool:
        return self.scores.views == self.views

    def result(self) -> ScoredClip:
        logits = self.scores.result() if self.views else None
        return ScoredClip(self.clip, logits, self.error, self.scores.familiarity)


def average_views(logits_VK: Iterable[np.ndarray], average: Average) -> np.ndarray:
    """The [ViewAverage][clipshift.inference.scorer.ViewAverage] of all views of a video: logits float32 (K,)."""
    scores = ViewAverage(average)
    for logits in logits_VK:
        scores.add(logits)
    return scores.result()


def one_line(error: VideoError | None) -> str | None:
    """What an error says, without line breaks."""
    if error is None:
        return None
    return " ".join((error.what if error.got is None else f"{error.what} ({error.got})").split())
