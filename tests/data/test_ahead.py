from __future__ import annotations

import threading
import time

from clipshift.data.ahead import map_ahead


def test_results_keep_the_order_of_the_items() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0)
        return number * number

    assert list(map_ahead(slow_first, range(10), 3)) == [number * number for number in range(10)]


def test_it_works_in_threads_and_without() -> None:
    def where(_: int) -> str:
        return threading.current_thread().name

    assert set(map_ahead(where, range(4), 0)) == {threading.current_thread().name}
    assert all(name.startswith("ahead") for name in map_ahead(where, range(4), 2))
