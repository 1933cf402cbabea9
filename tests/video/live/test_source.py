"""Sources that misbehave, on the loopback interface: frames go on after two time-outs at most, and nothing hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from clipshift.errors import VideoError
from clipshift.video.live import Break, LiveSource, SourceOptions, Stop, read_address
from clipshift.video.timed import TimedFrame
from tests.video.live.servers import (
    BRIGHT,
    DARK,
    RATE,
    Behavior,
    encode,
    encode_sound,
    is_mute,
    over_http,
    plays,
    server,
    unused_port,
)

pytestmark = pytest.mark.slow

TIMEOUT = 1.0
SECRET = "geheim"  # noqa: S105 - no password
DARK_PIECES, BRIGHT_PIECES = encode(DARK, 20), encode(BRIGHT, 200)


class Watched:
    """A source, and all that came of it."""

    def __init__(self, source: str | Path, **options: object) -> None:
        self.log: list[str] = []
        self.stop = Stop()
        chosen = SourceOptions(**{"timeout": TIMEOUT, "most_lag": 5.0, **options})  # type: ignore[arg-type]
        self.source = LiveSource(read_address(source), chosen, stop=self.stop, log=self.log.append)
        self.items: list[TimedFrame | Break] = []
        self.came: list[float] = []

    def until(self, enough: Callable[[TimedFrame | Break], bool], most: int = 2000) -> Watched:
        """Watch until something comes, or the source ends."""
        with closing(self.source.frames()) as items:
            for item in items:
                self.items.append(item)
                self.came.append(time.monotonic())
                if enough(item) or len(self.items) > most:
                    break
        return self

    @property
    def breaks(self) -> list[Break]:
        return [item for item in self.items if isinstance(item, Break)]

    @property
    def frames(self) -> list[TimedFrame]:
        return [item for item in self.items if isinstance(item, TimedFrame)]

    @property
    def outage(self) -> float:
        """Seconds from the last dark frame to the first bright one."""
        grays = [gray_of(item) if isinstance(item, TimedFrame) else None for item in self.items]
        first = next(number for number, gray in enumerate(grays) if gray is not None and gray > 128)
        last = max(number for number in range(first) if grays[number] is not None)
        assert any(isinstance(item, Break) for item in self.items[last:first])
        return self.came[first] - self.came[last]


def gray_of(frame: TimedFrame) -> float:
    return float(np.mean(frame.frame))


def is_bright(item: TimedFrame | Break) -> bool:
    return isinstance(item, TimedFrame) and gray_of(item) > 128


def never(_: TimedFrame | Break) -> bool:
    return False


_OF_OTHER_TESTS: set[int] = set()
"""Processes that were there before a test: of pools that other files share."""


def children() -> set[int]:
    """Processes of this one that read a source."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            words = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and b"spawn_main" in words:
            found.add(int(status.parent.name))
    return found - _OF_OTHER_TESTS


def forget_children() -> None:
    """Count only processes that start from now on."""
    _OF_OTHER_TESTS.clear()
    _OF_OTHER_TESTS.update(children())


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    forget_children()
    yield
    assert children() == set()


FAULTS: dict[str, tuple[Behavior, ...]] = {
    "it freezes": (plays(DARK_PIECES, at_once=10, then=is_mute), plays(BRIGHT_PIECES, at_once=20)),
    "it closes": (plays(DARK_PIECES, at_once=10), plays(BRIGHT_PIECES, at_once=20)),
    "it is half open after that": (
        plays(DARK_PIECES, at_once=10),
        is_mute,
        plays(BRIGHT_PIECES, at_once=20),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_is_asked_again(fault: str) -> None:
    behaviors = FAULTS[fault]
    with server(*behaviors) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}").until(is_bright)
    assert is_bright(watched.items[-1])
    assert {item.reason for item in watched.breaks} == {"gap"}
    times = [frame.time for frame in watched.frames]
    assert all(one <= other for one, other in pairwise(times))  # also where it is back before its clock caught up
    assert watched.outage < 2 * TIMEOUT * len(behaviors) + 20
    assert sum("it is back after" in line for line in watched.log) == len(watched.breaks)
    assert len(watched.log) == 2 * len(watched.breaks)


def test_the_same_over_http_without_its_password_anywhere(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = over_http(plays(DARK_PIECES, at_once=10)), over_http(plays(BRIGHT_PIECES, at_once=20))
    with server(first, second) as port:
        watched = Watched(f"http://user:{SECRET}@127.0.0.1:{port}/live?token={SECRET}").until(is_bright)
    assert watched.log[0].startswith(f"http://127.0.0.1:{port}/live?...: ")
    printed = capfd.readouterr()
    assert SECRET not in "".join([*watched.log, *(item.text for item in watched.breaks), printed.out, printed.err])


def test_frames_of_another_size_break_the_stream_and_are_shown() -> None:
    small, large = encode(DARK, 20), encode(BRIGHT, 20, first=1.0, size=(96, 64))
    with server(plays([*small, *large], at_once=100, then=is_mute)) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}").until(is_bright)
    assert [item.text for item in watched.breaks] == ["frames are 96x64 now"]
    assert watched.frames[-1].frame.shape == (64, 96, 3)
    assert len(watched.frames) > 15


def test_another_codec_is_found_again() -> None:
    other = encode(BRIGHT, 200, first=1.0, codec="mpeg2video")
    with server(plays([*DARK_PIECES, *other], at_once=30), plays(other, at_once=20)) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}").until(is_bright)
    assert is_bright(watched.items[-1])
    assert "ended" not in watched.breaks[0].text  # it was not waited for that


