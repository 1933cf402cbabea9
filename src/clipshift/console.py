"""What speaks to the user of a command: standard output, standard error, progress bars."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, NoReturn, Self

from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.text import Text

from clipshift.errors import OutputError
from clipshift.files import printable


def say(text: str) -> None:
    """Print lines on standard output; names in them cannot control the terminal.

    Raises:
        OutputError: They cannot be written: a full disk, for one.
        BrokenPipeError: Nobody reads them any more.
    """
    with _output_errors():
        sys.stdout.write(printable(text, line_breaks=True) + "\n")


def complain(text: str) -> None:
    """Print lines on standard error, if it can be written at all."""
    with suppress(OSError):
        sys.stderr.write(printable(text, line_breaks=True) + "\n")
        sys.stderr.flush()


def flush_stdout() -> None:
    """Bring out what was printed.

    Raises:
        OutputError: It cannot be written.
        BrokenPipeError: Nobody reads it any more.
    """
    with _output_errors():
        sys.stdout.flush()


@contextmanager
def _output_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError.of(error) from error


def stderr_console() -> Console:
    """For live progress on standard error: prints text as it is, without markup, emoji codes or colors for numbers."""
    return Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


class HelpConsole(Console):
    """Prints the help, as [say][clipshift.console.say] prints lines: with its errors."""

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 - as rich has it
        """Print what rich can show.

        Raises:
            OutputError: It cannot be written.
            BrokenPipeError: Nobody reads it any more.
        """
        with _output_errors():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Leave the end of a pipe to the caller."""
        raise BrokenPipeError


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal, nothing elsewhere; gives a function that takes what is done and the total, if known."""
    console = stderr_console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as live:
        task = live.add_task(title, total=None, visible=False)
        yield lambda done, total: live.update(task, completed=done, total=total, visible=True)


class LiveLine:
    """A line on a terminal that changes, below all that is printed meanwhile; nothing elsewhere. A context manager."""

    def __init__(self) -> None:
        console = stderr_console()
        self._live = Live(console=console, transient=True, refresh_per_second=5) if console.is_terminal else None

    def show(self, text: str) -> None:
        """What the line says from now on."""
        if self._live is not None:
            self._live.update(Text(printable(text), no_wrap=True, overflow="ellipsis"))

    def log(self, text: str) -> None:
        """Print a line that stays, on standard error."""
        if self._live is None:
            complain(text)
        else:
            self._live.console.print(printable(text))

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def prepare_streams() -> None:
    """Let standard output take every text, and be there: what its encoding cannot show is escaped.

    Where a stream was closed by the caller (`>&-`), its number would go to the next file that is opened.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def give_up_stdout() -> None:
    """Drop what was printed and could not be written, so that the end of the program does not try it again."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
