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

_MEBIBYTE = 1024 * 1024


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_of_large_frames_is_given_back(exported: MakeExport) -> None:
    folder = exported("onnx").folder
    export = read_export(folder)
    session = OnnxSession(folder / "model.onnx", export, EngineOptions("cpu", threads=1, mode="throughput"))
    large = np.zeros((1, export.spec.input.segments, 1536, 2048, 3), dtype=np.uint8)
    small = large[:, :, :64, :64]
    before = session.run(small)
    start = resident()
    session.run(large)
    after = session.run(small)
    assert large.nbytes >= 36 * _MEBIBYTE  # the graph takes several times as much
    assert resident() - start < 36 * _MEBIBYTE
    assert np.array_equal(before, after)


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
