"""trackio, by its own library: on this machine, or where its own variables say."""

from __future__ import annotations

import os
import secrets
import shlex

import trackio

from clipshift.tracking.run_files import Results, Values
from clipshift.tracking.tracker import Ending, Start


def open_run(start: Start) -> TrackioRun:
    """Begin a run, or go on with the one that this run folder had."""
    return TrackioRun(start)


class TrackioRun:
    """A run there."""

    def __init__(self, start: Start) -> None:
        project = os.environ.get("TRACKIO_PROJECT", "clipshift")
        # A run goes on by its name, and run folders of different places may have the same.
        name = start.before or f"{start.run.name}-{secrets.token_hex(3)}"
        trackio.init(project=project, name=name, config=dict(start.settings), resume="allow", embed=False)
        self.identity, self._update = name, 0
        self.where = f"trackio show --project {shlex.quote(project)}, run {name}"

    def log(self, values: Values) -> None:
        """At the update's number as the step."""
        self._update = values.update
        trackio.log(values.values, step=values.update)

    def keep(self, results: Results) -> None:
        """Metrics of the kept network, plots as images, report and model as artifacts."""
        trackio.log({f"kept/{name}": value for name, value in results.metrics.items()}, step=self._update)
        if results.plots:
            pictures = {f"plots/{name}": trackio.Image(str(path)) for name, path in results.plots.items()}
            trackio.log(pictures, step=self._update)
        for path in (*results.files, *([] if results.report is None else [results.report])):
            trackio.log_artifact(str(path), name=f"{self.identity}-{path.stem}", type="report")
        if results.model is not None:
            trackio.log_artifact(str(results.model), name=f"{self.identity}-model", type="model")

    def close(self, ending: Ending) -> None:  # noqa: ARG002 - trackio knows no ending
        """Wait for what is on its way."""
        trackio.finish()
