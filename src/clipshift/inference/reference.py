"""What a user names as a model, resolved once: a run folder, a model folder, an export, or published weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipshift.config.model_spec import MODEL_FOLDER, WEIGHTS_FILE
from clipshift.errors import MissingDependencyError
from clipshift.files import sha256_of_file
from clipshift.inference.export_folder import MODEL_FILES, find_export, read_export
from clipshift.inference.importing import without_collections
from clipshift.weights.hub import PREFIX as HUB_PREFIX
from clipshift.weights.hub import fetch_from_hub

if TYPE_CHECKING:
    from clipshift.progress import DownloadProgress
    from clipshift.weights.published import PublishedWeights


@dataclass(frozen=True)
class ModelReference:
    """A model that is there.

    Attributes:
        name: As it was named.
        folder: The model folder, or the folder of the export.
        is_export: Whether it is an exported model.
        run: The run folder that the model is from: it was named, or the model folder lies in it; else None.
        published: What is known of published weights; None for other models.
    """

    name: str
    folder: Path
    is_export: bool = False
    run: Path | None = None
    published: PublishedWeights | None = None

    def identity(self) -> dict[str, str]:
        """What reports say of the model: its folder, and the SHA-256 of its weights.

        Raises:
            ExportError: The description of an export cannot be read.
            OSError: The weights cannot be read.
        """
        file = self.folder / (MODEL_FILES[read_export(self.folder).target][-1] if self.is_export else WEIGHTS_FILE)
        return {"path": str(self.folder), "sha256": sha256_of_file(file)}


def resolve_model(model: str | Path | ModelReference, *, progress: DownloadProgress | None = None) -> ModelReference:
    """Find the model that a path or name means; a path that exists comes before a name.

    Args:
        model: A run folder, a model folder, an export (its folder or file), the name of published weights, which are
            fetched and converted into the cache at their first use, `hf://owner/name@revision` on the Hugging Face Hub,
            or what this function gave.
        progress: Is told how many bytes are there, and of how many, while published weights are fetched.

    Raises:
        ConfigError: A name on the hub is none.
        DownloadError: Published weights, or a model on the hub, cannot be fetched.
        MissingDependencyError: PyTorch, which trained models need, is not installed.
        WeightsError: There is no such model.
    """
    if isinstance(model, ModelReference):
        return model
    if str(model).startswith(HUB_PREFIX):
        folder = fetch_from_hub(str(model))
        return ModelReference(str(model), folder, is_export=find_export(folder) is not None)
    exported = find_export(model)
    if exported is not None:
        return ModelReference(str(model), exported, is_export=True)
    try:  # only here: exported models need no PyTorch
        with without_collections():
            from clipshift.weights.published import published_weights
            from clipshift.weights.resolve import find_model
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error

    named = Path(model).exists()
    folder = find_model(model, progress=progress)
    run = folder.parent if named and folder.name == MODEL_FOLDER else None
    return ModelReference(str(model), folder, run=run, published=None if named else published_weights()[str(model)])
