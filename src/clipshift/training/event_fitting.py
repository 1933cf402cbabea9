"""At the end of a training on spans of long videos: rules of events, fitted to the validation videos."""

from __future__ import annotations

import shlex

from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.errors import ConfigError, UserError
from clipshift.models.bundle import read_bundle
from clipshift.models.online import check_causal
from clipshift.timelines.measuring import fit_to_videos
from clipshift.training.stages.job import Job


def fit_run_events(job: Job) -> str | None:
    """Fit when an event begins and ends, and write it into the model of a run.

    Args:
        job: Its run folder has a model.

    Returns:
        A line for the log; None where clips are no spans, or the settings switch it off.

    Raises:
        WeightsError: The model is damaged.
    """
    videos = job.dataset.validation.videos
    if not videos or not job.config.train.fit_events:
        return None
    folder = job.folder / MODEL_FOLDER
    spec = read_bundle(folder)[1]
    if spec.events is not None:  # a complete run was started again
        return "Rules of events: fitted, in the model."
    later = f"clipshift fit-events {shlex.quote(str(job.folder))} ANNOTATIONS"
    if spec.input.rate is None:
        return f"No rules of events: the network sees no fixed number of frames a second. Later: {later} --rate RATE"
    try:
        check_causal(spec.model)
    except ConfigError:
        return f"No rules of events: the network looks ahead, so only a window can go along. Later: {later} --window"
    try:
        with job.reporter.phase("events", len(videos)) as phase:
            fitted = fit_to_videos(
                folder, videos, device=str(job.ranks.device), progress=lambda done, _: phase.advance_to(done)
            ).fitted
    except UserError as error:
        return f"No rules of events: {error.what} Later: {later}"
    fits = fitted.classes.values()
    events, hits, false = (sum(getattr(fit, name) for fit in fits) for name in ("events", "hits", "false_events"))
    f1 = 2 * hits / (events + hits + false) if events else 0.0
    return (
        f"Rules of events: fitted to {len(videos)} validation videos, in which they find {hits} of {events} events and "
        f"{false} that are none (F1 {f1:.1%} at half an overlap; better than on new videos)."
    )
