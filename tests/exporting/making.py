"""A small trained model, whose answers hang on every pixel, frame and color, and what is made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from clipshift.config import InputConfig, ModelConfig, ModelSpec, ShiftConfig
from clipshift.datasets.motion import CLASSES
from clipshift.models.bundle import save_bundle
from clipshift.models.recognizer import Recognizer

SETTINGS = InputConfig(segments=4, resize=36, crop=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))

CAUSAL = ModelConfig(
    backbone="test_resnet", pretrained=False, activation="leaky_relu", shift=ShiftConfig(order="past_only")
)
"""A network like that of `save_model`, which looks at no later frame."""


def save_model(folder: Path, *, spoil: str | None = None, **changes: object) -> Path:
    """A model folder of a small TSM with leaky ReLUs; `changes` are of its description.

    Args:
        folder: Where to.
        spoil: Begins the name of a parameter whose values become NaN.
        changes: Fields of the `ModelSpec`.
    """
    model = ModelConfig(backbone="test_resnet", pretrained=False, activation="leaky_relu")
    fields = {"clipshift": "0", "model": model, "input": SETTINGS, "classes": CLASSES, **changes}
    spec = ModelSpec.model_validate(fields)
    network = Recognizer(model, segments=spec.input.segments, classes=len(spec.classes))
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # statistics that folding must not lose
                module.running_mean = torch.randn(module.num_features, generator=random) * 0.1
                module.running_var = torch.rand(module.num_features, generator=random) + 0.5
        # Clips get probabilities that are neither all alike nor all 0 and 1.
        network.classifier.weight.normal_(std=0.5, generator=random)
        for name, parameter in network.named_parameters():
            if spoil is not None and name.startswith(spoil):
                parameter.fill_(torch.nan)
    save_bundle(folder, network, spec)
    return folder


def noise(frames: int, height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@contextmanager
def graphs_made_once() -> Iterator[None]:
    """Hand each network to PyTorch's exporter once, by far the slowest part of an export; all behind it is done anew.

    That the exporter gives the network's numbers is seen by tests/conformance, which do without this.
    """
    make = torch.onnx.export

    def export(module: torch.nn.Module, *arguments: Any, **options: Any) -> object:  # noqa: ANN401
        key = _told_apart_by(module, repr([*map(_shapes, arguments), sorted(options.items())]))
        if key not in _GRAPHS:
            program = make(module, *arguments, **options)
            assert program is not None
            _GRAPHS[key] = program.model_proto
        copy = onnx.ModelProto()
        copy.CopyFrom(_GRAPHS[key])
        return SimpleNamespace(model_proto=copy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export)
        yield


_GRAPHS: dict[str, onnx.ModelProto] = {}


def _shapes(inputs: tuple[torch.Tensor, ...]) -> list[tuple[int, ...]]:
    return [tuple(each.shape) for each in inputs]


def _told_apart_by(module: torch.nn.Module, call: str) -> str:
    """What a graph hangs on: the structure, all that is computed with, and the call."""
    found = hashlib.sha256(f"{module!r}{call}".encode())
    for each in module.modules():  # a number that a forward pass uses stands in its module's attributes
        found.update(repr(sorted((name, value) for name, value in vars(each).items() if name[0] != "_")).encode())
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        found.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
