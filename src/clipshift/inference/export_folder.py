"""The folder of an exported model: the file that an engine runs, and `model.json` with everything else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationError

from clipshift.config import ModelSpec
from clipshift.config.schema import Section
from clipshift.errors import ExportError
from clipshift.files import from_json, sha256_of_file, to_json, write_whole

Target = Literal["onnx", "openvino", "torch"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
InputForm = Literal["frames", "clips"]

EXPORT_FILE = "model.json"
_DIGEST = "description_sha256"
FORMAT = 3
"""Version of the folder's layout that this clipshift writes; it reads no newer one, and every older one: 1 had no
`spec.reading`, which then has its defaults, 2 no `spec.calibration`."""
MODEL_FILES: dict[Target, tuple[str, ...]] = {
    "onnx": ("model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "torch": ("model.pt2",),
}
"""The files of each target; the engine opens the first."""
METADATA_KEY = "clipshift"
"""Where the description lies in an ONNX file's metadata and in OpenVINO's `rt_info` (below `framework`)."""


class Checked(Section):
    """How an export was compared with its model before it got its name."""

    clips: int
    """Real clips."""
    unreadable: int = 0
    """Further ones that could not be read; they count as wrong in both accuracies."""
    source: str
    """Where they are from."""
    random_inputs: int
    """Inputs of random frames, of several sizes and batch sizes."""
    largest_difference: float
    """Of a probability, over all inputs."""
    agreement: float
    """Share of the real clips with the same most probable class."""
    accuracy: float | None = None
    """Top-1 of the export on the labeled clips, in [0, 1]."""
    accuracy_of_model: float | None = None
    """Top-1 of the model on the same clips."""
    frames: int | None = None
    """Of a streaming export: random frames, of several sizes, each of which it answered as the model does."""
    largest_frame_error: float | None = None
    """Of the logits of these frames, relative to the largest logit of the model."""


class StreamTensor(Section):
    """One of the tensors that streams keep from frame to frame: an input, and an output of the same shape and type."""

    name: str
    """Of the input."""
    next_name: str
    """Of the output, which is the input of the next step."""
    shape: tuple[int, ...]
    """Of one stream; the tensor has an axis of streams before."""
    dtype: Literal["float32"] = "float32"


class Streaming(Section):
    """What a file that takes one frame of each stream at a time keeps, and answers."""

    window: int
    """Frames that `probabilities` and `logits` are averaged over; `frame_logits` are of the frame alone."""
    states: tuple[StreamTensor, ...]
    """All begin as zeros; a stream is reset by zeros in its row of each."""


class Export(Section):
    """All that is known of an exported model; `model.json`."""

    kind: Literal["export"] = "export"
    format: int = FORMAT
    """Version of the folder's layout."""
    clipshift: str
    """Version of clipshift that wrote it."""
    target: Target
    precision: Precision
    input: InputForm = "frames"
    """`frames`: uint8 (B, T, H, W, 3), RGB, as decoded (scaled to square pixels where `spec.input.pixel_aspect` is
    `apply`), to `probabilities` and `logits` (B, K); `clips`: float32
    (B, T, 3, side, side), normalized, to `logits`, each crop of a frame in a clip of its own."""
    streaming: Streaming | None = None
    """The file takes one frame of each stream at a time: `frame` uint8 (B, H, W, 3) and the states to `probabilities`,
    `logits`, `frame_logits` (B, K) and the next states."""
    spec: ModelSpec
    """Classes, frames, preprocessing, views and origin of the model."""
    excluded_layers: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("excluded_layers", "kept"))
    """Layers of an int8 export that stay in float32 (clipshift 0.x wrote them as `kept`)."""
    license: str = Field(validation_alias=AliasChoices("license", "licence"))
    training: dict[str, Any] = Field(default_factory=dict)
    """All settings of the training, where they are known."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Packages that wrote the file."""
    checked: Checked | None = None
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each file that the engine reads; not in the metadata inside these files."""

    def to_text(self) -> str:
        """JSON, as it lies inside the files; `model.json` has their hashes, too, and its own."""
        return to_json(self.model_dump(mode="json"), indent=2) + "\n"


def write_description(folder: Path, export: Export) -> None:
    """Write `model.json`, with the SHA-256 of what it says.

    Raises:
        OSError: It cannot be written.
    """
    described = export.model_dump(mode="json")
    text = to_json({**described, _DIGEST: _description_digest(described)}, indent=2)
    write_whole(folder / EXPORT_FILE, text + "\n")


def _description_digest(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def find_export(path: str | Path) -> Path | None:
    """The folder of the exported model that `path` means: a folder, or a file in one; None if it is none.

    A folder with the files of an export and without a readable description is one, too: `read_export` tells what is
    wrong with it.
    """
    path = Path(path)
    names = [name for files in MODEL_FILES.values() for name in files]
    if path.is_file():
        return path.parent if path.name in names else None
    try:
        described = from_json((path / EXPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path if any((path / name).is_file() for name in names) else None
    return path if isinstance(described, dict) and described.get("kind") == "export" else None


def read_export(folder: Path) -> Export:
    """The description of an exported model, whose files are checked against it.

    Raises:
        ExportError: It is not valid, a newer clipshift wrote it, or a file is missing or was changed.
    """
    path = folder / EXPORT_FILE
    try:
        described = from_json(path.read_text(encoding="utf-8"))
        version, digest = described.get("format"), described.pop(_DIGEST, None)
    except (OSError, ValueError, AttributeError) as error:
        raise ExportError(
            "The description of the export cannot be read.",
            where=path,
            got=error.strerror if isinstance(error, OSError) else "not the text of JSON",
            remedy="copy the whole folder from where it was made, or export again",
        ) from error
    if not isinstance(version, int) or version > FORMAT:
        raise ExportError(
            "The export was written by a newer clipshift.",
            where=path,
            got=f"format {version}",
            allowed=f"format {FORMAT} or older",
            remedy="pip install --upgrade clipshift",
        )
    try:
        export = Export.model_validate_json(json.dumps(described))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ExportError(
            "The description of the export is not valid.", where=f"{path}: {key}", got=first["msg"]
        ) from error
    if digest != _description_digest(described):
        raise ExportError(
            "The description of the export is not the one that was written: it was damaged or changed.",
            where=path,
            got=f"SHA-256 {_description_digest(described)}",
            allowed=f"SHA-256 {digest or '(the file has none)'}",
            remedy="copy the folder again from where it was made, or export again",
        )
    for name in MODEL_FILES[export.target]:
        _check_file(folder / name, export.files.get(name))
    return export


def _check_file(path: Path, expected: str | None) -> None:
    try:
        digest = sha256_of_file(path)
    except OSError as error:
        raise ExportError("A file of the export cannot be read.", where=path, got=error.strerror) from error
    if digest != expected:
        raise ExportError(
            "A file of the export is not the one that was written and checked: it was damaged or changed.",
            where=path,
            got=f"SHA-256 {digest}",
            allowed=f"SHA-256 {expected}",
            remedy="copy the folder again from where it was made, or export again",
        )
