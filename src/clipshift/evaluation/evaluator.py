"""From a network and a list of videos to scores and metrics, the same for any batch size, workers and ranks.

Layouts: B views in a batch, V views (clips x crops) of one video, T frames, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from clipshift.config import (
    Average,
    Crops,
    EvaluateConfig,
    InputConfig,
    ModelSpec,
    ReadingConfig,
    Settings,
    resolve,
    with_reading,
)
from clipshift.datasets.manifest import Clip, Manifest, read_manifest
from clipshift.device import Amp, check_amp, pick_device
from clipshift.errors import ConfigError, DataError, DivergedError
from clipshift.evaluation.metrics import Metrics, compute_metrics, compute_multilabel_metrics
from clipshift.evaluation.protocols import with_protocol
from clipshift.evaluation.results import ClipScore, Evaluation
from clipshift.files import sha256_of_file
from clipshift.inference.engines.opening import open_session
from clipshift.inference.engines.session import EngineOptions
from clipshift.inference.export_folder import MODEL_FILES, find_export, read_export
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.network_scorer import NetworkScorer, network_engine, score_stream
from clipshift.inference.scorer import ScoredClip, Scorer
from clipshift.models.bundle import load_bundle
from clipshift.models.recognizer import Recognizer
from clipshift.parallel.prefetch import pick_threads
from clipshift.preprocessing.transforms import VIEWS
from clipshift.weights.resolve import find_model

Progress = Callable[[int, int], None]
Stream = Callable[[Sequence[Clip]], Iterator[ScoredClip]]
"""Scores clips in their order."""


def evaluate(  # noqa: PLR0913
    model: str | Path | tuple[Recognizer, ModelSpec],
    data: str | Path,
    *,
    protocol: str | None = None,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int | None = None,
    bad: Literal["wrong", "exclude"] | None = None,
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    amp: Amp = "fp32",
    settings: Settings | Sequence[Settings] = (),
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures a trained model on labeled videos.

    Every video of `data` counts: one that cannot be read is listed and, unless `bad="exclude"`, counted as wrong.

    Args:
        model: A run folder, a model folder, an exported model, published weights by name, or what `load_bundle`
            returned.
        data: A folder with one folder per class, a list file, or a `data.yaml` (its validation, else its test part).
            Its classes are matched to the model's by name.
        protocol: A published test by one word (`clipshift.evaluation.PROTOCOLS`), which stands for `crops`, `clips`,
            the frames and the averaging. Default: none.
        crops: Crops per frame: `center` (1), `three`, `three_small` or `ten`. Default: the model's own.
        clips: Sets of frames per video, spread evenly in time. Default: the model's own.
        batch_size: Views per forward pass; changes memory and speed, not the result. Default: 8.
        bad: How unreadable videos count. Default: wrong.
        device: `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:N`.
        workers: Threads that read videos ahead of the network; `auto`: one per core.
        amp: Precision of the forward pass: `fp32`, or mixed: `bf16`, `fp16` (a GPU only).
        settings: Of reading clips, in place of those that the model was trained with, such as
            `"data.max_seconds=50000"` ([ReadingConfig][clipshift.config.ReadingConfig]).
        out: Folder for `predictions.jsonl` and `metrics.json`; None writes nothing.
        progress: Called with (videos done, videos in all) after each video.

    Returns:
        Scores per video and the metrics.

    Raises:
        ConfigError: An option has a value that is not allowed.
        DataError: The data cannot be used, has a class that the model does not know, or none of it can be read.
        WeightsError: The model cannot be loaded.
        DivergedError: The network answered with infinity or NaN.
        RunError: `out` cannot be written.
    """
    given = {
        "evaluate.crops": crops,
        "evaluate.clips": clips,
        "evaluate.batch_size": batch_size,
        "evaluate.bad": bad,
        "data.workers": workers,
        "train.amp": amp,
    }
    config = resolve(settings=[{key: value for key, value in given.items() if value is not None}]).config
    if protocol is not None and (crops is not None or clips is not None):
        raise ConfigError(
            "A protocol says the crops and clips itself.", where="protocol", got=f"{protocol}, and crops or clips"
        )
    scorer, identity = _open_model(model, protocol, settings, device=device, amp=amp)
    spec = scorer.spec
    views = config.evaluate.model_copy(update={"crops": crops or spec.crops, "clips": clips or spec.clips})
    manifest = read_manifest(data, spec.reading, classes=spec.classes, several=spec.labels == "several")
    workers = pick_threads(config.data.workers)
    evaluation = _evaluate(
        lambda clips: scorer.stream(clips, views, workers=workers),
        manifest,
        bad=views.bad,
        description=describe_protocol(spec.input, views, spec.average),
        model=identity,
        progress=progress,
    )
    evaluation = replace(evaluation, reading=spec.reading)
    if protocol is not None:
        evaluation = replace(evaluation, protocol=f"{protocol}: {evaluation.protocol}")
    if out is not None:
        evaluation.save(out)
    return evaluation


