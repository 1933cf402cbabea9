"""Videos through an exported model: decoded ahead in threads, answered by an engine, averaged.

Layouts: B sets of frames in a batch, T frames of a set, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from threading import Semaphore

import numpy as np

from clipshift.config import EvaluateConfig, InputConfig, ModelSpec
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError, ExportError, MissingDependencyError, VideoError
from clipshift.inference.engines.session import Session
from clipshift.inference.engines.streaming import Stepper, StreamingSession
from clipshift.inference.export_folder import Export
from clipshift.inference.scorer import ScoredClip, average_views, one_line, score_concurrently, score_in_batches
from clipshift.parallel.prefetch import Reserve, decoder_threads, prefetch_within
from clipshift.preprocessing.motion_region import seen_frames
from clipshift.preprocessing.windows import choose_test_frames, sets_of_array
from clipshift.video import check_video

_MOST_BYTES = 1024**3
"""Of decoded frames that are held ahead of the engine: five clips of eight frames in 4K, 20 in 1080p."""


@dataclass(frozen=True)
class ExportScorer:
    """An exported model as a [Scorer][clipshift.inference.scorer.Scorer].

    Attributes:
        session: The compiled model.
        export: What it is.
    """

    session: Session
    export: Export

    @property
    def spec(self) -> ModelSpec:
        """Class names, preprocessing, views, and where the model is from."""
        return self.export.spec

    def with_spec(self, spec: ModelSpec) -> ExportScorer:
        """The same file with another description: other sampling or limits; what is inside the file stays."""
        return replace(self, export=self.export.model_copy(update={"spec": spec}))

    @property
    def engine(self) -> str:
        """What runs the network, for people."""
        return self.session.engine

    @property
    def stepper(self) -> Stepper:
        """The file, one frame at a time.

        Raises:
            ExportError: It takes clips.
        """
        if not isinstance(self.session, StreamingSession):
            raise ExportError(
                "This exported model takes clips, not one frame at a time.",
                remedy="export with --streaming, or classify a sliding window of the last frames with `predict`",
            )
        return self.session

    def stream(self, clips: Iterable[Clip], protocol: EvaluateConfig, *, workers: int) -> Iterator[ScoredClip]:
        """Score clips in their order; inputs of one size share a batch of `protocol.batch_size`.

        Read ahead are at most 2 x workers clips, and 1 GiB of frames: those of an export are as large as decoded. An
        engine that takes calls side by side gets them from the threads that read, unless batches are asked for.

        Raises:
            ConfigError: Other crops are asked for than the file takes.
        """
        self.check_views(protocol)
        if min(self.session.concurrency, workers) > 1 and protocol.batch_size == 1:
            return self._stream_concurrently(clips, protocol, workers)
        threads = decoder_threads(workers)

        def read(clip: Clip, reserve: Reserve) -> tuple[Clip, tuple[np.ndarray, ...], str | None]:
            try:
                return clip, self._read(clip, protocol.clips, reserve, threads), None
            except VideoError as error:
                return clip, (), one_line(error)

        return score_in_batches(
            prefetch_within(_MOST_BYTES, read, clips, workers),
            lambda inputs: self.session.run(_batch(inputs)),
            batch_size=protocol.batch_size,
            average=self.export.spec.average,
        )

    def _stream_concurrently(
        self, clips: Iterable[Clip], protocol: EvaluateConfig, workers: int
    ) -> Iterator[ScoredClip]:
        """Score clips in their order, each by the thread that has read it: no core waits for another's work."""
        places = Semaphore(self.session.concurrency)

        def run(inputs: list[np.ndarray]) -> np.ndarray:
            with places:
                return self.session.run(_batch(inputs))

        def score(clip: Clip, reserve: Reserve) -> ScoredClip:
            read = partial(self._read, clip, protocol.clips, reserve)
            return score_concurrently(read, run, clip, self.export.spec.average)

        return prefetch_within(_MOST_BYTES, score, clips, workers)

    def frames(self, frames_THWC: np.ndarray, protocol: EvaluateConfig) -> np.ndarray:
        """Score one decoded video: logits float32 (K,)."""
        self.check_views(protocol)
        check_video(frames_THWC)
        chosen = sets_of_array(len(frames_THWC), self.spec.input, protocol.clips)
        wanted = sorted({index for indices in chosen for index in indices})
        seen_THWC, settings = seen_frames(frames_THWC[wanted], self.spec.input)
        where = {index: position for position, index in enumerate(wanted)}
        sets = (seen_THWC[[where[index] for index in indices]] for indices in chosen)
        views = (view for frames in sets for view in self._inputs(frames, settings))
        return average_views((self.session.run(view[None])[0] for view in views), self.export.spec.average)

    def familiar_frames(self, frames_THWC: np.ndarray, protocol: EvaluateConfig) -> tuple[np.ndarray, float | None]:
        """The same, and None: exported files give no features."""
        return self.frames(frames_THWC, protocol), None

    def one_set(self, frames_THWC: np.ndarray) -> np.ndarray:
        """Score exactly these T frames: logits float32 (K,)."""
        return np.asarray(self.sets(frames_THWC[None])[0])

    def familiar_set(self, frames_THWC: np.ndarray) -> float | None:  # noqa: ARG002
        """None: exported files give no features."""
        return None

    def sets(self, frames_BTHWC: np.ndarray) -> np.ndarray:
        """Score exactly these frames of B videos, uint8 (B, T, H, W, 3), in one batch: logits float32 (B, K)."""
        views = [self.inputs(frames_THWC) for frames_THWC in frames_BTHWC]
        if len({view.shape for each in views for view in each}) > 1:  # each cut to what moves in it
            return np.concatenate([self.sets(frames_THWC[None]) for frames_THWC in frames_BTHWC])
        logits_NK = self.session.run(np.concatenate([np.stack(each) for each in views]))
        logits_BVK = logits_NK.reshape(len(views), -1, logits_NK.shape[1])
        return np.stack([average_views(logits_VK, self.export.spec.average) for logits_VK in logits_BVK])

    def check_views(self, protocol: EvaluateConfig) -> None:
        """Raise a ConfigError if crops are asked for that the file does not take."""
        if protocol.crops != self.export.spec.crops:
            raise ConfigError(
                "The crops are inside the exported file and cannot be others.",
                where="crops",
                got=protocol.crops,
                allowed=self.export.spec.crops,
                remedy="use the trained model, or export again with --crops",
            )

    def _read(self, clip: Clip, clips: int, reserve: Reserve, threads: int = 1) -> tuple[np.ndarray, ...]:
        with clip.open_for(self.spec.input, self.spec.reading, threads=threads) as reader:
            video, sets = choose_test_frames(reader, self.spec.input, clips)
            wanted = sorted({index for indices in sets for index in indices})
            alone = sets == [wanted]  # as most often; every other way copies the frames
            frames = len(wanted) + (0 if alone else sum(map(len, sets)))
            reserve(frames * reader.bytes_per_frame)
            frames_THWC, settings = seen_frames(video.read(wanted), self.spec.input)
        if alone:
            return self._inputs(frames_THWC, settings)
        where = {index: position for position, index in enumerate(wanted)}
        chosen = (frames_THWC[[where[index] for index in indices]] for indices in sets)
        return tuple(view for frames in chosen for view in self._inputs(frames, settings))

    def inputs(self, frames_THWC: np.ndarray) -> tuple[np.ndarray, ...]:
        """One set of T frames, uint8 (T, H, W, 3), as the file takes it, without the batch axis.

        A file that takes frames takes them as they are, or cut to what moves in them (`input.region`); one that takes
        clips, every crop of them by itself.

        Raises:
            MissingDependencyError: The file takes clips, which PyTorch makes, and PyTorch is not installed.
        """
        return self._inputs(*seen_frames(frames_THWC, self.spec.input))

    def _inputs(self, frames_THWC: np.ndarray, settings: InputConfig) -> tuple[np.ndarray, ...]:
        """The same of frames that are cut already, with the settings of what is left to do."""
        if self.export.input == "frames":
            return (np.ascontiguousarray(frames_THWC),)
        try:
            from clipshift.preprocessing.transforms import evaluation_views, normalize
        except ModuleNotFoundError as error:
            raise MissingDependencyError.of(error) or error from error

        views_VTCHW = evaluation_views(frames_THWC, settings, self.export.spec.crops)
        return tuple(np.asarray(normalize(views_VTCHW, settings.mean, settings.std)))


def _batch(inputs: list[np.ndarray]) -> np.ndarray:
    """Inputs of one shape with an axis for the batch; one alone is not copied: frames may be large."""
    return inputs[0][None] if len(inputs) == 1 else np.stack(inputs)
