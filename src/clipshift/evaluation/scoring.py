"""From videos to logits, one after the other: what evaluation and prediction share, for any engine.

Layouts: B views in a batch, T frames, K classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clipshift.config import DataConfig, EvaluateConfig, InputConfig
from clipshift.data.clips import Clip
from clipshift.data.stream import read_ahead
from clipshift.data.transforms import normalise
from clipshift.errors import VideoError
from clipshift.evaluation.device import Amp, autocast

Engine = Callable[[Tensor], Tensor]
"""From views (B, T, 3, H, W) uint8 on the CPU to logits (B, K)."""

VIEWS_PER_FRAME = {"centre": 1, "three": 3, "ten": 10}


@dataclass(frozen=True)
class ScoredClip:
    """A clip with its logits, or why it could not be read."""

    clip: Clip
    logits: Tensor | None
    """float32 (K,), averaged over the views."""
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
    workers: int,
) -> Iterator[ScoredClip]:
    """Score clips in their order, reading ahead of the network, in memory that does not grow with their number.

    The logits of a video's views (sets of frames x crops) are averaged, as the published systems do. Views of several
    videos share a forward pass and those of one video may need several, so that at most `protocol.batch_size` views
    are in one, whatever the protocol.

    Args:
        engine: Runs the network.
        clips: What to score; consumed step by step.
        settings: How frames become the network's input.
        data: Limits and names for reading the clips.
        protocol: Crops, clips and batch size.
        workers: Threads that read ahead; 0 reads in this one.

    Yields:
        Every clip with its logits or its error.
    """
    pending: deque[_Pending] = deque()
    waiting: list[tuple[_Pending, Tensor]] = []  # (video, one of its views (T, 3, H, W))

    def run(batch: list[tuple[_Pending, Tensor]]) -> None:
        logits_BK = engine(torch.stack([view for _, view in batch]))
        # Double precision: the average does not depend on which views shared a batch.
        for (video, _), row in zip(batch, logits_BK.to("cpu", torch.float64), strict=True):
            video.add(row)

    reading = read_ahead(clips, settings, data, crops=protocol.crops, clips_per_video=protocol.clips, workers=workers)
    with closing(reading):
        for read in reading:
            video = _Pending(read.clip, 0 if read.views is None else len(read.views), one_line(read.error))
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
class _Pending:
    """A video whose views are on their way; only K numbers of it are kept, however many views it has."""

    clip: Clip
    views: int
    error: str | None
    seen: int = 0
    total: Tensor | None = None

    @property
    def done(self) -> bool:
        return self.seen == self.views

    def add(self, logits: Tensor) -> None:
        self.seen += 1
        self.total = logits if self.total is None else self.total + logits

    def result(self) -> ScoredClip:
        logits = None if self.total is None else (self.total / self.views).float()
        return ScoredClip(self.clip, logits, self.error)


def one_line(error: VideoError | None) -> str | None:
    """What an error says, without line breaks."""
    if error is None:
        return None
    return " ".join((error.what if error.got is None else f"{error.what} ({error.got})").split())
