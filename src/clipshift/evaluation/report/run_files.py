"""Reads what a run folder or an evaluation folder holds; every part may be missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray

from clipshift.errors import RunError
from clipshift.evaluation.examination import EXAMINATION, Examination, load_examination
from clipshift.evaluation.old_classes import OLD_CLASSES, OldClasses, load_old_classes
from clipshift.evaluation.results import METRICS, Evaluation, load_evaluation
from clipshift.files import from_json

Part = TypeVar("Part")
Json = dict[str, Any]


@dataclass(frozen=True)
class SavedBatch:
    """A training batch as the network saw it: clips uint8 (B, T, 3, H, W), RGB, and B labels."""

    clips: NDArray[np.uint8]
    labels: list[int]


@dataclass(frozen=True)
class RunFiles:
    """The parts of a run folder that a report shows; empty or None where there is no such file.

    Attributes:
        folder: The run folder, or the folder of an evaluation alone.
        config_text: `config.yaml` as it is.
        config: The same, parsed.
        environment: `environment.json`.
        records: Lines of `metrics.jsonl`.
        evaluation: `evaluation/`, or the folder itself.
        data: Lines of `data.jsonl`.
        bad_samples: Lines of `bad_samples.jsonl`.
        model: `model/model.json`.
        examination: `evaluation/examination.json`.
        old_classes: `evaluation/old_classes.json`.
        batch: `training_batch.npz`.
        notes: One sentence for each file that is there but cannot be read.
    """

    folder: Path
    config_text: str
    config: Json
    environment: Json
    records: list[Json]
    evaluation: Evaluation | None
    data: list[Json]
    bad_samples: list[Json]
    model: Json
    examination: Examination | None
    old_classes: OldClasses | None
    batch: SavedBatch | None
    notes: list[str]

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all to show."""
        parts = (self.config_text, self.environment, self.records, self.evaluation, self.data, self.model)
        return not any(parts)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, from wherever they are known."""
        if self.evaluation is not None:
            return self.evaluation.classes
        return tuple(str(name) for name in self.model.get("classes", ()))


def read_run(folder: Path) -> RunFiles:
    """Reads all parts of a run folder; a damaged one becomes a note, not an error."""
    notes: list[str] = []

    def part(name: str, read: Callable[[Path], Part], missing: Part) -> Part:
        path = folder / name
        if not path.exists():
            return missing
        try:
            return read(path)
        except RunError as error:
            notes.append(f"{name} cannot be read: {error.got or error.what}")
        except (OSError, ValueError, yaml.YAMLError) as error:
            notes.append(f"{name} cannot be read: {type(error).__name__}: {error}")
        return missing

    evaluation = "evaluation" if (folder / "evaluation" / METRICS).exists() else "."
    found = part(evaluation, load_evaluation, None) if (folder / evaluation / METRICS).exists() else None
    return RunFiles(
        folder=folder,
        config_text=part("config.yaml", _read_text, ""),
        config=part("config.yaml", _read_yaml, {}),
        environment=part("environment.json", _read_json, {}),
        records=part("metrics.jsonl", _read_lines, []),
        evaluation=found,
        data=part("data.jsonl", _read_lines, []),
        bad_samples=part("bad_samples.jsonl", _read_lines, []),
        model=part("model/model.json", _read_json, {}),
        examination=part(f"evaluation/{EXAMINATION}", lambda path: load_examination(path.parent), None),
        old_classes=part(f"evaluation/{OLD_CLASSES}", lambda path: load_old_classes(path.parent), None),
        batch=part("training_batch.npz", _read_batch, None),
        notes=list(dict.fromkeys(notes)),
    )


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _read_yaml(path: Path) -> Json:
    return _mapping(yaml.safe_load(_read_text(path)))


def _read_json(path: Path) -> Json:
    return _mapping(from_json(_read_text(path)))


def _read_lines(path: Path) -> list[Json]:
    return [_mapping(from_json(line)) for line in _read_text(path).split("\n") if line.strip()]


def _read_batch(path: Path) -> SavedBatch:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            clips, labels = arrays["clips"], arrays["labels"]
    except Exception as error:  # NumPy, its archive and what decompresses it have no common class of errors
        raise ValueError(f"no arrays: {type(error).__name__}: {error}") from error
    if clips.dtype != np.uint8 or clips.ndim != 5 or clips.shape[2] != 3 or labels.shape != clips.shape[:1]:
        raise ValueError(f"clips uint8 (B, T, 3, H, W) and labels (B,) expected, got {clips.shape}, {labels.shape}")
    return SavedBatch(clips, [int(label) for label in labels])


def _mapping(value: object) -> Json:
    if not isinstance(value, dict):
        raise ValueError(f"a mapping expected, got {type(value).__name__}")
    return value