def _open_model(
    model: str | Path | tuple[Recognizer, ModelSpec],
    protocol: str | None,
    settings: Settings | Sequence[Settings],
    *,
    device: str,
    amp: Amp,
) -> tuple[Scorer, dict[str, str]]:
    """What scores, with the protocol and the settings in its description, and what reports say of the model."""
    exported = None if isinstance(model, tuple) else find_export(model)
    if exported is not None:
        return _open_export(exported, protocol, settings, device=device, amp=amp)
    chosen = pick_device(device)
    check_amp(chosen, amp)
    identity: dict[str, str] = {}
    if isinstance(model, tuple):
        network, spec = model
    else:
        folder = find_model(model)
        network, spec = load_bundle(folder)
        identity = _identity(folder / "model.safetensors")
    spec = with_reading(spec, settings)
    if protocol is not None:
        spec = with_protocol(spec, protocol)
    return NetworkScorer(network.to(chosen).eval(), spec, chosen, amp), identity


def _open_export(
    folder: Path, protocol: str | None, settings: Settings | Sequence[Settings], *, device: str, amp: Amp
) -> tuple[Scorer, dict[str, str]]:
    export = read_export(folder)
    if amp != "fp32":
        raise ConfigError("An exported model has its own precision.", where="amp", got=amp, allowed=export.precision)
    spec = export.spec if protocol is None else with_protocol(export.spec, protocol)
    averaged_inside = export.input == "frames" and spec.crops != "center"
    if (spec.crops, spec.input.segments) != (export.spec.crops, export.spec.input.segments) or (
        averaged_inside and spec.average != export.spec.average
    ):
        raise ConfigError(
            "The exported file has other frames, crops or averages in it than the protocol asks for.",
            where="protocol",
            got=protocol,
            allowed=f"{export.spec.input.segments} frames, crops: {export.spec.crops}, average: {export.spec.average}",
            remedy="evaluate the trained model, or export again with --crops",
        )
    session = open_session(folder, export, EngineOptions(device=device))
    scorer = ExportScorer(session, export.model_copy(update={"spec": with_reading(spec, settings)}))
    return scorer, _identity(folder / MODEL_FILES[export.target][-1])


