"""A map over threads that keeps the order and reads only a little ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


_MOST_THREADS = 16


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_threads(workers: int | Literal["auto"]) -> int:
    """Number of reading threads: as asked, or (`auto`) one per core that this process may use, at most 16."""
    return min(available_cores(), _MOST_THREADS) if workers == "auto" else workers


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """Applies a function in threads and gives the results in the order of the items.

    At most 2 x workers results are awaited or held, and no more items are taken: there may be endlessly many. The
    threads end with the iteration, also when it is left early and the iterator closed.

    Args:
        function: Called with each item; its exceptions come out where its result would.
        items: Consumed step by step, in the caller's thread.
        workers: Threads; 0 works in the caller's.

    Yields:
        The results.
    """
    if workers < 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
