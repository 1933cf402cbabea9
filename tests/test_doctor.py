"""`clipshift doctor` names the engines of exports, and what installs those that are missing."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

import onnxruntime
import openvino
import pytest

from clipshift import doctor


def lines_of(*starts: str) -> list[str]:
    lines, _ = doctor.examine()
    return [line for start in starts for line in lines if line.startswith(start)]


def test_engines_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    runtime, vino, nncf = lines_of("ONNX Runtime", "OpenVINO", "nncf")
    assert onnxruntime.__version__ in runtime
    assert "cpu, cuda" in runtime
    assert openvino.__version__.partition("-")[0] in vino
    assert "devices: CPU" in vino
    assert version("nncf") in nncf


def test_engines_that_are_missing_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(package: str) -> str:
        if package in {"onnx", "onnxscript", "nncf"}:
            raise PackageNotFoundError
        return version(package)

    def broken() -> list[str]:
        raise RuntimeError("libtbb.so\nis missing")

    monkeypatch.setattr(doctor, "version", without)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("clipshift.inference.engines.openvino.the_core", broken)
    _, well = doctor.examine()
    assert well  # training needs none of them
    runtime, vino, onnx, _, nncf = lines_of("ONNX Runtime", "OpenVINO", "onnx", "nncf")
    assert "pip install 'clipshift[onnx]'" in runtime
    assert vino.endswith("DOES NOT START: libtbb.so is missing")
    assert "(to export): pip install 'clipshift[export]'" in onnx
    assert "(int8): pip install 'clipshift[int8]'" in nncf
