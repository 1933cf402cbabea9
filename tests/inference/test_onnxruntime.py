"""ONNX Runtime keeps to itself neither the memory of large frames, nor what it runs from its user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from clipshift.inference.engines.onnxruntime import OnnxSession
from clipshift.inference.engines.session import EngineOptions
from clipshift.inference.export_folder import read_export
from tests.conftest import MakeExport


def test_memory_of_large_frames_is_given_back(exported: MakeExport) -> None:
    """Asked for by the run of large frames, and by the next ones; how much it is `benchmarks/serving.py` shows."""
    folder = exported("onnx").folder
    export = read_export(folder)
    session = OnnxSession(folder / "model.onnx", export, EngineOptions("cpu", threads=1, mode="throughput"))
    large = np.zeros((1, export.spec.input.segments, 1536, 2048, 3), dtype=np.uint8)
    small = large[:, :, :64, :64]
    assert session._run_options(small) is None
    before = session.run(small)
    session.run(large)
    after = session.run(small)
    assert np.array_equal(before, after)
    asked = [session._run_options(frames) for frames in (small, large, small, small)]
    assert [None if each is None else each.get_run_config_entry(SHRINKING) for each in asked] == [
        None, "cpu:0", "cpu:0", None,
    ]  # fmt: skip


SHRINKING = "memory.enable_memory_arena_shrinkage"
SESSION = """
import sys
import clipshift
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1])
"""


def test_onnx_runtime_tells_nobody_what_it_runs(exported: MakeExport, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", SESSION, str(exported("onnx").folder / "model.onnx")]
    subprocess.run(command, env=environment, check=True, timeout=60)
    assert not any(tmp_path.iterdir())  # neither a number of this machine, nor what waits to be sent
