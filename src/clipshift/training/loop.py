"""The training loop: epochs of updates, each followed by a validation.

All randomness is a function of (seed, epoch, step, sample, rank), so a continued run repeats the bits of one that was
never interrupted; see [Trainer.update][clipshift.training.loop.Trainer.update].
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from clipshift.config import Config
from clipshift.device import autocast
from clipshift.errors import DivergedError, RunError
from clipshift.models.backbones import early_layers
from clipshift.models.recognizer import Recognizer
from clipshift.preprocessing.transforms import normalize
from clipshift.training.checkpoint import TrainingProgress
from clipshift.training.distributed import Ranks
from clipshift.training.interrupt import StopRequest
from clipshift.training.loader import Batch
from clipshift.training.mixing import mix_clips, mixes
from clipshift.training.objectives import Objective, SeenBatch
from clipshift.training.optimizer import (
    build_optimizer,
    learning_rate_factor,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)
from clipshift.training.precise_bn import set_precise_statistics
from clipshift.training.precision import training_autocast
from clipshift.training.reporting import Meter, Reporter, peak_memory

_UPDATE = 0x55  # tells the draws of an update from those of a sample


class StopAsked(Exception):  # noqa: N818 - not an error
    """Raised between two updates when a stop was asked for, on every rank at the same one."""


class Updated(NamedTuple):
    """What an update gave."""

    loss: float
    """The mean loss of this rank's clips."""
    go_on: bool
    """Whether no rank was asked to stop; the same on every rank."""


