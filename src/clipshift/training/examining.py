"""At the end of a training: what the kept network has learnt, beside a linear probe on still frames.

It reads the validation clips once more, and one frame of each training clip.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clipshift.config import Config
from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.datasets.clip import Clip
from clipshift.errors import RunError, UserError
from clipshift.evaluation.examination import (
    EXAMINATION,
    MOST_CLIPS,
    Examination,
    examine,
    load_examination,
    spread,
    trial_of,
)
from clipshift.inference.network_scorer import network_engine
from clipshift.inference.views import prefetch_views
from clipshift.models.bundle import load_bundle
from clipshift.models.folding import inference_form
from clipshift.models.recognizer import Recognizer, build_recognizer
from clipshift.parallel.prefetch import pick_threads
from clipshift.preprocessing.transforms import normalize
from clipshift.training.probe import fit_linear_probe
from clipshift.training.stages.job import Job
from clipshift.weights.loading import load_weights

_MOST_PROBED = 5 * MOST_CLIPS
"""Training clips that the probe learns from; of more, so many spread evenly over the classes."""


def examine_run(job: Job) -> Examination | None:
    """Examine the model of a run.

    Args:
        job: Its run folder has a model and an evaluation; `examination.json` is written beside the latter.

    Returns:
        What came out; None where clips have several labels, or the settings switch it off.

    Raises:
        RunError: It cannot be written.
        WeightsError: The model is damaged.
    """
    train, folder = job.config.train, job.folder / "evaluation"
    if train.multi_label or not train.examine:
        return None
    if (folder / EXAMINATION).is_file():  # a complete run was started again
        return load_examination(folder)
    found = _examined(job)
    try:
        found.save(folder)
    except OSError as error:
        raise RunError("A file of the run cannot be written.", where=folder, got=error) from error
    return found


def _examined(job: Job) -> Examination:
    started = time.monotonic()
    device, dataset, reporter = job.ranks.device, job.dataset, job.reporter
    network, spec = load_bundle(job.folder / MODEL_FOLDER)
    engine = network_engine(inference_form(network.to(device)), spec.input, device)
    number = min(len(dataset.validation), MOST_CLIPS)
    with reporter.phase("examination", number) as phase:
        found, clips, right = examine(
            engine,
            spec,
            dataset.validation,
            workers=pick_threads("auto"),
            progress=lambda done, _: phase.advance_to(done),
        )
    try:
        start = _starting_network(job.config, job.weights)
    except UserError as error:
        reporter.say(f"No comparison with a linear probe on still frames: {error.what}")
        start = None
    if start is not None:
        probed = _probe(start.to(device), job, clips)
        found = replace(found, trials=(*found.trials, trial_of("still_probe", right, probed)))
    return replace(found, seconds=time.monotonic() - started)


def _starting_network(config: Config, weights: Path | None) -> Recognizer | None:
    """What the training started from, without the shift: it sees one frame. None if these were random weights.

    Raises:
        UserError: The weights are not to be had any more, or fit only the network with its shift.
    """
    if weights is None and not config.model.pretrained:
        return None
    model = config.model.model_copy(
        update={"architecture": "tsn", "temporal_attention": False, "pretrained": weights is None}
    )
    network = build_recognizer(model, segments=1, classes=2, crop=config.input.crop)
    if weights is not None:
        load_weights(network, weights, classes=("", " "))
    return network.eval()


def _probe(network: Recognizer, job: Job, clips: tuple[Clip, ...]) -> np.ndarray:
    """Which of the clips the probe has right: bool (N,)."""
    config, dataset, device, reporter = job.config, job.dataset, job.ranks.device, job.reporter
    learnt_from = spread(dataset.train, _MOST_PROBED)
    settings = config.input.model_copy(update={"segments": 1})
    features, labels = [], []
    known: dict[str, torch.Tensor] = {}
    with torch.inference_mode(), reporter.phase("still frames", len(learnt_from) + len(clips)) as phase:
        reading = prefetch_views([*learnt_from, *clips], settings, config.data, workers=pick_threads("auto"))
        for done, read in enumerate(reading, start=1):
            phase.advance_to(done)
            if read.views is None:
                continue
            frame = normalize(read.views.to(device), settings.mean, settings.std)
            row = network.features(frame).mean(dim=1)[0].cpu()
            if done <= len(learnt_from):
                features.append(row)
                labels.append(read.clip.label)
            else:
                known[str(read.clip.path)] = row
    weight, bias = fit_linear_probe(torch.stack(features), torch.tensor(labels), len(dataset.classes))
    answers = [
        str(clip.path) in known and int((weight @ known[str(clip.path)] + bias).argmax()) == clip.label
        for clip in clips
    ]
    return np.array(answers)
