"""Bodies of requests: counted while they come in, kept in memory that nobody finds by a name.

A body that is too long is refused at its first byte too many, or before its first byte where it says its length. One
that comes too slowly is given up: a client has a quarter of a minute, and for each kibibyte another second.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from clipshift.serving.limits import ClientLeft, HeldBytes, Refusal

Receive = Callable[[], Awaitable[Any]]
"""ASGI's."""
FIELD = "video"
"""Name of the part of a form that holds the clip."""
_GRACE_SECONDS = 15.0
_LEAST_BYTES_PER_SECOND = 1024
_MOST_PARTS = 16
_MOST_NAME = 1024
_SEALS = fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Upload:
    """A file in memory, of one request; closing it frees the memory.

    Attributes:
        name: What the client calls it.
        size: In bytes.
    """

    def __init__(self, held: HeldBytes, name: str = "clip") -> None:
        self.name = name
        self.size = 0
        self._held = held
        self._descriptor = os.memfd_create("clipshift-upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    @property
    def descriptor(self) -> int:
        """Of the open file."""
        return self._descriptor

    def write(self, data: bytes | memoryview) -> None:
        """Add bytes.

        Raises:
            Refusal: All uploads together would be too large.
        """
        left = memoryview(data)
        self._held.take(len(left))
        self.size += len(left)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def seal(self) -> None:
        """Let nobody change it any more, whoever has it."""
        fcntl.fcntl(self._descriptor, *_SEALS)

    def close(self) -> None:
        """Free the memory; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._held.give_back(self.size)


async def receive_body(
    receive: Receive, most: int, announced: int | None, take: Callable[[bytes], None], *, grace: float = _GRACE_SECONDS
) -> int:
    """Take in a body, piece by piece.

    Args:
        receive: ASGI's.
        most: Bytes that it may have.
        announced: Its length, where its head says it.
        take: Is given each piece.
        grace: Seconds that it may take besides those for its length.

    Returns:
        Its bytes.

    Raises:
        Refusal: It is too long (413), or too slow (408).
        ClientLeft: It ended before its end.
    """
    too_long = Refusal(413, f"The body is longer than the {most} bytes that the server takes.")
    if announced is not None and announced > most:
        raise too_long
    loop = asyncio.get_running_loop()
    start, size = loop.time(), 0
    while True:
        try:
            async with asyncio.timeout_at(start + grace + size / _LEAST_BYTES_PER_SECOND):
                message = await receive()
        except TimeoutError:
            raise Refusal(408, "The body came too slowly.") from None
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise too_long
        if piece:
            take(piece)
        if not message.get("more_body", False):
            return size


class FormReader:
    """Takes the part `video` of a form (multipart/form-data) out of its pieces, and holds nothing else of it.

    Args:
        content_type: Of the request, with the boundary.
        upload: Gets the part's bytes and name.

    Raises:
        Refusal: There is no boundary (400).
    """

    def __init__(self, content_type: str, upload: Upload) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise Refusal(400, "The form has no boundary.")
        self._upload = upload
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._parts = 0
        self._taking = False
        self._found = False
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise Refusal(400, f"The form cannot be read: {error}") from error

    def take(self, piece: bytes) -> None:
        """Take in the next piece of the body.

        Raises:
            Refusal: It is not a form, or one with more than one clip (400).
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Refusal(400, f"The form cannot be read: {error}") from error

    def finish(self) -> None:
        """Say that the body is at its end.

        Raises:
            Refusal: The form is not, or it holds no clip (400).
        """
        if not self._ended:
            raise Refusal(400, "The form ends in the middle.")
        if not self._found:
            raise Refusal(400, f"The form has no part {FIELD!r} with a clip.")

    def _on_part(self) -> None:
        self._parts += 1
        self._disposition = b""
        if self._parts > _MOST_PARTS:
            raise Refusal(400, f"The form has more than {_MOST_PARTS} parts.")

    def _on_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        name.clear()
        value.clear()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition.decode("latin-1"))
        self._taking = options.get(b"name") == FIELD.encode()
        if self._taking:
            if self._found:
                raise Refusal(400, "One request is for one clip.")
            self._found = True
            self._upload.name = clip_name(options.get(b"filename"))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._taking:
            self._upload.write(memoryview(data)[start:end])

    def _on_end(self) -> None:
        self._ended = True


def clip_name(name: bytes | None) -> str:
    """The name of a clip as a client gave it: bytes that are no UTF-8 are kept as in names of files."""
    return os.fsdecode((name or b"clip")[:_MOST_NAME]).replace("\0", "") or "clip"
