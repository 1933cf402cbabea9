"""From clips to an answer of an export in fewer bits, with nothing but the commands."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from clipshift.cli import main
from clipshift.inference.export_folder import Precision, Target, read_export
from tests.datasets.clips import moving_frames, write_video

CHANNELS = {"bluish": (2, 1, 0), "greenish": (1, 0, 2), "reddish": (0, 1, 2)}
SMALL = (
    "model.backbone=test_resnet", "model.pretrained=false", "input.segments=4", "input.crop=32", "input.resize=36",
    "model.dropout=0", "train.epochs=10", "train.batch_size=4", "train.ema=0", "train.device=cpu", "data.workers=0",
    "optim.lr=0.02",
)  # fmt: skip


def clipshift(*words: str | Path, code: int = 0) -> str:
    """What a command says; it has to end with this exit code."""
    with (
        redirect_stdout(io.StringIO()) as said,
        patch.object(sys, "argv", ["clipshift", *map(str, words)]),
        pytest.raises(SystemExit) as stop,
    ):
        main()
    assert (stop.value.code or 0) == code, said.getvalue()
    return said.getvalue()


def clipshift_elsewhere(*words: str | Path) -> str:
    """The same in a process that knows nothing of what was done before."""
    command = [sys.executable, "-m", "clipshift", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of things that move, in train/ and val/; the classes are colors, which a small network learns at once."""
    folder = tmp_path_factory.mktemp("data")
    for part, clips, first in (("train", 12, 0), ("val", 4, 100)):
        for name, channels in CHANNELS.items():
            for number in range(clips):
                frames = moving_frames(8, width=48, height=40, seed=first + number)[..., list(channels)]
                write_video(folder / part / name / f"{number}.mp4", frames)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "colors"
    clipshift("train", data, *SMALL, "--out", folder)
    return folder


def use(run: Path, exported: Path, data: Path, engine: str) -> None:
    """Predicts, verifies and evaluates with an export, and looks at what is said."""
    answers = exported.parent / "answers.jsonl"
    clipshift_elsewhere("predict", exported, data / "val", "--json", answers)
    lines = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 12
    assert all(line["label"] == Path(line["path"]).parent.name for line in lines)
    assert max(abs(sum(line["probabilities"].values()) - 1) for line in lines) < 1e-4

    table = clipshift("verify", run, exported, "--data", data / "val", "--out", exported.parent / "verified")
    assert f"{exported}: {engine}" in table
    assert "All agree." in table
    rows = json.loads((exported.parent / "verified" / "verification.json").read_text(encoding="utf-8"))["rows"]
    assert [row["accuracy"] for row in rows] == [1.0, 1.0]
    # Fewer bits round: an export that answers as the trained model to the last digit computes in float32.
    assert rows[1]["difference"]["largest"] > 1e-5

    measured = clipshift("evaluate", exported, data / "val")
    assert re.search(r"top-1 +100\.00 %", measured)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "engine"), [("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")])
def test_int8(target: Target, engine: str, run: Path, data: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("nncf") is None:
        pytest.skip("nncf, which int8 needs, is not installed")
    out = tmp_path / "int8"
    said = clipshift("export", run, "--to", target, "--precision", "int8", "--calibrate", data, "--out", out)
    assert "same class in 100.0%" in said
    assert "accuracy  100.0% of the clips; of the model 100.0%" in said
    export = read_export(out)
    assert (export.target, export.precision, export.excluded_layers) == (target, "int8", ())
    assert export.checked is not None
    assert export.checked.clips == 48
    use(run, out, data, engine)


@pytest.mark.slow
def test_bf16(run: Path, data: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("clipshift.inference.engines.openvino")
    precision: Precision = "bf16"
    out = tmp_path / precision
    words = ("export", run, "--to", "openvino", "--precision", precision, "--out", out)
    if not openvino.processor_has_bf16():
        clipshift(*words, code=2)
        assert not out.exists()
        pytest.skip("this CPU does not compute in bfloat16, which the command says, too")
    assert "12 clips (the run's validation clips)" in clipshift(*words)
    use(run, out, data, "OpenVINO")
