"""`clipshift.embed`: what a trained network makes of videos before it names a class, for search and other classifiers.

Layouts: D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipshift.config import Crops, EvaluateConfig, Settings
from clipshift.datasets.clip import Clip
from clipshift.errors import ExportError
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.predictions import Embedding, Failure
from clipshift.inference.predictor import Model, loaded_model
from clipshift.inference.sources import find_clips, pick_workers

if TYPE_CHECKING:
    from clipshift.device import Amp
    from clipshift.inference.network_scorer import NetworkScorer


def embed(
    model: str | Path | Model,
    *sources: str | Path,
    crops: Crops | None = None,
    clips: int | None = None,
    batch_size: int = 1,
    device: str = "auto",
    amp: Amp = "fp32",
    workers: int | Literal["auto"] = "auto",
    settings: Settings | Sequence[Settings] = (),
) -> Iterator[Embedding | Failure]:
    """Vectors of videos: what the classifier of the network reads.

    Of each view it is the mean over time of the frames' pooled features, of TSN as of TSM, PP-TSM and PP-TSMv2; where
    the model has Paddle's dropout (PP-TSMv2, and PP-TSM on MobileNetV3), which also scales in inference, times 1 - p.
    The vectors of a video's views are averaged. So the classifier, which is linear, makes of the vector the logits of
    the video; where a model averages the probabilities of several views, the logits are not the average.

    Args:
        model: A trained model: a run folder, model folder, published weights by name, hf://OWNER/NAME, or a loaded one.
        sources: Videos, folders, globs and lists.
        crops: Crops per frame; by default the model's own.
        clips: Sets of frames per video; by default the model's own.
        batch_size: Views per forward pass.
        device: auto, cpu, cuda or cuda:N.
        amp: Precision: fp32, bf16 or fp16 (a GPU only).
        workers: Threads, as for [predict_many][clipshift.inference.predictor.Model.predict_many].
        settings: Of reading clips, as for [load][clipshift.inference.predictor.load].

    Returns:
        For each video its vector, or why it could not be read, in their order and in memory that does not grow with
        their number.

    Raises:
        ConfigError: As of `load` and `predict_many`, or there are settings for a model that is loaded already.
        ExportError: The model is an exported one, which gives probabilities only.
    """
    loaded = loaded_model(model, sources, device=device, amp=amp, settings=settings)
    views = loaded.views(crops, clips, batch_size)
    check_embeds(loaded)
    reading = loaded.spec.reading
    workers = pick_workers(sources, workers, reading)
    return embed_clips(loaded, find_clips(sources, reading), views, workers=workers)


def embed_clips(
    model: Model, clips: Iterable[Clip], views: EvaluateConfig, *, workers: int
) -> Iterator[Embedding | Failure]:
    """Vectors of clips in their order; arguments as of `Model.predict_clips`.

    Raises:
        ExportError: The model is an exported one.
    """
    for scored in check_embeds(model).embedder().stream(clips, views, workers=workers):
        if scored.logits is None:
            yield Failure(scored.clip.name, scored.error or "")
        else:
            yield Embedding(scored.clip.name, scored.logits)


def embedding_width(model: Model) -> int:
    """How many numbers a vector has, D.

    Raises:
        ExportError: The model is an exported one.
    """
    return int(check_embeds(model).network.classifier.in_features)  # type: ignore[union-attr, arg-type]


def check_embeds(model: Model) -> NetworkScorer:
    """What runs the network, if it is one of PyTorch.

    Raises:
        ExportError: The model is an exported one.
    """
    if not isinstance(model.scorer, ExportScorer):
        from clipshift.inference.network_scorer import NetworkScorer

        if isinstance(model.scorer, NetworkScorer):
            return model.scorer
    raise ExportError(
        "An exported model gives probabilities, no embeddings.",
        got=model.engine,
        remedy="embed with the trained model that it was exported from",
    )
