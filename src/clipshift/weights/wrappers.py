"""Takes off what training code wraps around a network's weights: tables in tables, and prefixes before every name.

Where a file holds two sets of weights, plain and averaged ones (EMA), one of them is taken and the other is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from clipshift.errors import WeightsError

# Under which keys checkpoints keep the table of weights (MIT, mmaction2, timm, Lightning; torchvision; DeepSpeed ...).
_TABLES = ("state_dict", "model", "model_state_dict", "module", "network", "net")
# The same of averaged weights: timm, torchvision, mmengine, others.
_AVERAGED_TABLES = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema")
# What stands before every name: DataParallel and DDP, Lightning's and others' attribute for the network, Paddle's
# DataParallel, Lightning's strategies.
_PREFIXES = ("module.", "model.", "net.", "network.", "state_dict.", "online_model.", "_layers.", "_forward_module.")
_AVERAGED_PREFIXES = ("ema_model.", "model_ema.", "ema.")
# What torch.compile, FSDP and activation checkpointing insert anywhere in a name, and nobody else.
_INSERTED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Modules beside the network whose buffers lie in the same table: a loss with class weights.
_LOSSES = ("criterion.", "loss.", "loss_fn.", "loss_func.")
_DEEPEST = 16
_TAKE_AVERAGED = "clipshift convert FILE --to FOLDER --ema takes them"


@dataclass(eq=False)
class Unwrapped:
    """Weights without what was around them.

    Attributes:
        state: Names and tensors.
        ignored: {name of an entry that is not of the network taken: why}.
        notes: Which of several sets of weights was taken.
    """

    state: dict[str, Tensor]
    ignored: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def unwrap_tables(table: object, *, averaged: bool) -> tuple[object, list[str], bool]:
    """The innermost table of weights of a checkpoint.

    Args:
        table: What the file holds; may contain itself.
        averaged: Whether averaged weights are wanted.

    Returns:
        The table, which of several was taken (for the report), and whether averaged weights were found.
    """
    notes: list[str] = []
    found = False
    for _ in range(_DEEPEST):
        if not isinstance(table, Mapping):
            break
        plain = next((key for key in _TABLES if isinstance(table.get(key), Mapping)), None)
        mean = next((key for key in _AVERAGED_TABLES if isinstance(table.get(key), Mapping)), None)
        if mean == "ema_state_dict" and plain is not None and _is_of_mmengine(table):
            # mmengine swaps them: `state_dict` is what its tests use.
            notes.append(f"the weights are the averaged ones, which mmengine keeps in {plain}")
            mean, found = None, True
        if mean is not None and (averaged or plain is None):
            notes.append(f"the weights are the averaged ones of {mean}" + (f", not those of {plain}" if plain else ""))
            key, found = mean, True
        elif plain is not None:
            if mean is not None:
                notes.append(f"the weights are those of {plain}; {mean} holds averaged ones: {_TAKE_AVERAGED}")
            key = plain
        else:
            break
        table = table[key]
    return table, notes, found


def _is_of_mmengine(table: Mapping[Any, Any]) -> bool:
    meta = table.get("meta")
    return isinstance(meta, Mapping) and "mmengine_version" in meta


def unwrap_names(state: dict[str, Tensor], source: Path, *, averaged: bool, found: bool) -> Unwrapped:
    """Weights under the names that the network itself gives them.

    A prefix is taken off where all learnable entries have it, until none fits.

    Args:
        state: Names and tensors as the file has them.
        source: The file, for errors.
        averaged: Whether averaged weights are wanted.
        found: Whether `state` are averaged weights already.

    Raises:
        WeightsError: Two entries get the same name, or averaged weights are wanted and there are none.
    """
    unwrapped = Unwrapped(state)
    for _ in range(_DEEPEST):  # a name may be made of nothing but prefixes
        before = list(unwrapped.state)
        _remove_inserted(unwrapped, source)
        found = _split_averaged(unwrapped, averaged=averaged and not found) or found
        _remove_prefix(unwrapped)
        if before == list(unwrapped.state):
            break
    if averaged and not found:
        raise WeightsError(
            "The file holds no averaged weights.",
            where=source,
            got=f"names such as {', '.join(list(state)[:3])[:200]}",
            allowed=f"a table {', '.join(_AVERAGED_TABLES)}, or names that begin with {', '.join(_AVERAGED_PREFIXES)}",
            remedy="leave --ema out",
        )
    return unwrapped


def _remove_inserted(unwrapped: Unwrapped, source: Path) -> None:
    renamed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for name, value in unwrapped.state.items():
        plain = ".".join(part for part in name.split(".") if part not in _INSERTED) or name
        if plain in renamed:
            raise WeightsError(
                "Two entries of the file are of the same parameter.",
                where=source,
                got=f"{origin[plain][:100]} and {name[:100]}, both {plain[:100]}",
                remedy="save one network alone: torch.save(model.state_dict(), ...)",
            )
        renamed[plain], origin[plain] = value, name
    unwrapped.state = renamed


def _split_averaged(unwrapped: Unwrapped, *, averaged: bool) -> bool:
    """Keep either the averaged or the plain weights of a table that may hold both; whether it keeps averaged ones."""
    state = unwrapped.state
    learnable = [name for name, value in state.items() if _learnable(name, value)]
    prefix = next((p for p in _AVERAGED_PREFIXES if any(name.startswith(p) for name in learnable)), None)
    if prefix is None:
        return False
    mean = {name: value for name, value in state.items() if name.startswith(prefix)}
    plain = {name: value for name, value in state.items() if name not in mean}
    if averaged or not any(_learnable(name, value) for name, value in plain.items()):
        unwrapped.notes.append(f"the weights are the averaged ones ({prefix}*)")
        unwrapped.ignored |= dict.fromkeys(plain, "not one of the averaged weights")
        unwrapped.state = {name.removeprefix(prefix): value for name, value in mean.items()}
        return True
    unwrapped.notes.append(f"the file holds averaged weights, too ({prefix}*): {_TAKE_AVERAGED}")
    unwrapped.ignored |= dict.fromkeys(mean, "an averaged weight")
    unwrapped.state = plain
    return False


def _remove_prefix(unwrapped: Unwrapped) -> None:
    """Take one prefix off, where every learnable entry has it."""
    state = unwrapped.state
    for prefix in _PREFIXES:
        inside = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
        outside = [name for name in state if not name.startswith(prefix)]
        if "" in inside or not any(_learnable(name, value) for name, value in inside.items()):
            continue
        if any(_learnable(name, state[name]) for name in outside):
            continue
        unwrapped.ignored |= dict.fromkeys(outside, "not an entry of the network: it lies beside it")
        unwrapped.state = inside
        return


def _learnable(name: str, value: Tensor) -> bool:
    """Whether an entry may be a parameter, or a statistic beside one; counters and a loss's weights are not."""
    return value.is_floating_point() and not name.startswith(_LOSSES)
