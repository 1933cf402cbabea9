"""What a source is, told from what was named; and its name without the secrets in it."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from clipshift.errors import ConfigError, VideoError

Kind = Literal["file", "folder", "camera", "pipe", "rtsp", "http", "socket"]

ALLOWED = (
    "a video file, a folder of recordings, a camera (/dev/video0), rtsp://, rtsps://, http://, https://, udp:// or "
    "tcp:// with a host, '-' for standard input, or @FILE with one of these in its first line"
)

_KINDS: dict[str, Kind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "http",
    "https": "http",
    "udp": "socket",
    "tcp": "socket",
}
_SECRET = re.compile(r"(user|login|pass|pwd|token|secret|key|auth|sig)\w*=.*", re.IGNORECASE | re.DOTALL)
"""Some cameras take their password in the path of the URL."""
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
_USER = re.compile(r"[^/@]*:[^/@]*@")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.DOTALL)


@dataclass(frozen=True, repr=False)
class Address:
    """A source.

    Attributes:
        kind: How it is read.
        location: A path, an URL with all that it holds, or `-`; not for logs, events and errors.
        shown: Its name for people: of an URL without user, password and query.
    """

    kind: Kind
    location: str
    shown: str

    def __repr__(self) -> str:
        return f"Address({self.kind}, {self.shown})"

    @property
    def descriptor(self) -> int | None:
        """The open file of this process that it is, if it is one, such as standard input."""
        if self.location == "-":
            return 0
        number = _DESCRIPTOR.fullmatch(self.location)
        return None if number is None else int(number[1])

    @property
    def live(self) -> bool:
        """Whether it goes on whether it is read or not, so that who is slow misses something."""
        return self.kind in {"camera", "rtsp", "http", "socket"}


def read_address(source: str | Path) -> Address:
    """What a source is; nothing of it is opened, except the file of `@FILE`.

    Args:
        source: A path, an URL, `-` for standard input, or `@FILE` for what stands in the first line of a file: an URL
            with a password need not be among the words of a command, which every user of a machine can see.

    Raises:
        ConfigError: It is an URL that cannot be used.
        VideoError: There is no such file, folder or device.
    """
    if isinstance(source, Path):
        return _of_path(str(source))
    if source.startswith("@"):
        return _of_file(Path(source[1:]))
    if source == "-":
        return Address("pipe", "-", "standard input")
    scheme = _SCHEME.match(source)
    return _of_path(source) if scheme is None else _of_url(source, scheme[1].lower())


def _of_file(path: Path) -> Address:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise VideoError(
            "The file that names the source cannot be read.", where=path, got=getattr(error, "strerror", None) or error
        ) from error
    named = lines[0].strip() if lines else ""
    if not named or named.startswith("@"):
        raise VideoError("The file names no source in its first line.", where=path, allowed=ALLOWED)
    return read_address(named)


def _of_url(url: str, scheme: str) -> Address:
    kind = _KINDS.get(scheme)
    shown = shown_url(url)
    if kind is None:
        raise ConfigError("Sources of this kind cannot be read.", where="source", got=shown, allowed=ALLOWED)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(
            "The URL of the source is not valid.",
            where="source",
            got=shown,
            remedy="write letters such as / @ : # in a user or password as %2F %40 %3A %23",
        ) from error
    if not host:
        raise ConfigError(
            "The URL of the source has no host.", where="source", got=shown, allowed=f"{scheme}://HOST/..."
        )
    return Address(kind, url, shown)


def _of_path(path: str) -> Address:
    if path == "/dev/stdin":
        return Address("pipe", "-", "standard input")
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - also of what is no path at all
    except FileNotFoundError as error:
        raise VideoError(
            "There is no such source.", where="source", got=_USER.sub("...@", path), allowed=ALLOWED
        ) from error
    except (OSError, ValueError) as error:
        raise VideoError(
            "The source cannot be read.", where=path, got=getattr(error, "strerror", None) or error
        ) from error
    if stat.S_ISCHR(mode):
        return Address("camera", path, path)
    if stat.S_ISDIR(mode):
        return Address("folder", path, path)
    if stat.S_ISFIFO(mode):
        return Address("pipe", path, path)
    return Address("file", path, path)


def shown_url(url: str) -> str:
    """An URL without user, password, query and what looks like a secret in its path."""
    scheme = _SCHEME.match(url)
    hidden = f"{scheme[1].lower()}://..." if scheme else "..."
    try:
        parts = urlsplit(url)
        place = _place(parts)
    except ValueError:
        return hidden
    # A password with a slash in it may lie in what looks like the path, and the user in the place of the host.
    if not place or "@" in parts.path + parts.query + parts.fragment:
        return hidden
    rest = _SECRET.sub("...", parts.path) + ("?..." if parts.query or parts.fragment else "")
    return f"{parts.scheme}://{place}{rest}"


def _place(parts: SplitResult) -> str:
    """Host and port of an URL."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port is None else f"{host}:{parts.port}"