class Trainer:
    """A network in training with all that changes while it trains.

    Args:
        network: The network, on the CPU.
        config: All settings.
        ranks: This process's place.
        updates_per_epoch: Optimizer steps in an epoch.
        objective: What an update minimizes, and who else learns by it.

    Attributes:
        network: The network without wrappers, on this rank's device.
        partner: A second one that is trained along, or None.
        progress: Where the training stands.
        parts: Of the last update's loss, the means of its parts by name, where it has several.
    """

    def __init__(
        self, network: Recognizer, config: Config, ranks: Ranks, updates_per_epoch: int, objective: Objective
    ) -> None:
        self.config, self.ranks, self.updates_per_epoch = config, ranks, updates_per_epoch
        self._objective = objective
        self._learners: list[tuple[Recognizer, torch.optim.Optimizer]] = []
        self._frozen: list[nn.Module] = []
        for learner, optim in [(network, config.optim), *objective.learners()]:
            layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
            learner.to(ranks.device, memory_format=layout)  # type: ignore[call-overload]
            self._frozen += _freeze(learner, config, all_but_classifier=objective.classifier_only)
            self._learners.append((learner, build_optimizer(learner, optim)))
        self.network, self.optimizer = self._learners[0]
        self.partner = self._learners[1][0] if len(self._learners) > 1 else None
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=config.train.amp == "fp16")
        self._ema = None
        if config.train.ema:
            self._ema = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.train.ema))  # type: ignore[no-untyped-call]
        self._forward = objective.joined(self.network)
        if ranks.count > 1:
            devices = [ranks.device] if ranks.device.type == "cuda" else None
            self._forward = DistributedDataParallel(self._forward, device_ids=devices)
        clips = config.train.batch_size * config.train.accumulate * ranks.count
        self.peak_rate = config.optim.lr * clips / config.optim.lr_batch_size
        self.progress = TrainingProgress()
        self.parts: dict[str, float] = {}

    @property
    def best_network(self) -> Recognizer:
        """The network that is validated and kept: the moving average, where there is one."""
        return self.network if self._ema is None else self._ema.module  # type: ignore[return-value]

    @property
    def learning_rate(self) -> float:
        """Rate of the next update, before the groups' own factors."""
        epoch = self.progress.epoch + self.progress.step / self.updates_per_epoch
        return self.peak_rate * learning_rate_factor(epoch, self.config.optim, self.config.train.epochs)

    def train_mode(self) -> None:
        """Batch norms learn and dropout drops, but not in what is frozen."""
        self._forward.train()
        for module in self._frozen:
            module.eval()

    def update(self, batches: list[Batch], stop: StopRequest | None = None) -> Updated:
        """One optimizer step over one or more batches, whose gradients are averaged.

        The host waits for the device once, when it reads the loss and the gradients' norm, and the ranks agree once,
        on whether these are finite and nobody was asked to stop.

        Args:
            batches: What the loader gives, `accumulate` of them or, at the epoch's end, fewer.
            stop: Whether this rank was asked to stop; the update is made all the same.

        Returns:
            The loss, and whether to go on.

        Raises:
            DivergedError: The loss or a gradient is not finite on some rank; nothing was updated on any.
        """
        # Dropout draws from the global generator: a function of the step, it needs no saving.
        seed = self._seed()
        torch.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
        random = np.random.default_rng(seed)
        for _, optimizer in self._learners:
            set_learning_rate(optimizer, self.learning_rate)
            optimizer.zero_grad(set_to_none=True)
        losses, parts = self._backward(batches, random)
        norms = []
        for network, optimizer in self._learners:
            self.scaler.unscale_(optimizer)
            norms.append(get_total_norm([p.grad for p in network.parameters() if p.grad is not None]))
        loss, norm, *means = _read(
            torch.stack(losses).sum(),
            torch.stack(norms).sum(),
            *(torch.stack(values).mean() for values in parts.values()),
        )
        asked = stop is not None and stop.made
        finite, go_on = self.ranks.all_reduce_and(self._is_finite(loss, norm), not asked)
        if not finite:
            raise DivergedError("The loss or a gradient became NaN or infinite.")
        self._step(norms)
        self.parts = dict(zip(parts, means, strict=True))
        done = self.progress
        self.progress = replace(done, step=done.step + 1, update=done.update + 1, loss_sum=done.loss_sum + loss)
        if self.config.train.amp == "fp16":
            self.progress = replace(self.progress, scaler=self.scaler.state_dict())
        return Updated(loss, go_on)

    def _backward(
        self, batches: list[Batch], random: np.random.Generator
    ) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        """Add up the gradients of some batches; their losses, and the parts of these by name."""
        losses = []
        parts: dict[str, list[Tensor]] = {}
        for number, batch in enumerate(batches, start=1):
            with self._gradients_stay_local(number < len(batches)):
                seen = self._see(batch, random)
                with training_autocast(self.ranks.device, self.config.train.amp):
                    outputs = self._forward(seen.clips)
                whole, of_it = self._objective.loss(outputs, seen)
                loss = whole / len(batches)
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            for name, value in of_it.items():
                parts.setdefault(name, []).append(value.detach())
        return losses, parts

    def _step(self, norms: list[Tensor]) -> None:
        """Change the weights by the gradients, which are scaled down where their norms are too large."""
        optim = self.config.optim
        for (network, optimizer), norm in zip(self._learners, norms, strict=True):
            if optim.clip_norm:  # each network by its own norm: the student's step does not depend on the partner's
                clip_grads_with_norm_([p for p in network.parameters() if p.grad is not None], optim.clip_norm, norm)
            self.scaler.step(optimizer)
        self.scaler.update()
        if self._ema is not None:
            self._ema.update_parameters(self.network)

    def measure_batch_norms(self, batches: Iterator[Batch], stop: StopRequest) -> None:
        """Give the network to be validated the batch norm statistics of some batches; see `train.precise_bn`.

        Frozen batch norms keep theirs. Clips are augmented as in training, but not mixed: a validation sees whole ones.

        Args:
            batches: This rank's, the same number on every rank.
            stop: Looked at before every batch.

        Raises:
            StopAsked: A stop was asked for on some rank; nothing was set.
        """
        self.train_mode()
        norms = [name for name, module in self.network.named_modules() if isinstance(module, _BatchNorm)]
        learning = [name for name in norms if self.network.get_submodule(name).training]

        def clips() -> Iterator[Tensor]:
            for batch in batches:
                if not self.ranks.all_reduce_and(not stop.made)[0]:
                    raise StopAsked
                yield self._clips(batch)

        with autocast(self.ranks.device, self.config.train.amp):
            variance = self.config.train.precise_bn_variance
            set_precise_statistics(self.best_network, learning, clips(), ranks=self.ranks, variance=variance)

    def share_buffers(self) -> None:
        """Give all ranks the first one's batch norm statistics, so that they validate the same network."""
        if self.ranks.count > 1:
            for buffer in (*self.network.buffers(), *self.best_network.buffers()):
                torch.distributed.broadcast(buffer, src=0)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that a checkpoint needs, by name."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state = optimizer_tensors(self.network, self.optimizer)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in state.items()}
        if self._ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self._ema.state_dict().items()}
        if self.partner is not None:
            tensors |= {f"partner.{name}": tensor for name, tensor in self.partner.state_dict().items()}
            state = optimizer_tensors(*self._learners[1])
            tensors |= {f"partner_optimizer.{name}": tensor for name, tensor in state.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], progress: TrainingProgress) -> None:
        """Go back to the state of a checkpoint of the same run.

        Raises:
            RunError: It does not fit the network, or what trains it.
        """
        try:
            self._restore(tensors, progress)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise RunError(
                "The checkpoint does not fit the training.",
                got=" ".join(str(error).split())[:300],
                remedy="delete it, to go on from the one before, or start again with --overwrite",
            ) from error
        self.progress = progress

    def _restore(self, tensors: dict[str, Tensor], progress: TrainingProgress) -> None:
        self.network.load_state_dict(_below("network.", tensors))
        restore_optimizer(self.network, self.optimizer, _below("optimizer.", tensors))
        if self._ema is not None:
            self._ema.load_state_dict(_below("ema.", tensors))
        if self.partner is not None:
            self.partner.load_state_dict(_below("partner.", tensors))
            restore_optimizer(*self._learners[1], _below("partner_optimizer.", tensors))
        if progress.scaler:
            self.scaler.load_state_dict(dict(progress.scaler))

    def _see(self, batch: Batch, random: np.random.Generator) -> SeenBatch:
        labels = batch["labels"].to(self.ranks.device, non_blocking=True)
        clips_BTCHW = self._clips(batch)
        if not mixes(self.config.augment):
            return SeenBatch(clips_BTCHW, labels, batch["indices"])
        mixed_BTCHW, mixed_with, share = mix_clips(clips_BTCHW, self.config.augment, random)
        return SeenBatch(mixed_BTCHW, labels, batch["indices"], mixed_with, share)

    def _clips(self, batch: Batch) -> Tensor:
        pixels = batch["clips"].to(self.ranks.device, non_blocking=True)
        return normalize(pixels, self.config.input.mean, self.config.input.std)

    def _seed(self) -> np.random.SeedSequence:
        done = self.progress
        return np.random.SeedSequence([self.config.train.seed, done.epoch, done.step, self.ranks.rank, _UPDATE])

    def _gradients_stay_local(self, stay: bool) -> AbstractContextManager[None]:
        if stay and isinstance(self._forward, DistributedDataParallel):
            return self._forward.no_sync()
        return nullcontext()

    def _is_finite(self, loss: float, norm: float) -> bool:
        # An overflow of scaled fp16 gradients is ordinary: the scaler skips that step and lowers its scale. Once the
        # scale has nothing left to give, it is not.
        scaled = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        return math.isfinite(loss) and (scaled or math.isfinite(norm))


