"""timm's published ImageNet weights, with a quick and clear answer where they cannot be had."""

from __future__ import annotations

import huggingface_hub
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models import get_pretrained_cfg
from torch import Tensor

from clipshift.errors import WeightsError
from clipshift.models.backbones import build_backbone, check_name
from clipshift.models.paddle_backbones import PADDLE_WEIGHTS

_TIMEOUT_SECONDS = 5.0
# The names under which timm's weights lie on the Hugging Face hub, unless their description names another.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def fetch_pretrained(name: str, *, crop: int | None = None) -> dict[str, Tensor]:
    """State dict of timm's network `name` with the published weights of its (or the default) tag.

    They come from the local cache of the Hugging Face hub or are downloaded into it.

    Args:
        name: A name of `timm.list_models()`, with or without a tag.
        crop: As for [build_backbone][clipshift.models.backbones.build_backbone]; position embeddings are
            interpolated by timm.

    Raises:
        ConfigError: timm has no such network or tag.
        WeightsError: There are no published weights, or they can be neither found in the cache nor downloaded.
    """
    check_name(name)
    if name in PADDLE_WEIGHTS:
        raise _unavailable(name, f"they are not timm's, but published as {PADDLE_WEIGHTS[name]}")
    described = get_pretrained_cfg(name)
    if described is None or not described.has_weights:
        raise _unavailable(name, "timm publishes no weights for it")
    if described.hf_hub_id:
        _check_hub(name, described.hf_hub_id, described.hf_hub_filename)
    try:
        return build_backbone(name, pretrained=True, crop=crop).state_dict()
    except RuntimeError:
        raise  # timm's weights do not fit timm's network: no matter of getting them
    except Exception as error:
        raise _unavailable(name, f"{type(error).__name__}: {error}") from error


def _check_hub(name: str, repository: str, filename: str | None) -> None:
    """One quick request before timm's, which are repeated for most of a minute where there is no network."""
    repository, _, revision = repository.partition("@")
    files = (filename,) if filename else _HUB_FILES
    for file in files:
        if isinstance(huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None), str):
            return
    try:
        url = huggingface_hub.hf_hub_url(repository, files[0], revision=revision or None)
        huggingface_hub.get_hf_file_metadata(url, timeout=_TIMEOUT_SECONDS)
    except Exception as error:
        # The hub's client raises its HTTP library's own errors, whose classes changed with its versions.
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return  # the hub answers; timm tries the other names
        raise _unavailable(name, f"{type(error).__name__}: {error}") from error


def _unavailable(name: str, reason: str) -> WeightsError:
    return WeightsError(
        "The published ImageNet weights of the backbone cannot be had.",
        where=f"model.backbone: {name}",
        got=reason.partition("\n")[0][:200],
        remedy="--weights FILE starts from a file of weights; model.pretrained=false starts from random ones",
    )
