"""The network that a training starts from: its weights, and the linear probe of its classifier."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import torch

from clipshift.config import Config, Resolved
from clipshift.config.schema import ModelConfig
from clipshift.datasets import DataSet, Manifest
from clipshift.datasets.spans import BACKGROUND
from clipshift.datasets.split import clip_groups
from clipshift.errors import DataError
from clipshift.inference.views import prefetch_views
from clipshift.models.paddle_backbones import PADDLE_WEIGHTS
from clipshift.models.recognizer import Recognizer, build_recognizer
from clipshift.parallel.prefetch import pick_threads
from clipshift.preprocessing.transforms import normalize
from clipshift.training.choosing_motion import choose_motion
from clipshift.training.distributed import Ranks
from clipshift.training.old_model import OldModel, remembered_clips
from clipshift.training.probe import fit_linear_probe
from clipshift.training.reporting import Reporter
from clipshift.weights.loading import find_weights, load_weights, shift_of_weights

MEDIAN_SPAN = "median span"
"""Where a rate comes from that nobody chose."""


def starting_weights(model: ModelConfig, weights: str | Path | None) -> Path | None:
    """The file or folder that a training starts from, fetched if it is published weights; None for timm's, or none.

    Raises:
        DownloadError: The published weights cannot be fetched.
        WeightsError: What was fetched is not what was published.
    """
    if weights is None and model.pretrained:
        weights = PADDLE_WEIGHTS.get(model.backbone)
    return None if weights is None else find_weights(weights)


def follow_weights(resolved: Resolved, weights: Path | None) -> Resolved:
    """Settings with the temporal shift that the weights were trained with, unless somebody chose another one.

    Args:
        resolved: Settings and where they come from.
        weights: What the training starts from.

    Raises:
        WeightsError: The weights cannot be read.
    """
    config = resolved.config
    if weights is None or config.model.architecture != "tsm":
        return resolved
    shift = shift_of_weights(weights, config.input.segments)
    if shift is None:
        return resolved
    adopted = {
        key: value
        for key, value in shift.model_dump().items()
        if resolved.origin.get(f"model.shift.{key}", "recipe ").startswith("recipe ")
        and value != getattr(config.model.shift, key)
    }
    model = config.model.model_copy(update={"shift": config.model.shift.model_copy(update=adopted)})
    origin = {**resolved.origin, **{f"model.shift.{key}": f"weights {weights.name}" for key in adopted}}
    return Resolved(config.model_copy(update={"model": model}), origin)


def follow_spans(resolved: Resolved, dataset: DataSet) -> Resolved:
    """Settings with a rate at which a network sees spans whole, where they ask for it and nobody chose another one.

    With `data.rate_from_spans` it is `input.segments` by the median length of the training spans, to three digits.

    Args:
        resolved: Settings and where they come from.
        dataset: The data; those without spans change nothing.
    """
    config = resolved.config
    lengths = [
        segment.duration
        for video in dataset.train.videos
        for segment in video.segments
        if segment.label != BACKGROUND and segment.duration > 0
    ]
    # Of regions no whole video is marked.
    regions = [clip.span for clip in dataset.train.clips if clip.region is not None and clip.span is not None]
    lengths += [end - start for start, end in regions if end > start]
    if not lengths or not config.data.rate_from_spans or "input.rate" in resolved.origin:
        return resolved
    rate = min(1000.0, float(f"{config.input.segments / median(lengths):.3g}"))
    settings = config.input.model_copy(update={"rate": rate})
    return Resolved(config.model_copy(update={"input": settings}), {**resolved.origin, "input.rate": MEDIAN_SPAN})


def starting_network(
    dataset: DataSet,
    config: Config,
    weights: str | Path | None,
    resumed: bool,
    ranks: Ranks,
    reporter: Reporter,
    old: OldModel | None = None,
    *,
    motion_open: bool = False,
) -> Recognizer:
    """A network with its starting weights; for a continued run, whose weights come later, only its shape.

    Args:
        dataset: The clips.
        config: All settings.
        weights: File or folder; None: timm's, or none.
        resumed: Whether a checkpoint brings the weights.
        ranks: The first one fits the linear probe.
        reporter: Is told what the network starts from.
        old: The model that `weights` are of, where classes are added to it.
        motion_open: Whether the training clips decide, where the classifier starts from a probe, if it reads motion.
    """
    model = config.model
    if weights is not None or resumed:
        model = model.model_copy(update={"pretrained": False})
    network = build_recognizer(
        model,
        segments=config.input.segments,
        classes=len(dataset.classes),
        crop=config.input.crop,
        generator=torch.Generator().manual_seed(config.train.seed),
    )
    if resumed:
        return network
    # A classifier that was trained for these classes is worth more than a probe.
    new_classifier = model.pretrained
    if weights is not None:
        report = load_weights(network, weights, classes=dataset.classes, more_classes=old is not None)
        new_classifier = report.new_classifier is not None
        for line in report.lines():
            reporter.say(line)
    elif not model.pretrained:
        reporter.say("The network starts from random weights.")
        if config.train.frozen_stages:
            reporter.say(
                f"Note: train.frozen_stages={config.train.frozen_stages} keeps its first stages random; to train from "
                "nothing, set it to 0."
            )
    if old is not None:
        ranks.on_rank_zero(lambda: _start_new_rows(network, dataset, config, old, ranks, reporter))
    elif config.train.probe and new_classifier:
        _start_new_classifier(network, dataset, config, ranks, reporter, motion_open=motion_open)
    return network


def _start_new_classifier(
    network: Recognizer, dataset: DataSet, config: Config, ranks: Ranks, reporter: Reporter, *, motion_open: bool
) -> None:
    if config.train.multi_label:
        reporter.say("Note: the linear probe is for clips of one label; the classifier starts from random weights.")
        return
    motion = ranks.on_rank_zero(
        lambda: _start_from_probe(network, dataset, config, ranks, reporter, motion_open=motion_open)
    )
    if network.model.motion != motion:  # on other ranks, which get the weights later
        network.read_motion(motion)


def _start_from_probe(
    network: Recognizer, dataset: DataSet, config: Config, ranks: Ranks, reporter: Reporter, *, motion_open: bool
) -> bool:
    """Fit the classifier; returns whether it reads motion."""
    if motion_open:
        network.read_motion(True)
    x, clips = _training_features(network, dataset, config, ranks, reporter)
    y, parts = torch.tensor(clips.labels()), 1 + len(network.distances)
    if motion_open and not _motion_helps(x.view(len(x), parts, -1), clips, reporter):
        network.read_motion(False)
        x, parts = x[:, : x.shape[1] // parts].contiguous(), 1
    weight, bias = fit_linear_probe(x, y, len(dataset.classes), parts=parts)
    right = ((x @ weight.T + bias).argmax(1) == y).float().mean()
    _set_classifier(network, weight, bias)
    reporter.say(f"The classifier starts from a linear probe, which fits {right:.1%} of the training clips.")
    return network.model.motion


def _motion_helps(features_NPD: torch.Tensor, clips: Manifest, reporter: Reporter) -> bool:
    groups = clip_groups(clips, across_classes=True)
    choice = choose_motion(features_NPD.numpy(), np.array(clips.labels()), groups)
    if choice is None:
        reporter.say(
            "Clips of so few sources cannot tell whether to read motion, so the classifier does not "
            "(model.motion=false)."
        )
        return False
    reporter.say(choice.said())
    return choice.motion


def _start_new_rows(
    network: Recognizer, dataset: DataSet, config: Config, old: OldModel, ranks: Ranks, reporter: Reporter
) -> None:
    """Start the classifier's rows of new classes from a linear probe that leaves those of the old ones as they are."""
    x, clips = _training_features(network, dataset, config, ranks, reporter)
    y = torch.tensor(clips.labels())
    count = len(old.classes)
    remembered = remembered_clips(dataset, old)
    if remembered is not None:
        x, y = torch.cat([x, remembered.features]), torch.cat([y, remembered.labels])
    if int(y.min()) >= count:
        return  # nothing to tell the new classes from
    classifier = network.classifier
    kept = (classifier.weight[:count].detach(), classifier.bias[:count].detach())
    parts = 1 + len(network.distances)
    weight, bias = fit_linear_probe(x, y, len(dataset.classes), kept=kept, parts=parts)
    right = ((x @ weight.T + bias).argmax(1) == y).float().mean()
    _set_classifier(network, weight, bias)
    reporter.say(f"The new classes start from a linear probe beside the old ones; it fits {right:.1%} of the clips.")


