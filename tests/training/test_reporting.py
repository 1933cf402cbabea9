"""What the log says of waiting for clips."""

from __future__ import annotations

import time

import pytest

from clipshift.training.reporting import Meter, waiting_advice
from clipshift.training.samples import ReadingCost


def test_the_first_wait_is_no_steady_one(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(started=50.0)
    monkeypatch.setattr(time, "monotonic", lambda: 60.0)
    for seconds in (6.0, 0.1, 0.1):
        meter.note_wait(seconds)
    assert meter.waiting == pytest.approx(6.2 / 10)
    assert meter.steady_waiting == pytest.approx(0.2 / 4)


@pytest.mark.parametrize(
    ("cost", "workers", "said", "unsaid"),
    [
        (ReadingCost(0.080, 0.010), 1, ["90 ms of a core, 80", "data.workers=7 (now 1)", "clipshift repack"], []),
        (ReadingCost(0.080, 0.010), 7, ["clipshift repack"], ["data.workers"]),
        (ReadingCost(0.010, 0.005), 2, ["data.workers=7"], ["repack"]),
        (ReadingCost(0.020, 0.030), 7, ["more cores"], ["repack", "data.workers"]),
    ],
)
def test_advice_names_what_would_help(cost: ReadingCost, workers: int, said: list[str], unsaid: list[str]) -> None:
    advice = waiting_advice(0.31, cost, workers=workers, most_workers=7)
    assert advice is not None
    assert "31% of the time" in advice
    assert all(part in advice for part in said)
    assert not any(part in advice for part in unsaid)


def test_no_advice_where_waiting_is_short() -> None:
    assert waiting_advice(0.04, ReadingCost(0.1, 0.1), workers=0, most_workers=7) is None
