"""Real clips to compare models on: those of a data set, of a run's validation, or generated ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipshift.config import DataConfig, ModelSpec, ReadingConfig
from clipshift.datasets.clip import Clip, evenly
from clipshift.datasets.folders import is_frame_folder, subfolders
from clipshift.datasets.fragments import stored_region
from clipshift.datasets.lists import LIST_SUFFIXES, gives_labels
from clipshift.datasets.manifest import read_dataset, read_manifest
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import DataError, ExportError
from clipshift.files import from_json
from clipshift.inference.sources import find_clips_of
from clipshift.video import Span

GENERATED = "generated motion clips"


def find_labeled(data: str | Path, spec: ModelSpec) -> list[Clip]:
    """The clips of a data set, with their labels where it has those of the model's classes; its validation part.

    Args:
        data: A folder with a folder per class, a list with labels, a `data.yaml`; or clips without labels: a folder
            of videos, a list of paths, a glob, a video.
        spec: Names the classes, and says how clips are read.

    Raises:
        DataError: There are no clips, or there are labels and they are not right.
    """
    several = spec.labels == "several"
    try:
        if _has_labels(Path(data), spec):
            return list(read_manifest(data, spec.reading, classes=spec.classes, several=several).clips)
    except DataError as error:
        without = "to do without labels, name the videos by a pattern, such as 'FOLDER/**/*.mp4'"
        raise DataError(
            error.what,
            where=error.where,
            got=error.got,
            allowed=error.allowed,
            remedy=without if error.remedy is None else f"{error.remedy} (or, {without})",
        ) from error
    return find_clips_of(data, spec.reading)


def _has_labels(data: Path, spec: ModelSpec) -> bool:
    """Whether something is meant as a labeled data set, be it right or wrong."""
    if data.is_dir():
        pattern = spec.reading.frame_pattern
        return any(folder.name in spec.classes or not is_frame_folder(folder, pattern) for folder in subfolders(data))
    suffix = data.suffix.lower()
    return data.is_file() and (suffix in {".yaml", ".yml"} or (suffix in LIST_SUFFIXES and gives_labels(data)))


@dataclass(frozen=True)
class CalibrationClips:
    """Clips for int8, with the labels of the model's classes.

    Attributes:
        training: Ranges are measured on them.
        validation: Accuracy is measured on them.
    """

    training: list[Clip]
    validation: list[Clip]

    def all(self) -> list[Clip]:
        """Those of the validation, then those of the training without their labels: they tell nothing of accuracy."""
        return [*self.validation, *(replace(clip, label=None, labels=()) for clip in self.training)]


def calibration_clips(data: str | Path, spec: ModelSpec) -> CalibrationClips:
    """Up to 128 training and 64 validation clips of a data set.

    Raises:
        DataError: The data set cannot be used.
        ExportError: It has a class that the model does not know.
    """
    dataset = read_dataset(data, DataConfig(**spec.reading.model_dump()), several=spec.labels == "several")
    unknown = sorted(set(dataset.classes) - set(spec.classes))
    if unknown:
        raise ExportError(
            "The data for int8 have classes that the model does not know.",
            where=data,
            got=", ".join(unknown[:5]),
            remedy="name the data set that the model was trained on",
        )
    places = [spec.classes.index(name) for name in dataset.classes]

    def of_model(clip: Clip) -> Clip:
        label = None if clip.label is None else places[clip.label]
        return replace(clip, label=label, labels=tuple(sorted(places[each] for each in clip.labels)))

    parts = (evenly(dataset.train.clips, 128), evenly(dataset.validation.clips, 64))
    return CalibrationClips(*([of_model(clip) for clip in part] for part in parts))


def validation_clips(run: Path) -> list[Clip]:
    """The validation clips of a run folder that are still where they were; none if it is not a run folder.

    Raises:
        DataError: The run's list of clips is damaged.
    """
    file = run / "data.jsonl"
    if not file.is_file():
        return []
    try:
        lines = [from_json(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        return [
            Clip(
                Path(line["path"]),
                line["name"],
                line["label"],
                span=_span(line),
                region=stored_region(line.get("region")),
            )
            for line in lines
            if line["split"] == "validation" and line["error"] is None and Path(line["path"]).exists()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("The run's list of clips cannot be read.", where=file, got=error) from error


def _span(line: dict[str, Any]) -> Span | None:
    return None if line.get("start") is None else (float(line["start"]), float(line["end"]))


@contextmanager
def generated_clips() -> Iterator[list[Clip]]:
    """Real MP4 files of moving shapes, without labels, that are there while inside."""
    with tempfile.TemporaryDirectory(prefix="clipshift-") as scratch:
        folder = write_motion_clips(Path(scratch) / "clips", clips_per_class=1, validation_per_class=2, size=128)
        yield find_clips_of(folder / "val", ReadingConfig())
