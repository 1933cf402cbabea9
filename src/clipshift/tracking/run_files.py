"""What a tracker finds in a run folder: settings, records of metrics, and in the end report, plots and model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clipshift.config import flatten
from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.config.yaml import read_yaml
from clipshift.files import from_json

Scalar = str | int | float | bool
"""What every library can hold as the value of a setting."""


class Values(NamedTuple):
    """The metrics of one record."""

    kind: str
    """`step` or `epoch`."""
    update: int
    """Updates done by then."""
    values: dict[str, float]
    """By names such as `update/loss`, `train/loss` and `validation/top1`."""


@dataclass
class Seen:
    """Up to where the records of a run are tracked.

    A training that goes on from a checkpoint repeats records, to the same bits: those are passed over.

    Attributes:
        step: Update of the last record within an epoch.
        epoch: Update of the last record at an epoch's end.
    """

    step: int = 0
    epoch: int = 0


class RecordReader:
    """Reads the lines of `metrics.jsonl` that were added since the last time.

    Args:
        path: The file; need not be there yet.
        seen: What is tracked already; moved on by reading.
    """

    def __init__(self, path: Path, seen: Seen) -> None:
        self._path, self._seen = path, seen
        self._offset = 0

    def new(self) -> Iterator[Values]:
        """The records that nobody saw; a line that is not yet whole waits for the next time.

        Raises:
            OSError: The file cannot be read.
        """
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                found = self._read(line)
                if found is not None:
                    yield found
                    setattr(self._seen, found.kind, found.update)  # only now: whoever asks for more has done with it

    def _read(self, line: bytes) -> Values | None:
        try:
            record = from_json(line)
            kind, update = record["kind"], int(record["update"])
        except (ValueError, KeyError, TypeError):  # a damaged line says nothing
            return None
        if kind not in ("step", "epoch") or update <= getattr(self._seen, kind):
            return None
        return Values(kind, update, _step_values(record) if kind == "step" else _epoch_values(record))


def _step_values(record: dict[str, Any]) -> dict[str, float]:
    where = ("kind", "update", "epoch", "step")
    return {f"update/{key}": float(value) for key, value in record.items() if key not in where and _is_number(value)}


def _epoch_values(record: dict[str, Any]) -> dict[str, float]:
    values = {"epoch": float(record["epoch"]) + 1} if _is_number(record.get("epoch")) else {}
    names = {"train_loss": "train/loss", "lr": "train/lr"}
    for key in ("train_loss", "lr", "seconds", "waiting", "clips_per_second"):
        if _is_number(record.get(key)):
            values[names.get(key, f"speed/{key}")] = float(record[key])
    validation = record.get("validation")
    if isinstance(validation, dict):
        values |= {f"validation/{key}": float(value) for key, value in validation.items() if _is_number(value)}
    return values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Results:
    """What a finished training leaves.

    Attributes:
        metrics: Of the kept network, by name.
        plots: Pictures (PNG), by name.
        files: Files to keep beside the report: settings and where they come from, the machine, the clips.
        report: The page; None where it is missing.
        model: The model folder; None where it is missing.
    """

    metrics: dict[str, float]
    plots: dict[str, Path]
    files: tuple[Path, ...]
    report: Path | None
    model: Path | None


def read_settings(run: Path) -> dict[str, Scalar]:
    """All settings of a run by their dotted keys; lists as JSON, and `none` for what is not set.

    Raises:
        OSError: They cannot be read.
        YamlError: They are no YAML.
    """
    settings = read_yaml((run / "config.yaml").read_text(encoding="utf-8"))
    return {key: _scalar(value) for key, value in flatten(settings).items()}


def _scalar(value: object) -> Scalar:
    if isinstance(value, str | int | float | bool):
        return value
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def read_results(run: Path) -> Results:
    """What a finished training left in its folder; what is missing there is missing here.

    Raises:
        OSError: A file is there and cannot be read.
        ValueError: The metrics are no JSON.
    """
    measured = run / "evaluation" / "metrics.json"
    metrics: dict[str, Any] = from_json(measured.read_bytes()) if measured.is_file() else {}
    metrics.pop("format", None)  # of the file
    numbers = {key: float(value) for key, value in metrics.items() if _is_number(value)}
    topk = metrics.get("topk")
    if isinstance(topk, dict):
        numbers |= {f"top{key}": float(value) for key, value in topk.items() if _is_number(value)}
    files = [run / name for name in ("config.yaml", "config_explained.yaml", "environment.json", "data.jsonl")]
    report, model = run / "report.html", run / MODEL_FOLDER
    return Results(
        metrics=numbers,
        plots={path.stem: path for path in sorted((run / "plots").glob("*.png"))},
        files=tuple(path for path in files if path.is_file()),
        report=report if report.is_file() else None,
        model=model if model.is_dir() else None,
    )
