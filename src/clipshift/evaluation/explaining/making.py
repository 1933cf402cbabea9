"""How an explanation is made of an open model and a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from clipshift.config import ModelSpec
from clipshift.datasets.clip import Clip
from clipshift.errors import ConfigError, DataError, ExportError
from clipshift.evaluation.explaining.explanation import Explanation, FrameEffect, HeatMaps, Method
from clipshift.evaluation.explaining.occlusion import Answer, Fill, Occlusion, Seen
from clipshift.evaluation.explaining.reading import see_clip, see_frames, small_pictures
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.probabilities import probabilities
from clipshift.inference.scorer import Scorer, average_views
from clipshift.inference.sources import find_clips_of
from clipshift.progress import Progress

Where = Literal["auto", "grad-cam", "occlusion", "none"]
_CELLS = 7
"""Of the grid of hidden places, along the shorter side of the picture; as many as Grad-CAM has of a crop of 224."""


def explain_with(
    scorer: Scorer,
    video: str | Path | Clip | np.ndarray,
    *,
    clips: int = 1,
    index: int | None = None,
    where: Where = "auto",
    fill: Fill = "mean",
    identity: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """The same of an open model, whose description gives the crops; `index` is the number of the class.

    Raises:
        ConfigError: Grad-CAM is not possible with this network.
        DataError: Several videos were named, or none.
        ExportError: Grad-CAM is asked for of an exported model.
        VideoError: The video cannot be read.
    """
    method, notes = _method(scorer, where)
    if isinstance(video, np.ndarray):
        path, seen = "frames", see_frames(scorer, video, clips)
    else:
        clip = video if isinstance(video, Clip) else _one_clip(video, scorer)
        path, seen = clip.name, see_clip(scorer, clip, clips)
    if scorer.spec.input.region == "motion":  # frames are cut already, and hiding parts of them must not move the cut
        inside = scorer.spec.input.model_copy(update={"region": None})
        scorer = scorer.with_spec(scorer.spec.model_copy(update={"input": inside}))
        notes.append("The pictures show the region of the clip in which something moves; the model sees no more.")
    rows, columns = _grid(seen) if method == "occlusion" else (0, 0)
    occlusion = Occlusion(_counted(scorer, seen, rows * columns, progress), seen, scorer.spec.average)
    whole_SK = occlusion.whole()
    logits = average_views(whole_SK, scorer.spec.average)
    chances = probabilities(logits, scorer.spec)
    chosen = int(chances.argmax()) if index is None else index
    heat = None
    if method == "grad-cam":
        heat = _grad_cam(scorer, seen, chosen)
    elif method == "occlusion":
        heat = _hidden_places(occlusion, logits, chosen, scorer.spec, (rows, columns))
    return Explanation(
        path=path,
        classes=scorer.spec.classes,
        probabilities=chances,
        label=scorer.spec.classes[chosen],
        frames=_frames(occlusion, whole_SK, chosen, scorer.spec, fill),
        fill=fill,
        heat=heat,
        pictures=small_pictures(seen),
        notes=(*_on_familiarity(scorer, seen), *notes, *_notes_on(seen, scorer.spec, method)),
        model=identity or {},
        engine=scorer.engine,
    )


def _frames(
    occlusion: Occlusion, whole_SK: np.ndarray, label: int, spec: ModelSpec, fill: Fill
) -> tuple[FrameEffect, ...]:
    seen = occlusion.seen
    times = seen.times or (None,) * len(seen.indices)
    if len(seen.indices) == 1:
        return (FrameEffect(seen.indices[0], times[0], None, None, None),)
    logits = average_views(whole_SK, spec.average)
    before, before_odds = float(probabilities(logits, spec)[label]), log_odds(logits, label, spec)
    effects = []
    for index, time, without in zip(seen.indices, times, occlusion.without_frames(whole_SK, fill), strict=True):
        chance = float(probabilities(without, spec)[label])
        odds = log_odds(without, label, spec)
        effects.append(FrameEffect(index, time, chance, before - chance, before_odds - odds))
    return tuple(effects)


def log_odds(logits: np.ndarray, label: int, spec: ModelSpec) -> float:
    """ln(p / (1 - p)) of a class's probability p, from logits (K,), without rounding where p is nearly 0 or 1.

    Where a video has one class, it is the class's logit less the logarithm of the sum of the others' exponentials;
    where it may have several, the logit itself. Both divided by the temperature first.
    """
    exact = logits.astype(np.float64) / spec.temperature
    others = np.delete(exact, label)
    if spec.labels == "several" or not len(others):
        return float(exact[label])
    return float(exact[label] - np.logaddexp.reduce(others))


def _hidden_places(
    occlusion: Occlusion, logits: np.ndarray, label: int, spec: ModelSpec, grid: tuple[int, int]
) -> HeatMaps:
    before = log_odds(logits, label, spec)
    drops = [before - log_odds(without, label, spec) for without in occlusion.without_places(*grid)]
    return HeatMaps("occlusion", (0.0, 0.0, 1.0, 1.0), np.array(drops, np.float32).reshape(1, *grid))


def _grad_cam(scorer: Scorer, seen: Seen, label: int) -> HeatMaps:
    """Maps of the center crop; of a frame in several sets their mean."""
    from clipshift.evaluation.explaining.grad_cam import grad_cam
    from clipshift.inference.network_scorer import NetworkScorer
    from clipshift.preprocessing.transforms import scaled_size, test_boxes
    from clipshift.video.region import pixel_box

    if not isinstance(scorer, NetworkScorer):
        raise TypeError("Grad-CAM is of networks")
    found: list[list[np.ndarray]] = [[] for _ in seen.indices]
    for places in seen.sets:
        for place, heat in zip(places, grad_cam(scorer, seen.frames[list(places)], label).numpy(), strict=True):
            found[place].append(heat)
    height, width = seen.frames.shape[1:3]
    settings = scorer.spec.input
    left, top, right, bottom = pixel_box(settings.fixed_region, height, width)
    seen_height, seen_width = scaled_size(bottom - top, right - left, settings)
    across, down = (right - left) / seen_width / width, (bottom - top) / seen_height / height
    [(x, y, side)] = test_boxes(seen_width, seen_height, settings, "center")
    box = (left / width + x * across, top / height + y * down, side * across, side * down)
    return HeatMaps("grad-cam", box, np.stack([np.mean(maps, axis=0) for maps in found]))


def _method(scorer: Scorer, where: Where) -> tuple[Method | None, list[str]]:
    """How places are found, and what is to be said of it."""
    if where in ("none", "occlusion"):
        return (None if where == "none" else "occlusion"), []
    if isinstance(scorer, ExportScorer):
        if where == "grad-cam":
            raise ExportError(
                "An exported model has no gradients, which Grad-CAM needs.",
                where="where",
                got=where,
                allowed="occlusion, none",
                remedy="explain the trained model, or take --where occlusion",
            )
        return "occlusion", ["An exported model has no gradients: where was found by hiding places, not by Grad-CAM."]
    from clipshift.evaluation.explaining.grad_cam import has_maps
    from clipshift.inference.network_scorer import NetworkScorer

    if isinstance(scorer, NetworkScorer) and has_maps(scorer):
        return "grad-cam", []
    if where == "grad-cam":
        raise ConfigError(
            "This network does not end in maps of features, which Grad-CAM needs.",
            where="where",
            got=f"{where}, with {scorer.spec.model.backbone}",
            allowed="occlusion, none",
            remedy="take --where occlusion",
        )
    return "occlusion", [
        "This network does not end in maps of features (as vision transformers, which end in tokens): where was found "
        "by hiding places, not by Grad-CAM."
    ]


def _on_familiarity(scorer: Scorer, seen: Seen) -> list[str]:
    """What is to be said of a clip that is unlike those that the model has learnt from."""
    rule = scorer.spec.unknown
    found = [scorer.familiar_set(seen.frames[list(places)]) for places in seen.sets] if rule is not None else []
    known = [each for each in found if each is not None]
    familiarity = float(np.mean(known)) if known else 1.0
    if rule is None or familiarity >= rule.threshold:
        return []
    return [
        f"The clip is unknown: it is unlike those that the model has learnt from (familiarity {familiarity:.3f}; known "
        f"ones have at least {rule.threshold:.3f}). What follows tells why it looks like the explained class."
    ]


def _notes_on(seen: Seen, spec: ModelSpec, method: Method | None) -> list[str]:
    notes = []
    if len(seen.indices) == 1:
        notes.append("The model sees one frame of this clip, so which frames matter cannot be told.")
    elif any(len(set(places)) < len(places) for places in seen.sets):
        notes.append(
            f"The clip is short: the model takes {spec.input.segments} frames and sees some of them several times; "
            "such a frame is hidden wherever it stands."
        )
    if method == "grad-cam" and spec.crops != "center":
        notes.append(f"The answer averages crops ({spec.crops}); Grad-CAM is of the center crop.")
    return notes


def _grid(seen: Seen) -> tuple[int, int]:
    """Rows and columns of square cells."""
    height, width = seen.frames.shape[1:3]
    short = min(height, width)
    most = 3 * _CELLS
    return min(most, round(_CELLS * height / short)), min(most, round(_CELLS * width / short))


def _counted(scorer: Scorer, seen: Seen, places: int, progress: Progress | None) -> Answer:
    """The model's answers, which are counted for those who wait."""
    frames = sum(len(set(each)) for each in seen.sets) if len(seen.indices) > 1 else 0
    total = len(seen.sets) * (1 + places) + frames
    done = 0

    def answer(frames_THWC: np.ndarray) -> np.ndarray:
        nonlocal done
        logits = scorer.one_set(frames_THWC)
        done += 1
        if progress is not None:
            progress(done, total)
        return logits

    return answer


def _one_clip(video: str | Path, scorer: Scorer) -> Clip:
    found = find_clips_of(str(video), scorer.spec.reading)
    if len(found) > 1:
        raise DataError(
            "One clip is explained at a time.",
            where=video,
            got=f"{len(found)} clips",
            allowed="a video, a frame folder, or a span of a video",
        )
    return found[0]
