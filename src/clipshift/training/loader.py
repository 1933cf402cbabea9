"""Batches of training clips from worker processes that are started once and give the same bits in any number."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, takewhile
from multiprocessing import util
from typing import Literal, TypedDict

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from clipshift.closing import Closing
from clipshift.errors import RunError, UserError
from clipshift.parallel.prefetch import available_cores
from clipshift.parallel.spawning import (
    Death,
    explain_death,
    first_dead,
    is_no_room,
    memory_kills,
    no_shared_memory,
    take_signals,
    worker_context,
)
from clipshift.training.samples import (
    BadSample,
    Key,
    ReadingCost,
    Sample,
    TrainingClips,
    epoch_batches,
    steps_per_epoch,
)


class Batch(TypedDict):
    """B training samples."""

    clips: torch.Tensor
    """uint8 (B, T, 3, crop, crop)."""
    labels: torch.Tensor
    """int64 (B,); where a clip may have several, float32 (B, K) of zeros and ones."""
    indices: torch.Tensor
    """int64 (B,): indices into the manifest."""
    bad: list[BadSample]
    """The clips that could not be read, and what stands in for them."""


class TrainingLoader(Closing):
    """Gives the batches of any epoch from any step on; a context manager that ends its workers.

    Batches depend on (seed, epoch, step, rank, ranks) alone, not on the number of workers. Made by
    `training_loader`.

    Attributes:
        workers: Processes that read; 0 for none.
        cost: What a clip took to read, on average over the batches of this iteration.
    """

    def __init__(
        self,
        loader: DataLoader[Sample | UserError],
        plan: _Plan,
        clips: _Caught,
    ) -> None:
        self._loader = loader
        self._plan = plan
        self._clips = clips
        self._killed_before = 0
        self._stream: Iterator[tuple[Batch, ReadingCost] | UserError] = iter(())
        self._next: tuple[int, int] | None = None
        self.workers = loader.num_workers
        self.cost = ReadingCost(0.0, 0.0)

    @property
    def steps(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return self._plan.steps

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, in order.

        The workers read ahead, also into the next epoch: while a validation runs, its first batches are made ready. An
        iteration may be left early; the next call begins where it says.

        Args:
            epoch: The epoch, from 0.
            first_step: Batches of the epoch to leave out.

        Yields:
            Batches on the CPU, pinned where the loader was made so.

        Raises:
            VideoError: A clip and all that could stand in for it are unreadable.
            RunError: A worker process ended, or cannot hand over what it read; the error says why.
        """
        clips = 0
        try:
            if self._next != (epoch, first_step):
                self._plan.begin_at(epoch, first_step)
                self._killed_before = memory_kills()
                self._stream = iter(self._loader)
            self._next = None  # until it is known to be well
            for step in range(first_step, self.steps):
                read = next(self._stream)
                if isinstance(read, UserError):
                    raise read
                batch, cost = read
                clips += len(batch["indices"])
                share = len(batch["indices"]) / clips
                self.cost = ReadingCost(*(old + share * (new - old) for old, new in zip(self.cost, cost, strict=True)))
                if step + 1 == self.steps and self._plan.goes_on_to(epoch + 1):
                    self._next = (epoch + 1, 0)
                yield batch
        except (RuntimeError, OSError) as error:
            death = self._death(error)
            if death is None:
                raise
            raise RunError(
                "A process that decodes clips ended unexpectedly.",
                where=f"{death.clip}, which it was reading" if death.clip else None,
                got=death.cause,
                remedy=death.remedy.replace("workers=0", "data.workers=0"),
            ) from error

    def _death(self, error: Exception) -> Death | None:
        """Why there are no more batches; None where no worker's end is the reason."""
        if self.workers and is_no_room(error):
            return no_shared_memory("shared memory is full")
        if "DataLoader worker" not in str(error):
            return None
        processes = list(getattr(self._loader._iterator, "_workers", ()))
        dead = first_dead(processes)
        if dead is None:
            return Death(str(error).splitlines()[0], "data.workers=0 reads without processes")
        return explain_death(dead, self._killed_before, clip=self._clips.in_hand(processes.index(dead)))

    def close(self) -> None:
        """Ends the worker processes; the loader cannot be used afterwards."""
        # DataLoader has no public way to end persistent workers before it is collected.
        iterator = self._loader._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._loader._iterator = None
        self._next = None


