"""After each epoch of a training: measure the network on the validation clips, and keep it where it is the best."""

from __future__ import annotations

from dataclasses import replace

from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.errors import DataError, RunError
from clipshift.evaluation.evaluator import evaluate_manifest
from clipshift.evaluation.results import Evaluation
from clipshift.files import printable
from clipshift.inference.network_scorer import NetworkScorer, evaluating
from clipshift.models.bundle import save_bundle
from clipshift.training.interrupt import StopRequest
from clipshift.training.loop import StopAsked
from clipshift.training.stages.job import Run


def validate(run: Run, stop: StopRequest) -> Evaluation:
    """Measure the network, or its moving average where there is one, on the validation clips.

    Args:
        run: The training; every rank measures its share.
        stop: Looked at after every clip.

    Returns:
        The evaluation, on every rank.

    Raises:
        DataError: Not one clip can be read; the checkpoint is written.
        StopAsked: A stop was asked for.
    """
    job, ranks, trainer = run.job, run.job.ranks, run.trainer
    trainer.share_buffers()
    with job.reporter.phase("validation", -(-len(job.dataset.validation) // ranks.count)) as phase:

        def shown(done: int, _total: int) -> None:
            phase.advance_to(done)
            # Between ranks there is no agreement here: the signal goes to all of them.
            if stop.made:
                raise StopAsked

        try:
            scorer = NetworkScorer(trainer.best_network, job.spec, ranks.device, job.config.train.amp, as_trained=True)
            with evaluating(trainer.best_network):
                return evaluate_manifest(
                    scorer,
                    job.dataset.validation,
                    job.config.evaluate,
                    rank=ranks.rank,
                    ranks=ranks.count,
                    progress=shown,
                )
        except DataError:  # on every rank; once the clips can be read again, the same command goes on from here
            run.save_checkpoint()
            raise


def keep_if_best(run: Run, evaluation: Evaluation) -> None:
    """Write the model and its evaluation to the run folder, if it is better than the one that is there.

    Args:
        run: The training; of several ranks the first writes.
        evaluation: Of its network, after this epoch.

    Raises:
        RunError: The model cannot be written.
    """
    trainer, metric = run.trainer, run.job.config.train.metric
    value = _metric(evaluation, metric)
    # Few validation clips mean many ties: the surer of two equally accurate networks is the better one.
    rank = (-value if metric == "loss" else value, -evaluation.metrics.loss)
    if trainer.progress.best is not None and rank <= trainer.progress.best:
        return
    trainer.progress = replace(trainer.progress, best=rank, best_epoch=trainer.progress.epoch)
    if run.job.ranks.first:
        folder = run.job.folder / MODEL_FOLDER
        spec = run.job.spec.model_copy(update={"provenance": _provenance(run, value)})
        try:
            save_bundle(folder, trainer.best_network, spec)
        except OSError as error:
            raise RunError("The model cannot be written.", where=folder, got=error) from error
        evaluation.save(run.job.folder / "evaluation")


def _provenance(run: Run, value: float) -> dict[str, str | int | float]:
    """Where a model comes from, as its `model.json` tells it; `value` is the metric that it was kept for."""
    dataset, config = run.job.dataset, run.job.config
    provenance: dict[str, str | int | float] = {
        "data": printable(dataset.train.source.name),
        "split": dataset.split,
        "epoch": run.trainer.progress.epoch + 1,
        "seed": config.train.seed,
        config.train.metric: value,
    }
    if config.distill.method != "none":
        provenance["taught_by"] = ", ".join(config.distill.teacher)
        provenance["distillation"] = config.distill.method
    return provenance


def _metric(evaluation: Evaluation, name: str) -> float:
    metrics = evaluation.metrics
    if name == "top5":
        return metrics.topk[5]
    return float(getattr(metrics, name))
