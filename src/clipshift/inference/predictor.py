"""`clipshift.load` and `clipshift.predict`: class probabilities of videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from clipshift.config import Crops, EvaluateConfig, ModelSpec, ReadingConfig, Settings, resolve
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError, ExportError, VideoError
from clipshift.inference.open_model import open_scorer
from clipshift.inference.predictions import Failure, Prediction
from clipshift.inference.probabilities import classes_of_set, probabilities, set_threshold
from clipshift.inference.reference import resolve_model
from clipshift.inference.reopening import Opening, check_same, what_is_pickled
from clipshift.inference.scorer import Scorer
from clipshift.inference.sources import clips_of_tracks, find_clips, is_one_clip, pick_workers
from clipshift.inference.stream_state import StreamScores, StreamState, as_batch
from clipshift.parallel.prefetch import pick_threads

if TYPE_CHECKING:
    from torch import nn

    from clipshift.device import Amp
    from clipshift.progress import DownloadProgress


@dataclass(frozen=True)
class Model:
    """A trained classifier with all that it needs to answer for a video, whichever engine runs it.

    A loaded one can be pickled, so that it can be sent to other processes: they open it again, as it lies on the disk.
    In a forked process an export for ONNX Runtime or OpenVINO starts its engine anew. PyTorch answers there with one
    thread, unless it has answered before the fork: that is an error. A forked process must end by `os._exit`, as those
    of `multiprocessing` do: otherwise ONNX Runtime would wait for threads of the parent.

    Attributes:
        scorer: From videos to logits; knows the model's description.
        opening: What it was loaded with; None if it was made from objects, and then it cannot be pickled.
    """

    scorer: Scorer
    opening: Opening | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, what_is_pickled(self.opening, self.spec)

    @property
    def spec(self) -> ModelSpec:
        """Class names, how clips are read, preprocessing, and where the model is from."""
        return self.scorer.spec

    @property
    def engine(self) -> str:
        """What runs the network: engine, version, precision and threads or device."""
        return self.scorer.engine

    @property
    def network(self) -> nn.Module:
        """The PyTorch network, in evaluation mode: normalized clips `(B, T, 3, H, W)` float32 to logits `(B, K)`.

        As it was trained. Answers come from a copy of it, made at the first one, whose batch norms are folded into its
        convolutions.

        Raises:
            ExportError: An exported model has none.
        """
        from clipshift.inference.network_scorer import NetworkScorer

        if not isinstance(self.scorer, NetworkScorer):
            raise ExportError("An exported model holds no network of PyTorch.", remedy="load the one it is made from")
        return self.scorer.network

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names, in the order of the logits."""
        return self.spec.classes

    def predict(
        self,
        video: str | Path | np.ndarray,
        *,
        crops: Crops | None = None,
        clips: int | None = None,
        coverage: float | None = None,
    ) -> Prediction:
        """Classify one video.

        Args:
            video: A video file, a frame folder, or decoded frames `(T, H, W, 3)` uint8 RGB.
            crops: Crops per frame, whose scores are averaged. Default: the model's own.
            clips: Sets of frames, spread evenly in time, whose scores are averaged. Default: the model's own.
            coverage: Also give the set of classes that holds the right one at this rate, in (0, 1)
                ([set_threshold][clipshift.inference.probabilities.set_threshold]).

        Returns:
            The class probabilities.

        Raises:
            VideoError: It cannot be read.
            ConfigError: `crops` or `clips` has a value that is not allowed, or not with the model's sampling; or the
                model is not calibrated for `coverage`.
        """
        if isinstance(video, np.ndarray):
            logits, familiarity = self.scorer.familiar_frames(video, self.views(crops, clips))
            return self.answer("frames", logits, familiarity, coverage)
        if not isinstance(video, str | Path):
            raise VideoError(
                "This is not a video.",
                got=type(video).__name__,
                allowed="a path, or an array uint8 (frames, height, width, 3), RGB",
            )
        answer = next(self.predict_many([video], crops=crops, clips=clips, workers=0, coverage=coverage))
        if isinstance(answer, Failure):
            raise VideoError(answer.error, where=video)
        return answer

    def predict_many(
        self,
        sources: str | Path | Iterable[str | Path],
        *,
        crops: Crops | None = None,
        clips: int | None = None,
        batch_size: int = 1,
        workers: int | Literal["auto"] = "auto",
        coverage: float | None = None,
        tracks: str | Path | None = None,
    ) -> Iterator[Prediction | Failure]:
        """Classify many videos in their order, in memory that does not grow with their number.

        Args:
            sources: Video files, folders, globs and lists; one, or any number, also an endless iterator.
            crops: Crops per frame, whose scores are averaged. Default: the model's own.
            clips: Sets of frames, spread evenly in time, whose scores are averaged. Default: the model's own.
            batch_size: Views in one forward pass.
            workers: Threads that decode ahead of the network or, on the CPU with `batch_size=1`, also run it,
                each for a video of its own. Of exported models that is done by those loaded with `mode="throughput"`.
                With 0, and with `auto` for one video alone, all cores decode it, and then all answer for it.
            coverage: Also give the set of classes that holds the right one at this rate, in (0, 1).
            tracks: CSV of boxes over time, `path, track, time, x, y, w, h`; then there is an answer for each track and
                stretch of it in the videos, which are files, or without videos in all that it names
                ([tracks][clipshift.datasets.tracks]).

        Returns:
            For each video the probabilities, or why it could not be read, or that a source does not exist or holds no
            video.

        Raises:
            ConfigError: An option has a value that is not allowed, or not with the model's sampling; or the model is
                not calibrated for `coverage`.
        """
        if coverage is not None:
            set_threshold(self.spec, coverage)  # it raises before anything is read
        if isinstance(sources, str | Path):
            sources = [sources]
        reading, views = self.spec.reading, self.views(crops, clips, batch_size)
        if tracks is None:
            found, workers = find_clips(sources, reading), pick_workers(sources, workers, reading)
        else:
            found, workers = clips_of_tracks(tracks, list(sources), reading), pick_threads(workers)
        return self.predict_clips(found, views, workers=workers, coverage=coverage)

    def predict_clips(
        self, clips: Iterable[Clip], views: EvaluateConfig, *, workers: int, coverage: float | None = None
    ) -> Iterator[Prediction | Failure]:
        """Classify clips in their order, in memory that does not grow with their number.

        Args:
            clips: Whether they have labels does not matter.
            views: What [views][clipshift.inference.predictor.Model.views] gave.
            workers: Threads, as for `predict_many`.
            coverage: As for `predict_many`.

        Yields:
            As `predict_many`.
        """
        for scored in self.scorer.stream(clips, views, workers=workers):
            track = scored.clip.track
            if scored.logits is None:
                yield Failure(scored.clip.name, scored.error or "", track)
            else:
                answer = self.answer(scored.clip.name, scored.logits, scored.familiarity, coverage)
                yield answer if track is None else replace(answer, track=track)

    def answer(
        self, path: str, logits: np.ndarray, familiarity: float | None = None, coverage: float | None = None
    ) -> Prediction:
        """What scores mean: probabilities, the set of classes that was asked for, and whether a video is unknown.

        Args:
            path: What was asked for.
            logits: float32 (K,), of a [ScoredClip][clipshift.inference.scorer.ScoredClip].
            familiarity: Of the same.
            coverage: As for `predict`.

        Raises:
            ConfigError: The model is not calibrated for `coverage`.
        """
        chances, rule = self.probabilities(logits), self.spec.unknown
        inside = () if coverage is None else classes_of_set(chances, set_threshold(self.spec, coverage))
        return Prediction(
            path,
            self.classes,
            chances,
            coverage,
            tuple(self.classes[index] for index in inside),
            familiarity,
            unknown=rule is not None and familiarity is not None and familiarity < rule.threshold,
        )

    def start(self, streams: int = 1) -> StreamState:
        """Begin streams, whose frames [step][clipshift.inference.predictor.Model.step] takes one at a time.

        Args:
            streams: How many go side by side.

        Returns:
            What they keep, before their first frame.

        Raises:
            ConfigError: The model takes from later frames, or several crops; or there are no streams.
            ExportError: An exported model takes clips.
        """
        if streams < 1:
            raise ConfigError("There is no such number of streams.", where="streams", got=streams, allowed="1 or more")
        return StreamState(self.scorer.stepper.initial_state(streams), streams)

    def step(self, frames: np.ndarray, state: StreamState) -> tuple[StreamScores, StreamState]:
        """Answer to the next frame of a stream, or of each of several.

        Args:
            frames: As decoded, RGB, uint8 (H, W, 3) or (B, H, W, 3) with a frame of each stream.
            state: What `start` or the step before gave; stays as it is, so that a step can be repeated.

        Returns:
            The answer, and the state for the frame after.

        Raises:
            VideoError: The frames are not these.
            ConfigError: The state is of another model.
            ExportError: The same, of an exported model.
        """
        logits, after = self.scorer.stepper.step(as_batch(frames, state.streams), state.tensors)
        average, frame = (each[0] if frames.ndim == 3 else each for each in (logits.average, logits.frame))
        chances, frame_chances = (np.apply_along_axis(self.probabilities, -1, each) for each in (average, frame))
        scores = StreamScores(self.classes, chances, frame_chances, average, frame)
        return scores, StreamState(after, state.streams)

    def views(self, crops: str | None = None, clips: int | None = None, batch_size: int = 1) -> EvaluateConfig:
        """The views that are asked for, else the model's own.

        Raises:
            ConfigError: There are no such crops, or the model's sampling does not know so many clips.
        """
        views = {
            "crops": self.spec.crops if crops is None else crops,
            "clips": self.spec.clips if clips is None else clips,
        }
        return resolve(settings=[{"evaluate": {**views, "batch_size": batch_size}}]).config.evaluate

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities float32 (K,) of logits (K,), divided by the model's temperature: a softmax, or sigmoids."""
        return probabilities(logits, self.spec)


