"""Parameter groups and the learning rate, also against PaddleVideo's own curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from clipshift.config import OptimConfig
from clipshift.config.schema import ModelConfig
from clipshift.models.backbones import stages_from_the_end
from clipshift.models.recognizer import Recognizer
from clipshift.models.zoo import ZOO
from clipshift.training.optimizer import (
    build_optimizer,
    learning_rate_factor,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)


def test_cosine_falls_from_one_to_zero() -> None:
    optim = OptimConfig(schedule="cosine", warmup_epochs=0)
    assert learning_rate_factor(0, optim, 10) == 1
    assert learning_rate_factor(5, optim, 10) == pytest.approx(0.5)
    assert learning_rate_factor(10, optim, 10) == pytest.approx(0)


def test_warmup_is_linear_and_meets_the_schedule() -> None:
    optim = OptimConfig(schedule="cosine", warmup_epochs=2, warmup_start=0.1)
    end = learning_rate_factor(2, optim, 10)
    assert learning_rate_factor(0, optim, 10) == pytest.approx(0.1)
    assert learning_rate_factor(1, optim, 10) == pytest.approx((0.1 + end) / 2)
    assert learning_rate_factor(2 - 1e-9, optim, 10) == pytest.approx(end)


def test_steps() -> None:
    optim = OptimConfig(schedule="step", steps=(2, 4.5), gamma=0.1)
    factors = [learning_rate_factor(epoch, optim, 6) for epoch in (0, 1.99, 2, 4.4, 4.5, 6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("recipe", "base", "start", "epochs"),
    [
        ("pptsn/pptsn_k400_videos.yaml", 0.01, 0.5, 100),
        ("pptsm/pptsm_k400_videos_uniform.yaml", 0.01, 0.5, 80),
        ("pptsm/pptsm_k400_frames_dense.yaml", 0.02, 0.5, 80),
        ("pptsm/v2/pptsm_lcnet_k400_16frames_uniform.yaml", 0.01, 0.5, 120),
    ],
)
def test_equal_to_paddlevideos_curve(shared: Path, recipe: str, base: float, start: float, epochs: int) -> None:
    curve = json.loads((shared / "reference" / "training" / "lr.json").read_text())[recipe]
    optim = OptimConfig(schedule="cosine", warmup_epochs=10, warmup_start=start)
    mine = [base * learning_rate_factor(update / curve["iters_per_epoch"], optim, epochs) for update in range(25)]
    assert mine == pytest.approx(curve["first_25_iters"], rel=1e-6)
    mine = [base * learning_rate_factor(update / curve["iters_per_epoch"], optim, epochs) for update in range(95, 125)]
    assert mine == pytest.approx(curve["iters_95_125"], rel=1e-6)


def small_network() -> Recognizer:
    """A PP-TSMv2: it has every kind of parameter."""
    return Recognizer(ZOO["pptsmv2-16f-attention"].model, segments=2, classes=2)


def rates_and_decays(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, tuple[float, float]]:
    by_parameter = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    return {name: by_parameter[id(parameter)] for name, parameter in network.named_parameters()}


CONVOLUTION, NORM_SCALE, SE_BIAS = (
    f"backbone.stages.2.0.{name}" for name in ("pw_conv.0.conv.weight", "pw_conv.0.bn.weight", "se.fc1.bias")
)
ATTENTION = "backbone.stages.temporal_attention.fc"


@pytest.mark.parametrize(
    ("optim", "expected"),
    [
        (
            OptimConfig(lr=0.1, head_lr=5, head_bias_lr=10, weight_decay=0.01),
            {
                CONVOLUTION: (0.2, 0.01),
                NORM_SCALE: (0.2, 0),
                SE_BIAS: (0.2, 0),
                f"{ATTENTION}.weight": (0.2, 0.01),
                f"{ATTENTION}.bias": (0.2, 0),
                "classifier.weight": (1.0, 0.01),
                "classifier.bias": (2.0, 0),
            },
        ),
        (
            OptimConfig(weight_decay=0.01, decay_biases=True, decay_norms=True, attention_lr=5, attention_bias_lr=10),
            {
                CONVOLUTION: (0.2, 0.01),
                NORM_SCALE: (0.2, 0.01),
                SE_BIAS: (0.2, 0.01),
                f"{ATTENTION}.weight": (1.0, 0.01),
                f"{ATTENTION}.bias": (2.0, 0),
                "classifier.weight": (0.2, 0.01),
                "classifier.bias": (0.2, 0.01),
            },
        ),
        (
            OptimConfig(weight_decay=0.0, head_weight_decay=1e-4),
            {CONVOLUTION: (0.2, 0), "classifier.weight": (0.2, 1e-4), "classifier.bias": (0.2, 0)},
        ),
    ],
)
def test_groups(optim: OptimConfig, expected: dict[str, tuple[float, float]]) -> None:
    network = small_network()
    optimizer = build_optimizer(network, optim)
    set_learning_rate(optimizer, 0.2)
    found = rates_and_decays(optimizer, network)
    assert {name: found[name] for name in expected} == expected


def test_frozen_parameters_are_left_out() -> None:
    network = small_network()
    network.backbone.requires_grad_(False)
    optimizer = build_optimizer(network, OptimConfig())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_state_survives_by_name(kind: Literal["sgd", "adamw"]) -> None:
    def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        network(torch.ones(1, 2, 3, 32, 32)).square().sum().backward()
        optimizer.step()

    first, second = small_network().eval(), small_network().eval()
    one = build_optimizer(first, OptimConfig(optimizer=kind, lr=0.01))
    step(first, one)
    second.load_state_dict(first.state_dict())
    two = build_optimizer(second, OptimConfig(optimizer=kind, lr=0.01))
    restore_optimizer(second, two, {name: tensor.clone() for name, tensor in optimizer_tensors(first, one).items()})
    step(first, one)
    step(second, two)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_layer_decay_lowers_the_rate_stage_by_stage() -> None:
    network = Recognizer(ModelConfig(backbone="resnet18", pretrained=False, architecture="tsn"), segments=2, classes=3)
    optimizer = build_optimizer(network, OptimConfig(layer_decay=0.5, head_lr=5))
    set_learning_rate(optimizer, 1.0)
    found = {name: rate for name, (rate, _) in rates_and_decays(optimizer, network).items()}
    expected = {
        "backbone.conv1.weight": 0.0625,
        "backbone.bn1.bias": 0.0625,
        "backbone.layer1.1.conv2.weight": 0.125,
        "backbone.layer2.0.downsample.0.weight": 0.25,
        "backbone.layer3.0.conv1.weight": 0.5,
        "backbone.layer4.1.bn2.weight": 1.0,
        "classifier.weight": 5.0,
        "classifier.bias": 1.0,
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("backbone", ["mobilenetv2_100", "lcnetv2_base", "convnext_atto", "vit_tiny_patch16_224"])
def test_layer_decay_rises_towards_the_end_in_other_networks(backbone: str) -> None:
    network = Recognizer(ModelConfig(backbone=backbone, pretrained=False, architecture="tsn"), segments=2, classes=3)
    after = stages_from_the_end(network.backbone)
    order = [after[parameter] for parameter in network.backbone.parameters() if parameter.ndim > 1]
    assert order == sorted(order, reverse=True)
    assert order[0] >= 3
    assert order[-1] == 0
