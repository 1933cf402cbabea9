"""Unpacks what data sets come in: zip and tar; for rar and for parts the command is named."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path

from clipshift.datasets.folders import is_left_out
from clipshift.errors import DataError

_ZIP = (".zip",)
_PARTS = ("train", "val", "test")
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


def is_archive(path: Path) -> bool:
    """Whether a file ends as an archive does that can be unpacked here; nothing is opened."""
    return path.name.lower().endswith((*_ZIP, *_TAR))


def open_source(path: Path, scratch: Path) -> list[Path]:
    """The folders in which a data set's files lie, after its archives were unpacked.

    Args:
        path: A folder, an archive, or a folder that holds archives, itself or in `train`, `val` or `test`. It stays
            as it is.
        scratch: Where archives are unpacked, each into a folder of its name. One that is there from an earlier call
            is taken as it is: it appears when it is whole, not before.

    Raises:
        DataError: There is nothing, the archive is damaged, or it is of a kind that is not unpacked here.
    """
    if not path.exists():
        raise DataError("There is no such folder or archive.", where=path)
    if path.is_file():
        if not is_archive(path):
            raise _not_unpacked(path)
        return [_unpack(path, scratch / path.name)]
    # Not in every folder: a data set of frames has a hundred thousand of them.
    places = [folder for folder in (path, *(path / part for part in _PARTS)) if folder.is_dir()]
    entries = [entry for place in places for entry in sorted(place.iterdir())]
    packed = [
        _unpack(entry, scratch / entry.relative_to(path))
        for entry in entries
        if entry.is_file() and not is_left_out(entry.name) and is_archive(entry)
    ]
    return [path, *packed]


def unpacked_by_hand(folders: list[Path]) -> str | None:
    """The command that unpacks the rar files or parts of archives in the folders; None where there are none."""
    for folder in folders:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not is_left_out(entry.name))
        rar = [name for name in names if name.lower().endswith(".rar")]
        if len(rar) == 1:
            return f"cd '{folder}' && unrar x '{rar[0]}' (or: bsdtar -xf, 7z x)"
        if rar:
            return f"cd '{folder}' && for f in *.rar; do unrar x \"$f\"; done (or: bsdtar -xf, 7z x)"
        parts = [name for name in names if name.startswith("20bn-") and name[-3:-2] == "-"]
        if parts:
            return f"cd '{folder}' && cat {parts[0][:-2]}?? | tar -xz"
    return None


def _not_unpacked(path: Path) -> DataError:
    rar = path.suffix.lower() == ".rar"
    return DataError(
        "The file is not unpacked here.",
        where=path,
        got="rar, which needs a program of its own" if rar else path.suffix or "no ending",
        allowed=f"a folder, or an archive: {', '.join((*_ZIP, *_TAR))}",
        remedy=f"cd '{path.parent}' && unrar x '{path.name}' (or: bsdtar -xf, 7z x), then name the folder"
        if rar
        else "unpack it, then name the folder",
    )


def _unpack(path: Path, target: Path) -> Path:
    """Unpacks an archive into a folder that appears when it is whole."""
    if target.is_dir():
        return target
    part = target.with_name(f".{target.name}.part")
    try:
        # What an interrupted call left: archives have no place to go on from.
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if path.name.lower().endswith(_ZIP):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(part)  # noqa: S202 - names that lead out of the folder are bent back into it
        else:
            with tarfile.open(path) as archive:
                archive.extractall(part, filter="data")
        part.rename(target)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise DataError(
            "The archive cannot be unpacked.",
            where=path,
            got=str(error) or type(error).__name__,
            remedy="fetch it again, if it is damaged; see that the disk has room for what is in it",
        ) from error
    return target