def test_a_clock_that_jumps_does_not_move_the_streams_time() -> None:
    parts = [encode(DARK, 20, first=first) for first in (2000.0, 9000.0)]
    back = encode(BRIGHT, 60, first=10.0)
    with server(plays([*parts[0], *parts[1], *back], at_once=60, then=is_mute)) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}").until(is_bright)
    assert [item.reason for item in watched.breaks] == ["clock", "clock"]
    times = [frame.time for frame in watched.frames]
    assert all(0 <= other - one < 30 for one, other in pairwise(times))


def test_what_depends_on_lost_packets_is_not_shown() -> None:
    pieces = encode([DARK] * 10 + [BRIGHT] * 10 + [DARK] * 20, 40, size=(160, 128), spread=30)
    pieces[12] = pieces[12][: 4 * 188] + pieces[12][6 * 188 :]  # amid a group of pictures
    with server(plays(pieces, at_once=100, then=is_mute)) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}")
        watched.until(lambda _: len(watched.items) == 30)
    damaged = watched.source.state.damaged
    assert damaged in {3, 4}  # up to the next key frame; perhaps with the picture at whose end it was noticed
    grays = [gray_of(frame) for frame in watched.frames]
    assert sum(abs(gray - BRIGHT) < 20 for gray in grays) == 10 - damaged
    assert watched.breaks == []


def test_the_newest_frame_wins_and_what_is_left_out_is_counted() -> None:
    numbered = encode(list(range(16, 216)), 200)
    with server(plays(numbered, at_once=200, then=is_mute)) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}", most_lag=0.5)
        taken: list[TimedFrame] = []
        with closing(watched.source.frames()) as items:
            for item in items:
                assert isinstance(item, TimedFrame)
                taken.append(item)
                past = watched.source.state.frames + watched.source.state.dropped
                assert round((item.time - taken[0].time) * RATE) < past <= 200
                if gray_of(item) - 16 > len(taken) + 60:  # its number is in its gray: so many were left out
                    break
                time.sleep(1)  # a network that is slow
    assert len(taken) < 50
    assert watched.source.state.dropped > 50


def test_every_frame_comes_by_option_however_late() -> None:
    numbered = encode(list(range(16, 116)), 100)
    with server(plays(numbered, at_once=200, then=is_mute)) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}", most_lag=0.1, every_frame=True)

        def slowly(_: TimedFrame | Break) -> bool:
            time.sleep(0.01)
            return len(watched.items) == 95

        watched.until(slowly)
    assert watched.source.state.dropped == 0
    assert len(watched.frames) == 95


def test_a_refused_connection_and_one_without_video_end_at_once() -> None:
    port = unused_port()
    with pytest.raises(VideoError, match="refused") as refused:
        Watched(f"http://me:{SECRET}@127.0.0.1:{port}/x").until(never)
    assert SECRET not in str(refused.value)
    with server(plays([encode_sound()], then=is_mute)) as port, pytest.raises(VideoError, match="no video stream"):
        Watched(f"tcp://127.0.0.1:{port}").until(never)
    with server(is_mute) as port, pytest.raises(VideoError, match="Nothing comes"):
        Watched(f"tcp://127.0.0.1:{port}", timeout=0.3).until(never)


def test_tries_are_counted() -> None:
    watched = Watched(f"tcp://127.0.0.1:{unused_port()}", tries=2, timeout=0.2)
    with pytest.raises(VideoError, match="refused"):
        watched.until(never)
    assert len(watched.log) == 1


