"""Checkpoints that survive being killed: written beside the old one, synced, checksummed, and only then named.

A checkpoint is a folder `checkpoints/update-00000120/` with `state.safetensors` (all tensors) and `state.json` (all
numbers, and the SHA-256 of both). It gets its name when it is complete, so a folder with that name is whole unless
the disk lost it; a reader checks all the same and takes the newest one that is valid.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipshift.errors import RunError
from clipshift.files import from_json, sha256_of_file, sync

FORMAT = 1
_KEPT = 2  # the newest, and one before it in case the newest is damaged
_PREFIX = "update-"


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands; with the tensors, all that a continued run needs.

    Attributes:
        epoch: Current epoch, from 0.
        step: Updates done in it.
        update: Updates done in all.
        loss_sum: Sum of the losses of this epoch's updates on the first rank, for the epoch's mean.
        seconds: Seconds that the finished epochs took, over all starts.
        best: Best metric so far and its loss, both so that higher is better; None before the first validation.
        best_epoch: Its epoch.
        scaler: State of the fp16 gradient scaler; empty without it.
    """

    epoch: int = 0
    step: int = 0
    update: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best: tuple[float, float] | None = None
    best_epoch: int | None = None
    scaler: Mapping[str, float] = field(default_factory=dict)

    def next_epoch(self) -> TrainingProgress:
        """The start of the epoch after this one."""
        return replace(self, epoch=self.epoch + 1, step=0, loss_sum=0.0)


class Checkpoint(NamedTuple):
    """A checkpoint that was read."""

    tensors: dict[str, Tensor]
    progress: TrainingProgress
    identity: dict[str, Any]
    """What the run is that wrote it."""
    damaged: list[str]
    """A line for each newer one that was damaged."""


_PROGRESS = TypeAdapter(TrainingProgress)
_MOST_UPDATES = 2**53


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], progress: TrainingProgress, identity: Mapping[str, Any]
) -> Path:
    """Write a checkpoint into `folder` and remove those that are no longer needed.

    Args:
        folder: The run's `checkpoints` folder.
        tensors: Everything that is a tensor, by name.
        progress: Where the training stands.
        identity: What the run is (settings, classes, data), so that another run's checkpoint is not mistaken for it.

    Returns:
        The checkpoint's own folder.

    Raises:
        RunError: The disk is full or not writable; what was there before is still there.
    """
    final = folder / f"{_PREFIX}{progress.update:08d}-{progress.epoch:04d}"
    partial = folder / f".partial-{final.name}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            partial / "state.safetensors",
        )
        state = {"format": FORMAT, "progress": asdict(progress), "identity": dict(identity)}
        state["sha256"] = sha256_of_file(partial / "state.safetensors")
        state["json_sha256"] = _digest(state)
        (partial / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            sync(path)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        kept = newest_checkpoint_name(folder)
        raise RunError(
            "The checkpoint could not be written.",
            where=final,
            got=error,
            remedy=f"free disk space and start the same command again: it goes on from {kept or 'the beginning'}",
        ) from error
    _remove_old(folder)
    return final


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest valid checkpoint of a run.

    Args:
        folder: The run's `checkpoints` folder; may be missing.

    Returns:
        It; None without any.

    Raises:
        RunError: There are checkpoints, and all are damaged.
    """
    damaged: list[str] = []
    for path in _newest_first(folder):
        try:
            tensors, progress, identity = _read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            damaged.append(f"{path.name}: {error}")
        else:
            return Checkpoint(tensors, progress, identity, damaged)
    if damaged:
        raise RunError(
            "No checkpoint of this run can be read.",
            where=folder,
            got="; ".join(damaged),
            remedy="restore the folder from a backup, or start again with --overwrite",
        )
    return None


def newest_checkpoint_name(folder: Path) -> str | None:
    """Name of the newest checkpoint, valid or not; None without any."""
    return next((path.name for path in _newest_first(folder)), None)


def _read(path: Path) -> tuple[dict[str, Tensor], TrainingProgress, dict[str, Any]]:
    state = from_json((path / "state.json").read_text(encoding="utf-8"))
    if state.pop("json_sha256") != _digest(state):
        raise ValueError("state.json does not match its checksum")
    if state["format"] != FORMAT:
        raise ValueError(f"it has format {state['format']}, this version reads {FORMAT}")
    if state["sha256"] != sha256_of_file(path / "state.safetensors"):
        raise ValueError("state.safetensors does not match its checksum")
    try:
        progress = _PROGRESS.validate_python(asdict(TrainingProgress(**state["progress"])))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"its progress is not valid: {first['loc'][0]}: {first['msg']}") from error
    if not all(0 <= count <= _MOST_UPDATES for count in (progress.epoch, progress.step, progress.update)):
        raise ValueError("its progress is no number of epochs and updates")
    if not 0 <= progress.seconds < math.inf:
        raise ValueError("its progress took no number of seconds")
    return load_file(path / "state.safetensors"), progress, state["identity"]


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"), reverse=True) if folder.is_dir() else []


def _remove_old(folder: Path) -> None:
    for path in _newest_first(folder)[_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
    # What an earlier, killed process left half written.
    for path in folder.glob(".partial-*"):
        shutil.rmtree(path, ignore_errors=True)


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
