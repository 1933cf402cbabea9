"""Published weights by name, as models: fetched and converted once, into the cache."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from clipshift.config.model_spec import SPEC_FILE
from clipshift.errors import WeightsError
from clipshift.locks import hold
from clipshift.models.bundle import find_bundle
from clipshift.progress import DownloadProgress
from clipshift.weights.cache import cached_model_folder, fetch
from clipshift.weights.convert import convert
from clipshift.weights.hub import PREFIX, fetch_from_hub
from clipshift.weights.published import find_published, nearest_published, published_weights


def find_model(model: str | Path, *, progress: DownloadProgress | None = None) -> Path:
    """The model folder that `model` means: a run folder, a model folder, published weights by name, or hf://owner/name.

    A path that exists comes before a name.

    Args:
        model: The path or the name.
        progress: As for [published_model][clipshift.weights.resolve.published_model].

    Raises:
        DownloadError: The published weights are not in the cache and cannot be fetched.
        WeightsError: There is no such model.
    """
    if str(model).startswith(PREFIX):
        return find_bundle(fetch_from_hub(str(model)))
    if Path(model).is_file():
        raise WeightsError(
            "This is a file of weights, which becomes a model first.",
            where=model,
            remedy=f"clipshift convert {shlex.quote(str(model))} --to FOLDER",
        )
    if Path(model).exists():
        return find_bundle(model)
    if str(model) in published_weights():
        return published_model(str(model), progress=progress)
    examples = nearest_published(str(model)) or list(published_weights())[:1]
    raise WeightsError(
        "There is no such model.",
        where=model,
        allowed=f"a run folder, a model folder, or published weights such as {', '.join(examples)}",
        remedy="clipshift models lists the published weights",
    )


def published_model(name: str, *, progress: DownloadProgress | None = None) -> Path:
    """The model folder of published weights, from the cache or made in it.

    Args:
        name: A name of [published_weights][clipshift.weights.published.published_weights].
        progress: Is told how many bytes are there, and of how many, while the file is fetched.

    Raises:
        ConfigError: There are no published weights of this name.
        DownloadError: They are not in the cache and cannot be fetched.
        WeightsError: They are not what was published, or of a network that is only to train from.
    """
    entry = find_published(name)
    if entry.segments == 1:
        raise WeightsError(
            "These weights are of a network of single images, to start a training from.",
            got=name,
            remedy=f"clipshift train DATA --recipe {entry.model} --weights {name}",
        )
    folder = cached_model_folder(name)
    if (folder / SPEC_FILE).is_file():
        return folder
    file = fetch(entry, progress=progress)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.with_name(f"{folder.name}.lock")
    with hold(lock, doing=f"converts {name}", error=WeightsError, wait=True):
        if (folder / SPEC_FILE).is_file():  # another process was first
            return folder
        coming = folder.with_name(f"{folder.name}.new")
        for unfinished in (coming, folder):
            shutil.rmtree(unfinished, ignore_errors=True)
        convert(file, coming, model=name)
        coming.rename(folder)
    return folder
