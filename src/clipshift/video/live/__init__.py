"""Sources that go on while they are read: files, folders that grow, cameras, RTSP, HTTP, pipes. Needs no PyTorch."""

from __future__ import annotations

from clipshift.video.live.addresses import Address, read_address
from clipshift.video.live.reading import Break, Transport, UntilBreak
from clipshift.video.live.session import Stop
from clipshift.video.live.source import LiveSource, SourceOptions, SourceState

__all__ = [
    "Address",
    "Break",
    "LiveSource",
    "SourceOptions",
    "SourceState",
    "Stop",
    "Transport",
    "UntilBreak",
    "read_address",
]
