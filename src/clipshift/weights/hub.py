"""Models on the Hugging Face Hub, by `hf://owner/name@revision`: fetched as data, into the hub's own cache.

Only the files of a model folder or of an export are fetched: safetensors, JSON, ONNX, OpenVINO. Nothing in them is run
but the network, and their checksums in `model.json` are checked as of every model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from clipshift._version import __version__
from clipshift.errors import ConfigError, DownloadError, MissingDependencyError, WeightsError

PREFIX = "hf://"
MODEL_FILES = ("model.json", "model.safetensors", "model.onnx", "model.xml", "model.bin")
"""What is fetched; programs of `torch.export` are not, as reading one may run what lies in it."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_ALLOWED = "hf://OWNER/NAME or hf://OWNER/NAME@REVISION"


@dataclass(frozen=True)
class HubModel:
    """A repository on the hub and one of its revisions.

    Attributes:
        repository: `owner/name`.
        revision: A branch, a tag or a commit; None for the main branch.
    """

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return PREFIX + self.repository + (f"@{self.revision}" if self.revision else "")


def is_repository(text: str) -> bool:
    """Whether a text has the form owner/name."""
    return _REPOSITORY.fullmatch(text) is not None


def parse_hub_name(name: str) -> HubModel:
    """What `hf://owner/name@revision` means.

    Raises:
        ConfigError: It has another form.
    """
    repository, at, revision = name.removeprefix(PREFIX).partition("@")
    if not is_repository(repository) or (at and not re.fullmatch(r"[\w./-]{1,255}", revision)):
        raise ConfigError("This is no model on the hub.", where="model", got=name, allowed=_ALLOWED)
    return HubModel(repository, revision or None)


def fetch_from_hub(name: str) -> Path:
    """The folder of a model on the hub, fetched at the first use; without the network, what is in the cache.

    Args:
        name: `hf://owner/name` or `hf://owner/name@revision`. A commit as revision is the same model for ever.

    Raises:
        ConfigError: The name has another form.
        DownloadError: There is no such repository or revision, it may not be read, or the hub cannot be reached.
        MissingDependencyError: The hub's client is not installed.
        WeightsError: There is no model of clipshift in it.
    """
    model = parse_hub_name(name)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error
    try:
        found = snapshot_download(
            model.repository,
            revision=model.revision,
            allow_patterns=list(MODEL_FILES),
            library_name="clipshift",
            library_version=__version__,
        )
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:  # of which the client's other errors are
        raise hub_error(error, str(model), "The model could not be fetched from the hub.") from error
    folder = Path(str(found))
    if not any((folder / file).is_file() for file in MODEL_FILES[1:]):
        raise WeightsError(
            "The repository holds no model in the form of clipshift.",
            where=model,
            allowed=f"model.json with one of {', '.join(MODEL_FILES[1:])}",
            remedy="a checkpoint of another project is read from a file: clipshift convert FILE --to FOLDER",
        )
    return folder


def hub_error(error: Exception, where: str, what: str) -> DownloadError:
    """What an error of the hub's client means to a user."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    remedies = {
        "GatedRepoError": "ask for access on its page, and name a token in the variable HF_TOKEN",
        "RepositoryNotFoundError": "check the name; a private one needs a token in the variable HF_TOKEN",
        "RevisionNotFoundError": "check the revision after the @",
        "LocalEntryNotFoundError": "check the network; without one only what was fetched before is there",
        "OfflineModeIsEnabled": "unset HF_HUB_OFFLINE",
        "LocalTokenNotFoundError": "name a token in the variable HF_TOKEN",
    }
    kinds = [kind.__name__ for kind in type(error).__mro__]
    remedy = next((remedies[kind] for kind in kinds if kind in remedies), None)
    return DownloadError(what, where=where, got=lines[0] if lines else type(error).__name__, remedy=remedy)
