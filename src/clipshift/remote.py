"""Files in object stores and on web servers, by fsspec: ranges are read, into a bounded memory; nothing is stored.

Credentials come from where the store's own library looks for them: the environment, and its own files. No address may
hold them, and no error tells what a server said but for the name of the fault.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from threading import RLock
from typing import Any, BinaryIO, TypeVar, cast

from clipshift.errors import ConfigError, DownloadError, MissingDependencyError, UserError, VideoError

BLOCK_BYTES = 1 << 20
"""Of one range that is asked for."""
MOST_BLOCKS = 16
"""Of one open file that are held."""
ATTEMPTS = 5
"""Times in a row that a store may fail."""
PAUSE_SECONDS = 0.5
"""Before the second attempt; it doubles with each further one."""

_ADDRESS = re.compile(r"(s3|gs|hf|https)://(?=[^/])")
_USER = re.compile(r"://[^/]*@")
_SECRET = re.compile(r"[?&][^=&]*(?:signature|credential|token|secret|sig|key)[^=&]*=", re.IGNORECASE)
_MODULES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "https": "aiohttp"}
"""What fsspec needs for each kind of address."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 30,
            "retries": {"mode": "standard", "total_max_attempts": 2},
        }
    }
}
_LIBRARIES = {"aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "gcsfs", "google", "httpx", "requests", "s3fs"}
"""Whose exceptions are faults of a store."""
_CREDENTIALS = {
    *("401", "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"),
    *("SignatureDoesNotMatch", "RequestTimeTooSkewed", "NoCredentialsError", "PartialCredentialsError"),
    *("CredentialRetrievalError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "RefreshError"),
}
_NOT_ALLOWED = {"403", "AccessDenied", "AllAccessDisabled", "InvalidObjectState", "InvalidPayer"}
_WITHOUT_WORDS = {"400", "403"}
"""What S3 answers to a question for a file's size, whose answer has no room for the reason."""
_CHANGED = {"412", "PreconditionFailed"}

Result = TypeVar("Result")


def is_remote(name: str) -> bool:
    """Whether a name is an address that is read by fsspec: `s3://`, `gs://`, `hf://` or `https://`."""
    return _ADDRESS.match(name) is not None


def check_address(address: str) -> None:
    """See that an address holds no credentials: it is written into lists and answers.

    Raises:
        ConfigError: It does; `where` is the address without them.
    """
    if _USER.search(address) or _SECRET.search(address):
        raise ConfigError(
            "An address must hold no credentials: it is written into the answers.",
            where=_USER.sub("://...@", address).partition("?")[0],
            remedy="name it without, and give the credentials in the environment",
        )


def open_store(address: str) -> tuple[Any, str]:
    """The file system of fsspec that an address belongs to, and its path in that.

    Raises:
        ConfigError: The address holds credentials.
        MissingDependencyError: What this kind of address needs is not installed.
    """
    check_address(address)
    scheme = address.partition("://")[0]
    try:
        import fsspec.core

        import_module(_MODULES[scheme])
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error
    store, path = fsspec.core.url_to_fs(address, **_OPTIONS.get(scheme, {}))
    return store, path


def insist(ask: Callable[[], Result], address: str, probe: Callable[[], object] | None = None) -> Result:
    """Ask a store, again where it fails in passing, after pauses that double.

    Args:
        ask: Raises what fsspec raises.
        address: Of what is asked for.
        probe: Asks for a byte, where `ask` may have got an answer without the reason in it.

    Raises:
        DownloadError: The store does not answer, or does not take the credentials: that is the fault of no one file.
        VideoError: There is no such file, or it may not be read.
    """
    attempt = 1
    while True:
        try:
            return ask()
        except Exception as error:
            fault = _fault(error)
            if fault is None:
                raise
            if probe is not None and fault in _WITHOUT_WORDS:
                fault = _probed(probe, fault)
            _give_up(fault, address, error)
            if attempt == ATTEMPTS:
                raise DownloadError(
                    f"The store failed {attempt} times in a row.",
                    where=address,
                    got=fault,
                    remedy="try again later: with --out the same command goes on where it stopped",
                ) from error
        time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        attempt += 1


def _probed(probe: Callable[[], object], fault: str) -> str:
    try:
        probe()
    except Exception as error:
        return _fault(error) or fault
    return "passing"  # the store gives the file, so what it said before was of that moment


def _give_up(fault: str, address: str, error: Exception) -> None:
    """Raise what a fault means, unless it may be well at the next attempt."""
    kind: type[UserError]
    if fault in _CREDENTIALS:
        kind, what = DownloadError, "The store does not take the credentials."
        remedy = "renew them in the environment; with --out the same command goes on where it stopped"
    elif fault == "404":
        kind, what, remedy = VideoError, "There is no such file in the store.", None
    elif fault in _NOT_ALLOWED:
        kind, what, remedy = VideoError, "The store does not give this file.", None
    elif fault in _CHANGED:
        kind, what, remedy = VideoError, "The file was changed while it was read.", None
    else:
        return
    raise kind(what, where=address, got=fault, remedy=remedy) from error


def _fault(error: BaseException) -> str | None:
    """The name of what a store or its library said, without its words; None for what is no fault of a store."""
    if isinstance(error, UserError):
        return None
    response = getattr(error.__cause__, "response", None) or getattr(error, "response", None)
    if isinstance(response, dict):
        code = str(response.get("Error", {}).get("Code", ""))
        if code and code not in {"NoSuchKey", "NoSuchBucket"}:
            return code
    if isinstance(error, FileNotFoundError):
        # Of a web server fsspec says so of whatever happened when it asked for the size.
        cause = error.__cause__
        if isinstance(cause, OSError) or (cause is not None and type(cause).__module__.startswith("aiohttp.")):
            return _fault(cause) or "404"
        return "404"
    status = getattr(error, "status", None) or getattr(response, "status_code", None) or getattr(error, "code", None)
    if isinstance(status, int):
        return str(status)
    if isinstance(error, PermissionError):
        return "403"
    library = type(error).__module__.partition(".")[0]
    return type(error).__name__ if isinstance(error, OSError) or library in _LIBRARIES else None


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, as far as the readers of videos need it; one object for each time that it is opened.

    Attributes:
        address: Without credentials.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    @cached_property
    def _blocks(self) -> _Blocks:
        return _Blocks(self.address)

    @property
    def key(self) -> tuple[int, str]:
        """Bytes and version of the file, as far as the store tells."""
        return self._blocks.size, self._blocks.version

    def open(self) -> BinaryIO:
        """A reader with a place of its own; those of one object share what was fetched.

        Raises:
            DownloadError: The store does not answer, or does not take the credentials.
            VideoError: There is no such file, or it may not be read.
        """
        return cast("BinaryIO", _Reader(self._blocks))


VideoPath = Path | RemoteFile
"""Where the readers of videos find one."""


class _Blocks:
    """The blocks of a file that were asked for last, as fsspec keeps them."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._store, self._path = open_store(address)
        self._lock = RLock()
        self._file = self._opened()
        if not isinstance(self._file.size, int):
            raise VideoError("The server does not give ranges of this file.", where=address)
        self.size: int = self._file.size
        details = self._file.details if isinstance(getattr(self._file, "details", None), dict) else {}
        self.version = str(details.get("ETag") or details.get("etag") or details.get("LastModified") or "")

    def _opened(self) -> Any:  # noqa: ANN401 - fsspec has no types
        cache = {"maxblocks": MOST_BLOCKS}
        return insist(
            lambda: self._store.open(
                self._path, "rb", block_size=BLOCK_BYTES, cache_type="blockcache", cache_options=cache
            ),
            self._address,
            probe=lambda: self._store.cat_file(self._path, start=0, end=1),
        )

    def read(self, position: int, count: int) -> bytes:
        with self._lock:
            return insist(lambda: self._read(position, count), self._address)

    def _read(self, position: int, count: int) -> bytes:
        wanted = min(count, self.size - position)
        try:
            self._file.seek(position)
            data: bytes = self._file.read(wanted)
            if len(data) != wanted:
                raise OSError("the answer is shorter than the range")
        except Exception:
            self._file.cache = type(self._file.cache)(
                BLOCK_BYTES, self._file.cache.fetcher, self.size, maxblocks=MOST_BLOCKS
            )  # what is short or broken must not stay
            raise
        return data


class _Reader(io.RawIOBase):
    """A place in a file of blocks."""

    def __init__(self, blocks: _Blocks) -> None:
        super().__init__()
        self._blocks, self._position = blocks, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = (0, self._position, self._blocks.size)[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._blocks.size - self._position)
        count = left if size < 0 else min(size, left)
        data = self._blocks.read(self._position, count) if count else b""
        self._position += len(data)
        return data


def list_store(address: str) -> Iterator[tuple[str, bool]]:
    """What lies in a folder of a store, in the order of the names.

    Args:
        address: Of the folder.

    Yields:
        Address, and whether it is a folder; nothing, where there is none.

    Raises:
        DownloadError: The store does not answer, or does not take the credentials.
        VideoError: It may not be listed.
    """
    store, path = open_store(address)
    path = path.rstrip("/")

    def ask() -> list[dict[str, Any]]:
        try:
            return list(store.ls(path, detail=True, refresh=True))
        except FileNotFoundError:
            return []

    scheme = address.partition("://")[0]
    for entry in sorted(insist(ask, address), key=lambda entry: str(entry["name"])):
        name = str(entry["name"]).rstrip("/")
        if name != path:
            yield name if is_remote(name) else f"{scheme}://{name}", entry["type"] == "directory"
