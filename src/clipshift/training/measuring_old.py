"""At the end of a training that added classes: what the old ones lost."""

from __future__ import annotations

from dataclasses import replace

from clipshift.datasets import Manifest
from clipshift.errors import RunError
from clipshift.evaluation.evaluator import evaluate_manifest
from clipshift.evaluation.old_classes import OLD_CLASSES, OldClasses, compare_old_classes, load_old_classes
from clipshift.evaluation.results import Evaluation
from clipshift.inference.network_scorer import NetworkScorer, evaluating
from clipshift.models.bundle import load_bundle
from clipshift.training.old_model import OldModel
from clipshift.training.stages.job import Job


def measure_old_classes(job: Job, evaluation: Evaluation) -> OldClasses | None:
    """Ask the old model about the validation clips of its classes, and hold the new one's answers against its own.

    Args:
        job: Its run folder has an evaluation; `old_classes.json` is written beside it.
        evaluation: It.

    Returns:
        What came out; None where no classes were added.

    Raises:
        RunError: It cannot be written.
        WeightsError: The old model is no longer what it was.
    """
    if job.old is None:
        return None
    folder = job.folder / "evaluation"
    if (folder / OLD_CLASSES).is_file():  # a complete run was started again
        return load_old_classes(folder)
    clips = tuple(clip for clip in job.dataset.validation.clips if (clip.label or 0) < len(job.old.classes))
    manifest = replace(job.dataset.validation, classes=job.old.classes, clips=clips)
    before = _answers(job, job.old, manifest) if clips else replace(evaluation, classes=job.old.classes, scores=())
    found = compare_old_classes(job.old.name, before, evaluation.scores, job.dataset.classes)
    try:
        found.save(folder)
    except OSError as error:
        raise RunError("A file of the run cannot be written.", where=folder, got=error) from error
    return found


def _answers(job: Job, old: OldModel, manifest: Manifest) -> Evaluation:
    network, spec = load_bundle(old.folder)
    network.to(job.ranks.device)
    scorer = NetworkScorer(network, spec, job.ranks.device, job.config.train.amp, as_trained=True)
    with job.reporter.phase("old classes", len(manifest)) as phase, evaluating(network):
        return evaluate_manifest(
            scorer, manifest, job.config.evaluate, progress=lambda done, _total: phase.advance_to(done)
        )
