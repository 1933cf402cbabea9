"""All answers in one file: the parts one after the other, or a table."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clipshift.datasets.clip import plural
from clipshift.errors import ConfigError, DataError, MissingDependencyError, OutputError
from clipshift.files import check_replaceable, from_json, printable, sync, to_json, write_whole
from clipshift.inference.sharding.manifest import MANIFEST_FILE, Manifest, read_manifest
from clipshift.inference.sharding.shard import Shard
from clipshift.inference.sharding.stored import StoredFolder
from clipshift.inference.writing import MARKS
from clipshift.remote import is_remote

ANSWERS_FILE = "answers.jsonl"
_ROWS_OF_A_GROUP = 10_000
_NUMBERS_OF_A_GROUP = 1_000_000


def merge_answers(folder: str | Path, to: str | Path | None = None) -> Path:
    """Put the answers of all shards into one file, in the order of the videos.

    Args:
        folder: Folder of the answers, also in a store.
        to: A file of JSON lines, or one that ends in .parquet; by default answers.jsonl in the folder.

    Returns:
        The file; of JSON lines the same bytes whatever the number of shards.

    Raises:
        ConfigError: The folder is in a store, and no file is named.
        DataError: There are no answers, or a shard has not finished.
        DownloadError: A store does not answer, or does not take the credentials.
        MissingDependencyError: PyArrow, which Parquet needs, is not installed.
        OutputError: The file cannot be written.
    """
    if is_remote(str(folder)):
        if to is None:
            raise ConfigError("Answers in a store are merged into a file of this machine.", remedy="add --to FILE")
        folder = _fetched(str(folder))
    folder = Path(folder)
    manifest = read_manifest(folder / MANIFEST_FILE)
    parts = [folder / Shard(number, manifest.shards).file_name for number in range(1, manifest.shards + 1)]
    missing = [number for number, path in enumerate(parts, 1) if not path.is_file()]
    if missing:
        raise DataError(
            f"{plural(len(missing), 'shard')} of {manifest.shards} have not finished.",
            where=folder,
            got=", ".join(map(str, missing[:20])) + (" ..." if len(missing) > 20 else ""),
            remedy=f"clipshift predict MODEL VIDEOS --out {folder} --shard {missing[0]}/{manifest.shards}",
        )
    target = folder / ANSWERS_FILE if to is None else Path(to)
    check_replaceable(target, inputs=parts, marks=(*MARKS, b"PAR1"))
    lines = _checked(_lines_of(parts), manifest.videos, folder)
    try:
        if target.suffix.lower() == ".parquet":
            _write_parquet(target, lines, manifest)
        else:
            write_whole(target, (line.decode() for line in lines))
    except OSError as error:
        raise OutputError.of(error, str(target)) from error
    return target


def _fetched(address: str) -> Path:
    """The folder of this machine that works on one in a store, with its manifest and all parts that are finished."""
    stored = StoredFolder.of(address)
    with stored.agreeing(read_only=True):
        shards = read_manifest(stored.folder / MANIFEST_FILE).shards
    for number in range(1, shards + 1):
        name = Shard(number, shards).file_name
        if not (stored.folder / name).exists():
            stored.fetch(name, stored.folder / name)
    return stored.folder


def _lines_of(parts: Sequence[Path]) -> Iterator[bytes]:
    for path in parts:
        with path.open("rb") as file:
            yield from file


def _checked(lines: Iterable[bytes], videos: int, folder: Path) -> Iterator[bytes]:
    """The lines, and an error where they are not as many as the videos."""
    count = 0
    for line in lines:
        count += line.endswith(b"\n")
        yield line
    if count != videos:
        raise DataError("The parts have not an answer for each video.", where=folder, got=count, allowed=str(videos))


def _write_parquet(target: Path, lines: Iterator[bytes], manifest: Manifest) -> None:
    """Write answers as a table: path, label, probability of the label, error, and all probabilities.

    The probabilities are in the order of the classes, whose names are in the metadata `classes` of the file. Embeddings
    have the columns path, error and embedding, a list of a fixed size.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error

    columns: list[tuple[str, Any]] = [("path", pa.string())]
    if manifest.embedding:
        columns += [("error", pa.string()), ("embedding", pa.list_(pa.float32(), manifest.embedding))]
    else:
        columns += [("label", pa.string()), ("probability", pa.float32()), ("error", pa.string())]
        columns += [("probabilities", pa.list_(pa.float32()))]
    schema = pa.schema(columns, metadata={"classes": to_json(list(manifest.classes))})
    at_once = max(1, min(_ROWS_OF_A_GROUP, _NUMBERS_OF_A_GROUP // max(1, manifest.embedding)))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with parquet.ParquetWriter(partial, schema) as writer:
            while rows := [_table_row(line, manifest.classes) for line in itertools.islice(lines, at_once)]:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _table_row(line: bytes, classes: Sequence[str]) -> dict[str, Any]:
    answer = from_json(line)
    row: dict[str, Any] = {"path": printable(answer["path"]), "error": answer.get("error")}
    if "probabilities" in answer:
        chances = answer["probabilities"]
        row |= {"label": answer["label"], "probability": max(chances.values())}
        row["probabilities"] = [chances[name] for name in classes]
    if "embedding" in answer:
        row["embedding"] = answer["embedding"]
    return row
