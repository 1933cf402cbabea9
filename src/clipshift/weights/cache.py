"""Published weights on this machine: fetched once, and checked at every use.

The cache is the folder that the environment variable CLIPSHIFT_CACHE names, else `clipshift` in the user's cache. The
published files lie in `weights` under their published names, beside each `FILE.json` with the SHA-256 that it had at
first; model folders made from them lie in `models`. A file that was fetched elsewhere can be put into `weights`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from clipshift.download import discard, download, finish
from clipshift.errors import DownloadError, WeightsError
from clipshift.files import from_json, sha256_of_file, write_whole
from clipshift.locks import hold
from clipshift.progress import DownloadProgress
from clipshift.weights.published import PublishedWeights, data_sets, find_published

VARIABLE = "CLIPSHIFT_CACHE"
"""The environment variable that names the cache folder."""


def cache_folder() -> Path:
    """Where fetched files are kept; it need not exist."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local").expanduser() / "clipshift" / "cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/clipshift").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "clipshift"


def cached_file(published: str | PublishedWeights) -> Path:
    """Where a published file lies once it is fetched, or can be put by hand.

    Args:
        published: A name of the table, or an entry.

    Raises:
        ConfigError: The table has no such name.
    """
    return cache_folder() / "weights" / _entry(published).file_name


def cached_model_folder(name: str) -> Path:
    """The model folder for the converted weights; it need not exist.

    Args:
        name: A name of the table.

    Raises:
        ConfigError: The table has no such name.
    """
    find_published(name)
    return cache_folder() / "models" / name


def fetch(
    published: str | PublishedWeights,
    *,
    progress: DownloadProgress | None = None,
    timeout: float = 15.0,
    attempts: int = 4,
    pause: float = 1.0,
    https_only: bool = True,
) -> Path:
    """The published file, from the cache or fetched into it; several processes may ask for the same one.

    Args:
        published: A name of the table, or an entry.
        progress: Is told how many bytes are there, and of how many (None where that is not known).
        timeout: Seconds without a byte after which an attempt has failed.
        attempts: How many attempts in a row may fail without that anything more was received.
        pause: Seconds before the second attempt; they double with each further one.
        https_only: Whether addresses without encryption are refused.

    Raises:
        ConfigError: The table has no such name.
        DownloadError: The file is not in the cache and cannot be fetched.
        WeightsError: The file is not the published one, or not the one that lay here before.
    """
    entry = _entry(published)
    path = cached_file(entry)
    try:
        if path.is_file():
            _check_found(entry, path)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold(_beside(path, ".lock"), doing=f"fetches {path.name}", error=WeightsError, wait=True):
            if path.is_file():  # another process was first
                _check_found(entry, path)
                return path
            part = _beside(path, ".part")
            download(
                entry.url,
                part,
                size=entry.size,
                progress=progress,
                timeout=timeout,
                attempts=attempts,
                pause=pause,
                https_only=https_only,
            )
            _accept(entry, part, path)
    except DownloadError as error:
        raise _unavailable(error, path) from error
    except OSError as error:
        raise WeightsError(
            "The cache of published weights cannot be used.",
            where=cache_folder(),
            got=error,
            remedy=f"{VARIABLE}=FOLDER names another folder",
        ) from error
    return path


def describe_published(name: str) -> str:
    """An entry of the table as lines for people, and where its file is or would be.

    Raises:
        ConfigError: The table has no such name.
    """
    entry = find_published(name)
    data = data_sets()[entry.data]
    path = cached_file(entry)
    frames = "single images" if entry.segments == 1 else f"{entry.segments} frames"
    facts = [
        ("model", f"{entry.model}, trained on {frames}"),
        ("classes", f"{entry.classes} of {data.title}"),
        *(("published", str(result)) for result in entry.measured),
        ("from", f"{entry.project.name}, {entry.page}"),
        ("license", f"{entry.project.license} (of the repository; the data have terms of their own)"),
        ("address", entry.url),
        ("SHA-256", f"begins with {entry.sha256_prefix}" if entry.sha256_prefix else "not published"),
        ("file", f"{path} ({'there' if path.is_file() else 'not fetched yet'})"),
        *([("note", entry.note)] if entry.note is not None else []),
    ]
    return "\n".join([name, f"  {entry.what}", *(f"  {key:12}{text}" for key, text in facts)])


