"""The benchmark beside Paddle, without Paddle: what it is told of networks, who is held to what, and the figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pytest
import torch
from exports import NETWORKS
from torch import Tensor
from torch.nn import functional as F

from clipshift.datasets.motion import write_motion_clips
from clipshift.models import Recognizer
from clipshift.models.folding import fold_branches
from clipshift.models.zoo import ZOO

_SMALL = (
    "pptsmv2",
    "input.segments=2",
    "model.backbone=test_resnet",
    "model.shift.order=past_first",
    "input.crop=32",
    "input.resize=36",
)
_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {"relu": F.relu, "leaky_relu": F.leaky_relu, "sigmoid": torch.sigmoid}


def follow(description: dict[str, Any], weights: dict[str, np.ndarray], clips: np.ndarray) -> np.ndarray:
    """The logits of clips (B, T, 3, H, W) by the steps of a network, as Paddle's side is to do them."""
    kept = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}
    known = {"x": torch.from_numpy(clips).flatten(0, 1)}
    with torch.no_grad():
        for step in description["steps"]:
            known[step["name"]] = _done(step, [known[name] for name in step["of"]], kept, description["segments"])
        features = torch.unflatten(known[description["steps"][-1]["name"]], 0, (-1, description["segments"]))
        mean = (features * description["scale"]).mean(dim=1)
        return F.linear(mean, kept["classifier.weight"], kept["classifier.bias"]).numpy()


def _done(step: dict[str, Any], of: list[Tensor], kept: dict[str, Tensor], segments: int) -> Tensor:
    kind, name, options = step["kind"], step["name"], dict(step.get("options", {}))
    if kind in _ACTIVATIONS:
        return _ACTIVATIONS[kind](of[0], **options)
    if kind == "convolution":
        how = {key: options[key] for key in ("stride", "padding", "groups")}
        return F.conv2d(of[0], kept[f"{name}.weight"], kept.get(f"{name}.bias"), **how)
    if kind == "norm":
        mean, variance, weight, bias = (kept[f"{name}.{key}"] for key in ("mean", "variance", "weight", "bias"))
        return F.batch_norm(of[0], mean, variance, weight, bias, eps=options["epsilon"])
    if kind == "mean":
        return of[0].mean(dim=(2, 3), keepdim=step["keep"])
    if kind == "shift":  # the first channels from the frame before, the second from the frame behind
        clips = torch.unflatten(of[0], 0, (-1, segments))
        moved = int(clips.shape[2] * step["ratio"])
        shifted = clips.clone()
        shifted[:, :, : 2 * moved] = 0
        shifted[:, 1:, :moved] = clips[:, :-1, :moved]
        shifted[:, :-1, moved : 2 * moved] = clips[:, 1:, moved : 2 * moved]
        return shifted.flatten(0, 1)
    others: dict[str, Callable[[], Tensor]] = {
        "add": lambda: of[0] + of[1],
        "multiply": lambda: of[0] * of[1],
        "flatten": lambda: of[0].flatten(1),
        "max_pool": lambda: F.max_pool2d(of[0], **options),
        "average_pool": lambda: F.avg_pool2d(of[0], **options, count_include_pad=False),
    }
    return others[kind]()


@pytest.mark.parametrize(("name", "backbone"), [("pptsmv2", None), ("pptsm-r50", "test_resnet"), ("tsm-r18", None)])
def test_the_steps_are_the_network(name: str, backbone: str | None) -> None:
    shift = ZOO[name].model.shift.model_copy(update={"order": "past_first"})
    model = ZOO[name].model.model_copy(update={"shift": shift, "backbone": backbone or ZOO[name].model.backbone})
    random = torch.Generator().manual_seed(1)
    network = Recognizer(model, segments=3, classes=5, generator=random).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(std=0.1, generator=random)
    torch.nn.init.normal_(network.classifier.weight, std=0.5, generator=random)
    clips = torch.randn(2, 3, 3, 64, 64, generator=random)
    found = follow(*peers.describe(fold_branches(network)), clips.numpy())
    with torch.no_grad():
        expected = network(clips).numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_other_networks_are_refused() -> None:
    ahead = Recognizer(ZOO["tsm-r18"].model, segments=2, classes=3).eval()
    assert ahead.model.shift.order != "past_first"
    with pytest.raises(ValueError, match="shifts otherwise"):
        peers.describe(ahead)


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_REST", 0)

    def turn(*milliseconds: float) -> peers.Turn:
        left = iter(milliseconds)
        return lambda: (next(left), 7.0)

    turns = {
        "PyTorch": turn(90, 90, 10, 30, 20),
        "Paddle 3 fp32": turn(9, 9, 90, 99, 91),
        "Paddle 3 bf16": turn(*[40] * 5),
    }
    found = peers.take_all(turns, 3)
    assert found["PyTorch"] == {"ms": 20, "spread_ms": 10, "cpu_ms": 7, "times_as_fast": 2}  # of 40/10, 40/30, 40/20
    assert found["Paddle 3 bf16"]["times_as_fast"] == 1
    text = peers.table({"one": {"frames": found, "file": {"PyTorch": found["PyTorch"]}}})
    lines = text.splitlines()
    assert lines[0] == "| | one, from frames | one, from file |"
    assert lines[2] == "| PyTorch | 20 ± 10 (2.00) | 20 ± 10 (2.00) |"
    assert lines[3] == "| Paddle 3 fp32 | 91 ± 4 (0.44) |  |"


