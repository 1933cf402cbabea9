"""The way into the command line, and out of it: exit codes, errors in a few lines, pipes that close."""

from __future__ import annotations

import atexit
import errno
import gc
import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

from clipshift.cli.app import app
from clipshift.cli.arguments import with_standard_input
from clipshift.console import complain, flush_stdout, give_up_stdout, prepare_streams
from clipshift.errors import MissingDependencyError, OutputError, TrainingInterrupted, UserError

_COLLECTION = 50_000, 10, 10
"""After how many new objects garbage is looked for. PyTorch and timm make a million objects that stay: looking at them
after every 700, as Python does, takes a sixth of the time of importing them."""
_REFUSALS = {
    errno.ENAMETOOLONG: "A name is longer than the system allows.",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "The system does not allow this access."),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "There is no room left."),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "The disk or file system has failed."),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Too many files are open."),
}
"""What the system answers where no part of clipshift could say more: never a bug."""


class _Ending:
    """Ends the process where Python would begin to take itself apart.

    Among the million objects of PyTorch and timm it looks for garbage three more times, for up to a second; the system
    frees them at once. What others want to do at the end is done before: the first one registered comes last.
    """

    def __init__(self) -> None:
        self.code = 1  # of a bug, whose traceback Python has printed
        self._process = os.getpid()

    def __call__(self) -> None:
        """End, unless this is a process that was forked from the command's."""
        if os.getpid() == self._process:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):  # closed, full, or not there at all
                    stream.flush()
            os._exit(self.code)


def run() -> NoReturn:
    """[main][clipshift.cli.entry.main] in a process of its own."""
    gc.set_threshold(*_COLLECTION)
    ending = _Ending()
    atexit.register(ending)
    try:
        main()
    except SystemExit as end:
        ending.code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


def main() -> NoReturn:
    """Run the command line; user errors end in a few lines, bugs keep their traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    prepare_streams()
    code: int | str | None = 0
    try:
        try:
            app(with_standard_input(sys.argv[1:]))
        except SystemExit as end:
            code = end.code
        flush_stdout()
    except BrokenPipeError:
        code = 0  # the reader of a pipe went away (`| head`): what is left is not wanted
    except (UserError, ModuleNotFoundError, OSError) as error:
        known = _known(error)
        if known is None:
            raise
        if _speaks():
            complain(f"error: {known}")
        code = 2
    except TrainingInterrupted as interruption:
        if _speaks():
            complain(str(interruption))
        code = interruption.exit_code
    except KeyboardInterrupt:
        code = 130
    _end_output()
    sys.exit(code)


def _known(error: Exception) -> UserError | None:
    """What an error means to a user; None for a bug."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return MissingDependencyError.of(error)
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return UserError(_REFUSALS[error.errno], where=error.filename2 or error.filename, got=error.strerror)
    return None


def _end_output() -> None:
    """Write what is left, and see to it that the end of Python does not complain where that failed."""
    try:
        flush_stdout()
    except (OutputError, BrokenPipeError):
        give_up_stdout()


def _speaks() -> bool:
    return os.environ.get("RANK", "0") == "0"