def evaluate_manifest(  # noqa: PLR0913
    network: nn.Module,
    manifest: Manifest,
    settings: InputConfig,
    data: ReadingConfig,
    protocol: EvaluateConfig,
    *,
    device: torch.device | str,
    average: Average = "logits",
    amp: Amp = "fp32",
    workers: int | Literal["auto"] = "auto",
    rank: int = 0,
    ranks: int = 1,
    model: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures a network on the clips of a manifest; what training calls after an epoch, on every rank.

    With several ranks (a process group must exist) rank r scores clips r, r + ranks, ...; no clip twice, none left
    out. The scores are gathered, so that every rank returns the whole evaluation.

    Args:
        network: On `device`: normalized clips (B, T, 3, H, W) to logits (B, K), K classes as in the manifest. Its
            modules' train/eval modes are left as they were.
        manifest: Labeled clips.
        settings: How frames become the network's input.
        data: Limits and names for reading the clips.
        protocol: Crops, clips, batch size, and how bad videos count.
        device: Where `network` is.
        average: What is averaged over a video's views.
        amp: Precision of the forward pass.
        workers: Threads that read clips ahead; 0 reads in this thread; `auto`: one per core.
        rank: This process's number in [0, ranks).
        ranks: Number of processes.
        model: What to note about the model: `path`, `sha256`.
        progress: Called with (clips done, clips in all) of this rank.

    Raises:
        DataError: There is no clip, one without a label, or none that can be read; on every rank.
        DivergedError: The network answered with infinity or NaN; on every rank.
    """
    engine, threads = network_engine(network, settings, torch.device(device), amp), pick_threads(workers)
    with evaluating(network):
        evaluation = _evaluate(
            lambda clips: score_stream(engine, clips, settings, data, protocol, average=average, workers=threads),
            manifest,
            bad=protocol.bad,
            description=describe_protocol(settings, protocol, average),
            rank=rank,
            ranks=ranks,
            model=model,
            progress=progress,
        )
    return replace(evaluation, reading=data.reading)


def _evaluate(
    stream: Stream,
    manifest: Manifest,
    *,
    bad: Literal["wrong", "exclude"],
    description: str,
    rank: int = 0,
    ranks: int = 1,
    model: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    if not manifest.clips:
        raise DataError("There is no clip to evaluate.", where=manifest.source)
    for clip in manifest.clips:  # all of them on every rank: an error on one alone would leave the others waiting
        _label(clip)
    started = time.perf_counter()
    own = _score(stream, manifest.clips[rank::ranks], progress)
    scores = _gather(own, ranks)
    check_some_read(scores, manifest.source)
    _check_finite(scores)
    return Evaluation(
        classes=manifest.classes,
        scores=tuple(scores),
        metrics=_metrics(scores, manifest.classes, bad),
        protocol=description,
        seconds=time.perf_counter() - started,
        data=str(manifest.source),
        model=dict(model or {}),
    )


def _metrics(scores: Sequence[ClipScore], classes: Sequence[str], bad: Literal["wrong", "exclude"]) -> Metrics:
    scored = [score for score in scores if score.logits is not None]
    unreadable = [score for score in scores if score.logits is None]
    logits = torch.tensor([score.logits for score in scored]).reshape(len(scored), len(classes))
    if any(score.labels for score in scores):
        return compute_multilabel_metrics(
            logits, _targets(scored, classes), classes, bad_targets=_targets(unreadable, classes), bad=bad
        )
    labels = torch.tensor([score.label for score in scored], dtype=torch.int64)
    return compute_metrics(logits, labels, classes, bad_labels=[score.label for score in unreadable], bad=bad)


def _targets(scores: Sequence[ClipScore], classes: Sequence[str]) -> torch.Tensor:
    """(N, K) bool: the labels of videos that may have several."""
    targets = torch.zeros(len(scores), len(classes), dtype=torch.bool)
    for row, score in zip(targets, scores, strict=True):
        row[list(score.labels)] = True
    return targets


def score_clips(  # noqa: PLR0913
    network: nn.Module,
    clips: Sequence[Clip],
    settings: InputConfig,
    data: ReadingConfig,
    protocol: EvaluateConfig,
    *,
    device: torch.device | str,
    average: Average = "logits",
    amp: Amp = "fp32",
    workers: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> list[ClipScore]:
    """Scores clips: the logits or probabilities of a video's views (clips x crops) are averaged.

    Args:
        network: On `device`: normalized clips (B, T, 3, H, W) to logits (B, K). Modes are left as they were.
        clips: Labeled clips.
        settings: How frames become the network's input.
        data: Limits and names for reading the clips.
        protocol: Crops, clips and batch size.
        device: Where `network` is.
        average: What is averaged over a video's views.
        amp: Precision of the forward pass.
        workers: Threads that read clips ahead.
        progress: Called with (clips done, clips in all) after each clip.

    Returns:
        One score per clip, in their order; a clip that cannot be read has an error instead of logits.

    Raises:
        DataError: A clip has no label.
    """
    engine, threads = network_engine(network, settings, torch.device(device), amp), pick_threads(workers)
    with evaluating(network):
        return _score(
            lambda chosen: score_stream(engine, chosen, settings, data, protocol, average=average, workers=threads),
            clips,
            progress,
        )


def _score(stream: Stream, clips: Sequence[Clip], progress: Progress | None) -> list[ClipScore]:
    labels = [_label(clip) for clip in clips]
    scores = []
    for label, scored in zip(labels, stream(clips), strict=True):
        logits = None if scored.logits is None else tuple(scored.logits.tolist())
        clip = scored.clip
        scores.append(ClipScore(clip.name, str(clip.path), label, logits, scored.error, clip.labels))
        if progress is not None:
            progress(len(scores), len(labels))
    return scores


def describe_protocol(settings: InputConfig, protocol: EvaluateConfig, average: Average = "logits") -> str:
    """One sentence for reports: frames, clips, crops, sizes and averaging."""
    many = protocol.clips * VIEWS[protocol.crops] > 1
    clips = "1 clip" if protocol.clips == 1 else f"{protocol.clips} clips"
    crops = "1 center crop" if protocol.crops == "center" else f"{VIEWS[protocol.crops]} crops"
    # Three crops have the whole short side, as published.
    side = settings.resize if protocol.crops == "three" else settings.crop
    frames = f"{settings.segments} frames" + ("" if settings.sampling == "middle" else f" ({settings.sampling})")
    shape = "" if settings.aspect == "keep" else " at 4:3"
    return f"{frames}, {clips} x {crops} of {side} px from short side {settings.resize} px{shape}" + (
        f", {average} averaged over them" if many else ""
    )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode while inside, then every module back into the mode it had."""
    # Module by module: in training some batch norms may be frozen, and a single flag would thaw them.
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _gather(own: list[ClipScore], ranks: int) -> list[ClipScore]:
    if ranks == 1:
        return own
    parts: list[Any] = [None] * ranks
    dist.all_gather_object(parts, own)
    scores: list[Any] = [None] * sum(len(part) for part in parts)
    for rank, part in enumerate(parts):
        scores[rank::ranks] = part
    return scores


def check_some_read(scores: Sequence[ClipScore], source: str | Path) -> None:
    """Raise a DataError if not one clip was read: there is nothing that a figure could be of."""
    if all(score.logits is None for score in scores):
        raise DataError(
            "Not one of the clips can be read: there is nothing to measure.",
            where=source,
            got=f"{scores[0].name}: {scores[0].error}" if scores else "no clip",
            remedy="mend what is said of the clip; clipshift check DATA lists all that cannot be read",
        )


def _check_finite(scores: Sequence[ClipScore]) -> None:
    for score in scores:
        if score.logits is not None and not torch.tensor(score.logits).isfinite().all():
            raise DivergedError(
                "The network answers with infinity or NaN.",
                where=score.name,
                remedy="with --amp fp16, try bf16 or fp32; else the weights are broken: train again with a lower rate",
            )


def _label(clip: Clip) -> int:
    if clip.label is None:
        raise DataError("A clip has no label, so nothing can be measured on it.", where=clip.name)
    return clip.label


def _identity(file: Path) -> dict[str, str]:
    return {"path": str(file.parent), "sha256": sha256_of_file(file)}
