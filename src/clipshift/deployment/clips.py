"""Real clips to compare models on: those of a data set, of a run's validation, or generated ones."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clipshift.config import DataConfig, ModelSpec
from clipshift.data.clips import Clip
from clipshift.data.manifest import read_manifest
from clipshift.data.motion import write_motion_clips
from clipshift.errors import DataError
from clipshift.inference.sources import find_clips

GENERATED = "generated motion clips"


def find_labelled(data: str | Path, spec: ModelSpec) -> list[Clip]:
    """The clips of a data set, with their labels where it has those of the model's classes; its validation part.

    Args:
        data: A folder with a folder per class, a list, a `data.yaml`; or any folder, glob or file of clips, without
            labels.
        spec: Names the classes.

    Raises:
        DataError: There are no clips.
    """
    try:
        manifest = read_manifest(data, DataConfig(), classes=spec.classes, several=spec.labels == "several")
    except DataError as error:
        if Path(data).is_file() and Path(data).suffix in {".yaml", ".yml"}:
            raise
        clips = list(find_clips([data], DataConfig()))
        if not clips:
            raise DataError("There are no clips.", where=data) from error
        return clips
    return list(manifest.clips)


def validation_clips(run: Path) -> list[Clip]:
    """The validation clips of a run folder that are still where they were; none if it is not a run folder.

    Raises:
        DataError: The run's list of clips is damaged.
    """
    file = run / "data.jsonl"
    if not file.is_file():
        return []
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [
            Clip(Path(line["path"]), line["name"], line["label"])
            for line in lines
            if line["split"] == "validation" and line["error"] is None and Path(line["path"]).exists()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError("The run's list of clips cannot be read.", where=file, got=error) from error


@contextmanager
def generated_clips() -> Iterator[list[Clip]]:
    """Real MP4 files of moving shapes, without labels, that are there while inside."""
    with tempfile.TemporaryDirectory(prefix="clipshift-") as scratch:
        folder = write_motion_clips(Path(scratch) / "clips", clips_per_class=1, validation_per_class=2, size=128)
        yield list(find_clips([folder / "val"], DataConfig()))


def spread(clips: Sequence[Clip], most: int) -> list[Clip]:
    """At most so many of the clips, evenly from first to last."""
    if len(clips) <= most:
        return list(clips)
    return [clips[number * len(clips) // most] for number in range(most)]
