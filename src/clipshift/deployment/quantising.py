"""The clips that an int8 export is measured and judged on, and the quantiser that gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from clipshift.config import DataConfig
from clipshift.data.clips import Clip
from clipshift.data.manifest import read_dataset
from clipshift.data.stream import read_views
from clipshift.data.transforms import normalise
from clipshift.deployment.clips import spread
from clipshift.deployment.comparison import AGREEMENT, MOST_ACCURACY_LOST
from clipshift.deployment.quantize import Outputs, agreement, quantize_openvino
from clipshift.deployment.targets import Quantise
from clipshift.engines.exported import Export
from clipshift.errors import ExportError, VideoError
from clipshift.inference.predictor import Model

MOST_CALIBRATION, MOST_VALIDATION = 128, 64
"""Clips of the training part that ranges are measured on, and of the validation part that the result is judged by."""
LEAST_CALIBRATION = 8


class NormalisedViews(Sequence[np.ndarray]):
    """One view of each clip as the network takes it, float32 (1, T, 3, side, side); pixels are held in eight bits."""

    def __init__(self, clips: Sequence[Clip], export: Export) -> None:
        settings, crops = export.spec.input, export.spec.crops if export.input == "frames" else "centre"
        self._settings = settings
        self.clips: list[Clip] = []
        self._views: list[torch.Tensor] = []
        for number, clip in enumerate(clips):
            try:
                views = read_views(clip, settings, DataConfig(), crops=crops)
            except VideoError:
                continue
            self.clips.append(clip)
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
        return np.asarray(normalise(self._views[number], self._settings.mean, self._settings.std))


def quantiser(export: Export, data: str | Path, reference: Model) -> Quantise:
    """What turns a network of the target into its int8 form.

    Args:
        export: Gives the target, the preprocessing and the classes.
        data: Data set: ranges are measured on its training part, the result is judged on its validation part.
        reference: The trained model, whose answers are to be kept.

    Raises:
        DataError: The data set cannot be used.
        ExportError: It has other classes than the model, or too few clips that can be read.
    """
    dataset = read_dataset(data, DataConfig(), several=export.spec.labels == "several")
    unknown = sorted(set(dataset.classes) - set(export.spec.classes))
    if unknown:
        raise ExportError(
            "The data for int8 have classes that the model does not know.",
            where=data,
            got=", ".join(unknown[:5]),
            remedy="name the data set that the model was trained on",
        )
    calibration = NormalisedViews(spread(dataset.train.clips, MOST_CALIBRATION), export)
    validation = NormalisedViews(spread(dataset.validation.clips, MOST_VALIDATION), export)
    if len(calibration) < LEAST_CALIBRATION or not validation:
        raise ExportError(
            "There are too few clips to measure the ranges of int8 on.",
            where=data,
            got=f"{len(calibration)} training and {len(validation)} validation clips that can be read",
            allowed=f"at least {LEAST_CALIBRATION} and 1; some 100 are good",
        )
    with torch.inference_mode():
        expected = np.concatenate([reference.network(torch.from_numpy(views)).numpy() for views in validation])
    names = export.spec.classes
    labels = np.array([_label(clip, dataset.classes, names) for clip in validation.clips])
    score = _score(expected, labels)
    quantize = quantize_openvino

    def quantise(network: Any) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
        found = quantize(network, calibration, validation, score=score, least=AGREEMENT["int8"])
        return found.model, found.kept

    return quantise


def _label(clip: Clip, given: Sequence[str], names: Sequence[str]) -> int:
    return -1 if clip.label is None else names.index(given[clip.label])


def _score(expected: Outputs, labels: np.ndarray) -> Any:  # noqa: ANN401
    """Agreement with the trained model, and below what is good enough where too much accuracy is lost."""
    agree = agreement(expected)
    before = float((expected.argmax(axis=1) == labels).mean())

    def score(outputs: Outputs) -> float:
        lost = before - float((outputs.argmax(axis=1) == labels).mean())
        least = AGREEMENT["int8"]
        return agree(outputs) if lost <= MOST_ACCURACY_LOST else min(agree(outputs), least - lost)

    return score