def load(
    model: str | Path,
    *,
    device: str = "auto",
    amp: Amp = "fp32",
    threads: int = 0,
    mode: Literal["latency", "throughput"] = "latency",
    settings: Settings | Sequence[Settings] = (),
    progress: DownloadProgress | None = None,
) -> Model:
    """Load a trained or an exported model.

    Args:
        model: Run folder, model folder, exported model, published weights by name, or hf://OWNER/NAME. An exported
            model may be named by its folder or file; published weights (`clipshift models`) and models of the Hugging
            Face Hub are fetched into caches at their first use.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        threads: Of the network on the CPU; 0: one a core. PyTorch has one number for the whole process.
        mode: Of an exported model: `latency`, all threads work on one answer, or `throughput`, each on one of its
            own, which is quicker with many videos ([EngineOptions][clipshift.inference.engines.session.EngineOptions]).
        settings: Of reading clips, in place of those that the model was trained with, such as
            `"data.max_seconds=50000"` ([ReadingConfig][clipshift.config.ReadingConfig]).
        progress: Is told how many bytes are there, and of how many, while published weights are fetched.

    Returns:
        The model, ready to predict.

    Raises:
        ConfigError: There is no such device, it does not have the precision, or a setting is not valid.
        DownloadError: Published weights cannot be fetched.
        ExportError: The exported model is damaged, or its engine cannot run it.
        MissingDependencyError: Its engine, or for a trained model PyTorch, is not installed.
        WeightsError: There is no model, or it is damaged.
    """
    reference = resolve_model(model, progress=progress)
    scorer = open_scorer(reference, device=device, amp=amp, threads=threads, mode=mode, settings=settings)
    return Model(scorer, opening=Opening.of(model, device=device, amp=amp, threads=threads, mode=mode))


