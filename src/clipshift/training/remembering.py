"""At the end of a training: what the model remembers of its clips, to tell clips that are none of its classes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from clipshift.config import ModelSpec, UnknownRule
from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.datasets.clip import Clip
from clipshift.errors import RunError
from clipshift.evaluation.calibration import LEAST_CLIPS
from clipshift.evaluation.examination import spread
from clipshift.inference.known_clips import KnownClips, familiarity, fit_threshold, save_known_clips, unit_length
from clipshift.inference.views import prefetch_views
from clipshift.models.bundle import load_bundle, read_bundle, replace_spec
from clipshift.models.folding import inference_form
from clipshift.models.recognizer import Recognizer
from clipshift.parallel.prefetch import pick_threads
from clipshift.preprocessing.transforms import normalize
from clipshift.training.old_model import remembered_clips
from clipshift.training.reporting import Phase
from clipshift.training.stages.job import Job

MOST_REMEMBERED = 1000
"""Training clips, spread evenly over the classes, and validation clips."""
KEPT = 0.95
"""Share of clips of the model's classes that are to stay known."""


def remember_clips(job: Job) -> str | None:
    """Fit when a clip is none of the classes, and write it into the model of a run.

    Args:
        job: Its run folder has a model.

    Returns:
        A line for the log; None where clips have several labels, or the settings switch it off.

    Raises:
        RunError: It cannot be written.
        WeightsError: The model is damaged.
    """
    if job.config.train.multi_label or not job.config.train.unknown:
        return None
    folder = job.folder / MODEL_FOLDER
    rule = read_bundle(folder)[1].unknown
    if rule is None:
        rule = _fitted(folder, job)
    if rule is None:
        return (
            f"No clip will be unknown: fewer than {LEAST_CLIPS} validation clips could be read to tell how far known "
            "ones are from the training clips."
        )
    return (
        f"Clips are unknown that are unlike all of {rule.remembered} training clips: cosine below "
        f"{rule.threshold:.3f}, so that {rule.kept:.0%} of clips like the {rule.clips} validation clips stay."
    )


def _fitted(folder: Path, job: Job) -> UnknownRule | None:
    device = job.ranks.device
    learnt, held_out = (spread(part, MOST_REMEMBERED) for part in (job.dataset.train, job.dataset.validation))
    if len(held_out) < LEAST_CLIPS:
        return None
    loaded, spec = load_bundle(folder)
    network = inference_form(loaded.to(device))
    with job.reporter.phase("features", len(learnt) + len(held_out)) as phase:
        features, labels = features_of(network, spec, learnt, device, phase)
        others, _ = features_of(network, spec, held_out, device, phase, first=len(learnt))
    if job.old is not None and (remembered := remembered_clips(job.dataset, job.old)) is not None:
        features = np.concatenate([features, remembered.features.numpy()])
        labels = np.concatenate([labels, remembered.labels.numpy()])
    known = KnownClips(unit_length(features), np.linalg.norm(features, axis=1).astype(np.float32), labels)
    if len(others) < LEAST_CLIPS or not len(known.features):
        return None
    try:
        rule = UnknownRule(
            threshold=round(fit_threshold(familiarity(others, known), KEPT), 6),
            kept=KEPT,
            clips=len(others),
            remembered=len(known.features),
            sha256=save_known_clips(folder, known),
        )
        replace_spec(folder, spec.model_copy(update={"unknown": rule}))
    except OSError as error:
        raise RunError("The model cannot be written.", where=folder, got=error) from error
    return rule


def features_of(
    network: Recognizer, spec: ModelSpec, clips: Iterable[Clip], device: torch.device, phase: Phase, *, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What the classifier reads of the clips that can be read, float32 (N, D), and labels int64 (N,)."""
    rows, labels = [], []
    with torch.inference_mode():
        reading = prefetch_views(clips, spec.input, spec.reading, workers=pick_threads("auto"))
        for done, read in enumerate(reading, start=first + 1):
            phase.advance_to(done)
            if read.views is not None:
                frames = normalize(read.views.to(device), spec.input.mean, spec.input.std)
                labels.append(read.clip.label)
                rows.append(network.summarize(network.features(frames))[0].float().cpu().numpy())
    features = np.stack(rows) if rows else np.zeros((0, network.classifier.in_features), dtype=np.float32)
    return features, np.array(labels, dtype=np.int64)
