"""One file over HTTP: a broken download is continued, transient errors are tried again, everything else is an error.

What was received lies in `FILE` while the download lasts, and beside it in `FILE.json` what the server said of it. With
both, a later call asks for the rest only (RFC 9110, sections 13.1.5 and 14): `Range` with the `ETag` or the
`Last-Modified` of the first answer in `If-Range`. Without either of them, or where the server sends the whole file
again, the download starts anew, so that parts of two versions are never joined.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from clipshift._version import __version__
from clipshift.errors import DownloadError
from clipshift.files import from_json
from clipshift.progress import DownloadProgress

_CHUNK_BYTES = 1 << 18
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT_SECONDS = 60.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _PassingFaultError(Exception):
    """Something that may be well at the next attempt.

    Args:
        reason: What happened.
        wait: After how many seconds the server asks to come again, or None.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class _Begun:
    """What is known of a file whose first part was received.

    Attributes:
        url: Where it comes from.
        validator: Its ETag or time of change; empty where the server gave neither, so that it cannot be continued.
        size: Bytes of the whole file, or None where the server did not say.
    """

    url: str
    validator: str
    size: int | None


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    progress: DownloadProgress | None = None,
    timeout: float = 15.0,
    attempts: int = 4,
    pause: float = 1.0,
    https_only: bool = True,
) -> None:
    """Fetch `url` into `path`, or the rest of it where a former download stopped.

    Nothing of the content is checked but its length. The caller sees to it that no other process writes `path`.

    Args:
        url: Where the file lies. Proxies are taken from the environment (`https_proxy`, `no_proxy`).
        path: Where it is written; its folder exists. `path` with `.json` added holds what is known of it meanwhile.
        size: Bytes that it must have, where known.
        progress: Is told of every received part.
        timeout: Seconds without an answer, or without a byte, after which an attempt has failed.
        attempts: How many attempts in a row may fail without that anything more was received.
        pause: Seconds before the second attempt; they double with each further one, unless the server names a time.
        https_only: Whether addresses and redirections without encryption are refused.

    Raises:
        DownloadError: It cannot be fetched; what was received stays for the next call.
    """
    opener = build_opener(_Redirects(https_only=https_only))
    if https_only and urlsplit(url).scheme != "https":
        raise DownloadError("Files are fetched over https only.", where=url)
    failures, farthest = 0, _length(path)
    while True:
        try:
            _attempt(opener, url, path, size=size, progress=progress, timeout=timeout)
        except _PassingFaultError as fault:
            length = _length(path)
            failures = 1 if length > farthest else failures + 1
            farthest = max(farthest, length)
            if failures >= attempts:
                raise DownloadError(
                    f"The download failed {failures} times in a row.",
                    where=url,
                    got=fault,
                    remedy="try again later: what was received is kept, and the download goes on from there",
                ) from fault
            wait = pause * 2 ** (failures - 1) if fault.wait is None else fault.wait
            time.sleep(min(wait, _LONGEST_WAIT_SECONDS))
        else:
            return


