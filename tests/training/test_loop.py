"""One update: what is averaged, what is frozen, and what stops it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from clipshift.config import Config, resolve
from clipshift.errors import ConfigError, DivergedError
from clipshift.models.recognizer import Recognizer
from clipshift.training.distributed import Ranks
from clipshift.training.interrupt import StopRequest
from clipshift.training.loader import Batch
from clipshift.training.loop import StopAsked, Trainer, batch_norms, train_epoch
from clipshift.training.objectives import LabelLoss, LearnLabels
from clipshift.training.reporting import Reporter

ALONE = Ranks(0, 1, 1, torch.device("cpu"))


def config(*settings: str) -> Config:
    small = (
        "model.backbone=test_resnet",
        "model.pretrained=false",
        "input.segments=4",
        "input.crop=32",
        "input.resize=32",
    )
    return resolve(settings=(*small, "model.dropout=0", "optim.lr_batch_size=4", *settings)).config


def trainer(*settings: str) -> Trainer:
    made = config(*settings)
    network = Recognizer(
        made.model, segments=made.input.segments, classes=3, generator=torch.Generator().manual_seed(0)
    )
    return Trainer(network, made, ALONE, updates_per_epoch=4, objective=LearnLabels(LabelLoss(made)))


def batch(seed: int, clips: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        clips=torch.randint(0, 256, (clips, 4, 3, 32, 32), dtype=torch.uint8, generator=generator),
        labels=torch.randint(0, 3, (clips,), generator=generator),
        indices=torch.arange(clips),
        bad=[],
    )


def state(trained: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trained.tensors().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("mixing", ["augment.mixup=0.2", "augment.cutmix=1.0", "augment.videomix=1.0"])
def test_an_update_is_a_function_of_state_and_batch(mixing: str) -> None:
    results = []
    for chance in (1, 2):
        torch.manual_seed(chance)
        one = trainer("model.dropout=0.5", mixing, "train.ema=0.9")
        one.train_mode()
        for seed in range(3):
            one.update([batch(seed)])
            torch.rand(chance)  # foreign draws from the global generator must not matter
        results.append(state(one))
    assert same(*results)


@pytest.mark.parametrize(
    "kind",
    [
        ("optim.optimizer=sgd",),
        ("optim.optimizer=adamw",),
        ("optim.optimizer=adamw", "train.amp=bf16"),
        ("optim.optimizer=adamw", "train.amp=bf16", "model.backbone=mobilenetv2_050"),
    ],
)
def test_restored_in_the_middle_goes_on_to_the_same_bits(kind: tuple[str, ...]) -> None:
    settings = ("model.dropout=0.5", "augment.mixup=0.2", "train.ema=0.9", *kind)
    whole = trainer(*settings)
    whole.train_mode()
    for seed in range(2):
        whole.update([batch(seed)])
    middle, progress = state(whole), whole.progress
    for seed in range(2, 4):
        whole.update([batch(seed)])

    resumed = trainer(*settings)
    resumed.restore(middle, progress)
    resumed.train_mode()
    for seed in range(2, 4):
        resumed.update([batch(seed)])
    assert same(state(whole), state(resumed))
    assert whole.progress == resumed.progress


@pytest.mark.parametrize("backbone", ["test_resnet", "mobilenetv2_050"])
def test_updates_in_bf16_are_near_those_in_float32(backbone: str) -> None:
    losses = []
    for amp in ("fp32", "bf16"):
        one = trainer(f"model.backbone={backbone}", f"train.amp={amp}", "optim.optimizer=adamw", "optim.lr=0.001")
        one.train_mode()
        losses.append([one.update([batch(seed % 2)]).loss for seed in range(6)])
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in one.network.parameters() if p.grad is not None)
    # bfloat16 has 8 binary digits; the batch norms of a small batch magnify what is rounded, from update to update.
    assert losses[0] != losses[1]
    assert losses[1][:4] == pytest.approx(losses[0][:4], rel=0.1)
    assert losses[1][-1] < losses[1][0]


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    frozen = ("train.freeze_bn=all", "optim.clip_norm=0")  # batch statistics would differ between halves
    whole, halves = trainer(*frozen), trainer("train.accumulate=2", "train.batch_size=4", *frozen)
    halves.peak_rate = whole.peak_rate
    one, two = batch(1), batch(2)
    both = Batch(
        clips=torch.cat([one["clips"], two["clips"]]),
        labels=torch.cat([one["labels"], two["labels"]]),
        indices=torch.arange(8),
        bad=[],
    )
    for each, group in ((whole, [both]), (halves, [one, two])):
        each.train_mode()
        each.update(group)
    for name, tensor in whole.network.named_parameters():
        torch.testing.assert_close(halves.network.get_parameter(name), tensor, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_to_the_norm() -> None:
    one = trainer("optim.clip_norm=0.01", "optim.momentum=0", "optim.nesterov=false", "optim.weight_decay=0")
    before = {name: p.detach().clone() for name, p in one.network.named_parameters()}
    one.train_mode()
    rate = one.learning_rate
    one.update([batch(0)])
    moved = math.sqrt(
        sum(float((p.detach() - before[name]).square().sum()) for name, p in one.network.named_parameters())
    )
    assert moved == pytest.approx(0.01 * rate, rel=1e-3)


def test_the_rate_is_scaled_by_the_real_batch() -> None:
    one = trainer("optim.lr=0.1", "optim.lr_batch_size=32", "train.batch_size=4", "train.accumulate=2")
    assert one.peak_rate == pytest.approx(0.1 * 8 / 32)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_not_finite_stops_before_the_update(kind: str) -> None:
    one = trainer()
    one.train_mode()
    one.update([batch(0)])
    before, progress = state(one), one.progress
    if kind == "loss":
        broken = one.network.classifier.register_forward_hook(
            lambda *_: torch.full((4, 3), math.nan, requires_grad=True)
        )
    else:
        weight = one.network.classifier.weight
        broken = weight.register_hook(lambda gradient: gradient * math.inf)  # type: ignore[no-untyped-call]
    with pytest.raises(DivergedError):
        one.update([batch(1)])
    broken.remove()
    after = state(one)
    kept = {name: tensor for name, tensor in before.items() if "running" not in name and "num_batches" not in name}
    assert same(kept, {name: after[name] for name in kept})
    assert one.progress == progress


@pytest.mark.parametrize(("which", "frozen"), [("none", 0), ("all", None), ("all_but_first", None)])
def test_frozen_batch_norms_do_not_move(which: str, frozen: int | None) -> None:
    one = trainer(f"train.freeze_bn={which}")
    norms = [module for module in one.network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    expected = {"none": 0, "all": len(norms), "all_but_first": len(norms) - 1}[which]
    before = [norm.state_dict() and {k: v.clone() for k, v in norm.state_dict().items()} for norm in norms]
    one.train_mode()
    one.update([batch(0)])
    still = [
        all(torch.equal(v, norm.state_dict()[k]) for k, v in old.items())
        for norm, old in zip(norms, before, strict=True)
    ]
    assert sum(still) == expected
    if which == "all_but_first":
        assert not still[0]
    assert frozen is None or sum(still) == frozen


def test_unknown_freezing_is_a_bug() -> None:
    with pytest.raises(KeyError):
        batch_norms(trainer().network, "some")


def test_the_moving_average_lags_behind() -> None:
    one = trainer("train.ema=0.5")
    one.train_mode()
    one.update([batch(0)])
    first = one.network.classifier.weight.detach().clone()
    one.update([batch(1)])
    second = one.network.classifier.weight.detach()
    torch.testing.assert_close(one.best_network.classifier.weight.detach(), 0.5 * first + 0.5 * second)
    assert one.best_network is not one.network


def test_a_stop_request_ends_between_updates(tmp_path: Path) -> None:
    one, stop = trainer(), StopRequest()
    seen = []

    def look(_: Batch) -> None:
        seen.append(one.progress.step)
        if len(seen) == 2:
            stop.exit_code = 75

    with pytest.raises(StopAsked):
        train_epoch(
            one,
            iter([batch(seed) for seed in range(4)]),
            Reporter(tmp_path, speaks=False),
            stop=stop,
            on_batch=look,
            checkpoint=lambda: None,
            keep_diverged=lambda _: tmp_path,
        )
    assert one.progress.step == 1


def test_diverging_says_where_and_keeps_the_batch(tmp_path: Path) -> None:
    one = trainer()
    one.network.classifier.register_forward_hook(lambda *_: torch.full((4, 3), math.inf, requires_grad=True))
    kept: list[list[Batch]] = []

    def keep(group: list[Batch]) -> Path:
        kept.append(group)
        return tmp_path / "kept.npz"

    with pytest.raises(DivergedError) as caught:
        train_epoch(
            one,
            iter([batch(0)]),
            Reporter(tmp_path, speaks=False),
            stop=StopRequest(),
            on_batch=lambda _: None,
            checkpoint=lambda: None,
            keep_diverged=keep,
        )
    text = str(caught.value)
    assert "epoch 1, update 1" in text
    assert "kept.npz" in text
    assert "optim.lr" in text
    assert len(text.splitlines()) <= 8
    assert len(kept) == 1


def test_frozen_stages_do_not_move() -> None:
    one = trainer("train.frozen_stages=2")
    before = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
    one.train_mode()
    one.update([batch(0)])
    moved = {name for name, tensor in one.network.state_dict().items() if not torch.equal(tensor, before[name])}
    early = ("backbone.conv1", "backbone.bn1", "backbone.layer1")
    assert not [name for name in moved if name.startswith(early)]
    late = {name for name in before if not name.startswith(early) and not name.endswith("num_batches_tracked")}
    assert late <= moved


def test_more_frozen_stages_than_there_are() -> None:
    with pytest.raises(ConfigError, match="no such stage"):
        trainer("train.frozen_stages=9")
