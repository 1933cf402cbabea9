"""Answers in the form that programs written for transformers' `video-classification` pipeline expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, overload

from clipshift.errors import VideoError
from clipshift.inference.predictions import Failure, Prediction
from clipshift.inference.predictor import Model, load, pick_mode

if TYPE_CHECKING:
    from clipshift.config import Settings

Video = str | Path
Videos = list[str] | list[Path] | tuple[Video, ...]


class Score(TypedDict):
    """One class of an answer."""

    score: float
    label: str


@dataclass(frozen=True)
class VideoClassificationPipeline:
    """Called with a video, it gives a list of scores and labels, best first; called with several, a list of these.

    That is the call and the answer of transformers' pipeline of this task, for another kind of model: frames are taken
    and prepared as the model was trained.

    Attributes:
        model: What answers.
    """

    model: Model

    @overload
    def __call__(self, inputs: Video, *, top_k: int = 5) -> list[Score]: ...

    @overload
    def __call__(self, inputs: Videos, *, top_k: int = 5) -> list[list[Score]]: ...

    def __call__(self, inputs: Video | Videos, *, top_k: int = 5) -> list[Score] | list[list[Score]]:
        """Classify one video or several.

        Args:
            inputs: A video file or frame folder, or a sequence of these.
            top_k: Classes of an answer; all, if there are fewer.

        Raises:
            VideoError: A video cannot be read.
        """
        if isinstance(inputs, str | Path):
            return _scores(self.model.predict(inputs), top_k)
        return [_scores(answer, top_k) for answer in self.model.predict_many(inputs)]


def pipeline(
    model: str | Path | Model, *, device: str = "auto", settings: Settings | Sequence[Settings] = ()
) -> VideoClassificationPipeline:
    """A model as transformers' `video-classification` pipeline is called.

    Args:
        model: Run folder, model folder, exported model, published weights by name, hf://OWNER/NAME, or a loaded model.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        settings: Of reading clips, as for [load][clipshift.inference.predictor.load].

    Raises:
        UserError: As for `load`.
    """
    if isinstance(model, Model):
        return VideoClassificationPipeline(model)
    return VideoClassificationPipeline(load(model, device=device, mode=pick_mode([]), settings=settings))


def _scores(answer: Prediction | Failure, top_k: int) -> list[Score]:
    if isinstance(answer, Failure):
        raise VideoError(answer.error, where=answer.path)
    return [{"score": chance, "label": name} for name, chance in answer.top(top_k)]
