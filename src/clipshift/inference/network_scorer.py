"""From videos to logits by a PyTorch network: what evaluation and prediction share.

Layouts: B views in a batch, V views (clips x crops) of one video, T frames, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from threading import Semaphore

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipshift.config import Average, EvaluateConfig, InputConfig, ModelSpec, ReadingConfig
from clipshift.datasets.clip import Clip
from clipshift.device import Amp, autocast, cast_weights
from clipshift.errors import ConfigError
from clipshift.inference.engines.torch_program import begin_answer
from clipshift.inference.known_clips import KnownClips
from clipshift.inference.network_stepper import NetworkStepper
from clipshift.inference.scorer import ScoredClip, ViewAverage, one_line, score_concurrently, score_in_batches
from clipshift.inference.views import prefetch_views, read_views, views_of_frames
from clipshift.models.folding import inference_form
from clipshift.models.online import check_causal
from clipshift.models.recognizer import Recognizer
from clipshift.parallel.prefetch import prefetch
from clipshift.preprocessing.transforms import evaluation_views, normalize

Engine = Callable[[Tensor], Tensor]
"""From views (B, T, 3, H, W) uint8 on the CPU to logits (B, K)."""


def network_engine(network: nn.Module, settings: InputConfig, device: torch.device, amp: Amp = "fp32") -> Engine:
    """A PyTorch network as an engine.

    Args:
        network: On `device`, in evaluation mode: normalized clips (B, T, 3, H, W) to logits (B, K).
        settings: Its normalization.
        device: Where it is.
        amp: Precision of the forward pass.

    Raises:
        ConfigError: At an answer: the device is a GPU, and this process was forked from the one that put it there.
        UserError: At an answer: PyTorch has answered in the process that this one was forked from.
    """
    owner = os.getpid()

    def answer(views_BTCHW: Tensor) -> Tensor:
        if device.type != "cpu" and os.getpid() != owner:
            raise ConfigError(
                "A model on a GPU cannot be used in a process that was forked from the one that loaded it.",
                where="device",
                got=device,
                remedy="start processes by spawn, to which a Model can be sent",
            )
        begin_answer()
        with torch.inference_mode(), autocast(device, amp):
            logits: Tensor = network(normalize(views_BTCHW.to(device), settings.mean, settings.std))
        return logits

    return answer


def score_stream(
    engine: Engine,
    clips: Iterable[Clip],
    settings: InputConfig,
    data: ReadingConfig,
    protocol: EvaluateConfig,
    *,
    average: Average = "logits",
    measured: bool = False,
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
        measured: Whether the engine gives (B, K + 1), with the familiarity behind the logits.
        workers: Threads that read ahead; 0 reads in this one.

    Returns:
        An iterator over every clip with its logits or its error.
    """
    reading = prefetch_views(
        clips, settings, data, crops=protocol.crops, clips_per_video=protocol.clips, workers=workers
    )

    def views() -> Generator[tuple[Clip, Sequence[Tensor], str | None]]:
        with closing(reading):
            for read in reading:
                yield read.clip, () if read.views is None else read.views.unbind(), one_line(read.error)

    def run(batch: list[Tensor]) -> np.ndarray:
        return np.asarray(engine(torch.stack(batch)).float().cpu())

    return score_in_batches(views(), run, batch_size=protocol.batch_size, average=average, measured=measured)