def _read(*scalars: Tensor) -> list[float]:
    """Their values: the one place of an update where the host waits for a GPU, and all that it waits for."""
    return torch.stack([scalar.double() for scalar in scalars]).tolist()


def _freeze(network: Recognizer, config: Config, *, all_but_classifier: bool) -> list[nn.Module]:
    if all_but_classifier:
        network.backbone.requires_grad_(False)
        return [network.backbone]
    frozen = early_layers(network.backbone, config.train.frozen_stages)
    frozen += batch_norms(network, config.train.freeze_bn)
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def batch_norms(network: Recognizer, which: str) -> list[nn.Module]:
    """The batch norms that a setting of `train.freeze_bn` means.

    Args:
        network: The network.
        which: `none`, `all` or `all_but_first` (TSN's partial batch norm, Wang et al. 2016, section 3.2).
    """
    norms: list[nn.Module] = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    return {"none": [], "all": norms, "all_but_first": norms[1:]}[which]


def train_epoch(
    trainer: Trainer,
    batches: Iterator[Batch],
    reporter: Reporter,
    *,
    stop: StopRequest,
    on_batch: Callable[[Batch], None],
    checkpoint: Callable[[], object],
    keep_diverged: Callable[[list[Batch]], Path],
) -> Meter:
    """Train from where the trainer stands to the end of its epoch.

    Args:
        trainer: The network and its state.
        batches: The rest of this epoch's batches.
        reporter: Shows and records progress.
        stop: Looked at before every update; of several ranks in it, and these stop behind it.
        on_batch: Called with every batch before it is used.
        checkpoint: Called every `train.checkpoint_minutes`.
        keep_diverged: Called with the batches of an update that is not finite; returns where they lie.

    Returns:
        Rate and waiting time of what was trained.

    Raises:
        StopAsked: A stop was asked for on some rank.
        DivergedError: The loss or a gradient is not finite.
    """
    train, total = trainer.config.train, trainer.updates_per_epoch
    meter, saved = Meter.start(), time.monotonic()
    trainer.train_mode()
    if not trainer.ranks.all_reduce_and(not stop.made)[0]:
        raise StopAsked
    title = f"epoch {trainer.progress.epoch + 1}/{train.epochs}"
    with reporter.phase(title, total, done=trainer.progress.step) as phase:
        while trainer.progress.step < total:
            asked = time.monotonic()
            group = list(islice(batches, train.accumulate))
            meter.note_wait(time.monotonic() - asked)
            for batch in group:
                on_batch(batch)
            if trainer.ranks.count == 1 and stop.made:  # several ranks have to agree, which they do in the update
                raise StopAsked
            rate = trainer.learning_rate
            try:
                loss, go_on = trainer.update(group, stop)
            except DivergedError as error:
                raise diverged(trainer, rate, keep_diverged(group)) from error
            meter.clips += sum(len(batch["labels"]) for batch in group) * trainer.ranks.count
            progress = trainer.progress
            phase.advance_to(progress.step, _note(loss, rate, meter, trainer))
            if progress.update % train.log_every == 0:
                reporter.record({"kind": "step", "update": progress.update, **_where(trainer), "loss": loss, "lr": rate,
                                 **trainer.parts,
                                 "clips_per_second": meter.clips_per_second, "waiting": meter.waiting})  # fmt: skip
            if time.monotonic() - saved > train.checkpoint_minutes * 60 and progress.step < total:
                checkpoint()
                saved = time.monotonic()
            if not go_on:
                raise StopAsked
    return meter


def diverged(trainer: Trainer, rate: float, batch: Path) -> DivergedError:
    """The error for a loss or gradient that is not finite, with what to look at and what to try."""
    where = _where(trainer)
    return DivergedError(
        "The loss or a gradient became NaN or infinite; the update was not made.",
        where=f"epoch {where['epoch'] + 1}, update {where['step'] + 1}, learning rate {rate:.3g}",
        got=f"the batch is kept in {batch}",
        remedy="in a run of its own (--out): lower optim.lr, set optim.clip_norm or optim.warmup_epochs, or use "
        "train.amp=fp32; the last checkpoint is finite, the same command with the same settings goes on from it",
    )


def _where(trainer: Trainer) -> dict[str, int]:
    return {"epoch": trainer.progress.epoch, "step": trainer.progress.step}


def _note(loss: float, rate: float, meter: Meter, trainer: Trainer) -> str:
    return (
        f"loss {loss:.3f}  lr {rate:.2g}  {meter.clips_per_second:.1f} clips/s  waiting {meter.waiting:.0%}  "
        f"{peak_memory(trainer.ranks.device)}"
    )


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
