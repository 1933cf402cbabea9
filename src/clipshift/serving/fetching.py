"""Clips by address, from hosts that the server's owner has named, and from nowhere else.

A host's name is looked up once, at the moment of the connection, and the connection goes to the very address that was
looked at: one that is private, local or otherwise not of the open internet is not connected to. Redirects are not
followed, proxies are not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable

import httpcore2

from clipshift.errors import ConfigError
from clipshift.files import from_json
from clipshift.serving.limits import Refusal
from clipshift.serving.uploads import Upload, clip_name

MOST_REQUEST = 8192
"""Bytes that the request for a clip may have."""
_SECONDS = {"connect": 5.0, "read": 10.0, "write": 5.0, "pool": 5.0}
_ALL_SECONDS = 60.0
IsAllowed = Callable[[str], bool]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Fetcher:
    """Fetches clips.

    Args:
        hosts: Names that addresses may have, `example.org` or `example.org:8443`.
        is_allowed: Whether an IP address may be connected to.

    Raises:
        ConfigError: One of them is no name of a host.
    """

    def __init__(self, hosts: Iterable[str], *, is_allowed: IsAllowed = is_public) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        for host in self._hosts:
            if not host or set(host) & set("/@?#* "):
                raise ConfigError("This is no name of a host.", where="url_host", got=host, allowed="HOST or HOST:PORT")
        self._is_allowed = is_allowed

    def __bool__(self) -> bool:
        return bool(self._hosts)

    async def fetch(self, request: bytes, upload: Upload, most: int) -> None:
        """Fetch what a request names.

        Args:
            request: JSON, `{"url": "https://..."}`.
            upload: Gets the bytes, and the last part of the path as its name.
            most: Bytes that it may have.

        Raises:
            Refusal: It is no such request (400), the address is not allowed (403), the clip is too long (413), or it
                cannot be fetched (422).
        """
        url = self._checked(request)
        upload.name = clip_name(url.target.partition(b"?")[0].rpartition(b"/")[2])
        backend = _CheckedBackend(self._is_allowed)
        headers = [(b"host", _host_header(url)), (b"accept-encoding", b"identity"), (b"user-agent", b"clipshift")]
        try:
            async with (
                asyncio.timeout(_ALL_SECONDS),
                httpcore2.AsyncConnectionPool(network_backend=backend, max_connections=1) as pool,
                pool.stream("GET", url, headers=headers, extensions={"timeout": _SECONDS}) as response,
            ):
                await _take(response, upload, most)
        except TimeoutError as error:
            raise Refusal(422, "The clip could not be fetched in time.", path=upload.name) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException, OSError) as error:
            reason = str(error) or type(error).__name__
            raise Refusal(422, f"The clip could not be fetched: {reason[:200]}", path=upload.name) from error

    def _checked(self, request: bytes) -> httpcore2.URL:
        if not self._hosts:
            raise Refusal(403, "This server takes clips, not their addresses.")
        try:
            value = from_json(request)
            text = value["url"]
            url = httpcore2.URL(text)
            port = url.port
        except (ValueError, KeyError, TypeError, UnicodeError) as error:
            raise Refusal(400, 'The body is not {"url": "https://..."}.') from error
        host = url.host.decode("ascii", "replace").lower()
        if url.scheme not in {b"http", b"https"} or "@" in text.partition("//")[2].partition("/")[0]:
            raise Refusal(403, "Only addresses with http or https, without a name of a user, are fetched.")
        if (host if port is None else f"{host}:{port}") not in self._hosts:
            raise Refusal(403, "This host is not among those that the server may fetch from.")
        return url


def _host_header(url: httpcore2.URL) -> bytes:
    return url.host if url.port is None else b"%b:%d" % (url.host, url.port)


async def _take(response: httpcore2.Response, upload: Upload, most: int) -> None:
    if response.status != 200:
        raise Refusal(422, f"The clip could not be fetched: status {response.status}.", path=upload.name)
    too_long = Refusal(413, f"The clip is longer than the {most} bytes that the server takes.", path=upload.name)
    length = next((value for name, value in response.headers if name.lower() == b"content-length"), b"")
    if length.isdigit() and int(length[:20]) > most:
        raise too_long
    async for piece in response.aiter_stream():
        if upload.size + len(piece) > most:
            raise too_long
        upload.write(piece)


class _CheckedBackend(httpcore2.AnyIOBackend):
    """Connects to addresses that were looked at."""

    def __init__(self, is_allowed: IsAllowed) -> None:
        self._is_allowed = is_allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Look a host up, and connect to one of its addresses.

        Raises:
            Refusal: One of them is not allowed.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        if not addresses or not all(map(self._is_allowed, addresses)):
            raise Refusal(403, "The host has an address that is not of the open internet.")
        return await super().connect_tcp(addresses[0], port, timeout, local_address, socket_options)
