"""What FFmpeg says of lost packets and damaged pictures: for some protocols and codecs it says so in its log alone."""

from __future__ import annotations

import logging

import av

_WORDS = ("missed", "corrupt", "continuity check failed", "concealing", "error while decoding")


class LossLog(logging.Handler):
    """Takes FFmpeg's log, of which nothing is printed: its lines name the URL, with its password.

    Attributes:
        seen: Whether something was lost since this was last set to False.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def emit(self, record: logging.LogRecord) -> None:
        """Looks at a line."""
        text = record.getMessage().lower()
        self.seen = self.seen or any(word in text for word in _WORDS)


def take_log() -> LossLog:
    """Lets FFmpeg's log of this process go to a handler alone, from now on."""
    handler = LossLog()
    logger = logging.getLogger("libav")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    av.logging.set_level(av.logging.INFO)
    return handler
