"""The process of a tracker: it follows the files of a run until the training ends, and tells the library of them.

`python -m clipshift.tracking.following NAME RUN SECONDS`: how the training ended is a word on standard input, whose end
without a word means that the training's process is gone.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import cast

from clipshift.tracking.run_files import RecordReader, read_results, read_settings
from clipshift.tracking.tracker import Ending, Remembered, Start, Tracker, open_tracker

_POLL = 1.0
"""Seconds between two looks at the records."""


def follow(name: str, run: Path, words: int, seconds: float) -> int:
    """Track a run until its training ends.

    Args:
        name: The tracker.
        run: The run folder.
        words: A file descriptor, from which the word comes how the training ended.
        seconds: How long this process may go on after a training that was killed.

    Returns:
        The exit code: 0, or 1 where the library failed; the reason is in what is remembered.
    """
    remembered = Remembered.read(run, name)
    remembered.ended = remembered.error = None
    try:
        _follow(name, run, words, seconds, remembered)
    except BaseException as error:  # a library may also exit
        traceback.print_exc()
        first = next(iter(str(error).strip().splitlines()), "")
        remembered.error = f"{type(error).__name__}: {first}"[:300].rstrip(": ")
        remembered.write(run, name)
        return 1
    return 0


def _follow(name: str, run: Path, words: int, seconds: float, remembered: Remembered) -> None:
    tracker = open_tracker(name, Start(run, read_settings(run), remembered.identity))
    remembered.identity, remembered.where = tracker.identity, tracker.where
    remembered.write(run, name)
    reader = RecordReader(run / "metrics.jsonl", remembered.seen)
    ending: Ending | None = None
    while ending is None:
        ending = _ending(words, _POLL)
        if _log_new(tracker, reader):
            remembered.write(run, name)
    if ending == "failed":
        _end_after(seconds)
    if ending == "finished":
        tracker.keep(read_results(run))
    tracker.close(ending)
    remembered.ended = ending
    remembered.write(run, name)


def _log_new(tracker: Tracker, reader: RecordReader) -> int:
    count = 0
    for values in reader.new():
        tracker.log(values)
        count += 1
    return count


def _ending(words: int, seconds: float) -> Ending | None:
    """How the training ended; None where it has not after so many seconds."""
    if not select.select([words], [], [], seconds)[0]:
        return None
    word = os.read(words, 100).decode(errors="replace").strip()
    return cast(Ending, word) if word in ("finished", "interrupted") else "failed"


def _end_after(seconds: float) -> None:
    """End this process and those that its library started after a while, whatever they do."""

    def end() -> None:
        time.sleep(seconds)
        with suppress(OSError):
            os.killpg(0, signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()


def _take_words() -> int:
    """Standard input under another number: libraries, and what they start, find an empty one."""
    words = os.dup(0)  # not inherited
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return words


def main(arguments: Iterable[str]) -> int:
    """Track a run, as the module's text tells."""
    name, run, seconds = arguments
    words = _take_words()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training says when it is over
    return follow(name, Path(run), words, float(seconds))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads and exit handlers of a library have nothing to say any more
