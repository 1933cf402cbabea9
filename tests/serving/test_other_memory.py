"""Pixels are copied out of the process that decoded them, or sent where that may not be: they are the same."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipshift.inference.exported_scorer import ExportScorer
from clipshift.serving import decoders as module
from clipshift.serving.decoded import Wish
from clipshift.serving.decoders import Decoders
from clipshift.serving.limits import HeldBytes, ServerLimits
from clipshift.serving.models import EngineSettings
from clipshift.serving.other_memory import copy_out
from clipshift.serving.uploads import Upload
from clipshift.video import decode, probe
from tests.serving.running import Running, running

WISH = Wish("middle", 8, 1, False, 10**6, 1000, 100.0, 10**8)


def test_memory_that_is_there_is_copied_and_other_addresses_are_refused() -> None:
    there, here = np.arange(10_000, dtype=np.int64), np.zeros(10_000, dtype=np.int64)
    if not copy_out(os.getpid(), there.ctypes.data, here):
        pytest.skip("this system lets no process read another")
    assert np.array_equal(here, there)
    for address in (8, 0, -1, 2**63):
        with pytest.raises(ValueError, match="address"):
            copy_out(os.getpid(), address, here)


def test_a_process_that_has_ended_has_no_memory() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(OSError, match="No such process"):
        copy_out(ended.pid, 4096, np.zeros(8, dtype=np.uint8))


def test_frames_are_the_same_whether_they_are_copied_or_sent_and_by_any_number_of_cores(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[bool] = []

    def copying(pid: int, address: int, array: np.ndarray) -> bool:
        answers.append(copy_out(pid, address, array))
        return answers[-1]

    def refused(*_: object) -> bool:
        answers.append(False)
        return False

    async def both_ways() -> list[np.ndarray]:
        decoders = Decoders(1, ServerLimits())
        await decoders.start()
        frames = []
        for copy, threads in ((copying, 1), (copying, 2), (refused, 1)):
            monkeypatch.setattr(module, "copy_out", copy)
            for _ in range(2):
                with closing(Upload(HeldBytes(10**6), clip.name)) as upload:
                    upload.write(clip.read_bytes())
                    decoded = await decoders.decode(upload, WISH, threads)
                frames.append(decoded.frames_THWC)
        await decoders.close()
        return frames

    expected = decode(clip, WISH.frames(probe(clip).frames, None))
    frames = asyncio.run(both_ways())
    assert len(frames) == 6
    for each in frames:
        assert np.array_equal(each, expected)
    # Where it is refused once, nobody tries again.
    assert answers[-1] is False
    assert answers.count(False) == 1


def test_a_clip_that_has_the_server_for_itself_gets_all_cores_and_the_same_answer(
    gate: Path, clip: Path, shared_server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = shared_server.predict(clip)
    with running(gate, engine=EngineSettings(threads=2), decoders=2) as server:
        served = server.service.model("gate")
        assert served.alone is not None
        assert isinstance(served.alone.scorer, ExportScorer)
        monkeypatch.setattr(served.batcher, "score", None)  # what those take that are not alone
        assert server.predict(clip).content == expected.content
        monkeypatch.undo()
        server.call(lambda: setattr(server.service.admission, "inside", 1))  # another one, that takes its time
        monkeypatch.setattr(served.alone.scorer.session, "run", None)
        assert server.predict(clip).content == expected.content
        server.call(lambda: setattr(server.service.admission, "inside", 0))
