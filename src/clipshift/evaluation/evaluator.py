"""From a network and a list of videos to scores and metrics, the same for any batch size, workers and ranks.

Layouts: B views in a batch, V views (clips x crops) of one video, T frames, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from clipshift.config import (
    Average,
    Crops,
    EvaluateConfig,
    InputConfig,
    ModelSpec,
    Settings,
    resolve,
    with_reading,
)
from clipshift.datasets.clip import check_regions
from clipshift.datasets.manifest import Clip, Manifest, read_manifest
from clipshift.device import Amp, check_amp, pick_device
from clipshift.errors import ConfigError, DataError, DivergedError
from clipshift.evaluation.protocols import with_protocol
from clipshift.evaluation.results import ClipScore, Evaluation, metrics_of
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.open_model import open_scorer
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.inference.scorer import Scorer
from clipshift.models.recognizer import Recognizer
from clipshift.parallel.prefetch import pick_threads
from clipshift.preprocessing.transforms import VIEWS
from clipshift.progress import Progress


def evaluate(  # noqa: PLR0913
    model: str | Path | ModelReference | tuple[Recognizer, ModelSpec],
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
        model: Run folder, model folder, exported model, published weights by name, or hf://OWNER/NAME. Also what
            `load_bundle` or `resolve_model` returned.
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml. Of several parts the
            validation part is read, else the test part. Classes are matched to the model's by name.
        protocol: A published test in one word, clips x crops: the model's own frames (uniform), 25 frames of a TSN
            (tsn), middles and first frames of the parts (twice), windows of 64 frames (dense). It stands for `crops`,
            `clips`, the frames and the averaging (`clipshift.evaluation.PROTOCOLS`). Default: none.
        crops: Crops per frame: center, three, three_small or ten; by default the model's own.
        clips: Sets of frames per video; by default the model's own. They are spread evenly in time.
        batch_size: Views per forward pass; changes memory and speed, not the result; by default 8.
        bad: How unreadable videos count: wrong, or exclude; by default wrong.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        workers: Threads that read videos ahead of the network; `auto`: one per core.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        settings: Of reading clips, in place of those that the model was trained with, such as
            `"data.max_seconds=50000"` ([ReadingConfig][clipshift.config.ReadingConfig]).
        out: Folder for metrics.json and predictions.jsonl. None writes nothing.
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
    scorer, identity = _open_model(model, settings, device=device, amp=amp)
    if protocol is not None:
        scorer = _with_protocol(scorer, protocol)
    spec = scorer.spec
    given_views = {"crops": spec.crops if crops is None else config.evaluate.crops, "clips": clips or spec.clips}
    manifest = read_manifest(data, spec.reading, classes=spec.classes, several=spec.labels == "several")
    check_regions(manifest.clips, spec.input, manifest.source)
    evaluation = evaluate_manifest(
        scorer,
        manifest,
        config.evaluate.model_copy(update=given_views),
        workers=config.data.workers,
        model=identity,
        progress=progress,
    )
    if protocol is not None:
        evaluation = replace(evaluation, protocol=f"{protocol}: {evaluation.protocol}")
    if out is not None:
        evaluation.save(out)
    return evaluation


def _open_model(
    model: str | Path | ModelReference | tuple[Recognizer, ModelSpec],
    settings: Settings | Sequence[Settings],
    *,
    device: str,
    amp: Amp,
) -> tuple[Scorer, dict[str, str]]:
    """What scores, and what reports say of the model."""
    if not isinstance(model, tuple):
        reference = resolve_model(model)
        return open_scorer(reference, device=device, amp=amp, settings=settings), reference.identity()
    chosen = pick_device(device)
    check_amp(chosen, amp)
    network, spec = model
    return NetworkScorer(network.to(chosen).eval(), with_reading(spec, settings), chosen, amp), {}


def _with_protocol(scorer: Scorer, protocol: str) -> Scorer:
    """The scorer with a protocol's frames, views and averages in its description.

    Raises:
        ConfigError: An exported file has others inside.
    """
    own, spec = scorer.spec, with_protocol(scorer.spec, protocol)
    if isinstance(scorer, ExportScorer):
        averaged_inside = scorer.export.input == "frames" and spec.crops != "center"
        if (spec.crops, spec.input.segments) != (own.crops, own.input.segments) or (
            averaged_inside and spec.average != own.average
        ):
            raise ConfigError(
                "The exported file has other frames, crops or averages in it than the protocol asks for.",
                where="protocol",
                got=protocol,
                allowed=f"{own.input.segments} frames, crops: {own.crops}, average: {own.average}",
                remedy="evaluate the trained model, or export again with --crops",
            )
    return scorer.with_spec(spec)


def evaluate_manifest(
    scorer: Scorer,
    manifest: Manifest,
    protocol: EvaluateConfig,
    *,
    workers: int | Literal["auto"] = "auto",
    rank: int = 0,
    ranks: int = 1,
    model: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures a model on the clips of a manifest; what training calls after an epoch, on every rank.

    With several ranks (a process group must exist) rank r scores clips r, r + ranks, ...; no clip twice, none left
    out. The scores are gathered, so that every rank returns the whole evaluation.

    Args:
        scorer: The model; its description says how clips are read, and has the manifest's classes in their order.
        manifest: Labeled clips.
        protocol: Crops, clips, batch size, and how bad videos count.
        workers: Threads that read clips ahead; 0 reads in this thread; `auto`: one per core.
        rank: This process's number in [0, ranks).
        ranks: Number of processes.
        model: What to note about the model: `path`, `sha256`.
        progress: Called with (clips done, clips in all) of this rank.

    Raises:
        DataError: There is no clip, one without a label, or none that can be read; on every rank.
        DivergedError: The network answered with infinity or NaN; on every rank.
    """
    if not manifest.clips:
        raise DataError("There is no clip to evaluate.", where=manifest.source)
    for clip in manifest.clips:  # all of them on every rank: an error on one alone would leave the others waiting
        _label(clip)
    started = time.perf_counter()
    own = score_clips(scorer, manifest.clips[rank::ranks], protocol, workers=workers, progress=progress)
    scores = _gather(own, ranks)
    check_some_read(scores, manifest.source)
    _check_finite(scores)
    spec = scorer.spec
    return Evaluation(
        classes=manifest.classes,
        scores=tuple(scores),
        metrics=metrics_of(scores, manifest.classes, protocol.bad, spec.temperature),
        protocol=describe_protocol(spec.input, protocol, spec.average),
        seconds=time.perf_counter() - started,
        data=str(manifest.source),
        model=dict(model or {}),
        reading=spec.reading,
    )


