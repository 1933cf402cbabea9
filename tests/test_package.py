"""The public interface: what it names exists, and naming it does not load PyTorch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import CycloptsError

import clipshift
from clipshift.cli import app

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", clipshift.__all__)
def test_public_names_exist(name: str) -> None:
    assert getattr(clipshift, name) is not None


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="attribute nonsense"):
        clipshift.nonsense  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["config", "tsm-r50"], ["config", "--schema"], ["predict", "--help"]]
)
def test_help_and_configuration_do_not_load_pytorch(arguments: list[str]) -> None:
    code = (
        "import sys, clipshift.cli\n"
        "try:\n    clipshift.cli.main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'timm', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prediction_does_not_load_what_only_measuring_needs() -> None:
    code = (
        "import sys, clipshift\nclipshift.load\n"
        "needless = {'torchmetrics', 'matplotlib', 'jinja2', 'scipy'} & set(sys.modules)\n"
        "assert not needless, needless\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_engines_report_to_nobody(tmp_path: Path) -> None:
    # What is sent comes from a number that is kept in the home folder; a process of its own has none of this one's.
    code = (
        "import os, sys, clipshift\n"
        "import openvino, onnxruntime\n"
        "from openvino.tools.ovc import telemetry\n"
        "assert type(telemetry).__module__ == 'openvino.tools.ovc.telemetry_stub', type(telemetry)\n"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'\n"
    )
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=home)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_version_is_the_changelogs_newest() -> None:
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest.group(1) == clipshift.__version__


@pytest.mark.parametrize(
    "command", [["models", "tsm-r50"], ["train", "clips"], ["predict", "run", "a.mp4"], ["report", "run"]]
)
def test_without_pytorch_the_missing_package_is_named(command: list[str]) -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('torch', 'timm', 'jinja2', 'matplotlib'))\n"  # None: as if not installed
        "import clipshift.cli\nclipshift.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: This needs the package '")
    assert "pip install 'clipshift[train]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "model", "a.mp4", "--top", "0"],
        ["predict", "model", "a.mp4", "--top", "9" * 5000],
        ["predict", "model", "a.mp4", "--threads", "99999999999"],
        ["predict", "model", "a.mp4", "--threads", "-3"],
        ["benchmark", "model", "--repeat", "99999999999"],
        ["frames", "data", "--to", "out", "--workers", "99999999999"],
    ],
    ids=lambda arguments: f"{arguments[-2]}{arguments[-1][:12]}",
)
def test_numbers_that_cannot_be_meant_are_refused_before_anything_else(arguments: list[str]) -> None:
    with pytest.raises(CycloptsError):
        app(arguments, exit_on_error=False, print_error=False)
