"""`clipshift.load` and `clipshift.predict`: class probabilities of videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from clipshift.config import Crops, DataConfig, EvaluateConfig, resolve
from clipshift.data.stream import views_of_frames
from clipshift.download import Progress
from clipshift.errors import VideoError
from clipshift.evaluation.device import Amp, pick_device, pick_threads
from clipshift.evaluation.scoring import Engine, ViewAverage, network_engine, score_stream
from clipshift.inference.results import Failure, Prediction
from clipshift.inference.sources import find_clips
from clipshift.models.bundle import ModelSpec, load_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.weights.by_name import find_model


@dataclass(frozen=True)
class Model:
    """A trained classifier with all that it needs to answer for a video.

    Attributes:
        network: From normalised clips `(B, T, 3, H, W)` float32 to logits `(B, K)`; in evaluation mode.
        spec: Class names, preprocessing, and where the model is from.
        device: Where the network is.
        amp: Precision of the forward pass.
        data: Limits for reading videos.
    """

    network: Recognizer
    spec: ModelSpec
    device: torch.device
    amp: Amp = "fp32"
    data: DataConfig = field(default_factory=DataConfig)

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
    ) -> Prediction:
        """Classify one video.

        Args:
            video: A video file, a frame folder, or decoded frames `(T, H, W, 3)` uint8 RGB.
            crops: Crops per frame, whose scores are averaged. Default: the model's own.
            clips: Sets of frames, spread evenly in time, whose scores are averaged. Default: the model's own.

        Returns:
            The class probabilities.

        Raises:
            VideoError: It cannot be read.
            ConfigError: `crops` or `clips` has a value that is not allowed, or not with the model's sampling.
        """
        if isinstance(video, np.ndarray):
            protocol = self._protocol(crops, clips)
            views_VTCHW = views_of_frames(video, self.spec.input, crops=protocol.crops, clips=protocol.clips)
            scores = ViewAverage(self.spec.average)
            for logits in self._engine()(views_VTCHW).cpu():
                scores.add(logits)
            return Prediction("frames", self.classes, self._probabilities(scores.result()))
        answer = next(self.predict_many([video], crops=crops, clips=clips, workers=0))
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
    ) -> Iterator[Prediction | Failure]:
        """Classify many videos in their order, in memory that does not grow with their number.

        Args:
            sources: Video files, folders, globs and lists; one, or any number, also an endless iterator.
            crops: Crops per frame, whose scores are averaged. Default: the model's own.
            clips: Sets of frames, spread evenly in time, whose scores are averaged. Default: the model's own.
            batch_size: Views in one forward pass.
            workers: Threads that decode ahead of the network.

        Yields:
            The probabilities, or why a video could not be read.

        Raises:
            DataError: A source does not exist, or holds no video.
            ConfigError: An option has a value that is not allowed, or not with the model's sampling.
        """
        if isinstance(sources, str | Path):
            sources = [sources]
        protocol = self._protocol(crops, clips, batch_size)
        for scored in score_stream(
            self._engine(),
            find_clips(sources, self.data),
            self.spec.input,
            self.data,
            protocol,
            average=self.spec.average,
            workers=pick_threads(workers),
        ):
            if scored.logits is None:
                yield Failure(scored.clip.name, scored.error or "")
            else:
                yield Prediction(scored.clip.name, self.classes, self._probabilities(scored.logits))

    def _protocol(self, crops: str | None, clips: int | None, batch_size: int = 1) -> EvaluateConfig:
        """The views that were asked for, else the model's own, checked."""
        views = {
            "crops": self.spec.crops if crops is None else crops,
            "clips": self.spec.clips if clips is None else clips,
        }
        return resolve(settings=[{"evaluate": {**views, "batch_size": batch_size}}]).config.evaluate

    def _probabilities(self, logits: Tensor) -> np.ndarray:
        several = self.spec.labels == "several"
        chances = logits.double().sigmoid() if several else logits.double().softmax(dim=-1)
        return chances.float().numpy()

    def _engine(self) -> Engine:
        return network_engine(self.network, self.spec.input, self.device, self.amp)


def load(model: str | Path, *, device: str = "auto", amp: Amp = "fp32", progress: Progress | None = None) -> Model:
    """Load a trained model.

    Args:
        model: A run folder or model folder, or the name of published weights (`clipshift models`), which are fetched
            and converted into the cache at their first use.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        amp: Precision of the forward pass.
        progress: Is told how many bytes are there, and of how many, while published weights are fetched.

    Returns:
        The model, ready to predict.

    Raises:
        DownloadError: Published weights cannot be fetched.
        WeightsError: There is no model, or it is damaged.
    """
    chosen = pick_device(device)
    network, spec = load_bundle(find_model(model, progress=progress))
    return Model(network.to(chosen).eval(), spec, chosen, amp)


def predict(
    model: str | Path | Model,
    *sources: str | Path,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int = 1,
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
) -> Iterator[Prediction | Failure]:
    """Classify videos: `Model.predict_many` for a model that is loaded first; see there."""
    loaded = model if isinstance(model, Model) else load(model, device=device)
    return loaded.predict_many(sources, crops=crops, clips=clips, batch_size=batch_size, workers=workers)