def _stream_concurrently(
    engine: Engine, clips: Iterable[Clip], spec: ModelSpec, protocol: EvaluateConfig, workers: int, measured: bool
) -> Iterator[ScoredClip]:
    """Score clips in their order, as many at once as PyTorch has threads, with one thread for each.

    All threads on one clip wait for each other after every layer, and for cores on which others decode.
    """
    threads = torch.get_num_threads()
    places = Semaphore(threads)

    def run(views: list[Tensor]) -> np.ndarray:
        with places:
            return np.asarray(engine(torch.stack(views)).float())

    def score(clip: Clip) -> ScoredClip:
        torch.set_num_threads(1)  # of this thread, and of those that are new to PyTorch
        read = partial(read_views, clip, spec.input, spec.reading, crops=protocol.crops, clips=protocol.clips)
        return score_concurrently(read, run, clip, spec.average, measured)

    try:
        yield from prefetch(score, clips, workers)
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class NetworkScorer:
    """A PyTorch network as a [Scorer][clipshift.inference.scorer.Scorer].

    Attributes:
        network: On `device`, in evaluation mode: normalized clips (B, T, 3, H, W) to logits (B, K). What runs is its
            [inference form][clipshift.models.folding.inference_form], made at the first answer.
        spec: How frames become its input, and what is averaged over a video's views.
        device: Where it is.
        amp: Precision of the forward pass.
        as_trained: Run `network` itself, to compare others with it.
        known: What it remembers of the clips that it has learnt from; None: no clip is unknown.
        embeds: Give what the classifier reads, (D,), in place of logits.
    """

    network: nn.Module
    spec: ModelSpec
    device: torch.device
    amp: Amp = "fp32"
    as_trained: bool = False
    known: KnownClips | None = None
    embeds: bool = False

    def embedder(self) -> NetworkScorer:
        """The same network, giving in place of logits what its classifier reads, averaged over the views."""
        spec = self.spec.model_copy(update={"average": "logits"})  # the average of the vectors themselves
        return replace(self, spec=spec, known=None, embeds=True)

    def with_spec(self, spec: ModelSpec) -> NetworkScorer:
        """The same network with another description: other frames, views or limits."""
        return replace(self, spec=spec)

    @property
    def engine(self) -> str:
        """What runs the network, for people."""
        where = f"{torch.get_num_threads()} threads" if self.device.type == "cpu" else str(self.device)
        return f"PyTorch {torch.__version__.partition('+')[0]} (trained model), {self.amp}, {where}"

    def stream(self, clips: Iterable[Clip], protocol: EvaluateConfig, *, workers: int) -> Iterator[ScoredClip]:
        """Score clips in their order; see [score_stream][clipshift.inference.network_scorer.score_stream].

        On the CPU each clip is scored by the thread that has read it, unless batches are asked for.
        """
        engine, spec = self._engine, self.spec
        if self.device.type == "cpu" and protocol.batch_size == 1 and min(workers, torch.get_num_threads()) > 1:
            return _stream_concurrently(engine, clips, spec, protocol, workers, self._measures)
        return score_stream(
            engine,
            clips,
            spec.input,
            spec.reading,
            protocol,
            average=spec.average,
            measured=self._measures,
            workers=workers,
        )

    def frames(self, frames_THWC: np.ndarray, protocol: EvaluateConfig) -> np.ndarray:
        """Score one decoded video: logits float32 (K,)."""
        return self.familiar_frames(frames_THWC, protocol)[0]

    def familiar_frames(self, frames_THWC: np.ndarray, protocol: EvaluateConfig) -> tuple[np.ndarray, float | None]:
        """The same, and the familiarity, where the model remembers clips."""
        return self._score(views_of_frames(frames_THWC, self.spec.input, crops=protocol.crops, clips=protocol.clips))

    def one_set(self, frames_THWC: np.ndarray) -> np.ndarray:
        """Score exactly these T frames: logits float32 (K,), averaged over the crops."""
        return self._score(evaluation_views(frames_THWC, self.spec.input, self.spec.crops))[0]

    def familiar_set(self, frames_THWC: np.ndarray) -> float | None:
        """The familiarity of exactly these T frames, where the model remembers clips."""
        if self.known is None:
            return None
        return self._score(evaluation_views(frames_THWC, self.spec.input, self.spec.crops))[1]

    def _score(self, views_VTCHW: Tensor) -> tuple[np.ndarray, float | None]:
        scores = ViewAverage(self.spec.average, self._measures)
        for row in self._engine(views_VTCHW).float().cpu().numpy():
            scores.add(row)
        return scores.result(), scores.familiarity

    @property
    def _measures(self) -> bool:
        """Whether the engine gives the familiarity behind the logits."""
        return self.known is not None

    @cached_property
    def stepper(self) -> NetworkStepper:
        """The network, one frame at a time.

        Raises:
            ConfigError: It takes from later frames, or several crops.
        """
        network = self._running
        if not isinstance(network, Recognizer):
            raise TypeError(f"a recognizer is expected, got {type(network).__name__}")
        check_causal(network.model)
        return NetworkStepper(network, self.spec, self.device, self.amp)

    @cached_property
    def _running(self) -> nn.Module:
        if self.as_trained or not isinstance(self.network, Recognizer):
            return self.network
        form = inference_form(self.network)
        cast_weights(form, self.amp)  # in place
        return form

    @cached_property
    def _engine(self) -> Engine:
        running = self._running
        if self.embeds and isinstance(running, Recognizer):
            running = _Embedding(running)
        elif self.known is not None and isinstance(running, Recognizer):
            running = _FamiliarityMeasuring(running, self.known).to(self.device)
        return network_engine(running, self.spec.input, self.device, self.amp)


class _Embedding(nn.Module):
    """From clips (B, T, 3, H, W) to what the classifier reads, (B, D)."""

    def __init__(self, network: Recognizer) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        return self.network.embed(self.network.features(clips_BTCHW))


class _FamiliarityMeasuring(nn.Module):
    """From clips (B, T, 3, H, W) to (B, K + 1): the logits, and the familiarity behind them."""

    remembered: Tensor

    def __init__(self, network: Recognizer, known: KnownClips) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("remembered", torch.from_numpy(known.features.copy()))

    def forward(self, clips_BTCHW: Tensor) -> Tensor:
        features_BTD = self.network.features(clips_BTCHW)
        logits_BK = self.network.classify(features_BTD)
        unit_BD = F.normalize(self.network.summarize(features_BTD.float()), dim=1)
        nearest_B = (unit_BD @ self.remembered.T).amax(dim=1)
        return torch.cat([logits_BK.float(), nearest_B[:, None]], dim=1)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode while inside, then every module back into the mode it had."""
    # Module by module: in training some batch norms may be frozen, and a single flag would thaw them.
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