def finish(path: Path, target: Path) -> None:
    """Move a whole download to its place, in one step."""
    path.replace(target)
    _notes(path).unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Forget what was received."""
    path.unlink(missing_ok=True)
    _notes(path).unlink(missing_ok=True)


class _Redirects(HTTPRedirectHandler):
    """Follows redirections, but not from https to anything else."""

    def __init__(self, *, https_only: bool) -> None:
        self.https_only = https_only

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if self.https_only and urlsplit(newurl).scheme != "https":
            raise DownloadError(
                "The server redirects to an address without encryption.", where=req.full_url, got=newurl
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _attempt(
    opener: OpenerDirector,
    url: str,
    path: Path,
    *,
    size: int | None,
    progress: DownloadProgress | None,
    timeout: float,
) -> None:
    """Ask once, and write what comes."""
    begun = _read_notes(path, url)
    have = _length(path) if begun.validator else 0
    if have and have == begun.size:
        return  # everything had been received when the former download ended
    request = Request(url, headers={"User-Agent": f"clipshift/{__version__}"})  # noqa: S310 - the scheme was checked
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", begun.validator)
    with closing(_open(opener, request, timeout, path)) as response:
        if response.headers.get_content_type() == "text/html":
            raise DownloadError("The server sent a web page in place of the file.", where=url, got=response.geturl())
        start = have if response.status == 206 else 0
        total = _total(response, begun, path, start)
        if size is not None and total is not None and total != size:
            discard(path)
            raise DownloadError(
                "The server has a file of another size.", where=url, got=f"{total} bytes", allowed=f"{size} bytes"
            )
        if start == 0:
            _write_notes(path, _Begun(url, _validator(response), total))
        _check_room(path, total, start)
        received = _write(path, _parts(response, total, start), start, total, progress)
    if total is not None and received < total:
        raise _PassingFaultError(f"the connection ended after {received} of {total} bytes")


def _open(opener: OpenerDirector, request: Request, timeout: float, path: Path) -> HTTPResponse:
    try:
        response = opener.open(request, timeout=timeout)
    except HTTPError as error:
        with closing(error):
            _judge_status(error, request.full_url, path)
    except URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionError):
            raise _PassingFaultError(str(error.reason)) from error
        # No such name, no network, a certificate that is not trusted, a proxy that refuses: the same a second later.
        raise DownloadError(
            "There is no connection to the server.", where=request.full_url, got=error.reason
        ) from error
    except (TimeoutError, ConnectionError, HTTPException) as error:
        raise _PassingFaultError(f"{type(error).__name__}: {error}") from error
    assert isinstance(response, HTTPResponse)  # noqa: S101 - what openers give for http and https
    return response


def _judge_status(error: HTTPError, url: str, path: Path) -> NoReturn:
    """A status other than success, as the exception that it means."""
    if error.code == 416:  # the file became shorter than what was received of it
        discard(path)
        raise _PassingFaultError("416: the file on the server changed", wait=0) from error
    if error.code in _TRANSIENT_STATUS:
        asked = error.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdecimal() else None
        raise _PassingFaultError(f"{error.code} {error.reason}", wait=wait) from error
    raise DownloadError("The server does not give the file.", where=url, got=f"{error.code} {error.reason}") from error


def _total(response: HTTPResponse, begun: _Begun, path: Path, start: int) -> int | None:
    """Bytes of the whole file, or None; a continuation that does not fit what was received is a transient error."""
    length = response.headers.get("Content-Length", "")
    if response.status != 206:
        return int(length) if length.isdecimal() else None
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    first, whole = match.groups() if match is not None else ("", "")
    size = int(whole) if whole.isdecimal() else begun.size
    # Servers that do not know If-Range send the rest of a file that changed; only its marks tell.
    marks = {mark for mark in (response.headers.get("ETag"), response.headers.get("Last-Modified")) if mark}
    fits = first == str(start) and begun.size in {None, size} and (not marks or begun.validator in marks)
    if not fits:
        discard(path)
        raise _PassingFaultError("the rest that the server sent is not of the same file", wait=0)
    return size


def _validator(response: HTTPResponse) -> str:
    """What names this version of the file: a strong ETag, or else the time of its last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _parts(response: HTTPResponse, total: int | None, start: int) -> Iterator[bytes]:
    """What the server sends, at most up to the announced end."""
    left = None if total is None else total - start
    while left is None or left > 0:
        try:
            part = response.read1(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
        except (TimeoutError, ConnectionError, HTTPException, ssl.SSLError) as error:
            raise _PassingFaultError(f"{type(error).__name__}: {error}") from error
        if not part:
            return
        left = None if left is None else left - len(part)
        yield part


def _write(path: Path, parts: Iterator[bytes], start: int, total: int | None, progress: DownloadProgress | None) -> int:
    """Add the parts to what is there; gives the length that the file then has."""
    received = start
    with path.open("ab" if start else "wb") as file:
        for part in parts:
            file.write(part)
            received += len(part)
            if progress is not None:
                progress(received, total)
        file.flush()
        os.fsync(file.fileno())
    return received


def _check_room(path: Path, total: int | None, start: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if total is not None and total - start > free:
        raise DownloadError(
            "There is not enough room for the file.",
            where=path.parent,
            got=f"{free / 1e6:.0f} MB free",
            allowed=f"at least {(total - start) / 1e6:.0f} MB",
        )


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _notes(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_notes(path: Path, url: str) -> _Begun:
    """What the first answer said of the file, or nothing where that was another file or cannot be read."""
    try:
        begun = _Begun(**from_json(_notes(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return _Begun(url, "", None)
    return begun if begun.url == url else _Begun(url, "", None)


def _write_notes(path: Path, begun: _Begun) -> None:
    # The part goes first: notes never stand beside a part that they do not describe.
    path.unlink(missing_ok=True)
    _notes(path).write_text(json.dumps(asdict(begun)) + "\n", encoding="utf-8")
