"""Which part of the work is whose: told as a text, or by the variables of a batch system."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from clipshift.errors import ConfigError

_MOST_SHARDS = 100_000
_SHARD = re.compile(r"(\d{1,7}|auto)/(\d{1,7})")


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of the work.

    Attributes:
        number: From 1.
        count: How many there are.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= _MOST_SHARDS:
            raise ConfigError(
                "There is no such shard.",
                where="shard",
                got=f"{self.number}/{self.count}",
                allowed=f"K/N with K from 1 to N, N at most {_MOST_SHARDS}",
            )

    def rows(self, videos: int) -> range:
        """The numbers of its videos, from 0, of so many."""
        return range((self.number - 1) * videos // self.count, self.number * videos // self.count)

    @property
    def file_name(self) -> str:
        """Of the part with its answers."""
        return f"part-{self.number}-of-{self.count}.jsonl"


def parse_shard(text: str, environment: Mapping[str, str] | None = None) -> Shard:
    """The shard that a text means.

    Args:
        text: `3/16` is the third of 16; `auto` what Slurm says of this task of an array; `auto/16` the same, or the
            index of a pod of a Kubernetes job with completion mode Indexed, of 16.
        environment: Variables; by default those of this process.

    Raises:
        ConfigError: It means none, or the variables are not there.
    """
    variables = os.environ if environment is None else environment
    if text == "auto":
        place, tasks = _slurm_task(variables)
        return Shard(place + 1, tasks)
    found = _SHARD.fullmatch(text)
    if found is None:
        raise ConfigError("This is no shard.", where="shard", got=text, allowed="K/N as 3/16, auto, or auto/N")
    number = found[1]
    count = int(found[2])
    if number != "auto":
        return Shard(int(number), count)
    if "JOB_COMPLETION_INDEX" in variables:
        return Shard(_number(variables, "JOB_COMPLETION_INDEX") + 1, count)
    return Shard(_slurm_task(variables)[0] + 1, count)


def _slurm_task(variables: Mapping[str, str]) -> tuple[int, int]:
    """Index from 0 of this task in a Slurm array, and the number of tasks."""
    if "SLURM_ARRAY_TASK_ID" not in variables:
        raise ConfigError(
            "No variable says which shard this is.",
            where="shard",
            got="auto",
            allowed="in a Slurm array (SLURM_ARRAY_TASK_ID); with auto/N also in an indexed job of Kubernetes "
            "(JOB_COMPLETION_INDEX)",
            remedy="name it: --shard 3/16",
        )
    task, first, last, count = (
        _number(variables, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "COUNT")
    )
    step = (last - first) // (count - 1) if count > 1 else 1
    if step < 1 or first + step * (count - 1) != last or (task - first) % step:
        raise ConfigError(
            "The tasks of the Slurm array are not evenly spaced, so their numbers do not tell the shard.",
            where="SLURM_ARRAY_TASK_ID",
            got=f"{task} of {count} from {first} to {last}",
            remedy="start it as an array 1-N, or name the shard: --shard K/N",
        )
    return (task - first) // step, count


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name, "")
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigError("The variable is no number.", where=name, got=text or "nothing")
    return int(text)
