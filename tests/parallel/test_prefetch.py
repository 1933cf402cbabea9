from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from clipshift.parallel.prefetch import prefetch, prefetch_within


def test_results_keep_the_order_of_the_items() -> None:
    later = threading.Event()

    def last_first(number: int) -> int:
        if number == 0:
            assert later.wait(timeout=1800)
        elif number == 4:
            later.set()
        return number * number

    assert list(prefetch(last_first, range(10), 3)) == [number * number for number in range(10)]


def test_it_works_in_threads_and_without() -> None:
    def where(_: int) -> str:
        return threading.current_thread().name

    assert set(prefetch(where, range(4), 0)) == {threading.current_thread().name}
    assert all(name.startswith("ahead") for name in prefetch(where, range(4), 2))


class _Held:
    """Counts the results that are made and not yet taken."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.now = self.most = 0
        self.lock = threading.Lock()

    def make(self, number: int, reserve: Callable[[int], None]) -> int:
        reserve(self.size)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        return number

    def take(self) -> None:
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(("size", "most"), [(1, 8), (30, 3), (51, 1), (1000, 1)])
@pytest.mark.parametrize("workers", [0, 4])
def test_no_more_is_held_than_there_is_room_for(size: int, most: int, workers: int) -> None:
    held = _Held(size)
    taken = []
    for number in prefetch_within(100, held.make, range(40), workers):
        time.sleep(0.001)  # the threads are quicker
        taken.append(number)
        held.take()
    assert taken == list(range(40))
    # One more than fit: the awaited one is always made.
    assert held.most <= (most + 1 if workers else 1)


def test_what_is_left_early_leaves_no_thread_waiting() -> None:
    held = _Held(60)
    reading = prefetch_within(100, held.make, range(40), 4)
    assert next(reading) == 0
    reading.close()
    assert held.most <= 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_what_needs_no_room_or_fails_stops_nobody() -> None:
    def make(number: int, reserve: Callable[[int], None]) -> int:
        if number % 2:
            reserve(100)
        if number == 7:
            raise ValueError("seven")
        return number

    reading = prefetch_within(100, make, range(40), 3)
    assert list(islice(reading, 7)) == list(range(7))
    with pytest.raises(ValueError, match="seven"):
        next(reading)


@pytest.mark.parametrize("workers", [0, 3])
def test_what_was_made_before_the_items_failed_is_given(workers: int) -> None:
    def items() -> Iterator[int]:
        yield from range(4)
        raise OSError("the list ended early")

    results = prefetch(lambda number: number, items(), workers)
    assert list(islice(results, 4)) == [0, 1, 2, 3]
    with pytest.raises(OSError, match="ended early"):
        next(results)
