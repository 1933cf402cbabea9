"""Precise batch norm against a direct computation in double precision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import clipshift
from clipshift.datasets.motion import write_motion_clips
from clipshift.errors import ConfigError
from clipshift.preprocessing.transforms import normalize
from clipshift.training.distributed import Ranks
from clipshift.training.interrupt import StopRequest
from clipshift.training.loop import StopAsked
from clipshift.training.precise_bn import Variance, _Sums, set_precise_statistics
from tests.training.test_distill import SMALL
from tests.training.test_loop import ALONE, batch, config, trainer


def direct(network: nn.Module, batches: list[Tensor]) -> dict[str, list[Tensor]]:
    """What each batch norm gets of each batch, `(values, C)` float64, in a network that is float64 as a whole."""
    seen: dict[str, list[Tensor]] = {}
    network = network.double().train()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            values = seen.setdefault(name, [])
            module.register_forward_pre_hook(
                lambda _, inputs, values=values: values.append(inputs[0].transpose(0, 1).flatten(1).T.clone())
            )
    with torch.no_grad():
        for clips in batches:
            network(clips.double())
    return seen


def pixels(seeds: range) -> list[Tensor]:
    settings = config()
    return [normalize(batch(seed)["clips"], settings.input.mean, settings.input.std) for seed in seeds]


@pytest.mark.parametrize("variance", ["pooled", "mean"])
def test_equal_to_the_direct_computation_in_double_precision(variance: Variance) -> None:
    one, other = trainer().network, trainer().network
    batches = pixels(range(3))
    names = [name for name, module in one.named_modules() if isinstance(module, nn.BatchNorm2d)]
    one.eval()
    set_precise_statistics(one, names, batches, ranks=ALONE, variance=variance)
    assert not one.training
    seen = direct(other, batches)
    assert list(seen) == names
    for name, parts in seen.items():
        values = torch.cat(parts)
        spread = values.var(0, correction=0)
        if variance == "mean":
            spread = torch.stack([part.var(0, correction=0) for part in parts]).mean(0)
        norm = one.get_submodule(name)
        torch.testing.assert_close(norm.get_buffer("running_mean").double(), values.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.get_buffer("running_var").double(), spread, rtol=1e-4, atol=1e-6)
        assert int(norm.get_buffer("num_batches_tracked")) == 0


def test_pooling_has_no_cancellation_and_does_not_depend_on_the_parts() -> None:
    values = 1e3 + 1e-2 * torch.randn(60, 5, dtype=torch.float64)
    norm = nn.BatchNorm1d(5)
    results = []
    for sizes in ([60], [20, 20, 20], [7, 50, 3]):
        sums = _Sums.of(norm)
        for part in torch.split(values, sizes):
            variance, mean = torch.var_mean(part, dim=0, correction=0)
            sums.merge(len(part), mean, variance * len(part))
        results.append(torch.stack(sums.statistics("pooled")))
    exact = torch.stack([values.mean(0), values.var(0, correction=0)])
    for result in results:
        torch.testing.assert_close(result, exact, rtol=1e-9, atol=0)


def test_ranks_pool_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x = [torch.randn(6, 4, 3, 3) for _ in range(4)]
    norm = nn.BatchNorm2d(4)
    alone, *parts = (_Sums.of(norm) for _ in range(3))
    for number, each in enumerate(x):
        alone.add(each)
        parts[number % 2].add(each)
    packed = [
        torch.cat([part.values, part.mean, part.squares, part.batches, part.means, part.variances]) for part in parts
    ]

    def gather(into: list[Tensor], _own: Tensor) -> None:
        for place, values in zip(into, packed, strict=True):
            place.copy_(values)

    monkeypatch.setattr(torch.distributed, "all_gather", gather)
    parts[1].gather(Ranks(1, 2, 2, torch.device("cpu")))
    for variance in ("pooled", "mean"):
        for got, expected in zip(parts[1].statistics(variance), alone.statistics(variance), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_frozen_norms_keep_theirs_and_training_does_not_notice() -> None:
    one, other = (trainer("train.freeze_bn=all_but_first", "train.ema=0.9") for _ in range(2))
    for each in (one, other):
        each.train_mode()
        each.update([batch(0)])
    before = {name: value.clone() for name, value in one.best_network.named_buffers()}
    one.measure_batch_norms(iter([batch(1), batch(2)]), StopRequest())
    changed = {name for name, value in one.best_network.named_buffers() if not torch.equal(value, before[name])}
    assert changed == {"backbone.conv1.1.running_mean", "backbone.conv1.1.running_var"}
    for each in (one, other):
        each.train_mode()
        each.update([batch(3)])
    for name, value in one.tensors().items():
        assert torch.equal(value, other.tensors()[name]), name


def test_a_stop_leaves_everything_as_it_was() -> None:
    one, stop = trainer(), StopRequest()
    before = {name: value.clone() for name, value in one.network.named_buffers()}

    def batches() -> object:
        yield batch(0)
        stop.exit_code = 75
        yield batch(1)

    with pytest.raises(StopAsked):
        one.measure_batch_norms(batches(), stop)  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in one.network.named_buffers())


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to measure"):
        config("train.freeze_bn=all", "train.precise_bn=2")


def test_a_run_measures_and_says_what_it_cost(tmp_path: Path) -> None:
    clips = write_motion_clips(tmp_path / "clips", clips_per_class=4, validation_per_class=2, frames=8, size=40)
    settings = (*SMALL, "train.epochs=4", "train.precise_bn=2", "train.precise_bn_every=2", "train.freeze_bn=none")
    run = clipshift.train(clips, *settings, "train.ema=0", out=tmp_path / "run").run
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert ["precise_bn_seconds" in line for line in lines if line["kind"] == "epoch"] == [True, False, True, True]
    assert (run / "train.log").read_text().count("Precise batch norm: 2 batches in") == 3
