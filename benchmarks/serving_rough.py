"""What is rough to a server (`benchmarks/serving.py`): killed decoders; clients that are slow, never read, or leave."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_SLOW, _UNREAD = 100, 20


class _Rough:
    """Each method does one thing until the end."""

    def __init__(self, address: str, path: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self._place = (host, int(port))
        self._head = f"POST {path} HTTP/1.1\r\nhost: x\r\n".encode()
        self.ended = threading.Event()
        self.done: Counter[str] = Counter()

    def _connect(self, data: bytes, *, buffer: int | None = None) -> socket.socket:
        connection = socket.socket()
        if buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        connection.settimeout(5)
        with suppress(OSError):
            connection.connect(self._place)
            connection.sendall(data)
        return connection

    def trickle(self) -> None:
        """Connections that send a byte a second, of a head or of a body, and begin anew where they are cut off."""
        slow: list[socket.socket] = []
        while not self.ended.wait(1):
            while len(slow) < _SLOW:
                rest = b"x-slow: " if len(slow) % 2 else b"content-length: 1000000\r\n\r\n"
                slow.append(self._connect(self._head + rest))
                self.done["slow"] += 1
            for connection in list(slow):
                try:
                    connection.sendall(b"x")
                except OSError:
                    self.done["slow, cut off"] += 1
                    slow.remove(connection)
                    connection.close()
        _close(slow)

    def never_read(self) -> None:
        """Connections that ask for more than all buffers hold."""
        unread: list[socket.socket] = []
        while not self.ended.wait(1):
            unread.append(self._connect(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 200, buffer=4096))
            self.done["never read"] += 1
            if len(unread) > _UNREAD:
                unread.pop(0).close()
        _close(unread)

    def leave(self) -> None:
        """Connections that end in the midst of a body."""
        while not self.ended.wait(1):
            self._connect(self._head + b"content-length: 1000000\r\n\r\n" + bytes(300_000)).close()
            self.done["left"] += 1

    def kill(self, processes: Callable[[], list[int]], source: random.Random) -> None:
        """SIGKILL for one of the processes."""
        while not self.ended.wait(source.uniform(2.0, 6.0)):
            for pid in source.sample(found := processes(), min(1, len(found))):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.done["killed"] += 1


def _close(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


@contextmanager
def disturbed(
    address: str, path: str, processes: Callable[[], list[int]], source: random.Random
) -> Iterator[Counter[str]]:
    """While inside, a server has to do with all of this; gives how often what was done.

    Args:
        address: Of the server.
        path: That takes clips.
        processes: Gives those of which one is killed from time to time.
        source: Of the moments and the choice.
    """
    rough = _Rough(address, path)
    threads = [threading.Thread(target=each) for each in (rough.trickle, rough.never_read, rough.leave)]
    threads.append(threading.Thread(target=rough.kill, args=(processes, source)))
    for thread in threads:
        thread.start()
    try:
        yield rough.done
    finally:
        rough.ended.set()
        for thread in threads:
            thread.join()