def _set_classifier(network: Recognizer, weight: torch.Tensor, bias: torch.Tensor) -> None:
    with torch.no_grad():
        network.classifier.weight.copy_(weight)
        network.classifier.bias.copy_(bias)


def _training_features(
    network: Recognizer, dataset: DataSet, config: Config, ranks: Ranks, reporter: Reporter
) -> tuple[torch.Tensor, Manifest]:
    """What the classifier reads of the training clips that can be read, `(N, D)`, and these clips."""
    network.to(ranks.device).eval()
    features, clips = [], []
    with torch.inference_mode(), reporter.phase("linear probe", len(dataset.train)) as phase:
        workers = pick_threads("auto")
        for done, read in enumerate(
            prefetch_views(dataset.train.clips, config.input, config.data, workers=workers), start=1
        ):
            phase.advance_to(done)
            if read.views is None:
                continue
            clips_BTCHW = normalize(read.views.to(ranks.device), config.input.mean, config.input.std)
            features.append(network.summarize(network.features(clips_BTCHW)).cpu())
            clips.append(read.clip)
    if not features:
        raise DataError(
            "Not one training clip could be read.", where=dataset.train.source, remedy="clipshift check DATA"
        )
    return torch.cat(features), Manifest(dataset.train.source, dataset.classes, tuple(clips))
