"""Which weights a training starts from, where the user leaves that to clipshift or names only what they learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clipshift.config import Config
from clipshift.config.schema import ModelConfig
from clipshift.errors import ConfigError, DownloadError
from clipshift.files import from_json
from clipshift.models.zoo import ZOO
from clipshift.training.run_folder import IDENTITY
from clipshift.weights.loading import find_weights
from clipshift.weights.published import PublishedWeights, published_weights

KINETICS = "kinetics400"
WORDS = ("auto", "imagenet", KINETICS)
"""Values of `--weights` that are no names."""


@dataclass(frozen=True)
class WeightsChoice:
    """What was chosen.

    Attributes:
        name: File, folder or published weights by name; None: those of ImageNet, or what the settings say.
        said: Lines for the user.
    """

    name: str | Path | None
    said: tuple[str, ...] = ()


def motion_weights(model: ModelConfig, segments: int) -> str | None:
    """Published weights of Kinetics-400 for a network, by name; None where nobody published any.

    Of several the most accurate, those first that saw frames spread over the whole video, as a training here does.

    Args:
        model: The network. Its shift may take other shares than the published one: they are those of the weights then.
        segments: Frames of a clip, which for a TSM are those of the published training.
    """
    found = [(_rank(entry), name) for name, entry in published_weights().items() if _fits(entry, model, segments)]
    return max(found)[1] if found else None


def _fits(entry: PublishedWeights, model: ModelConfig, segments: int) -> bool:
    if entry.data != KINETICS:
        return False
    there = ZOO[entry.network].model
    if model.architecture == "tsm" and (entry.segments != segments or model.is_past_only):
        return False
    same = ("architecture", "backbone", "temporal_attention")
    return all(getattr(there, key) == getattr(model, key) for key in same)


def _rank(entry: PublishedWeights) -> tuple[bool, float]:
    uniform = [one.top1 for one in entry.measured if one.views.sampling == "uniform"]
    return bool(uniform), max(uniform or [one.top1 for one in entry.measured], default=0.0)


def choose_weights(config: Config, weights: str | Path | None, run: Path, *, overwrite: bool) -> WeightsChoice:
    """Decide what a training starts from, and fetch it where that is part of the decision.

    Args:
        config: All settings: `train.start` decides where `weights` is None.
        weights: `auto`, `imagenet`, `kinetics400`, a file, a folder, or published weights by name.
        run: Run folder; a run that is there goes on from what it began with.
        overwrite: Whether that run is replaced.

    Raises:
        ConfigError: There are no published weights of Kinetics-400 for this network, or they are named beside
            `model.pretrained=false`.
        WeightsError: What was fetched is not what was published.
    """
    if weights is not None and weights not in WORDS:
        return WeightsChoice(weights)
    if not config.model.pretrained:
        if weights is None:
            return WeightsChoice(None)
        raise ConfigError(
            "Weights are named, and the settings ask for random ones.",
            where="model.pretrained",
            got=f"false, and --weights {weights}",
            remedy=f"leave out one of the two: model.pretrained=false, or --weights {weights}",
        )
    wanted = config.train.start if weights is None else str(weights)
    if wanted == "imagenet":
        return WeightsChoice(None)
    name = motion_weights(config.model, config.input.segments)
    if wanted == KINETICS:
        return WeightsChoice(_named(name, config.model))
    if not overwrite and (some := _began_with_some(run)) is not None:
        return WeightsChoice(name if some else None)
    return _decide(name, config.model)


def _decide(name: str | None, model: ModelConfig) -> WeightsChoice:
    """Kinetics-400 where it can be had, else ImageNet; and what the other one would be."""
    if name is None:
        why = _why_none(model)
        return WeightsChoice(None, (f"The network starts from ImageNet's weights, which know no motion: {why}",))
    top1 = _rank(published_weights()[name])[1]
    about = f"published weights {name} (Kinetics-400, top-1 {top1} %)"
    try:
        find_weights(name)
    except DownloadError as error:
        said = (
            f"The {about}, which know motion, cannot be fetched ({error.got or error.what}): the network starts from "
            f"ImageNet's, which know still pictures. To insist on the others: --weights {KINETICS}"
        )
        return WeightsChoice(None, (said,))
    said = f"The network starts from the {about}, which know motion. To start from still pictures: --weights imagenet"
    return WeightsChoice(name, (said,))


def _named(name: str | None, model: ModelConfig) -> str:
    if name is not None:
        return name
    having = sorted({entry.model for entry in published_weights().values() if entry.data == KINETICS})
    raise ConfigError(
        "There are no published weights of Kinetics-400 for this network.",
        where="weights",
        got=_why_none(model),
        allowed=f"networks that have some: {', '.join(having)}",
        remedy="start from still pictures: --weights imagenet",
    )


def _why_none(model: ModelConfig) -> str:
    if model.is_past_only:
        return "those of Kinetics-400 are of networks that look ahead, too."
    return f"nobody published any of Kinetics-400 for it ({model.architecture}, {model.backbone})."


def _began_with_some(run: Path) -> bool | None:
    """Whether a run began with a file of weights; None where there is no run."""
    path = run / IDENTITY
    if not path.is_file():
        return None
    try:
        return from_json(path.read_text(encoding="utf-8")).get("weights") is not None
    except (OSError, ValueError, AttributeError):  # a damaged run is told of where it is read
        return None
