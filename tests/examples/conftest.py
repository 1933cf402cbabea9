"""An exported model and a video, for the programs in other languages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import clipshift
from clipshift.config import InputConfig, ModelConfig, ModelSpec
from clipshift.models import build_recognizer, save_bundle
from tests.datasets.clips import moving_frames, write_video

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CLASSES = ("bend", "climb", "dive", "fence", "jump", "kick", "öffnen")


def packages(*names: str) -> list[str]:
    """Those of the Python packages that are not installed, for the reason of a skip."""
    return [f"Python package {name}" for name in names if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, video: Path) -> Path:
    """The folder of a small network with random weights whose answers depend on the frames, exported to ONNX."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    model = ModelConfig(backbone="test_resnet", pretrained=False, classifier_std=0.5)
    settings = InputConfig(segments=8, resize=72, crop=64)
    network = build_recognizer(model, segments=settings.segments, classes=len(CLASSES))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # take over the statistics of one batch, so that features have a usual size
    with torch.no_grad():
        network.train()(torch.randn(2, settings.segments, 3, settings.crop, settings.crop))
    spec = ModelSpec(clipshift=clipshift.__version__, model=model, input=settings, classes=CLASSES)
    save_bundle(folder / "model", network.eval(), spec)
    clipshift.export(folder / "model", to="onnx", out=folder / "onnx", data=video.parent)
    return folder / "onnx"


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of H.264 in MP4, with B-frames and more than one group of pictures."""
    frames = moving_frames(60, width=200, height=150)
    return write_video(tmp_path_factory.mktemp("video") / "moving things.mp4", frames, codec="libx264", quality=18)
