"""What waits between two threads: a stretch of frames, of which the newest is never lost."""

from __future__ import annotations

import threading

from clipshift.video.live.backlog import Backlog


def drain(backlog: Backlog[str]) -> list[str]:
    found = []
    while (item := backlog.take(0)) is not None:
        found.append(item)
    return found


def test_a_stretch_is_kept_whole_and_given_up_for_the_newest() -> None:
    backlog: Backlog[str] = Backlog(1.0)
    for number in range(5):
        backlog.put(f"{number}", 0.25 * number)
    assert backlog.dropped == 0
    backlog.put("gap")
    backlog.put("5", 1.25)
    backlog.put("6", 1.5)
    assert drain(backlog) == ["gap", "5", "6"]
    assert backlog.dropped == 5
    backlog.put("7", 100.0)
    assert drain(backlog) == ["7"]
    assert backlog.dropped == 5


def test_without_a_stretch_who_puts_waits() -> None:
    backlog: Backlog[str] = Backlog(None)

    def put() -> None:
        for number in range(100):
            backlog.put(str(number), float(number))

    putting = threading.Thread(target=put)
    putting.start()
    found = [backlog.take(60) for _ in range(100)]
    putting.join()
    assert found == [str(number) for number in range(100)]
    assert backlog.dropped == 0


def test_nothing_comes() -> None:
    backlog: Backlog[str] = Backlog(1.0)
    assert backlog.take(0.01) is None
