"""What all shards agree on: the model, how it is asked, and which videos there are, as the first process found them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clipshift.config import ReadingConfig
from clipshift.config.schema import Section
from clipshift.datasets.clip import Clip, TrackPart
from clipshift.errors import DataError
from clipshift.files import from_json, to_json, write_whole
from clipshift.inference.sources import find_clips
from clipshift.locks import hold

MANIFEST_FILE = "manifest.json"
VIDEOS_FILE = "videos.jsonl"
_LOCK_FILE = ".manifest.lock"


class Manifest(Section):
    """What all shards must agree on."""

    format: int = 1
    clipshift: str
    model: str
    """SHA-256 of its weights or file."""
    classes: tuple[str, ...]
    sources: tuple[str, ...]
    views: dict[str, str | int]
    reading: ReadingConfig
    shards: int
    videos: int
    videos_sha256: str
    embedding: int = 0
    """Numbers of an embedding, where these are the answers; 0: the answers are probabilities."""


def agree(folder: Path, wanted: Manifest, sources: Sequence[str | Path]) -> Manifest:
    """The manifest of the folder, written if there is none; one process writes, the others wait."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        with hold(folder / _LOCK_FILE, doing="looks for the videos", error=DataError, wait=True):
            if not path.exists():
                _write_manifest(folder, wanted, sources)
    found = read_manifest(path)
    names = {
        "model": "the model",
        "sources": "what is predicted",
        "views": "the views",
        "reading": "how clips are read",
        "shards": "the number of shards",
        "embedding": "the numbers of an embedding (none: probabilities)",
    }
    for key, meaning in names.items():
        there, ours = getattr(found, key), getattr(wanted, key)
        if there != ours:
            raise DataError(
                f"The folder has other answers: {meaning} is not the same.",
                where=path,
                got=_shown(ours),
                allowed=_shown(there),
                remedy="name another folder, or start with what the folder began with",
            )
    return found


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _write_manifest(folder: Path, wanted: Manifest, sources: Sequence[str | Path]) -> None:
    """Look for all videos, and write them down."""
    digest, count = hashlib.sha256(), 0

    def lines() -> Iterator[str]:
        nonlocal count
        for clip in find_clips(sources, wanted.reading):
            line = to_json(_row(clip)) + "\n"
            digest.update(line.encode())
            count += 1
            yield line

    write_whole(folder / VIDEOS_FILE, lines())
    done = wanted.model_copy(update={"videos": count, "videos_sha256": digest.hexdigest()})
    write_whole(folder / MANIFEST_FILE, to_json(done.model_dump(mode="json"), indent=1) + "\n")


def _row(clip: Clip) -> dict[str, Any]:
    row: dict[str, Any] = {"name": clip.name, "path": str(clip.path)}
    if clip.address is not None:
        row["address"] = clip.address
    if clip.span is not None:
        row["span"] = clip.span
    if clip.region is not None:
        row["region"] = clip.region
    if clip.track is not None:
        row["track"] = [clip.track.name, clip.track.cut]
    if clip.error is not None:
        row["error"] = [clip.error.what, clip.error.where, clip.error.got, clip.error.remedy]
    return row


def clip_of(line: bytes) -> Clip:
    """The clip that a line of the list of videos means."""
    row = from_json(line)
    error = None
    if "error" in row:
        what, where, got, remedy = row["error"]
        error = DataError(what, where=where, got=got, remedy=remedy)
    span = (row["span"][0], row["span"][1]) if "span" in row else None
    x, y, width, height = row.get("region", (0, 0, 0, 0))
    region = (x, y, width, height) if "region" in row else None
    address = row.get("address")
    track = TrackPart(*row["track"]) if "track" in row else None
    return Clip(
        Path(row["path"]), row["name"], None, span=span, region=region, track=track, address=address, error=error
    )


def read_manifest(path: Path) -> Manifest:
    """What the shards agreed on, after a look at the list of videos.

    Raises:
        DataError: There is nothing, it is damaged, or a newer clipshift wrote it.
    """
    try:
        manifest = Manifest.model_validate_json(to_json(from_json(path.read_bytes())))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError("The description of the answers cannot be read.", where=path) from error
    if manifest.format != 1:
        raise DataError(
            "The answers are of a newer clipshift.",
            where=path,
            got=f"format {manifest.format}",
            remedy="pip install --upgrade clipshift",
        )
    try:
        with (path.parent / VIDEOS_FILE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError("The list of the videos cannot be read.", where=path.parent / VIDEOS_FILE) from error
    if digest != manifest.videos_sha256:
        raise DataError("The list of the videos was changed or damaged.", where=path.parent / VIDEOS_FILE)
    return manifest
