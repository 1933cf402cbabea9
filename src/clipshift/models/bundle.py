"""A trained model on disk: a folder with `model.safetensors` (weights) and `model.json` (everything else).

`model.json` holds the network's and the input's settings, the class names, where the model comes from, and the
SHA-256 of the weights, which is checked at every reading.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from clipshift.config.model_spec import FORMAT, MODEL_FOLDER, SPEC_FILE, WEIGHTS_FILE, ModelSpec
from clipshift.errors import WeightsError
from clipshift.files import from_json, sha256_of_file, sync, to_json, write_whole
from clipshift.models.recognizer import Recognizer

_COMING = ".new"
UNFINISHED = (WEIGHTS_FILE + _COMING, SPEC_FILE + _COMING)
"""What a writer that was killed leaves, where nothing has its name yet."""
_DIGEST = "weights_sha256"


def save_bundle(folder: Path, network: Recognizer, spec: ModelSpec) -> None:
    """Write a model folder, or replace the model in it.

    Other files in the folder stay. A kill or a full disk at any moment leaves the old model or the new one readable.

    Args:
        folder: Made if need be.
        network: Its weights are written as they are, in their own precision.
        spec: Its classes must be as many as the network's.

    Raises:
        ValueError: The spec's classes are not as many as the network's.
        OSError: The folder cannot be written.
    """
    if len(spec.classes) != network.classifier.out_features:
        raise ValueError(f"{len(spec.classes)} class names for {network.classifier.out_features} classes")
    # Tensors that share memory cannot be stored twice, and safetensors stores plain row-major arrays.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    weights = safetensors.torch.save(tensors, metadata={"clipshift": spec.clipshift})
    digest = hashlib.sha256(weights).hexdigest()
    text = to_json({**spec.model_dump(mode="json"), _DIGEST: digest}, indent=2) + "\n"

    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / (WEIGHTS_FILE + _COMING), weights)
    _write(folder / (SPEC_FILE + _COMING), text.encode())
    # Both files are complete now. Between the two renamings the folder has the new weights and the old spec; the
    # reader then finds the spec that belongs to them under its coming name.
    (folder / (WEIGHTS_FILE + _COMING)).replace(folder / WEIGHTS_FILE)
    (folder / (SPEC_FILE + _COMING)).replace(folder / SPEC_FILE)
    sync(folder)


def replace_spec(folder: Path, spec: ModelSpec) -> None:
    """Write another description of the model that lies in a folder; its weights stay.

    Args:
        folder: A model folder.
        spec: Its network and classes must be those of the model.

    Raises:
        WeightsError: There is no model, or it is damaged.
        ValueError: The description is of another network.
        OSError: It cannot be written.
    """
    digest = sha256_of_file(folder / WEIGHTS_FILE)
    present = _read_spec(folder, digest)
    if (spec.model, spec.classes) != (present.model, present.classes):
        raise ValueError("the description is of another network")
    write_whole(folder / SPEC_FILE, to_json({**spec.model_dump(mode="json"), _DIGEST: digest}, indent=2) + "\n")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def find_bundle(path: str | Path) -> Path:
    """The model folder that `path` means: itself, or the one in a run folder.

    Raises:
        WeightsError: Neither is a model folder.
    """
    path = Path(path)
    for folder in (path, path / MODEL_FOLDER):
        if (folder / WEIGHTS_FILE).is_file():
            return folder
    if not path.exists():
        raise WeightsError("There is no such model.", where=path)
    raise WeightsError(
        "There is no model here.",
        where=path,
        allowed=f"a run folder, or a folder with {WEIGHTS_FILE} and {SPEC_FILE}",
    )


def read_bundle(folder: Path) -> tuple[dict[str, Tensor], ModelSpec]:
    """State dict (on the CPU) and spec of a model folder, checked against each other.

    Raises:
        WeightsError: A file is missing or damaged, they do not belong together, or a newer clipshift wrote them.
    """
    try:
        weights = (folder / WEIGHTS_FILE).read_bytes()
    except OSError as error:
        raise WeightsError("The weights of the model cannot be read.", where=folder / WEIGHTS_FILE) from error
    spec = _read_spec(folder, hashlib.sha256(weights).hexdigest())
    try:
        return safetensors.torch.load(weights), spec
    except SafetensorError as error:
        raise WeightsError("The weights are no safetensors file.", where=folder / WEIGHTS_FILE) from error


def load_bundle(folder: str | Path) -> tuple[Recognizer, ModelSpec]:
    """The recognizer of a model folder, in evaluation mode on the CPU, and its spec.

    Raises:
        WeightsError: As for [read_bundle][clipshift.models.bundle.read_bundle], or the weights do not fit the spec.
    """
    folder = Path(folder)
    state, spec = read_bundle(folder)
    network = Recognizer(
        spec.model, segments=spec.input.segments, classes=len(spec.classes), crop=spec.input.crop
    ).eval()
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            "The weights of the model do not fit its description.",
            where=folder,
            got=" ".join(str(error).split())[:200],
        ) from error
    return network, spec


def _read_spec(folder: Path, digest: str) -> ModelSpec:
    path = folder / SPEC_FILE
    described = _read_json(path)
    if described.get(_DIGEST) != digest and (folder / (SPEC_FILE + _COMING)).is_file():
        coming = _read_json(folder / (SPEC_FILE + _COMING))  # the writer was killed between its renamings
        described = coming if coming.get(_DIGEST) == digest else described
    version = described.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise WeightsError(
            "The model was written by a newer clipshift.",
            where=path,
            got=f"format {version}, clipshift {described.get('clipshift')}",
            allowed=f"format {FORMAT} or older",
            remedy="pip install --upgrade clipshift",
        )
    described["format"] = FORMAT  # read, it is one of the present layout
    expected = described.pop(_DIGEST, None)
    if expected != digest:
        raise WeightsError(
            "The weights are not those that the model was saved with: the file was damaged or replaced.",
            where=folder / WEIGHTS_FILE,
            got=f"SHA-256 {digest}",
            allowed=f"SHA-256 {expected}",
            remedy="copy the model folder again from where it was made",
        )
    try:
        return ModelSpec.model_validate_json(json.dumps(described))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise WeightsError("The model's description is not valid.", where=f"{path}: {key}", got=first["msg"]) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        described = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        text = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise WeightsError(f"The model's description {text}.", where=path) from error
    if not isinstance(described, dict):
        raise WeightsError("The model's description cannot be read.", where=path)
    return described
