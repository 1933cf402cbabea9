"""Fetches the files of a public data set that its publisher gives to everyone; each once, broken downloads go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from clipshift.datasets.public.catalog import PublicFile, PublicSet
from clipshift.datasets.write_lists import alone
from clipshift.download import download, finish
from clipshift.errors import DataError, DownloadError
from clipshift.progress import DownloadProgress


def fetch_public(
    data_set: PublicSet,
    folder: Path,
    *,
    progress: DownloadProgress | None = None,
    attempts: int = 4,
    pause: float = 1.0,
    https_only: bool = True,
) -> list[Path]:
    """Fetch a data set's lists and archives into a folder; a file that is there is not fetched again.

    Args:
        data_set: The data set.
        folder: Where the files go; made if need be.
        progress: Is told how many bytes of the present file are there, and of how many.
        attempts: How many attempts in a row may fail without that anything more was received.
        pause: Seconds before the second attempt; they double with each further one.
        https_only: Whether addresses without encryption are refused.

    Returns:
        The files, in the order in which they were fetched.

    Raises:
        DataError: The publisher does not give its files to programs, or the folder cannot be written.
        DownloadError: A file cannot be fetched; what was received stays, and the next call goes on.
    """
    if not data_set.files:
        raise DataError(
            f"{data_set.title} cannot be fetched by a program.", got="its publisher gives no file to everyone",
            remedy=f"{data_set.videos}; {data_set.lists}",
        )  # fmt: skip

    def get(url: str, target: Path) -> Path:
        if target.is_file():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        try:
            download(url, part, progress=progress, attempts=attempts, pause=pause, https_only=https_only)
        except DownloadError as error:
            ways = f"or fetch it by other means, and put it at {target}"
            error.remedy = f"{error.remedy or 'try again with a connection'}; {ways}"
            raise
        finish(part, target)
        return target

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            return [path for file in data_set.files for path in _with_listed(file, folder, get)]
    except OSError as error:
        raise DataError("The files of the data set cannot be written.", where=folder, got=error) from error


def _with_listed(file: PublicFile, folder: Path, get: Callable[[str, Path], Path]) -> list[Path]:
    """Fetch a file and, of a list of addresses, what it lists."""
    into = folder / file.folder
    path = get(file.url, into / _name(file.url))
    if not file.lists_others:
        return [path]
    urls = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return [path, *(get(url, into / _name(url)) for url in urls)]


def _name(url: str) -> str:
    """The last part of an address, which names the file."""
    name = PurePosixPath(urlsplit(url).path).name
    if not name:
        raise DownloadError("The address names no file.", where=url)
    return name