def _entry(published: str | PublishedWeights) -> PublishedWeights:
    return find_published(published) if isinstance(published, str) else published


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _check_found(entry: PublishedWeights, path: Path) -> None:
    """Compare a file of the cache with what it was at first, or take it in where it was put there by hand."""
    record = _read_record(path)
    digest = sha256_of_file(path)
    if record is None:
        _check_published(entry, path, digest, remedy=f"put the file from {entry.url} there")
        _write_record(entry, path, digest, path.stat().st_size, fetched=False)
    elif record["sha256"] != digest:
        remedy = f"if the new file is meant, delete {_beside(path, '.json')}"
        if record.get("fetched"):
            path.unlink()
            remedy = "the file was removed; the same command fetches it again"
        raise WeightsError(
            "The file is not what it was when it came into the cache: it was damaged or replaced.",
            where=path,
            got=f"SHA-256 {digest}",
            allowed=f"SHA-256 {record['sha256']}",
            remedy=remedy,
        )


def _accept(entry: PublishedWeights, part: Path, path: Path) -> None:
    """Check a whole download and give it its place."""
    digest, size = sha256_of_file(part), part.stat().st_size
    try:
        _check_published(
            entry, part, digest, remedy="what was received was removed; try again, or ask who publishes it"
        )
        record = _read_record(path)
        if record is not None and record["sha256"] != digest:
            raise WeightsError(
                "The published file is not the one that was fetched from there before.",
                where=entry.url,
                got=f"SHA-256 {digest}",
                allowed=f"SHA-256 {record['sha256']}",
                remedy=f"if the new file is to be trusted, delete {_beside(path, '.json')}",
            )
    except WeightsError:
        discard(part)
        raise
    # First the record: a file without one would count as put there by hand.
    _write_record(entry, path, digest, size, fetched=True)
    finish(part, path)


def _check_published(entry: PublishedWeights, path: Path, digest: str, *, remedy: str) -> None:
    """Raise a WeightsError where a file cannot be the published one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        beginning = file.read(64).lstrip()
    if not beginning or beginning.startswith(b"<"):  # no format of weights begins as web pages do
        raise WeightsError(
            "This is a web page and no file of weights." if beginning else "The file is empty.",
            where=entry.url,
            got=f"{size} bytes that begin with {beginning[:32].decode(errors='replace')!r}",
            remedy=remedy,
        )
    if entry.size is not None and size != entry.size:
        raise WeightsError(
            "The file is not as long as the published one.",
            where=entry.url,
            got=f"{size} bytes",
            allowed=f"{entry.size} bytes",
            remedy=remedy,
        )
    expected = entry.sha256_prefix
    if expected is not None and not digest.startswith(expected):
        raise WeightsError(
            "The file is not the published one.",
            where=entry.url,
            got=f"SHA-256 {digest}",
            allowed=f"SHA-256 {expected}{'' if len(expected) == len(digest) else '...'}",
            remedy=remedy,
        )


def _unavailable(error: DownloadError, path: Path) -> DownloadError:
    """The same error, with the ways around it."""
    ways = (
        f"or fetch the file elsewhere, and put it at {path} or convert it: "
        "clipshift convert FILE --to FOLDER --model NAME, this name"
    )
    return DownloadError(
        f"Published weights cannot be fetched. {error.what}",
        where=error.where,
        got=error.got,
        allowed=error.allowed,
        remedy=f"{error.remedy or 'try again with a connection'}; {ways}",
    )


def _read_record(path: Path) -> dict[str, Any] | None:
    """What is known of a file since it came, or None where it has no readable record."""
    try:
        record = from_json(_beside(path, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "sha256" in record else None


def _write_record(entry: PublishedWeights, path: Path, digest: str, size: int, *, fetched: bool) -> None:
    record = {"url": entry.url, "sha256": digest, "size": size, "fetched": fetched}
    try:
        write_whole(_beside(path, ".json"), json.dumps(record, indent=1) + "\n")
    except OSError:
        if fetched:
            raise
        # A shared cache that cannot be written: the file is checked against the table every time.