def test_a_stream_is_stopped_while_nothing_comes() -> None:
    with server(is_mute) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}", timeout=600)
        timer = threading.Timer(0.5, watched.stop.ask)
        timer.start()
        watched.until(never)
        timer.join()
    assert watched.items == []


def test_a_video_over_http_ends_where_it_ends() -> None:
    data = b"".join(encode(DARK, 20))
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n"
    with server(over_http(plays([data]), head)) as port:
        watched = Watched(f"http://127.0.0.1:{port}/clip.ts").until(never)
    assert len(watched.frames) == 20
    assert watched.breaks == []


def test_a_process_that_stands_still_or_dies_is_replaced() -> None:
    """A driver that hangs stops the process that reads, whatever it does."""
    with server(plays(BRIGHT_PIECES, at_once=20, then=is_mute)) as port:
        watched = Watched(f"tcp://127.0.0.1:{port}")
        with closing(watched.source.frames()) as items:
            for signal_number in (19, 11):  # SIGSTOP, SIGSEGV
                assert isinstance(next(items), TimedFrame)
                (child,) = children()
                os.kill(child, signal_number)
                broken = next(item for item in items if isinstance(item, Break))
                assert broken.reason == "gap"
    assert "SIGSEGV" in watched.log[-1]


def test_standard_input_and_a_named_pipe(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from clipshift.video.live import *\n"
        "source = LiveSource(read_address(sys.argv[1]), SourceOptions())\n"
        "print(sum(1 for _ in source.frames()), source.state.dropped)\n"
    )
    data = b"".join(encode(DARK, 20))
    done = subprocess.run([sys.executable, "-c", script, "-"], input=data, capture_output=True, check=True, timeout=120)
    assert done.stdout.split() == [b"20", b"0"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert len(Watched(pipe).until(never).frames) == 20
    writer.join()


def test_a_folder_is_followed_while_recordings_grow_and_come(tmp_path: Path) -> None:
    (tmp_path / "clip_8.ts").write_bytes(b"".join(encode(10, 20)))  # older than the newest: not looked at
    (tmp_path / "clip_9.ts").touch()

    def record() -> None:
        for piece in encode(DARK, 60):
            with (tmp_path / "clip_9.ts").open("ab") as file:
                file.write(piece)
            time.sleep(1 / RATE)
        (tmp_path / "clip_10.mp4").write_bytes(b"no video")
        (tmp_path / "clip_11.ts").write_bytes(b"".join(encode(BRIGHT, 100)))

    recorder = threading.Thread(target=record)
    recorder.start()
    watched = Watched(tmp_path).until(is_bright)
    recorder.join()
    assert [round(gray_of(frame) / 10) for frame in watched.frames] == [DARK // 10] * 60 + [BRIGHT // 10]
    assert [frame.time for frame in watched.frames] == pytest.approx([number / RATE for number in range(61)])
    assert len(watched.breaks) == 1
    assert "clip_10.mp4 cannot be read" in watched.breaks[0].text


def test_a_folder_that_vanishes_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    watched = Watched(folder)
    folder.rmdir()
    with pytest.raises(VideoError, match="folder cannot be read"):
        watched.until(never)


def test_leaving_the_iteration_ends_the_process() -> None:
    def look(port: int) -> None:
        frames: Generator[TimedFrame | Break] = LiveSource(
            read_address(f"tcp://127.0.0.1:{port}"), SourceOptions()
        ).frames()
        for _ in frames:
            assert len(children()) == 1
            break

    with server(plays(BRIGHT_PIECES, at_once=20, then=is_mute)) as port:
        look(port)
        assert children() == set()


def test_the_process_ends_with_a_parent_that_is_killed() -> None:
    script = (
        "import os, sys\n"
        "from multiprocessing import active_children\n"
        "from clipshift.video.live import *\n"
        "for _ in LiveSource(read_address(sys.argv[1]), SourceOptions()).frames():\n"
        "    print(active_children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    with server(plays(BRIGHT_PIECES, at_once=20, then=is_mute)) as port:
        done = subprocess.run(
            [sys.executable, "-c", script, f"tcp://127.0.0.1:{port}"], capture_output=True, check=False, timeout=120
        )
        child = Path(f"/proc/{int(done.stdout)}")
        until = time.monotonic() + 60
        while child.exists() and time.monotonic() < until:
            time.sleep(0.05)
    assert not child.exists()
