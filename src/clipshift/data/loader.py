"""Batches of training clips from worker processes that are started once and give the same bits in any number."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, Self, TypedDict

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from clipshift.data.dataset import BadSample, Key, Sample, TrainingClips, epoch_batches, steps_per_epoch
from clipshift.errors import RunError, UserError


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


class TrainingLoader:
    """Gives the batches of any epoch from any step on; a context manager that ends its workers.

    Batches depend on (seed, epoch, step, rank, ranks) alone, not on the number of workers. Made by
    `training_loader`.
    """

    def __init__(
        self,
        loader: DataLoader[Sample | UserError],
        plan: _Plan,
        *,
        samples: int,
        seed: int,
        batch_size: int,
        rank: int,
        ranks: int,
        labels: np.ndarray | None = None,
    ) -> None:
        self._labels = labels
        self._loader = loader
        self._plan = plan
        self._samples = samples
        self._seed = seed
        self._batch_size = batch_size
        self._rank = rank
        self._ranks = ranks

    @property
    def steps(self) -> int:
        """Batches in an epoch, the same on every rank."""
        return steps_per_epoch(self._samples, batch_size=self._batch_size, ranks=self._ranks)

    def batches(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, in order.

        The workers read ahead. An iteration may be left early; the next call begins where it says.

        Args:
            epoch: The epoch, from 0.
            first_step: Batches of the epoch to leave out.

        Yields:
            Batches on the CPU, pinned where the loader was made so.

        Raises:
            VideoError: A clip and all that could stand in for it are unreadable.
            RunError: A worker process ended: most often for want of memory.
        """
        self._plan.point(
            epoch_batches(
                self._samples,
                seed=self._seed,
                epoch=epoch,
                batch_size=self._batch_size,
                rank=self._rank,
                ranks=self._ranks,
                first_step=first_step,
                labels=self._labels,
            )
        )
        try:
            for batch in self._loader:
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise RunError(
                "A process that decodes clips ended unexpectedly.",
                got=str(error).splitlines()[0],
                remedy="most often memory ran out: lower data.workers or train.batch_size, or enlarge /dev/shm",
            ) from error

    def close(self) -> None:
        """Ends the worker processes; the loader cannot be used afterwards."""
        # DataLoader has no public way to end persistent workers before it is collected.
        iterator = self._loader._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._loader._iterator = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def training_loader(
    dataset: TrainingClips,
    *,
    batch_size: int,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
    pin_memory: bool = False,
) -> TrainingLoader:
    """Makes the loader of training batches; its workers are started, by spawn, with the first batch.

    Args:
        dataset: The clips; its seed is the order's.
        batch_size: Clips of this rank in a batch.
        workers: Worker processes; 0 reads in this process.
        rank: This rank.
        ranks: Number of ranks.
        pin_memory: Whether batches are put into page-locked memory, for copies to a GPU.
    """
    plan = _Plan()
    loader: DataLoader[Sample | UserError] = DataLoader(
        _Caught(dataset),
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker if workers else None,
        # A forked copy of threads and of decoders may deadlock.
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )
    return TrainingLoader(
        loader,
        plan,
        samples=len(dataset),
        seed=dataset.seed,
        batch_size=batch_size,
        rank=rank,
        ranks=ranks,
        labels=dataset.order_labels,
    )


def worker_count(setting: int | Literal["auto"], *, ranks: int = 1) -> int:
    """The worker processes of one device: `auto` gives each its share of the cores less one, at most 16."""
    if setting != "auto":
        return setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, cores // ranks - 1))


class _Plan(Sampler[list[Key]]):
    """The batches that the loader reads next; pointed anew for each epoch while the workers live on."""

    def __init__(self) -> None:
        self._batches: list[list[Key]] = []

    def point(self, batches: list[list[Key]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class _Caught(Dataset["Sample | UserError"]):
    """Hands a user's error on as a value: raised in a worker, it would arrive wrapped in the worker's traceback."""

    def __init__(self, dataset: TrainingClips) -> None:
        self._dataset = dataset

    def __getitem__(self, key: Key) -> Sample | UserError:
        try:
            return self._dataset[key]
        except UserError as error:
            return error

    def __len__(self) -> int:
        return len(self._dataset)


def _collate(samples: list[Sample | UserError]) -> Batch | UserError:
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
        good.append(sample)
    return Batch(
        clips=default_collate([sample["clip"] for sample in good]),
        labels=torch.stack([torch.as_tensor(sample["label"]) for sample in good]),
        indices=torch.tensor([sample["index"] for sample in good]),
        bad=[sample["bad"] for sample in good if sample["bad"] is not None],
    )


def _start_worker(worker: int) -> None:  # noqa: ARG001
    torch.set_num_threads(1)
    # Ctrl-C reaches every process of the terminal, a scheduler's SIGTERM every process of the job: the main process
    # decides when to stop, and its workers end with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
