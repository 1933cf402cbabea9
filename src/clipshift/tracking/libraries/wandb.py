"""Weights & Biases, by its own library; online or offline as its settings and `WANDB_MODE` say."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import wandb

from clipshift.tracking.run_files import Results, Values
from clipshift.tracking.tracker import Ending, Start


def open_run(start: Start) -> WandbRun:
    """Begin a run, or go on with the one that this run folder had."""
    return WandbRun(start)


class WandbRun:
    """A run there."""

    def __init__(self, start: Start) -> None:
        self._folder = start.run
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "clipshift"),
            name=os.environ.get("WANDB_NAME", start.run.name),
            id=start.before or os.environ.get("WANDB_RUN_ID"),
            resume="allow",
            dir=str(start.run),
            config=dict(start.settings),
        )
        self.identity = self._run.id
        self.where = self._run.url or f"wandb sync {shlex.quote(str(Path(self._run.dir).parent))}"

    def log(self, values: Values) -> None:
        """At the update's number as the step."""
        self._run.log(values.values, step=values.update)

    def keep(self, results: Results) -> None:
        """Metrics of the kept network as the summary, plots as images, report and model as artifacts."""
        self._run.summary.update({f"kept/{name}": value for name, value in results.metrics.items()})
        if results.plots:
            self._run.log({f"plots/{name}": wandb.Image(str(path)) for name, path in results.plots.items()})
        report = wandb.Artifact(f"{self._run.id}-report", type="report")
        for path in (*results.files, *([] if results.report is None else [results.report])):
            report.add_file(str(path))
        self._run.log_artifact(report)
        if results.model is not None:
            model = wandb.Artifact(f"{self._run.id}-model", type="model")
            model.add_dir(str(results.model))
            self._run.log_artifact(model)

    def close(self, ending: Ending) -> None:
        """Wait for what is on its way."""
        self._run.finish(exit_code=0 if ending == "finished" else 1)
