"""The processes that train together: one per device, started by `torchrun`, on one machine or several."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from clipshift.device import pick_device
from clipshift.errors import UserError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranks:
    """This process's place among all that train together.

    Attributes:
        rank: Number of this process, in [0, count).
        count: Number of processes; 1 without `torchrun`.
        count_here: Number of them on this machine.
        device: Where this process's network runs.
    """

    rank: int
    count: int
    count_here: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def all_reduce_and(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is true on every rank; one small message between all."""
        if self.count == 1:
            return list(flags)
        # On the CPU: a message between GPUs would wait for all that these were asked to do before.
        values = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(values, op=dist.ReduceOp.MIN)
        return [bool(value) for value in values.tolist()]

    def on_rank_zero(self, work: Callable[[], Result]) -> Result:
        """What `work()` returns on the first rank, on every rank; a user error there is raised on all."""
        if self.count == 1:
            return work()
        outcome: list[Result | UserError | None] = [None]
        if self.first:
            try:
                outcome[0] = work()
            except UserError as error:
                outcome[0] = error
        dist.broadcast_object_list(outcome, src=0)
        if isinstance(outcome[0], UserError):
            raise outcome[0]
        return cast(Result, outcome[0])


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Find this process's place from the variables that `torchrun` sets, and leave the group at the end.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Yields:
        This process's place.

    Raises:
        ConfigError: The device is not there.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = pick_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")) if count > 1 else None)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if count == 1:
        yield Ranks(0, 1, 1, chosen)
        return
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=30))
    try:
        yield Ranks(rank, count, int(os.environ.get("LOCAL_WORLD_SIZE", count)), chosen)
    finally:
        dist.destroy_process_group()
