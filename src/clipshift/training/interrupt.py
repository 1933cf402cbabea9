"""SIGTERM and Ctrl-C end a training between two updates, not within one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}  # 75: EX_TEMPFAIL, "try again later"


@dataclass
class StopRequest:
    """Whether somebody asked the training to stop.

    Attributes:
        exit_code: What the process then ends with; None while nobody asked.
    """

    exit_code: int | None = None

    @property
    def made(self) -> bool:
        """Whether a signal came."""
        return self.exit_code is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and the first Ctrl-C into a request; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python does not deliver signals, nothing is changed.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if request.made and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.exit_code = EXIT_CODES[signal.Signals(number)]

    before = {number: signal.signal(number, handle) for number in EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
