"""Why a model made its worst mistakes, for the cards of a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from clipshift.datasets.clip import Clip
from clipshift.errors import RunError, VideoError
from clipshift.evaluation.explaining.heat import with_heat
from clipshift.evaluation.explaining.making import explain_with
from clipshift.evaluation.report.run_files import RunFiles
from clipshift.evaluation.report.strips import picture_uri
from clipshift.evaluation.results import ClipScore
from clipshift.inference.open_model import open_scorer
from clipshift.inference.reference import resolve_model

Explain = Callable[[ClipScore], dict[str, Any]]
"""From a clip to what its card shows: pictures, what each frame adds, and how to read it; or nothing where the clip
cannot be read now."""

_MOST_FRAMES = 8


def explainer(found: RunFiles, device: str = "auto") -> Explain:
    """What explains the clips of a run or an evaluation: its model, with its own views.

    Raises:
        RunError: The folder has no model, and does not tell where the model is.
        WeightsError: The model is no longer there.
    """
    place = found.folder if found.model else (found.evaluation.model.get("path") if found.evaluation else None)
    if not place:
        raise RunError(
            "The mistakes cannot be explained: the folder does not tell which model made them.",
            where=found.folder,
            remedy="leave --explain out, or evaluate again: clipshift evaluate MODEL DATA --out FOLDER",
        )
    scorer = open_scorer(resolve_model(place), device=device)
    if found.evaluation is not None and found.evaluation.reading is not None:
        scorer = scorer.with_spec(scorer.spec.model_copy(update={"reading": found.evaluation.reading}))

    def explain(score: ClipScore) -> dict[str, Any]:
        clip = Clip(Path(score.path), score.name, None, span=score.span, region=score.region)
        try:
            why = explain_with(scorer, clip, clips=scorer.spec.clips, index=score.predicted)
        except VideoError:  # the card says so where it shows pictures
            return {}
        drops = [frame.logit_drop or 0.0 for frame in why.frames]
        places = sorted(np.argsort(-np.array(drops), kind="stable")[:_MOST_FRAMES].tolist())
        reach = max(map(abs, drops)) or 1.0
        return {
            "pictures": [picture_uri(with_heat(why.pictures[place], why.heat, place)) for place in places],
            "adds": [(round(50 * drops[place] / reach, 1), f"{drops[place]:+.2f}") for place in places],
            "notes": why.notes,
        }

    return explain
