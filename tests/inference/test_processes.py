"""Models in other processes: sent by pickle, and taken along by a fork."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.errors import WeightsError
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.predictor import Model
from tests.conftest import MakeExport
from tests.exporting.making import save_model

# With more than one thread before the fork: in a process of its own, as the tests have one.
FORKED = """
import multiprocessing, sys
from pathlib import Path
import numpy as np
import clipshift
from clipshift.errors import UserError

clips = sorted(Path(sys.argv[1]).rglob("*.mp4"))[:2]

def answers():
    many = [answer.probabilities for answer in model.predict_many(clips, workers=2)]
    return [*many, model.predict(clips[0]).probabilities]

def in_a_fork():
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply_async(answers).get(timeout=1800)

for path in sys.argv[3:]:
    model = clipshift.load(path, device="cpu", threads=2, mode="throughput")
    if sys.argv[2] == "fork first":
        after, before = in_a_fork(), answers()
    else:
        before, after = answers(), in_a_fork()
    np.testing.assert_allclose(after, before, atol=1e-5)
    np.testing.assert_allclose(answers(), before, atol=1e-6)
print("all answered", flush=True)
if sys.argv[2] == "fork first":
    in_a_fork()
"""


def forked(clips: Path, when: str, *models: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", FORKED, str(clips), when, *map(str, models)]
    threads = {**os.environ, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}  # on busy cores, spinning is slow
    return subprocess.run(words, capture_output=True, text=True, check=False, env=threads)


def test_a_forked_process_answers_after_its_parent_did(small_clips: Path, exported: MakeExport) -> None:
    done = forked(small_clips, "answer first", exported("onnx").folder, exported("openvino").folder)
    assert (done.returncode, done.stdout) == (0, "all answered\n"), done.stderr


@pytest.mark.parametrize("trained", [True, False])
def test_with_pytorch_it_answers_before_its_parent_did_and_then_says_why_not(
    small_model: Path, small_clips: Path, exported: MakeExport, trained: bool
) -> None:
    path = small_model if trained else exported("torch").folder
    done = forked(small_clips, "fork first", path)
    assert (done.returncode, done.stdout) == (1, "all answered\n"), done.stderr
    assert "PyTorch has answered in the process that this one was forked from" in done.stderr.splitlines()[-3]


def test_a_model_can_be_pickled(
    small_model: Path, small_clips: Path, exported: MakeExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = min(small_clips.rglob("*.mp4"))
    for path in (small_model, exported("onnx").folder):
        monkeypatch.chdir(path.parent)
        model = clipshift.load(path.name, device="cpu")
        packed = pickle.dumps(model)
        assert len(packed) < 10_000
        monkeypatch.chdir("/")
        again = pickle.loads(packed)  # noqa: S301
        assert again.opening == model.opening
        assert again.spec == model.spec
        np.testing.assert_array_equal(again.predict(clip).probabilities, model.predict(clip).probabilities)


def test_what_cannot_be_sent_is_said(small_model: Path, tmp_path: Path) -> None:
    model = clipshift.load(small_model, device="cpu")
    assert isinstance(model.scorer, NetworkScorer)
    with pytest.raises(WeightsError, match=r"Only a model that clipshift\.load has opened"):
        pickle.dumps(Model(model.scorer))
    other = save_model(tmp_path / "model")
    packed = pickle.dumps(clipshift.load(other, device="cpu"))
    save_model(other, provenance={"epoch": 2})
    with pytest.raises(WeightsError, match="not the one that was pickled"):
        pickle.loads(packed)  # noqa: S301
