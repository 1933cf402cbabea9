r"""Files and the names of files: checksums, writing that leaves the old file or the new one, names that are no text.

The name of a file is bytes; Python holds those that are not UTF-8 as lone surrogates. Everywhere the same is done with
them: files of text, JSON among them, have `\udcff` for the byte 0xff, which JSON reads back as the same name; people
are shown `\xff`; checksums take the bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from clipshift.errors import OutputError

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Write a file so that a reader, also after a crash, finds the old one or the new one, never a part.

    The content goes to a file beside it, and from memory to the disk, before that takes the name.

    Args:
        path: The file; its folder is there.
        content: Text, which becomes UTF-8; bytes; or pieces of text, one after the other.

    Raises:
        OSError: It cannot be written; the old file is as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    if path.exists() and not path.is_file():
        _write(path, content)  # a device or a pipe has no name to take over
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _write(partial, content)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_together(contents: Iterable[tuple[Path, str]]) -> None:
    """Write files that belong together: all are on the disk before the first takes its name.

    A disk that is full leaves the old ones. Whoever must not see old ones beside new ones names a file twice: first
    with what says that the others are not to be read, last with what it says in the end.

    Args:
        contents: Files and their text, in the order in which they take their names; their folders are there.

    Raises:
        OSError: One cannot be written, and all are as they were; or one cannot take its name.
    """
    waiting: list[tuple[Path, Path]] = []
    try:
        for number, (path, content) in enumerate(contents):
            real = Path(os.path.realpath(path))
            partial = real.with_name(f".{real.name}.{os.getpid()}-{number}.partial")
            waiting.append((partial, real))
            _write(partial, content)
            sync(partial)
        for partial, real in waiting:
            partial.replace(real)
        for folder in {real.parent for _, real in waiting}:
            sync(folder)
    except BaseException:
        for partial, _ in waiting:
            with suppress(OSError):
                partial.unlink()
        raise


def check_replaceable(path: str | Path, *, inputs: Iterable[str | Path], marks: Iterable[bytes]) -> None:
    """See that writing a file named by a user destroys none of the inputs, and no file that is not of the same kind.

    Args:
        path: The file to be written, which may be there; a device or a pipe always may.
        inputs: Names of what is read; those that are no files are passed over.
        marks: What clipshift's files of this kind hold, in their first 64 KiB: one of these.

    Raises:
        OutputError: It does.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return
        same = next((name for name in inputs if os.path.isfile(name) and path.samefile(name)), None)  # noqa: PTH113 - any name
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except (OSError, ValueError):  # what cannot be looked at is said when it is written
        return
    if same is not None:
        raise OutputError(
            "The file for the output is an input.", where=path, got=same, remedy="name another file: this one is kept"
        )
    if head.strip() and not any(mark in head for mark in marks):
        raise OutputError(
            "The file for the output is there, and holds something else.",
            where=path,
            remedy="name another file, or delete this one",
        )


def is_partial(name: str) -> bool:
    """Whether a file of this name is what a process that was killed left of a file that it wrote."""
    return name.startswith(".") and name.endswith(".partial")


def _write(path: Path, content: str | bytes | Iterable[str]) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    with open_text(path, "w") as file:
        file.writelines([content] if isinstance(content, str) else content)


def append_line(path: Path, line: str) -> None:
    """Add a line to a file of text.

    Raises:
        OSError: It cannot be written.
    """
    with open_text(path, "a") as file:
        file.write(line + "\n")


def open_text(path: str | Path, mode: str) -> TextIO:
    """Open a file of text for writing (`w`) or adding (`a`): UTF-8, with line feeds, and any name can be written.

    Raises:
        OSError: It cannot be opened.
    """
    return open(path, mode, encoding="utf-8", errors="backslashreplace", newline="\n")  # type: ignore[return-value]  # noqa: PTH123


def sync(path: Path) -> None:
    """Bring a file, or the list of a folder's files, from memory to the disk.

    Raises:
        OSError: A file cannot be; of folders not every file system (and not Windows) knows this, and then nothing is
            done.
    """
    folder = path.is_dir()
    if folder and os.name == "nt":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not folder:
            raise


def to_json(value: Any, *, indent: int | None = None) -> str:  # noqa: ANN401 - whatever JSON can hold
    """JSON in Unicode, except that what is no text is escaped: it can be written as UTF-8, and is read back equal."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text.encode(errors="backslashreplace").decode()


def from_json(text: str | bytes) -> Any:  # noqa: ANN401 - whatever the text says
    """The value that a text of JSON stands for.

    Raises:
        ValueError: It is no JSON, or has more brackets in one another than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many brackets in one another") from error


def path_bytes(name: str | Path) -> bytes:
    """The bytes of a file's name, for checksums: UTF-8 where it is text."""
    return str(name).encode(errors="surrogateescape")


def printable(text: str, *, line_breaks: bool = False) -> str:
    r"""Text as it may be shown on a terminal, in a page or in a plot.

    Bytes that are no text become `\xff`; control characters, which could move the cursor or change colors, and marks
    that turn the direction of reading become escapes of Python.

    Args:
        text: A name, or a text with names in it.
        line_breaks: Leave line feeds and tabs as they are.
    """
    return "".join(character if _is_harmless(character, line_breaks) else _escaped(character) for character in text)


def _is_harmless(character: str, line_breaks: bool) -> bool:
    if character in "\n\t":
        return line_breaks
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and character not in _BIDI


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no text
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode() if not 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"
