"""Parameter groups and the learning rate, also against PaddleVideo's own curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from clipshift.config import OptimConfig
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


def small_network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=True), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def test_only_weights_decay_and_the_classifier_is_faster() -> None:
    network = small_network()
    optimizer = build_optimizer(network, network[3], OptimConfig(lr=0.1, head_lr=5, head_bias_lr=10, weight_decay=0.01))
    set_learning_rate(optimizer, 0.2)
    by_parameter = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    expected = {
        "0.weight": (0.2, 0.01),
        "0.bias": (0.2, 0),
        "1.weight": (0.2, 0),
        "1.bias": (0.2, 0),
        "3.weight": (1.0, 0.01),
        "3.bias": (2.0, 0),
    }
    assert {name: by_parameter[id(p)] for name, p in network.named_parameters()} == expected


def test_frozen_parameters_are_left_out() -> None:
    network = small_network()
    network[1].requires_grad_(False)
    optimizer = build_optimizer(network, network[3], OptimConfig())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_the_state_survives_by_name(kind: Literal["sgd", "adamw"]) -> None:
    def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        network(torch.ones(2, 3, 1, 1)).square().sum().backward()
        optimizer.step()

    first, second = small_network().eval(), small_network().eval()
    one = build_optimizer(first, first[3], OptimConfig(optimizer=kind, lr=0.01))
    step(first, one)
    second.load_state_dict(first.state_dict())
    two = build_optimizer(second, second[3], OptimConfig(optimizer=kind, lr=0.01))
    restore_optimizer(second, two, {name: tensor.clone() for name, tensor in optimizer_tensors(first, one).items()})
    step(first, one)
    step(second, two)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
