"""The clips that an int8 export is measured and validated on, and the quantizer that gets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import torch

from clipshift.datasets.clip import Clip
from clipshift.errors import ExportError, VideoError
from clipshift.exporting.check_clips import CalibrationClips
from clipshift.exporting.comparison import AGREEMENT, MOST_ACCURACY_LOST, Answers, is_right
from clipshift.exporting.quantization.accuracy_control import (
    Demands,
    Outputs,
    Score,
    TooManyExcludedError,
    agreement,
)
from clipshift.exporting.quantization.onnx import quantize_onnx
from clipshift.exporting.quantization.openvino import quantize_openvino
from clipshift.exporting.quantization.streams import real_steps
from clipshift.exporting.targets import Quantize
from clipshift.inference.export_folder import Export
from clipshift.inference.predictor import Model
from clipshift.inference.views import read_views
from clipshift.preprocessing.transforms import VIEWS, normalize

if TYPE_CHECKING:
    from clipshift.models.recognizer import Recognizer

LEAST_CALIBRATION = 8
MOST_EXCLUDED = 0.5
"""Share of the layers that may stay in float32; with more of them, the model is not an int8 one."""


class NormalizedViews(Sequence[np.ndarray]):
    """One view of each clip as the network takes it, float32 (1, T, 3, side, side); pixels are held in eight bits."""

    def __init__(self, clips: Sequence[Clip], export: Export) -> None:
        self._settings = export.spec.input
        self.clips: list[Clip] = []
        self.numbers: list[int] = []
        """Their places among the clips that were given: not all can be read."""
        self._views: list[torch.Tensor] = []
        for number, clip in enumerate(clips):
            try:
                views = read_views(clip, self._settings, export.spec.reading, crops=export.spec.crops)
            except VideoError:
                continue
            self.clips.append(clip)
            self.numbers.append(number)
            self._views.append(views[number % len(views)][None])  # each crop in its turn

    def __len__(self) -> int:
        return len(self._views)

    @overload
    def __getitem__(self, number: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, number: slice) -> list[np.ndarray]: ...
    def __getitem__(self, number: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        return np.asarray(normalize(self._views[number], self._settings.mean, self._settings.std))


def quantizer(export: Export, clips: CalibrationClips, reference: Model, answers: Answers) -> Quantize:
    """What turns a network of the target into its int8 form.

    Args:
        export: Gives the preprocessing.
        clips: Ranges are measured on the training ones; all judge the result.
        reference: The trained model, whose answers are to be kept.
        answers: Its answers for all clips, those of the validation first.

    Raises:
        ExportError: Too few clips can be read or, when it is called, too many layers do not support int8.
    """
    training, validation = NormalizedViews(clips.training, export), NormalizedViews(clips.validation, export)
    if len(training) < LEAST_CALIBRATION or not validation:
        raise ExportError(
            "There are too few clips to measure the ranges of int8 on.",
            where="--calibrate",
            got=f"{len(training)} training and {len(validation)} validation clips that can be read",
            allowed=f"at least {LEAST_CALIBRATION} and 1; some 100 are good",
        )
    judged = [*validation, *training]
    if VIEWS[export.spec.crops] * export.spec.clips == 1:  # the view of a clip that is judged is all that was answered
        places = [*validation.numbers, *(len(clips.validation) + number for number in training.numbers)]
        expected = answers.probabilities[places]
    else:
        with torch.inference_mode():
            expected = np.concatenate([reference.network(torch.from_numpy(views)).numpy() for views in judged])
    demands = Demands(_score(expected, validation.clips), AGREEMENT["int8"], MOST_EXCLUDED)
    quantize = quantize_onnx if export.target == "onnx" else quantize_openvino

    recognizer = cast("Recognizer", reference.network)

    def quantize_network(network: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
        streaming = export.streaming
        measured = training if streaming is None else real_steps(recognizer, streaming, training)
        try:
            found = quantize(network, measured, judged, demands, streaming)
        except TooManyExcludedError as error:
            share = f"{AGREEMENT['int8']:.0%}"
            raise ExportError(
                "This model does not support int8: to keep its answers, most layers would have to stay in float32.",
                where="--precision int8",
                got=f"{error.excluded} of {error.layers} layers so far, for the same class in {share} of the clips",
                allowed=f"{MOST_EXCLUDED:.0%} of the layers",
                remedy="--precision fp32 (or bf16, where the CPU has it), or more clips for --calibrate",
            ) from error
        return found.model, found.excluded

    return quantize_network


def _score(expected: Outputs, labeled: Sequence[Clip]) -> Score:
    """Agreement with the trained model, and below what is good enough where too much accuracy is lost.

    Args:
        expected: Logits or probabilities (N, K) of the trained model.
        labeled: The first of the N clips.
    """
    agree = agreement(expected)

    def accuracy(outputs: Outputs) -> float:
        return float(np.mean([is_right(*each) for each in zip(outputs.argmax(axis=1), labeled, strict=False)]))

    before = accuracy(expected)

    def score(outputs: Outputs) -> float:
        lost = before - accuracy(outputs)
        return agree(outputs) if lost <= MOST_ACCURACY_LOST else min(agree(outputs), AGREEMENT["int8"] - lost)

    return score
