"""From a model reference to the scorer that runs it: the one place where models are opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipshift.config import Settings, with_reading
from clipshift.errors import ConfigError, MissingDependencyError
from clipshift.inference.engines.open_session import open_session
from clipshift.inference.engines.session import EngineOptions
from clipshift.inference.export_folder import read_export
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.importing import without_collections
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.inference.scorer import Scorer

if TYPE_CHECKING:
    from clipshift.device import Amp


def open_scorer(
    model: str | Path | ModelReference,
    *,
    device: str = "auto",
    amp: Amp = "fp32",
    threads: int = 0,
    mode: Literal["latency", "throughput"] = "latency",
    settings: Settings | Sequence[Settings] = (),
) -> Scorer:
    """Open any model; the arguments and errors are those of [load][clipshift.inference.predictor.load]."""
    reference = resolve_model(model)
    if reference.is_export:
        return _open_export(reference, EngineOptions(device=device, threads=threads, mode=mode), amp, settings)
    return _open_trained(reference, device, amp, threads, settings)


def _open_export(
    reference: ModelReference, options: EngineOptions, amp: Amp, settings: Settings | Sequence[Settings]
) -> Scorer:
    export = read_export(reference.folder)
    if amp != "fp32":
        raise ConfigError("An exported model has its own precision.", where="amp", got=amp, allowed=export.precision)
    export = export.model_copy(update={"spec": with_reading(export.spec, settings)})
    return ExportScorer(open_session(reference.folder, export, options), export)


def _open_trained(
    reference: ModelReference, device: str, amp: Amp, threads: int, settings: Settings | Sequence[Settings]
) -> Scorer:
    try:  # only here: exported models need no PyTorch
        with without_collections():
            import torch

            from clipshift.device import check_amp, pick_device
            from clipshift.inference.known_clips import load_known_clips
            from clipshift.inference.network_scorer import NetworkScorer
            from clipshift.models.bundle import load_bundle
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error

    if threads:
        torch.set_num_threads(threads)
    chosen = pick_device(device)
    check_amp(chosen, amp)
    network, spec = load_bundle(reference.folder)
    known = None if spec.unknown is None else load_known_clips(reference.folder, spec.unknown)
    return NetworkScorer(network.to(chosen).eval(), with_reading(spec, settings), chosen, amp, known=known)