def score_clips(
    scorer: Scorer,
    clips: Sequence[Clip],
    protocol: EvaluateConfig,
    *,
    workers: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> list[ClipScore]:
    """Scores clips: the logits or probabilities of a video's views (clips x crops) are averaged.

    Args:
        scorer: The model.
        clips: Labeled clips.
        protocol: Crops, clips and batch size.
        workers: Threads that read clips ahead.
        progress: Called with (clips done, clips in all) after each clip.

    Returns:
        One score per clip, in their order; a clip that cannot be read has an error instead of logits.

    Raises:
        DataError: A clip has no label.
    """
    labels = [_label(clip) for clip in clips]
    scores = []
    stream = scorer.stream(clips, protocol, workers=pick_threads(workers))
    for label, scored in zip(labels, stream, strict=True):
        logits = None if scored.logits is None else tuple(scored.logits.tolist())
        clip = scored.clip
        part = (clip.span, clip.region)
        scores.append(ClipScore(clip.name, str(clip.path), label, logits, scored.error, clip.labels, *part))
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
    frames = f"{settings.segments} frames"
    if settings.rate is not None:
        frames += f" at {settings.rate:g} a second"
    elif settings.sampling != "middle":
        frames += f" ({settings.sampling})"
    shape = "" if settings.aspect == "keep" else " at 4:3"
    return f"{frames}, {clips} x {crops} of {side} px from short side {settings.resize} px{shape}" + (
        f", {average} averaged over them" if many else ""
    )


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
