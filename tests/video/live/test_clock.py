"""The stream's time goes on as the source's does, and does not jump when that does."""

from __future__ import annotations

import pytest

from clipshift.video.live.clock import StreamClock


def live(after: float | None = None) -> StreamClock:
    return StreamClock(live=True, begin=1000.0, after=after)


def test_the_first_frame_stands_where_it_came_and_the_others_at_their_distance() -> None:
    clock = live()
    placed = [clock.place(50 + 0.1 * k, 1002 + 0.1 * k + (0.03 if k % 2 else 0)) for k in range(5)]
    assert [one.time for one in placed] == pytest.approx([2.0, 2.1, 2.2, 2.3, 2.4])
    assert [one.late for one in placed] == pytest.approx([0, 0.03, 0, 0.03, 0], abs=1e-3)
    assert not any(one.jumped for one in placed)


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_is_told_and_taken_out(jump: float) -> None:
    clock = live()
    clock.place(50.0, 1002.0)
    placed = clock.place(50.1 + jump, 1002.1)
    assert placed.jumped
    assert placed.time == pytest.approx(2.1)
    after = clock.place(50.2 + jump, 1002.2)
    assert after.time == pytest.approx(2.2)
    assert not after.jumped


def test_a_small_step_back_is_passed_over() -> None:
    clock = live()
    clock.place(50.0, 1002.0)
    placed = clock.place(49.98, 1002.04)
    assert placed.time == pytest.approx(2.04)
    assert not placed.jumped


def test_a_burst_after_a_stall_is_late_and_no_jump() -> None:
    clock = live()
    clock.place(50.0, 1002.0)
    burst = [clock.place(50 + 0.1 * k, 1007.0) for k in range(1, 50)]
    assert [one.time for one in burst] == pytest.approx([2 + 0.1 * k for k in range(1, 50)])
    assert burst[0].late == pytest.approx(4.9, abs=0.01)
    assert burst[-1].late == pytest.approx(0.1, abs=0.01)
    assert not any(one.jumped for one in burst)


def test_a_clock_that_stood_still_is_believed_no_longer() -> None:
    """Its frames come late for ever; nothing that is left out could help."""
    clock = live()
    clock.place(50.0, 1002.0)
    placed = [clock.place(50 + 0.1 * k, 1007 + 0.1 * k) for k in range(1, 200)]
    assert sum(one.jumped for one in placed) == 1
    assert placed[-1].late < 0.1
    assert placed[-1].time == pytest.approx(26.9, abs=0.2)


def test_a_clock_that_is_slow_for_a_day_is_no_backlog() -> None:
    clock = live()
    placed = [clock.place(60.0 * k * (1 - 5e-5), 1000 + 60.0 * k) for k in range(24 * 60)]
    assert not any(one.jumped for one in placed)
    assert max(one.late for one in placed) < 0.1


def test_another_part_comes_after_the_one_before() -> None:
    assert live(after=9.0).place(0.0, 1005.0).time == 9.0
    assert live(after=9.0).place(0.0, 1012.0).time == pytest.approx(12.0)


def test_what_is_not_live_has_no_clock_but_its_own() -> None:
    clock = StreamClock(live=False, begin=0.0)
    times = [clock.place(stamp, 5.0) for stamp in (7.0, 7.5, 900.0, 3.0, 3.5)]
    assert [one.time for one in times] == [0.0, 0.5, 893.0, 893.0 + 892.5, 893.0 + 893.0]
    assert [one.jumped for one in times] == [False, False, False, True, False]


def test_recordings_follow_one_another() -> None:
    clock = StreamClock(live=False, begin=0.0)
    clock.place(0.0, 0.0)
    clock.place(0.5, 0.0)
    clock.begin_part()
    again = clock.place(0.0, 0.0)  # its stamps begin anew
    assert (again.time, again.jumped) == (1.0, False)
    clock.place(0.5, 0.0)
    clock.begin_part()
    assert clock.place(2.0, 0.0).time == 3.0  # its stamps go on, and tell of a gap


def test_frames_without_stamps() -> None:
    clock = live()
    assert [clock.place(None, 1002 + k).time for k in range(3)] == [2, 3, 4]
    clock = StreamClock(live=False, begin=0.0)
    assert [clock.place(None, 0.0).time for _ in range(3)] == pytest.approx([0, 0.04, 0.08])
