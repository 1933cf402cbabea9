"""The epochs of a training: each trains, measures, keeps the network where it is the best, and writes a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from clipshift.evaluation.results import Evaluation
from clipshift.training.interrupt import StopRequest
from clipshift.training.loader import Batch, worker_count
from clipshift.training.loop import StopAsked, train_epoch
from clipshift.training.reporting import Meter, duration, waiting_advice
from clipshift.training.run_folder import write_arrays
from clipshift.training.stages.job import Run
from clipshift.training.stages.validating import keep_if_best, validate


def train_epochs(run: Run, stop: StopRequest, on_epoch: Callable[[], None]) -> None:
    """Train until all epochs are done, or the metric stopped improving.

    Args:
        run: The training; its loader is closed at the end.
        stop: Whether the user asked to stop.
        on_epoch: Called after each.

    Raises:
        DataError: Too many clips cannot be read.
        DivergedError: The loss or a gradient is not finite.
        StopAsked: A stop was asked for; the checkpoint is written.
    """
    trainer = run.trainer
    try:
        while not run.complete():
            started = time.monotonic()
            meter = _train_one_epoch(run, stop)
            measured = _measure_batch_norms(run, stop)
            evaluation = validate(run, stop)
            seconds = trainer.progress.seconds + time.monotonic() - started
            trainer.progress = replace(trainer.progress, seconds=seconds)
            keep_if_best(run, evaluation)
            _record_epoch(run, evaluation, meter, measured)
            trainer.progress = trainer.progress.next_epoch()
            run.save_checkpoint()
            on_epoch()
    except StopAsked:
        if trainer.progress.update:
            run.save_checkpoint()
        raise
    finally:
        run.loader.close()


def _train_one_epoch(run: Run, stop: StopRequest) -> Meter:
    job, progress = run.job, run.trainer.progress
    batches = run.loader.batches(progress.epoch, first_step=progress.step * job.config.train.accumulate)

    def look_at(batch: Batch) -> None:
        if progress.update == 0 and job.ranks.first and not (job.folder / "training_batch.npz").exists():
            _keep_first(batch, job.folder / "training_batch.npz")
        run.bad.add(batch["bad"])

    return train_epoch(
        run.trainer,
        batches,
        job.reporter,
        stop=stop,
        on_batch=look_at,
        checkpoint=run.save_checkpoint,
        keep_diverged=lambda group: _keep_diverged(run, group),
    )


def _keep_first(batch: Batch, path: Path) -> None:
    """For the report: up to four clips as the network sees them; of clips with several labels, the first of each."""
    labels = batch["labels"][:4]
    write_arrays(
        path, clips=batch["clips"][:4].numpy(), labels=(labels if labels.ndim == 1 else labels.argmax(1)).numpy()
    )


def _keep_diverged(run: Run, group: list[Batch]) -> Path:
    path = run.job.folder / "diverged" / f"rank{run.job.ranks.rank}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    clips = np.concatenate([batch["clips"].numpy() for batch in group])
    labels = np.concatenate([batch["labels"].numpy() for batch in group])
    names = [run.job.dataset.train.clips[index].name for batch in group for index in batch["indices"].tolist()]
    write_arrays(path, clips=clips, labels=labels, names=np.array(names))
    return path


def _measure_batch_norms(run: Run, stop: StopRequest) -> float | None:
    """Seconds that precise batch norm took; None where this epoch has none."""
    train, epoch, reporter = run.job.config.train, run.trainer.progress.epoch, run.job.reporter
    if not train.precise_bn or (epoch % train.precise_bn_every and epoch + 1 < train.epochs):
        return None
    started = time.monotonic()
    number = min(train.precise_bn, run.loader.steps)
    with reporter.phase("precise batch norm", number) as phase:

        def shown() -> Iterator[Batch]:
            # The epoch's own first batches: a continued run has the same.
            for done, batch in enumerate(islice(run.loader.batches(epoch), number), start=1):
                yield batch
                phase.advance_to(done)

        run.trainer.measure_batch_norms(shown(), stop)
    seconds = time.monotonic() - started
    reporter.say(f"Precise batch norm: {number} batches in {seconds:.1f} s")
    return seconds


def _record_epoch(run: Run, evaluation: Evaluation, meter: Meter, measured: float | None) -> None:
    """A line to `metrics.jsonl` and one to the user; once, what would shorten the wait for clips."""
    loss = run.trainer.progress.loss_sum / run.trainer.updates_per_epoch
    batch_norms = {} if measured is None else {"precise_bn_seconds": measured}
    run.job.reporter.record(_epoch_record(run, evaluation, meter, loss) | batch_norms)
    run.job.reporter.say(_epoch_line(run, evaluation, meter, loss))
    if not run.advised:
        most = worker_count("auto", ranks=run.job.ranks.count_here)
        advice = waiting_advice(meter.steady_waiting, run.loader.cost, workers=run.loader.workers, most_workers=most)
        if advice is not None:
            run.job.reporter.say(advice)
            run.advised = True


def _epoch_record(run: Run, evaluation: Evaluation, meter: Meter, loss: float) -> dict[str, Any]:
    progress, metrics = run.trainer.progress, evaluation.metrics
    validation = {name: getattr(metrics, name) for name in ("top1", "mean_class", "loss", "calibration_error")}
    validation |= {f"top{k}": value for k, value in metrics.topk.items()}
    if metrics.mean_ap is not None:
        validation["mean_ap"] = metrics.mean_ap
    return {
        "kind": "epoch",
        "update": progress.update,
        "epoch": progress.epoch,
        "train_loss": loss,
        "lr": run.trainer.learning_rate,
        "validation": validation,
        "scored": metrics.scored,
        "bad": metrics.bad,
        "total": metrics.total,
        "seconds": meter.seconds,
        "waiting": meter.waiting,
        "clips_per_second": meter.clips_per_second,
        "decoding_ms": 1000 * run.loader.cost.decoding,
        "augmenting_ms": 1000 * run.loader.cost.changing,
    }


def _epoch_line(run: Run, evaluation: Evaluation, meter: Meter, loss: float) -> str:
    progress, metrics, epochs = run.trainer.progress, evaluation.metrics, run.job.config.train.epochs
    mark = "  (best so far)" if progress.best_epoch == progress.epoch else ""
    left = progress.seconds / (progress.epoch + 1) * (epochs - progress.epoch - 1)
    mark += f"  about {duration(left)} left" if left else ""
    bad = f", {metrics.bad} bad" if metrics.bad else ""
    second = f"mean class {metrics.mean_class:.1%}" if metrics.mean_ap is None else f"mAP {metrics.mean_ap:.1%}"
    return (
        f"epoch {progress.epoch + 1}/{epochs}  loss {loss:.3f}  top-1 {metrics.top1:.1%} of "
        f"{metrics.total} clips{bad}  {second}  {meter.clips_per_second:.1f} clips/s  "
        f"waiting {meter.waiting:.0%}  {duration(meter.seconds)}{mark}"
    )