def training_loader(
    dataset: TrainingClips,
    *,
    batch_size: int,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
    pin_memory: bool = False,
    epochs: int | None = None,
) -> TrainingLoader:
    """Makes the loader of training batches; its workers are started, by spawn, with the first batch.

    Args:
        dataset: The clips; its seed is the order's.
        batch_size: Clips of this rank in a batch.
        workers: Worker processes; 0 reads in this process.
        rank: This rank.
        ranks: Number of ranks.
        pin_memory: Whether batches are put into page-locked memory, for copies to a GPU.
        epochs: How many there will be: beyond them nothing is read ahead.
    """
    clips = _Caught(dataset, workers)
    plan = _Plan(
        partial(
            epoch_batches,
            len(dataset),
            seed=dataset.seed,
            batch_size=batch_size,
            rank=rank,
            ranks=ranks,
            labels=dataset.order_labels,
        ),
        steps_per_epoch(len(dataset), batch_size=batch_size, ranks=ranks),
        epochs,
    )
    loader: DataLoader[Sample | UserError] = DataLoader(
        clips,
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker if workers else None,
        # Not by fork: a forked copy of threads and of decoders may deadlock.
        multiprocessing_context=worker_context() if workers else None,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )
    return TrainingLoader(loader, plan, clips)


def worker_count(setting: int | Literal["auto"], *, ranks: int = 1) -> int:
    """The worker processes of one device: `auto` gives each its share of the cores less one, at most 16."""
    if setting != "auto":
        return setting
    cores = available_cores()
    return max(1, min(16, cores // ranks - 1))


class _Plan(Sampler[list[Key]]):
    """The batches that the loader reads next, epoch after epoch from where it was told to begin."""

    def __init__(self, batches_of: Callable[..., list[list[Key]]], steps: int, epochs: int | None) -> None:
        self.steps = steps
        self._batches_of = batches_of
        self._epochs = epochs
        self._begin = (0, 0)

    def begin_at(self, epoch: int, step: int) -> None:
        self._begin = (epoch, step)

    def goes_on_to(self, epoch: int) -> bool:
        return self._epochs is None or epoch < self._epochs

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, step = self._begin
        yield from self._batches_of(epoch=epoch, first_step=step)
        for later in takewhile(self.goes_on_to, count(epoch + 1)):
            yield from self._batches_of(epoch=later)


class _Caught(Dataset["Sample | UserError"]):
    """Hands a user's error on as a value: raised in a worker, it would arrive wrapped in the worker's traceback.

    Args:
        dataset: The clips.
        workers: Number of processes that will read; each notes, in memory that all share, which clip it has in hand.
    """

    def __init__(self, dataset: TrainingClips, workers: int) -> None:
        self._dataset = dataset
        self._in_hand = torch.full((workers,), -1, dtype=torch.int64) if workers else None
        if self._in_hand is not None:
            self._in_hand.share_memory_()  # type: ignore[no-untyped-call]

    def __getitem__(self, key: Key) -> Sample | UserError:
        worker = get_worker_info()
        if self._in_hand is not None and worker is not None:
            self._in_hand[worker.id] = key[1]
        try:
            return self._dataset[key]
        except UserError as error:
            return error

    def in_hand(self, worker: int) -> str | None:
        """Path of the clip that a worker began last; None before the first."""
        index = -1 if self._in_hand is None else int(self._in_hand[worker])
        return None if index < 0 else self._dataset.manifest.clips[index].source

    def __len__(self) -> int:
        return len(self._dataset)


def _collate(samples: list[Sample | UserError]) -> tuple[Batch, ReadingCost] | UserError:
    """A batch and what one of its clips took to read; clips are copied once, in a worker into shared memory."""
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        good.append(sample)
    batch = Batch(
        clips=default_collate([sample["clip"] for sample in good]),
        labels=torch.stack([torch.as_tensor(sample["label"]) for sample in good]),
        indices=torch.tensor([sample["index"] for sample in good]),
        bad=[sample["bad"] for sample in good if sample["bad"] is not None],
    )
    costs = [sample["cost"] for sample in good]
    return batch, ReadingCost(*(sum(seconds) / len(good) for seconds in zip(*costs, strict=True)))


def _start_worker(worker: int) -> None:  # noqa: ARG001
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of the terminal, a scheduler's SIGTERM every process of the job: the main process
    # decides when to stop, and its workers end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    take_signals()
    util.Finalize(None, _end_at_once, exitpriority=-1000)  # behind all others


def _end_at_once() -> None:
    """End a worker that has done its work, without taking its interpreter down.

    The thread that sends its batches may be about to free one. While an interpreter is taken down, CPython ends such a
    thread inside of the destructor of a tensor, which lets C++ abort the process, and the training with it.
    """
    if sys.exc_info()[0] is None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
