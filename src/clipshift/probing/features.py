"""Features of clips from a frozen network, once for each clip: what linear probes learn from in seconds.

Layouts: N clips, T frames, D features of a frame, E of an inner layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipshift.config import Config, InputConfig, ReadingConfig
from clipshift.datasets.clip import Clip
from clipshift.errors import DataError
from clipshift.inference.scorer import one_line
from clipshift.inference.views import prefetch_views
from clipshift.models.backbones import as_maps, stage_ends
from clipshift.models.bundle import load_bundle
from clipshift.models.folding import inference_form
from clipshift.models.recognizer import Recognizer, build_recognizer
from clipshift.preprocessing.transforms import normalize
from clipshift.progress import Progress
from clipshift.training.choosing_weights import WORDS, choose_weights
from clipshift.training.start import starting_weights
from clipshift.weights.loading import load_weights
from clipshift.weights.published import published_weights
from clipshift.weights.resolve import find_model


@dataclass(frozen=True)
class FrozenNetwork:
    """A network that does not learn.

    Attributes:
        network: In evaluation mode.
        input: How clips become its input.
        about: What it is, for people.
        trained: Whether it is a model that was trained on videos by somebody who may have used these clips.
    """

    network: Recognizer
    input: InputConfig
    about: str
    trained: bool = False


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """What was read.

    Attributes:
        clips: Those that could be read, in their order.
        mean: float32 (N, D), over a clip's frames.
        deviation: float32 (N, D), the standard deviation over a clip's frames: what moves.
        inner: float32 (N, E), the mean over a clip's frames at the end of the last stage but one, in each quarter of
            the picture: parts of objects and where they are, which the last stage leaves out.
        unreadable: Names of the others, and why.
    """

    clips: tuple[Clip, ...]
    mean: np.ndarray
    deviation: np.ndarray
    inner: np.ndarray
    unreadable: tuple[tuple[str, str], ...] = ()


def frozen_network(config: Config, weights: str | Path | None = None) -> FrozenNetwork:
    """The network whose features are taken.

    Args:
        config: Its settings `model` and `input` count where `weights` are a file, or none.
        weights: A run folder, a model folder, published weights by name, `hf://owner/name`, or a file of weights for
            the settings' backbone; `imagenet`, `kinetics400` or `auto`, as for a training; None: ImageNet's. With
            `model.pretrained=false` and none the weights are random.

    Raises:
        ConfigError: There is no such backbone.
        DownloadError: Published weights cannot be fetched.
        WeightsError: There are no such weights, or they do not fit.
    """
    if weights in WORDS:
        weights = choose_weights(config, weights, Path(), overwrite=True).name
    if weights is not None and not Path(weights).is_file() and not _of_images(weights):
        network, spec = load_bundle(find_model(weights))
        return FrozenNetwork(network.eval(), spec.input, f"the model {weights}", trained=Path(weights).exists())
    start = starting_weights(config.model, weights)
    # Without the shift, which only a training on videos gives a meaning: every frame is seen apart.
    model = config.model.model_copy(
        update={
            "architecture": "tsn",
            "temporal_attention": False,
            "pretrained": config.model.pretrained and start is None,
        }
    )
    network = build_recognizer(model, segments=config.input.segments, classes=2, crop=config.input.crop)
    about = "ImageNet weights" if model.pretrained else "random weights"
    if start is not None:
        load_weights(network, start, classes=("", " "))
        about = start.name
    return FrozenNetwork(network.eval(), config.input, f"{model.backbone}, {about}")


def _of_images(weights: str | Path) -> bool:
    """Whether this is the name of published weights of single images, which are no model of clips."""
    entry = published_weights().get(str(weights))
    return entry is not None and entry.segments == 1


def read_features(
    frozen: FrozenNetwork,
    clips: Sequence[Clip],
    reading: ReadingConfig,
    *,
    device: torch.device,
    workers: int,
    progress: Progress | None = None,
) -> ClipFeatures:
    """The features of clips, each read once.

    Args:
        frozen: The network.
        clips: What to read.
        reading: Limits and the pattern of frame folders.
        device: Where the network runs.
        workers: Threads that read ahead.
        progress: Called with (clips done, clips in all) after each clip.

    Raises:
        DataError: Not one clip could be read.
    """
    network, settings = inference_form(frozen.network.to(device)), frozen.input
    rows, read, unreadable = [], [], []
    with torch.inference_mode(), _inner_maps(network) as maps:
        for done, each in enumerate(prefetch_views(clips, settings, reading, workers=workers), start=1):
            if each.views is None:
                unreadable.append((each.clip.name, one_line(each.error) or ""))
            else:
                frames = normalize(each.views.to(device), settings.mean, settings.std)
                of_frames = network.features(frames).float().flatten(0, 1)
                of_stage = torch.cat(maps).float().mean(dim=0) if maps else of_frames.new_zeros(0)
                maps.clear()
                kinds = (of_frames.mean(dim=0), of_frames.std(dim=0, correction=0), of_stage)
                rows.append([kind.cpu().numpy() for kind in kinds])
                read.append(each.clip)
            if progress is not None:
                progress(done, len(clips))
    if not rows:
        name, reason = unreadable[0]
        raise DataError("Not one clip could be read.", where=name, got=reason, remedy="clipshift check DATA")
    mean, deviation, inner = (np.stack(kind) for kind in zip(*rows, strict=True))
    return ClipFeatures(tuple(read), mean, deviation, inner, tuple(unreadable))


@contextmanager
def _inner_maps(network: Recognizer) -> Iterator[list[Tensor]]:
    """A list that fills with the frames' averages (T, E) at the end of the last stage but one, where there is one."""
    ends, maps = stage_ends(network.backbone), list[Tensor]()

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        if output.ndim == 4:
            maps.append(F.adaptive_avg_pool2d(as_maps(network.backbone, output), 2).flatten(1))
        else:  # tokens of a transformer (T, tokens, E)
            maps.append(output.mean(dim=1))

    if len(ends) < 2:
        yield maps
        return
    stage = network.backbone.get_submodule(ends[sorted(ends)[-2]])
    hook = stage.register_forward_hook(keep)
    try:
        yield maps
    finally:
        hook.remove()
