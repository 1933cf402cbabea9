"""The end of a training: its model is calibrated, a report explains it, and the user is told what to do next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from clipshift.evaluation.calibrating import calibrate_run, say_calibration
from clipshift.evaluation.report.page import write_report
from clipshift.evaluation.results import Evaluation
from clipshift.training.event_fitting import fit_run_events
from clipshift.training.examining import examine_run
from clipshift.training.measuring_old import measure_old_classes
from clipshift.training.remembering import remember_clips
from clipshift.training.run_folder import mark_finished
from clipshift.training.stages.job import Run


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves behind.

    Attributes:
        run: The run folder: settings, log, metrics, plots, `report.html` and the model.
        evaluation: The kept network on the validation clips.
        best_epoch: The epoch it is from, counted from 1.
        epochs: Epochs trained.
    """

    run: Path
    evaluation: Evaluation
    best_epoch: int
    epochs: int


def finish(run: Run) -> TrainResult:
    """Calibrate and examine the kept model, fit its rules of events, write the report, say what to do next.

    Args:
        run: The training; all epochs are done.

    Raises:
        RunError: A file of the run cannot be written.
    """
    job, progress = run.job, run.trainer.progress
    evaluation = job.ranks.on_rank_zero(lambda: calibrate_run(job.folder))
    best_epoch = (progress.best_epoch or 0) + 1
    if job.ranks.first:
        remembered, examined, events = remember_clips(job), examine_run(job), fit_run_events(job)
        kept = measure_old_classes(job, evaluation)
        mark_finished(job.folder, epochs=progress.epoch, best_epoch=best_epoch)
        report = write_report(job.folder)
        job.reporter.say(
            f"Best epoch {best_epoch}: top-1 {evaluation.metrics.top1:.1%} of {evaluation.metrics.total} clips."
        )
        job.reporter.say(say_calibration(job.folder, evaluation))
        for line in [] if kept is None else kept.lines():
            job.reporter.say(line)
        for line in [*filter(None, [remembered, events]), *([] if examined is None else examined.lines())]:
            job.reporter.say(line)
        folder = shlex.quote(str(job.folder))
        job.reporter.say(
            f"Report: {report}\nNext:\n  clipshift predict {folder} CLIP.mp4\n  clipshift evaluate {folder} TEST_FOLDER"
        )
    return TrainResult(job.folder, evaluation, best_epoch, progress.epoch)
