"""A server needs neither PyTorch nor what comes with it: exports answer in a process that cannot import them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import clipshift
from clipshift.inference.export_folder import Target
from tests.conftest import MakeExport

_PROGRAM = """
import json, sys

BARRED = {"torch", "torchvision", "timm", "safetensors", "torchmetrics", "onnx", "onnxscript"}

class Barrier:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARRED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Barrier())
import clipshift
from clipshift.errors import MissingDependencyError

export, trained, clip = sys.argv[1:]
model = clipshift.load(export, device="cpu", threads=1)
answers = {"probabilities": model.predict(clip).probabilities.tolist(), "engine": model.engine}
answers["many"] = [each.label for each in clipshift.predict(model, clip, clip, batch_size=2, workers=1)]
try:
    clipshift.load(trained)
except MissingDependencyError as error:
    answers["refused"] = str(error)
answers["imported"] = sorted(BARRED & set(sys.modules))
print(json.dumps(answers))
"""


@pytest.mark.parametrize(("target", "file"), [("onnx", ""), ("onnx", "model.onnx"), ("openvino", "model.xml")])
def test_prediction_without_pytorch(
    target: Target, file: str, exported: MakeExport, small_model: Path, small_clips: Path
) -> None:
    clip = min(small_clips.rglob("*.mp4"))
    export = exported(target).folder / file
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, export, small_model, clip], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    expected = clipshift.load(small_model, device="cpu").predict(clip)
    np.testing.assert_allclose(answers["probabilities"], expected.probabilities, atol=2e-5)
    assert answers["many"] == [expected.label] * 2
    assert {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}[target] in answers["engine"]
    assert answers["imported"] == []
    assert "clipshift[train]" in answers["refused"]
