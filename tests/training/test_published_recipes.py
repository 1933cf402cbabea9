"""Two updates of the published recipes give the numbers of PaddleVideo's own two updates."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clipshift.config import AugmentConfig, Config, OptimConfig, resolve
from clipshift.models.recognizer import Recognizer
from clipshift.training import loop
from clipshift.training.distill import find_partner
from clipshift.training.distributed import Ranks
from clipshift.training.loader import Batch
from clipshift.training.loop import Trainer
from clipshift.training.optimizer import learning_rate_factor
from clipshift.weights.loading import place
from tests.training.objectives import objective_for

# Of every trace: the recipe that is the configuration that it was made with.
TRACES = {
    "tsn_r50": "tsn-r50-k400",
    "tsm_r50": "tsm-r50-k400",
    "pptsn_r50": "pptsn-r50-k400",
    "pptsm_r50": "pptsm-r50-k400-uniform",
    "pptsmv2_16f": "pptsmv2-16f-k400",
    "pptsmv2_16f_dml": "pptsmv2-16f-k400-distilled",
}


def _filled(config: Config, state: dict[str, Tensor]) -> tuple[Recognizer, dict[str, str]]:
    """A recipe's network with the weights of a checkpoint, and {name in the checkpoint: name in the network}."""
    network = Recognizer(config.model, segments=config.input.segments, classes=400)
    placement = place(state, network)
    assert placement is not None
    assert placement.misfit(network) is None
    placement.fill(network, "checkpoint")
    return network, placement.names


def _partner(
    config: Config, settings: list[str], state: dict[str, Tensor]
) -> tuple[Recognizer | None, OptimConfig | None, dict[str, str]]:
    """The teacher of a mutual learning, its groups, and {name in the checkpoint: its name in the network}."""
    if config.distill.method == "none":
        return None, None, {}
    found = find_partner(config)
    plain = {
        name: name.replace("Teacher.0.", "backbone.").replace("Teacher.1.", "head.")
        for name in state
        if name.startswith("Teacher.")
    }
    network, names = _filled(resolve(found.name, settings=settings).config, {plain[n]: state[n] for n in plain})
    return network, found.config.optim, {name: f"partner.{names[plain[name]]}" for name in plain}


