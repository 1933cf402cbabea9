"""Files for DVC, as its DVCLive lays them out: `dvclive/` of a run with a `dvc.yaml` that names them.

`dvc metrics show`, `dvc plots show` and the views of DVC's extension for editors read them; no library is needed.
https://doc.dvc.org/dvclive/how-it-works
"""

from __future__ import annotations

import csv
import io
import shutil
from typing import Any

from clipshift.config.yaml import write_yaml
from clipshift.files import append_line, from_json, to_json, write_whole
from clipshift.tracking.run_files import Results, Scalar, Values
from clipshift.tracking.tracker import Ending, Start

_TABLE: dict[str, Any] = {
    "params": ["params.yaml"],
    "metrics": ["metrics.json"],
    "plots": [{"plots/metrics": {"x": "step"}}, "plots/images"],
}


def open_run(start: Start) -> DvcFiles:
    """Begin, or go on with the files of this run folder."""
    return DvcFiles(start)


class DvcFiles:
    """The folder `dvclive` of a run."""

    identity = "dvclive"

    def __init__(self, start: Start) -> None:
        self._folder = start.run / "dvclive"
        self._folder.mkdir(exist_ok=True)
        if start.before is None:
            shutil.rmtree(self._folder / "plots", ignore_errors=True)  # rows are added to what is there
        (self._folder / "plots" / "images").mkdir(parents=True, exist_ok=True)
        (self._folder / "plots" / "metrics").mkdir(exist_ok=True)
        write_whole(self._folder / "params.yaml", write_yaml(_tree(dict(start.settings))))
        write_whole(self._folder / "dvc.yaml", write_yaml(_TABLE))
        self.where = f"dvc metrics show; dvc plots show (files of {self._folder})"
        self._metrics = self._folder / "metrics.json"
        known = start.before is not None and self._metrics.is_file()
        self._latest: dict[str, Any] = from_json(self._metrics.read_bytes()) if known else {}

    def log(self, values: Values) -> None:
        """A row to the table of each metric, and all of the latest ones to `metrics.json`."""
        for name, value in values.values.items():
            table = self._folder / "plots" / "metrics" / f"{name}.tsv"
            table.parent.mkdir(exist_ok=True)
            if not table.exists():
                append_line(table, _row("step", table.stem))
            append_line(table, _row(values.update, value))
        self._update(values.values | {"step": values.update})

    def _update(self, values: dict[str, Any]) -> None:
        tree = _tree(values)
        for key, value in tree.items():
            self._latest[key] = {**self._latest.get(key, {}), **value} if isinstance(value, dict) else value
        write_whole(self._metrics, to_json(self._latest, indent=1) + "\n")

    def keep(self, results: Results) -> None:
        """Metrics of the kept network, and the plots; report and model lie in the run folder."""
        self._update({f"kept/{name}": value for name, value in results.metrics.items()})
        for name, path in results.plots.items():
            write_whole(self._folder / "plots" / "images" / f"{name}.png", path.read_bytes())

    def close(self, ending: Ending) -> None:
        """Nothing is left to do: files are whole after each record."""


def _row(*cells: object) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="").writerow(cells)
    return text.getvalue()


def _tree(flat: dict[str, Scalar] | dict[str, Any]) -> dict[str, Any]:
    """`{"a/b": 1}` or `{"a.b": 1}` as `{"a": {"b": 1}}`: one level, the others stay in the name."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        section, mark, name = key.replace("/", ".", 1).partition(".")
        if mark:
            tree.setdefault(section, {})[name] = value
        else:
            tree[key] = value
    return tree
