"""The folder of a run: made, recognized when the same command comes again, and never mixed with another run's."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from clipshift._version import __version__
from clipshift.config import Config, Resolved, describe, flatten, save_config
from clipshift.datasets.manifest import DataSet
from clipshift.errors import RunError, UserError
from clipshift.files import from_json, is_partial, path_bytes, sha256_of_file, to_json, write_whole
from clipshift.locks import LOCK_FILE, hold
from clipshift.parallel.prefetch import available_cores

CONFIG, IDENTITY, FINISHED = "config.yaml", "run.json", "finished.json"
BAD_SAMPLES = "bad_samples.jsonl"
_LEFTOVERS = {"train.log", "data.jsonl", BAD_SAMPLES, LOCK_FILE}  # all that a start leaves which failed before training

# Settings that may differ when a run is continued: they do not change what is computed.
_OPERATIONAL = {
    "data.workers",
    "data.max_bad",
    "train.checkpoint_minutes",
    "train.device",
    "train.examine",
    "train.fit_events",
    "train.start",
    "train.unknown",
    "train.log_every",
    "train.track",
    "train.track_seconds",
    "evaluate.batch_size",
}
_PACKAGES = ("torch", "torchvision", "timm", "av", "numpy", "pydantic", "safetensors", "torchmetrics")


def run_identity(
    config: Config, dataset: DataSet, hashes: Mapping[str, str | None], weights: str | None, ranks: int
) -> dict[str, Any]:
    """What makes a run this run: settings, data, starting weights and number of processes.

    Args:
        config: All settings.
        dataset: The clips and their split.
        hashes: SHA-256 of each clip, by its absolute path.
        weights: File or folder the network starts from; None for timm's or none.
        ranks: Processes that train together.

    Returns:
        A flat mapping that JSON can hold.
    """
    settings = flatten(from_json(config.model_dump_json()))
    identity = {key: value for key, value in settings.items() if key not in _OPERATIONAL}
    for part, manifest in (("training clips", dataset.train), ("validation clips", dataset.validation)):
        digest = hashlib.sha256()
        for clip in manifest.clips:
            line = f"{clip.name}\0{clip.labels or clip.label}\0{hashes.get(str(clip.path), '')}\n"
            digest.update(path_bytes(line))
        identity[part] = f"{len(manifest.clips)} clips {digest.hexdigest()[:16]}"
    return identity | {"classes": list(dataset.classes), "weights": weights, "processes": ranks}


class RunFolder:
    """The lock of a run folder, from its claim until the training ends; a context manager.

    Args:
        out: The folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._held = ExitStack()
        self._locked = False

    def look(self) -> None:
        """Before anything else is read: a folder that is there is locked, and one that will not do is refused.

        Raises:
            RunError: Another process trains in it, or it holds something else than a run.
        """
        _check_folder(self._out)
        if self._out.is_dir():
            self._lock()

    def claim(self, *, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
        """Make the folder, or accept one that holds a run, which may be continued if it is the same.

        Args:
            overwrite: Remove a run that is there.
            inputs: What the training reads, which must not be removed; names that are no paths are passed over.

        Raises:
            RunError: Another process trains in it, it holds something else or an input, or it cannot be made.
        """
        _check_folder(self._out)
        if overwrite:
            _check_inputs(self._out, inputs)
        try:
            self._out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError("The output folder cannot be made.", where=self._out, got=error) from error
        self._lock()
        if overwrite and (self._out / IDENTITY).is_file():
            self._clear()

    def _clear(self) -> None:
        # The lock file stays: in a new one another process could hold a lock beside this one's.
        try:
            for path in self._out.iterdir():
                if path.name == LOCK_FILE:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        except OSError as error:
            raise RunError("The run that is there cannot be removed.", where=self._out, got=error) from error

    def _lock(self) -> None:
        if not self._locked:
            self._held.enter_context(hold(self._out / LOCK_FILE, doing="trains in this folder", error=RunError))
            self._locked = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def _check_folder(out: Path) -> None:
    """Raise a RunError where the folder is a file, or holds something else than a run."""
    if out.exists() and not out.is_dir():
        raise RunError("The output folder is a file.", where=out, remedy="choose another folder with --out")
    if not out.is_dir() or (out / IDENTITY).is_file():
        return
    found = sorted(path.name for path in out.iterdir() if not is_partial(path.name))
    if set(found) - _LEFTOVERS:
        raise RunError(
            "The output folder holds files, but not of a clipshift run.",
            where=out,
            got=", ".join(found[:4]),
            remedy="choose another folder with --out",
        )


def _check_inputs(out: Path, inputs: Iterable[str | Path]) -> None:
    """Raise a RunError where what is read lies in the folder that is to be cleared."""
    for path in map(Path, inputs):
        if path.exists() and path.resolve().is_relative_to(out.resolve()):
            raise RunError(
                "The run that is to be replaced holds what this training reads.",
                where=out,
                got=path,
                remedy="choose another folder with --out, or copy it elsewhere first",
            )


def check_same_run(out: Path, identity: Mapping[str, Any]) -> None:
    """Compare a run with the one that the folder holds, if it holds one.

    Raises:
        RunError: The folder holds another run; up to four differences are named.
    """
    path = out / IDENTITY
    if not path.is_file():
        return
    try:
        before = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError("The run folder is damaged.", where=path, got=error, remedy="use another --out") from error
    keys = [key for key in {**before, **identity} if before.get(key) != identity.get(key)]
    if not keys:
        return
    differences = [f"{key}: {_short(before.get(key))} there, {_short(identity.get(key))} now" for key in keys[:4]]
    if len(keys) > 4:
        differences.append(f"... and {len(keys) - 4} more")
    raise RunError(
        "The output folder holds another run.\n  " + "\n  ".join(differences),
        where=out,
        remedy="choose another folder with --out, or replace that run with --overwrite",
    )


def describe_run(out: Path, resolved: Resolved, identity: Mapping[str, Any], command: str) -> None:
    """Write what the run is, its settings with their origin, and what this machine has."""
    write_file(out / IDENTITY, to_json(identity, indent=1) + "\n")
    save_config(resolved.config, out / CONFIG)
    write_file(out / "config_explained.yaml", describe(resolved.config, resolved.origin))
    write_file(out / "environment.json", json.dumps(environment() | {"command": command}, indent=1) + "\n")


def mark_finished(out: Path, *, epochs: int, best_epoch: int) -> None:
    """Write that the training has ended: its model will not change any more.

    Checkpoints tell it, too, but are large, and often deleted or not copied along.

    Raises:
        RunError: It cannot be written.
    """
    write_file(out / FINISHED, json.dumps({"epochs": epochs, "best_epoch": best_epoch}) + "\n")


def is_unfinished(run: Path) -> bool:
    """Whether a folder is that of a training that has not ended; not so for any other folder."""
    return (run / IDENTITY).is_file() and not (run / FINISHED).is_file()


def environment() -> dict[str, Any]:
    """Versions and hardware, for the record."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "clipshift": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "packages": packages,
    }


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays as an `.npz` file, whole.

    Raises:
        RunError: It cannot be written.
    """
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its types take the names for options of its own
    write_file(path, file.getvalue())


def write_file(path: Path, text: str | bytes) -> None:
    """Write a small file so that a reader sees the old or the new one, never half of it.

    Raises:
        RunError: It cannot be written.
    """
    try:
        write_whole(path, text)
    except OSError as error:
        raise RunError("A file of the run cannot be written.", where=path, got=error) from error


def file_or_folder_hash(path: str | Path) -> str:
    """A short SHA-256 of a file of weights, or of the model file in a folder, that tells one from another.

    Raises:
        UserError: It does not exist.
    """
    source = Path(path)
    files = sorted(source.rglob("*.safetensors")) if source.is_dir() else [source]
    digest = hashlib.sha256()
    try:
        for file in files:
            digest.update(bytes.fromhex(sha256_of_file(file)))
    except OSError as error:
        raise UserError("The weights cannot be read.", where=path, got=error.strerror) from error
    return digest.hexdigest()[:16]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _short(value: object) -> str:
    text = to_json(value)
    return text if len(text) <= 40 else text[:37] + "..."
