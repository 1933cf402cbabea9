"""A map over processes that outlives the death of one of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TypeVar

from clipshift.errors import UserError
from clipshift.parallel.spawning import Death, explain_death, first_dead, memory_kills, take_signals, worker_context

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Died:
    """In the place of a result: the process that worked on it, and on nothing else, died."""

    cause: str


def map_processes(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[tuple[Item, Result | Died]]:
    """Applies a function in processes, and gives the results as they come.

    A process may die, of a fault in a decoder or for want of memory: what was running then is done again, each item
    alone in a process, so that only the one that kills its process fails.

    Args:
        function: Of a module, not a local one; its exceptions come out here and end the map.
        items: What it is called with.
        workers: Processes; 0 works in the caller's.

    Yields:
        Each item with its result, or why its process died.

    Raises:
        UserError: Processes cannot be started; the error says why.
    """
    if workers < 1:
        for item in items:
            yield item, function(item)
        return
    waiting = deque(items)
    pool = _start(min(workers, max(1, len(waiting))))
    running: dict[Future[Result], Item] = {}
    try:
        while waiting or running:
            lost = _submit(pool, function, waiting, running, most=2 * workers)
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                item = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    lost.append(item)
                else:
                    yield item, result
            if lost:
                lost += running.values()
                running.clear()
                pool.shutdown()
                yield from _one_by_one(function, lost)
                pool = _start(workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor,
    function: Callable[[Item], Result],
    waiting: deque[Item],
    running: dict[Future[Result], Item],
    *,
    most: int,
) -> list[Item]:
    """Hands items to the processes; gives back the one that a broken pool did not take."""
    while waiting and len(running) < most:
        item = waiting.popleft()
        try:
            running[pool.submit(function, item)] = item
        except BrokenProcessPool:
            return [item]
    return []


def _one_by_one(function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[tuple[Item, Result | Died]]:
    for item in items:
        killed_before = memory_kills()
        with _start(1) as pool:
            try:
                result = pool.submit(function, item).result()
            except BrokenProcessPool:
                yield item, Died(f"the process that worked on it died: {_death(pool, killed_before).cause}")
            else:
                yield item, result


def _start(workers: int) -> ProcessPoolExecutor:
    # Not by fork: threads of the caller (a progress bar, a decoder) may hold locks at that moment.
    pool = ProcessPoolExecutor(workers, mp_context=worker_context(), initializer=_begin)
    killed_before = memory_kills()
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        death = _death(pool, killed_before)
        raise UserError("Worker processes cannot be started.", got=death.cause, remedy=death.remedy) from error
    return pool


def _death(pool: ProcessPoolExecutor, killed_before: int) -> Death:
    """Why a pool is broken."""
    processes = list((pool._processes or {}).values())  # it has no public way to its processes
    pool.shutdown()
    dead = first_dead(processes)
    if dead is None:
        return Death("its process ended", "workers=0 works in the program's own process")
    return explain_death(dead, killed_before)


def _begin() -> None:
    """In a new process: Ctrl-C is the parent's business, and no process outlives a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
