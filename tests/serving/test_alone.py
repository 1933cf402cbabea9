"""A clip that has the server for itself gets all cores, and the same answer."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipshift.inference.exported_scorer import ExportScorer
from clipshift.serving.decoded import Wish
from clipshift.serving.decoders import Decoders
from clipshift.serving.limits import HeldBytes, ServerLimits
from clipshift.serving.models import EngineSettings
from clipshift.serving.uploads import Upload
from clipshift.video import decode, probe
from tests.serving.running import Running, running

WISH = Wish("middle", 8, 1, False, 10**6, 1000, 100.0, 10**8)


def test_frames_are_the_same_by_any_number_of_cores(clip: Path) -> None:
    async def both_ways() -> list[np.ndarray]:
        decoders, frames = Decoders(1, ServerLimits()), []
        await decoders.start()
        for threads in (1, 2):
            with closing(Upload(HeldBytes(10**6), clip.name)) as upload:
                upload.write(clip.read_bytes())
                frames.append((await decoders.decode(upload, WISH, threads)).frames_THWC)
        await decoders.close()
        return frames

    expected = decode(clip, WISH.frames(probe(clip).frames, None))
    for each in asyncio.run(both_ways()):
        assert np.array_equal(each, expected)


def test_only_a_clip_that_is_alone_is_answered_by_all_cores_and_all_have_the_same_answer(
    gate: Path, clip: Path, shared_server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = shared_server.predict(clip)
    with running(gate, engine=EngineSettings(threads=2), decoders=2) as server:
        served = server.service.model("gate")
        assert served.alone is not None
        assert isinstance(served.alone.scorer, ExportScorer)
        with monkeypatch.context() as patch:
            patch.setattr(served.batcher, "score", None)  # what those take that are not alone
            assert server.predict(clip).content == expected.content
        monkeypatch.setattr(served.alone.scorer.session, "run", None)
        with server.service.admission.place():  # of another one, that takes its time
            assert server.predict(clip).content == expected.content
