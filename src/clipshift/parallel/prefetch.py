"""A map over threads that keeps the order and reads only a little ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import Condition
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Reserve = Callable[[int], None]
"""Waits until there is room for so many bytes."""


_MOST_THREADS = 16


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_threads(workers: int | Literal["auto"]) -> int:
    """Number of reading threads: as asked, or (`auto`) one per core that this process may use, at most 16."""
    return min(available_cores(), _MOST_THREADS) if workers == "auto" else workers


def decoder_threads(workers: int) -> int:
    """Cores for the decoder of each clip: one where `workers` read side by side, else all, at most 16."""
    return pick_threads("auto") if workers == 0 else 1


@dataclass
class UntilError(Generic[Item]):
    """Items up to an error in making them, which is kept until what was made of those before it is given.

    Attributes:
        items: Are iterated once.
        error: What ended them, if it did.
    """

    items: Iterable[Item]
    error: Exception | None = None

    def __iter__(self) -> Iterator[Item]:
        """The items."""
        try:
            yield from self.items
        except Exception as error:  # `raise_error` raises it
            self.error = error

    def raise_error(self) -> None:
        """Raises what ended the items, if anything did."""
        if self.error is not None:
            raise self.error


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    at_end: Callable[[], None] = lambda: None,
) -> Generator[Result]:
    """Applies a function in threads and gives the results in the order of the items.

    At most 2 x workers results are awaited or held, and no more items are taken: there may be endlessly many. The
    threads end with the iteration, also when it is left early and the iterator closed.

    Args:
        function: Called with each item; its exceptions come out where its result would.
        items: Consumed step by step, in the caller's thread; their exception comes out after all results before it.
        workers: Threads; 0 works in the caller's.
        at_end: Called before the threads are waited for, however the iteration ends.

    Yields:
        The results.
    """
    if workers < 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    waiting: deque[Future[Result]] = deque()
    taken = UntilError(items)
    try:
        for item in taken:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        taken.raise_error()
    finally:
        at_end()
        pool.shutdown(wait=True, cancel_futures=True)


def prefetch_within(
    most_bytes: int, function: Callable[[Item, Reserve], Result], items: Iterable[Item], workers: int
) -> Generator[Result]:
    """As [prefetch][clipshift.parallel.prefetch.prefetch], for results so large that few of them may be held.

    The result that is awaited is always made, whatever it needs; others only while all that are held need no more
    than `most_bytes` together. What the consumer took last still counts, until it asks for the next one.

    Args:
        most_bytes: Memory for all results that are held.
        function: Called with each item, and with what it must call before it takes memory for the result.
        items: Consumed step by step, in the caller's thread.
        workers: Threads; 0 works in the caller's.

    Yields:
        The results.
    """
    room = _Room(most_bytes)

    def call(numbered: tuple[int, Item]) -> Result:
        number, item = numbered
        return function(item, partial(room.take, number))

    with closing(prefetch(call, enumerate(items), workers, at_end=room.close)) as results:
        for number in count():
            room.await_result(number)
            try:
                result = next(results)
            except StopIteration:
                return
            yield result


class _Room:
    """Memory that threads share."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: dict[int, int] = {}
        """Bytes, by the number of the result."""
        self._awaited = 0
        self._closed = False
        self._changed = Condition()

    def take(self, number: int, size: int) -> None:
        """Waits until a result fits, or is the one that is awaited: nothing would go on without it.

        Raises:
            CancelledError: Nobody wants it any more.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or number == self._awaited or sum(self._held.values()) + size <= self._most
            )
            if self._closed:
                raise CancelledError
            self._held[number] = size

    def await_result(self, number: int) -> None:
        """The consumer asks for this result, and is done with those before."""
        with self._changed:
            self._awaited = number
            self._held.pop(number - 1, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody will ask any more: ends all waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