@pytest.fixture
def paddle(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """In Paddle's place: something that follows the steps; what it was asked for."""
    asked: list[dict[str, Any]] = []
    times = count(1)

    class Following:
        def __init__(self, version: str, environments: Path, folder: Path, threads: int) -> None:  # noqa: ARG002
            self.version = version
            self._description = json.loads((folder / "network.json").read_text(encoding="utf-8"))
            self._weights = dict(np.load(folder / "weights.npz"))

        def ask(self, **wish: Any) -> dict[str, Any]:  # noqa: ANN401
            asked.append(wish)
            answer = {"ms": float(next(times)), "cpu_ms": 1.0}
            if "clip" in wish:
                answer["logits"] = follow(self._description, self._weights, np.load(wish["clip"])).ravel().tolist()  # type: ignore[assignment]
            return answer

        def close(self) -> None:
            asked.append({"closed": self.version})

    monkeypatch.setattr(peers, "Paddle", Following)
    monkeypatch.setattr(peers, "_REST", 0)
    monkeypatch.setitem(peers.PEERS, "small", _SMALL)
    monkeypatch.setitem(NETWORKS, "small", _SMALL)
    return asked


def test_a_run(
    paddle: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_motion_clips(tmp_path / "clips", clips_per_class=1, validation_per_class=1, frames=9, size=40)
    clip = min((data / "val").rglob("*.mp4"))
    words = [str(data), str(clip), "--networks", "small", "--paddle", "3.1", "--forms", "--repeat", "1"]
    words += ["--to", str(tmp_path / "to"), "--json", str(tmp_path / "figures.json")]
    monkeypatch.setattr(sys, "argv", ["peers.py", *words])
    peers.main()
    printed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("small: Paddle 3.1 differs by ") for line in printed)
    rows = [line.split("|")[1].strip() for line in printed if line.startswith("| ")]
    assert rows == ["", "PyTorch", "PyTorch bf16", "Paddle 3.1 fp32", "Paddle 3.1 bf16"]
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["networks"]["small"]
    assert list(figures) == ["frames", "file"]
    assert all(row["ms"] > 0 for each in figures.values() for row in each.values())
    assert {wish["file"] for wish in paddle if "file" in wish} == {str(clip)}
    assert {len(wish["indices"]) for wish in paddle if "file" in wish} == {2}
    assert paddle[-1] == {"closed": "3.1"}


def test_another_network_is_found_out(tmp_path: Path) -> None:
    network = Recognizer(ZOO["tsm-r18"].model.model_copy(update={"backbone": "test_resnet"}), segments=2, classes=3)
    program = tmp_path / "python"  # in the place of Python with Paddle: answers as `peers_paddle.py` does
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        'print(json.dumps({"paddle": "0.1"}), flush=True)\n'
        'assert sys.argv[1].endswith("peers_paddle.py") and sys.argv[3:] == ["2", "fp32", "bf16"]\n'
        'wish = json.loads(input())\nassert wish["form"] == "fp32"\n'
        'print(json.dumps({"logits": [1, 2, 3]}), flush=True)\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peers, "environment", lambda *_: program)
        other = peers.Paddle("0.1", tmp_path, tmp_path, 2)
    assert other.version == "0.1"
    with pytest.raises(RuntimeError, match="another one"):
        peers.check_same("small", network, other, tmp_path / "clip.npy")
    with pytest.raises(RuntimeError, match="ended with 0"):
        other._answer()
    other.close()