@pytest.mark.slow
@pytest.mark.parametrize("reference", TRACES)
def test_two_updates(shared: Path, seeded: ModuleType, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    folder = shared / "reference" / "paddlevideo" / reference
    trace: dict[str, Any] = json.loads((folder / "train_step.json").read_text())
    # Four clips take the place of the whole batch; the traces were made without dropout and with mixed clips.
    settings = ["train.batch_size=4", "optim.lr_batch_size=4", "model.dropout=0.0", "augment.mixup=0.2"]
    settings.append("train.channels_last=false")
    config = resolve(TRACES[reference], settings=settings).config
    state = {name: torch.from_numpy(value) for name, value in seeded.checkpoint(seeded.load(folder)[0]).items()}
    network, own = _filled(config, state)
    partner, partner_optim, of_partner = _partner(config, settings, state)
    own |= of_partner

    def parameters() -> dict[str, torch.nn.Parameter]:
        others = {} if partner is None else {f"partner.{n}": p for n, p in partner.named_parameters()}
        return {**dict(network.named_parameters()), **others}

    gradients: list[dict[str, float]] = []
    norms: list[float] = []

    def total_norm(tensors: list[Tensor]) -> Tensor:
        gradients.append({n: float(p.grad.norm()) for n, p in parameters().items() if p.grad is not None})
        norm = torch.nn.utils.get_total_norm(tensors)
        norms.append(float(norm))
        return norm

    def mixed(clips: Tensor, augment: AugmentConfig, random: object) -> tuple[Tensor, Tensor, float]:
        assert augment.mixup == 0.2
        permutation, share = torch.tensor(trace["permutation"]), float(trace["lam"])
        return share * clips + (1 - share) * clips[permutation], permutation, share

    monkeypatch.setattr(loop, "get_total_norm", total_norm)
    monkeypatch.setattr(loop, "mix_clips", mixed)
    monkeypatch.setattr(loop, "normalize", lambda clips, _mean, _std: clips)
    trainer = Trainer(
        network,
        config,
        Ranks(0, 1, 1, torch.device("cpu")),
        updates_per_epoch=10**9,
        objective=objective_for(config, partner, partner_optim),
    )
    assert trainer.learning_rate == pytest.approx(trace["lr"])
    clips = torch.from_numpy(seeded.training_input(trace["input"]["shape"], trace["input"]["seed"]))
    batch = Batch(clips=clips, labels=torch.tensor(trace["labels_a"]), indices=torch.arange(4), bad=[])
    trainer.train_mode()

    first = trainer.update([batch])
    assert first.loss == pytest.approx(trace["step"][0]["loss"], rel=1e-5)
    assert math.hypot(*norms) == pytest.approx(trace["step"][0]["grad_norm"], rel=1e-3)  # one norm of each network
    theirs = {own[name]: value for name, value in trace["gradient_l2_step1"].items() if name in own}
    assert set(theirs) == set(gradients[0])
    errors = {name: abs(gradients[0][name] - value) / value for name, value in theirs.items()}
    # Our own float64 differs from PaddlePaddle's float32 as much: up to 3 % where a gradient is a small difference of
    # large numbers (the 1x1 branches of PP-TSMv2), some parts in ten thousand elsewhere.
    assert float(np.median(list(errors.values()))) <= 1e-3
    assert max(error for name, error in errors.items() if "dw_conv_list.2" not in name) <= 1e-2
    assert max(errors.values()) <= 4e-2
    after = parameters()
    for name, value in trace["state_after_step1"].items():
        if own.get(name) in after:
            # Offsets start near zero: what is left of them after an update is all gradient.
            close = 1e-3 if name.endswith("bias") else 5e-5
            assert float(after[own[name]].detach().double().norm()) == pytest.approx(value["l2"], rel=close), name

    monkeypatch.setattr(Tensor, "backward", lambda _: None)  # all that is known of the second update is its loss
    second = trainer.update([batch])
    assert second.loss == pytest.approx(trace["step"][1]["loss"], rel=2e-2)


CURVES = {
    "tsn/tsn_k400_videos.yaml": "tsn-r50-k400",
    "tsm/tsm_k400_videos.yaml": "tsm-r50-k400",
    "tsm/tsm_ucf101_videos.yaml": "tsm-r50-ucf101",
    "pptsn/pptsn_k400_videos.yaml": "pptsn-r50-k400",
    "pptsm/pptsm_k400_videos_uniform.yaml": "pptsm-r50-k400-uniform",
    "pptsm/pptsm_k400_frames_dense.yaml": "pptsm-r50-k400-dense",
    "pptsm/pptsm_k400_frames_dense_r101.yaml": "pptsm-r101-k400-dense",
    "pptsm/v2/pptsm_lcnet_k400_16frames_uniform.yaml": "pptsmv2-16f-k400",
    "pptsm/v2/pptsm_lcnet_k400_16frames_uniform_dml_distillation.yaml": "pptsmv2-16f-k400-distilled",
}


@pytest.mark.parametrize("configuration", CURVES)
def test_learning_rates(shared: Path, configuration: str) -> None:
    curve = json.loads((shared / "reference" / "training" / "lr.json").read_text())[configuration]
    config = resolve(CURVES[configuration]).config
    optim, epochs, updates = config.optim, config.train.epochs, curve["iters_per_epoch"]
    assert epochs == curve["epochs"]

    def rates(*steps: int) -> list[float]:
        return [optim.lr * learning_rate_factor(step / updates, optim, epochs) for step in steps]

    starts = rates(*(epoch * updates for epoch in range(epochs)))
    assert starts == pytest.approx(curve["lr_at_epoch_start"], rel=1e-6, abs=1e-12)
    assert rates(*range(25)) == pytest.approx(curve["first_25_iters"], rel=1e-6)
    assert rates(*range(95, 125)) == pytest.approx(curve["iters_95_125"], rel=1e-6)
    assert rates(epochs * updates - 1)[0] == pytest.approx(curve["last"], rel=1e-6, abs=1e-12)
