"""From videos to logits, one after the other: what evaluation and prediction share, for any engine.

Layouts: B views in a batch, V views (clips x crops) of one video, T frames, K classes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from clipshift.config import Average, DataConfig, EvaluateConfig, InputConfig
from clipshift.data.clips import Clip
from clipshift.data.stream import read_ahead
from clipshift.data.transforms import normalise
from clipshift.errors import VideoError
from clipshift.evaluation.device import Amp, autocast

Engine = Callable[[Tensor], Tensor]
"""From views (B, T, 3, H, W) uint8 on the CPU to logits (B, K)."""


@dataclass(frozen=True)
class ScoredClip:
    """A clip with its logits, or why it could not be read."""

    clip: Clip
    logits: Tensor | None
    """float32 (K,), averaged over the views; the logarithms of the probabilities where these are averaged."""
    error: str | None
    """One line."""


def network_engine(network: nn.Module, settings: InputConfig, device: torch.device, amp: Amp = "fp32") -> Engine:
    """A PyTorch network as an engine.

    Args:
        network: On `device`, in evaluation mode: normalised clips (B, T, 3, H, W) to logits (B, K).
        settings: Its normalisation.
        device: Where it is.
        amp: Precision of the forward pass.
    """

    def answer(views_BTCHW: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(device, amp):
            logits: Tensor = network(normalise(views_BTCHW.to(device), settings.mean, settings.std))
        return logits

    return answer


def score_stream(
    engine: Engine,
    clips: Iterable[Clip],
    settings: InputConfig,
    data: DataConfig,
    protocol: EvaluateConfig,
    *,
    average: Average = "logits",
    workers: int,
) -> Iterator[ScoredClip]:
    """Score clips in their order, reading ahead of the network, in memory that does not grow with their number.

    The scores of a video's views (sets of frames x crops) are averaged, as the published systems do. Views of several
    videos share a forward pass and those of one video may need several, so that at most `protocol.batch_size` views
    are in one, whatever the protocol.

    Args:
        engine: Runs the network.
        clips: What to score; consumed step by step.
        settings: How frames become the network's input.
        data: Limits and names for reading the clips.
        protocol: Crops, clips and batch size.
        average: What is averaged over the views.
        workers: Threads that read ahead; 0 reads in this one.

    Yields:
        Every clip with its logits or its error.
    """
    pending: deque[_Pending] = deque()
    waiting: list[tuple[_Pending, Tensor]] = []  # (video, one of its views (T, 3, H, W))

    def run(batch: list[tuple[_Pending, Tensor]]) -> None:
        logits_BK = engine(torch.stack([view for _, view in batch]))
        for (video, _), row in zip(batch, logits_BK.cpu(), strict=True):
            video.scores.add(row)

    reading = read_ahead(clips, settings, data, crops=protocol.crops, clips_per_video=protocol.clips, workers=workers)
    with closing(reading):
        for read in reading:
            views = 0 if read.views is None else len(read.views)
            video = _Pending(read.clip, views, one_line(read.error), ViewAverage(average))
            pending.append(video)
            waiting += [(video, view) for view in (() if read.views is None else read.views)]
            while len(waiting) >= protocol.batch_size:
                run(waiting[: protocol.batch_size])
                del waiting[: protocol.batch_size]
            while pending and pending[0].done:
                yield pending.popleft().result()
        if waiting:
            run(waiting)
        for video in pending:
            yield video.result()


@dataclass
class ViewAverage:
    """The running average of a video's views, of which K numbers are kept, however many views there are.

    Averaged are the logits, or the probabilities softmax(logits), of which the logarithm is given: it takes the place
    of logits, softmax(log(p)) being p.
    """

    average: Average = "logits"
    views: int = 0
    _total: Tensor | None = field(default=None, repr=False)

    def add(self, logits: Tensor) -> None:
        """Take in the logits (K,) of one more view."""
        # Double precision: the average does not depend on which views shared a batch.
        logits = logits.double()
        self.views += 1
        if self.average == "logits":
            self._total = logits if self._total is None else self._total + logits
        else:
            logs = logits.log_softmax(dim=0)
            # The logarithm of a sum of probabilities, also of such that are too small for a floating-point number.
            self._total = logs if self._total is None else torch.logaddexp(self._total, logs)

    def result(self) -> Tensor:
        """The averaged logits, or logarithms of the averaged probabilities, float32 (K,).

        Raises:
            ValueError: No view was added.
        """
        if self._total is None:
            raise ValueError("there is no view to average")
        if self.average == "logits":
            return (self._total / self.views).float()
        return (self._total - math.log(self.views)).float()


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
        return ScoredClip(self.clip, self.scores.result() if self.views else None, self.error)


def one_line(error: VideoError | None) -> str | None:
    """What an error says, without line breaks."""
    if error is None:
        return None
    return " ".join((error.what if error.got is None else f"{error.what} ({error.got})").split())
