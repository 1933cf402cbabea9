"""MLflow, by its own library; where `MLFLOW_TRACKING_URI` says, or where MLflow writes without it."""

from __future__ import annotations

import os
import shlex
from itertools import islice

import mlflow

from clipshift.tracking.run_files import Results, Values
from clipshift.tracking.tracker import Ending, Start

_MOST_AT_ONCE = 100
"""Parameters in one request; a limit of MLflow."""
_LONGEST = 6000
"""Characters of a parameter's value; another one."""
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


def open_run(start: Start) -> MlflowRun:
    """Begin a run, or go on with the one that this run folder had."""
    return MlflowRun(start)


class MlflowRun:
    """A run there."""

    def __init__(self, start: Start) -> None:
        if start.before is None:
            mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "clipshift"))
            run = mlflow.start_run(run_name=start.run.name, tags={"clipshift.run": str(start.run)})
            left = iter(start.settings.items())
            while few := dict(islice(left, _MOST_AT_ONCE)):
                mlflow.log_params({key: str(value)[:_LONGEST] for key, value in few.items()})
        else:
            run = mlflow.start_run(run_id=start.before)
        self.identity, self._update = run.info.run_id, 0
        uri = mlflow.get_tracking_uri()
        self.where = (
            f"{uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
            if uri.startswith("http")
            else f"mlflow ui --backend-store-uri {shlex.quote(uri)}, run {run.info.run_id}"
        )

    def log(self, values: Values) -> None:
        """At the update's number as the step."""
        self._update = values.update
        mlflow.log_metrics(values.values, step=values.update)

    def keep(self, results: Results) -> None:
        """Metrics of the kept network, and plots, report and model as artifacts."""
        mlflow.log_metrics({f"kept/{name}": value for name, value in results.metrics.items()}, step=self._update)
        for path in results.plots.values():
            mlflow.log_artifact(str(path), "plots")
        for path in (*results.files, *([] if results.report is None else [results.report])):
            mlflow.log_artifact(str(path))
        if results.model is not None:
            mlflow.log_artifacts(str(results.model), "model")

    def close(self, ending: Ending) -> None:
        """Say how it ended."""
        mlflow.end_run(_STATUS[ending])
