"""TensorBoard: event files in the run folder, written by TensorBoard's own library, which needs no PyTorch."""

from __future__ import annotations

import shlex
import time

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from clipshift.tracking.run_files import Results, Values
from clipshift.tracking.tracker import Ending, Start


def open_run(start: Start) -> EventFiles:
    """Begin, or add another event file to those that are there: TensorBoard shows them as one run."""
    return EventFiles(start)


class EventFiles:
    """A folder of event files."""

    identity = "tensorboard"

    def __init__(self, start: Start) -> None:
        folder = start.run / "tensorboard"
        self.where = f"tensorboard --logdir {shlex.quote(str(folder))}"
        self._update = 0
        self._writer = EventFileWriter(str(folder))
        if start.before is None:
            self._add(hparams_pb(dict(start.settings), trial_id=start.run.name))
            table = "".join(f"| {key} | {value} |\n" for key, value in start.settings.items())
            self._add(text_pb("settings", "| setting | value |\n|---|---|\n" + table))

    def _add(self, summary: Summary) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=self._update, summary=summary))

    def log(self, values: Values) -> None:
        """A scalar for each."""
        self._update = values.update
        for name, value in values.values.items():
            self._add(scalar_pb(name, value))
        self._writer.flush()

    def keep(self, results: Results) -> None:
        """Metrics of the kept network, plots as images, and where report and model lie: files it cannot hold."""
        for name, value in results.metrics.items():
            self._add(scalar_pb(f"kept/{name}", value))
        for name, path in results.plots.items():
            image = Summary.Image(encoded_image_string=path.read_bytes())
            self._add(Summary(value=[Summary.Value(tag=f"plots/{name}", image=image)]))
        self._add(text_pb("files", f"report: `{results.report}`\n\nmodel: `{results.model}`"))

    def close(self, ending: Ending) -> None:  # noqa: ARG002 - event files have no ending
        """Write what is left."""
        self._writer.close()
