"""A real RTSP server: both ways of transport, and what happens when it freezes, dies and comes back."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from clipshift.errors import VideoError
from clipshift.video.live import Break
from clipshift.video.timed import TimedFrame
from tests.video.live.servers import unused_port
from tests.video.live.test_source import SECRET, Watched, never

SERVER = Path(__file__).with_name("rtsp_server.py")
PYTHON = "/usr/bin/python3"
"""For which Debian's packages are."""


class Rtsp:
    """The server; it can be stopped and started again on its port."""

    def __init__(self) -> None:
        self.port = unused_port()
        self.url = f"rtsp://me:{SECRET}@127.0.0.1:{self.port}/gate"
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [PYTHON, SERVER, str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != "ready\n":
            process.wait()
            reason = process.stderr.read().strip().splitlines()[-1:]
            pytest.skip(f"no RTSP server of GStreamer (make examples installs it): {''.join(reason)}")
        return process

    def close(self) -> None:
        with self.process:
            self.process.kill()


@pytest.fixture
def rtsp() -> Iterator[Rtsp]:
    if not Path(PYTHON).exists():
        pytest.skip("no Python of Debian, which GStreamer's bindings are for")
    with closing(Rtsp()) as server:
        yield server


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_come_at_the_rate_that_is_asked_for(rtsp: Rtsp, transport: Literal["tcp", "udp"]) -> None:
    watched = Watched(rtsp.url, transport=transport, rate=5.0, timeout=10.0)
    watched.until(lambda _: len(watched.items) == 8)
    times = [frame.time for frame in watched.frames]
    assert len(times) == 8
    assert all(other - one == pytest.approx(0.2, abs=1e-6) for one, other in pairwise(times))
    assert watched.frames[0].frame.shape == (120, 160, 3)
    assert watched.breaks == []


def test_a_server_that_freezes_and_one_that_dies_are_asked_again(rtsp: Rtsp) -> None:
    watched = Watched(rtsp.url, timeout=2.0)
    with closing(watched.source.frames()) as items:
        assert isinstance(next(items), TimedFrame)
        rtsp.process.send_signal(signal.SIGSTOP)
        frozen = next(item for item in items if isinstance(item, Break))
        rtsp.process.send_signal(signal.SIGCONT)
        assert isinstance(next(items), TimedFrame)
        rtsp.close()
        died = next(item for item in items if isinstance(item, Break))
        rtsp.process = rtsp.start()
        assert isinstance(next(items), TimedFrame)
    assert [frozen.reason, died.reason] == ["gap", "gap"]
    assert "Nothing comes" in frozen.text
    assert SECRET not in "".join(watched.log)


def test_what_is_not_there_is_told(rtsp: Rtsp) -> None:
    with pytest.raises(VideoError, match="404") as raised:
        Watched(rtsp.url.replace("/gate", "/nothing"), timeout=10.0).until(never)
    assert SECRET not in str(raised.value)