def _reopened(opening: Opening, spec: str) -> Model:
    """A model that was pickled, opened again.

    Raises:
        WeightsError: Another model lies there now, or none.
        UserError: As `load` does.
    """
    model = load(**opening.again(ModelSpec.model_validate_json(spec).reading))
    check_same(model.spec, spec, opening)
    return model


def pick_mode(sources: Sequence[str | Path]) -> Literal["latency", "throughput"]:
    """The mode of [load][clipshift.inference.predictor.load] that answers soonest for all sources."""
    return "latency" if is_one_clip(sources, ReadingConfig()) else "throughput"


def predict(  # noqa: PLR0913
    model: str | Path | Model,
    *sources: str | Path,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int = 1,
    device: str = "auto",
    amp: Amp = "fp32",
    workers: int | Literal["auto"] = "auto",
    coverage: float | None = None,
    tracks: str | Path | None = None,
    settings: Settings | Sequence[Settings] = (),
) -> Iterator[Prediction | Failure]:
    """Classify videos: `Model.predict_many` for a model that is loaded first, for throughput if they may be several.

    Raises:
        ConfigError: As of `load` and `predict_many`, or there are settings for a model that is loaded already.
    """
    loaded = loaded_model(model, sources, device=device, amp=amp, settings=settings)
    return loaded.predict_many(
        sources, crops=crops, clips=clips, batch_size=batch_size, workers=workers, coverage=coverage, tracks=tracks
    )


def loaded_model(
    model: str | Path | Model,
    sources: Sequence[str | Path],
    *,
    device: str,
    amp: Amp,
    settings: Settings | Sequence[Settings],
) -> Model:
    """A model as it was loaded, or loaded now for these sources.

    Raises:
        ConfigError: As of `load`, or there are settings for a model that is loaded already.
    """
    if not isinstance(model, Model):
        return load(model, device=device, amp=amp, mode=pick_mode(sources), settings=settings)
    if settings:
        raise ConfigError("A loaded model has the settings that it was loaded with.", where="settings", got=settings)
    return model
