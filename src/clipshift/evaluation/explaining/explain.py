"""`clipshift.explain`: which frames of a clip, and what in them, make a model answer as it does."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipshift.config import Crops, Settings
from clipshift.datasets.clip import some
from clipshift.datasets.fragments import split_fragment
from clipshift.errors import ConfigError
from clipshift.evaluation.explaining.explanation import Explanation
from clipshift.evaluation.explaining.making import Where, explain_with
from clipshift.evaluation.explaining.occlusion import Fill
from clipshift.evaluation.explaining.outputs import check_place, save
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.open_model import open_scorer
from clipshift.inference.predictor import Model
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.inference.scorer import Scorer
from clipshift.progress import Progress

if TYPE_CHECKING:
    from clipshift.device import Amp


def explain(  # noqa: PLR0913
    model: str | Path | ModelReference | Model,
    video: str | Path | np.ndarray,
    *,
    out: str | Path | None = None,
    label: str | None = None,
    where: Where = "auto",
    fill: Fill = "mean",
    crops: Crops | None = None,
    clips: int | None = None,
    device: str = "auto",
    amp: Amp = "fp32",
    settings: Settings | Sequence[Settings] = (),
    progress: Progress | None = None,
) -> Explanation:
    """Find out which frames of a clip, and what in them, speak for a class.

    Which frames: each one that the model sees is hidden in turn, and the model asked again (occlusion, Zeiler & Fergus
    2014). Where: the last maps of features, weighted by the gradient of the class's logit (Grad-CAM, Selvaraju et al.
    2017), or the same places hidden in all frames. Hiding K frames takes K more answers of the model.

    Args:
        model: Run folder, model folder, exported model, published weights by name, or hf://OWNER/NAME. Also what
            `load` returned.
        video: A video file, a frame folder, or a span of a video (a.mp4#t=1.5,4, in seconds). Also decoded frames
            `(T, H, W, 3)` uint8 RGB.
        out: Folder for explanation.json, explanation.png and explanation.html; earlier ones are replaced.
        label: The class to explain; by default the most probable one.
        where: How places are found: grad-cam, which needs a network with maps of features; occlusion, which any model
            can; auto, the first that is possible; or none.
        fill: What takes the place of a hidden frame: mean, the mean of the others; neighbor, the nearest other one; or
            blurred, itself without its details.
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        device: auto, cpu, cuda or cuda:N; of an exported ONNX file also tensorrt.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        settings: Of reading clips, in place of those that the model was trained with, such as
            `"data.max_seconds=50000"` ([ReadingConfig][clipshift.config.ReadingConfig]).
        progress: Called with (answers of the model, answers in all).

    Returns:
        The drops of the class's probability and the heat maps, with their frames' numbers and times.

    Raises:
        ConfigError: The model has no such class, Grad-CAM is not possible with its network, or an option or setting is
            not valid.
        DataError: Several videos were named, or none.
        ExportError: Grad-CAM is asked for of an exported model, which has no gradients.
        OutputError: `out` is a file or an input, has other files of these names, or cannot be written.
        VideoError: The video cannot be read.
        WeightsError: The model cannot be loaded.
    """
    place = None if out is None else Path(out)
    if place is not None:
        check_place(place, _inputs(model, video))
    scorer, identity = _open(model, device, amp, settings)
    index = None if label is None else _class_index(scorer.spec.classes, label)
    views = Model(scorer).views(crops, clips)
    if isinstance(scorer, ExportScorer):
        scorer.check_views(views)
    scorer = scorer.with_spec(scorer.spec.model_copy(update={"crops": views.crops}))
    found = explain_with(
        scorer, video, clips=views.clips, index=index, where=where, fill=fill, identity=identity, progress=progress
    )
    if place is not None:
        save(found, place)
    return found


def _class_index(classes: Sequence[str], label: str) -> int:
    if label in classes:
        return classes.index(label)
    near = difflib.get_close_matches(label, classes, n=5)
    allowed = f"nearest names: {', '.join(near)}" if near else some(list(classes), most=10)
    raise ConfigError("The model has no class of this name.", where="label", got=label, allowed=allowed)


def _open(
    model: str | Path | ModelReference | Model, device: str, amp: Amp, settings: Settings | Sequence[Settings]
) -> tuple[Scorer, dict[str, str]]:
    if isinstance(model, Model):
        if settings:
            raise ConfigError(
                "A loaded model has the settings that it was loaded with.", where="settings", got=settings
            )
        return model.scorer, {}
    reference = resolve_model(model)
    return open_scorer(reference, device=device, amp=amp, settings=settings), reference.identity()


def _inputs(model: str | Path | ModelReference | Model, video: str | Path | np.ndarray) -> list[Path]:
    """The files and folders that are read, as far as they have names."""
    named = [each for each in (model, video) if isinstance(each, str | Path)]
    paths = [Path(split_fragment(str(name))[0]) for name in named]
    return [*paths, model.folder] if isinstance(model, ModelReference) else paths
