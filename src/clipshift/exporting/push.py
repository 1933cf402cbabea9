"""A model to a repository of the Hugging Face Hub, or to a folder of the same form, with its card.

Beside the files of the model lie `config.json`, which hubs and their clients read the labels from (`id2label`), and
`README.md`, the card, whose first lines are metadata: license, task, and what was measured (`model-index`).
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clipshift._version import __version__
from clipshift.config import ModelSpec
from clipshift.config.model_spec import SPEC_FILE, WEIGHTS_FILE
from clipshift.errors import ConfigError, MissingDependencyError, OutputError
from clipshift.evaluation.results import METRICS
from clipshift.files import from_json, to_json, write_whole
from clipshift.inference.export_folder import EXPORT_FILE, MODEL_FILES, read_export
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.models.bundle import read_bundle
from clipshift.weights.hub import PREFIX, hub_error, is_repository, parse_hub_name

CONFIG_FILE = "config.json"
CARD_FILE = "README.md"


@dataclass(frozen=True)
class Pushed:
    """Where a model went.

    Attributes:
        place: The folder, or `hf://owner/name@commit`, which loads this very model.
        files: Names of the files.
    """

    place: str
    files: tuple[str, ...]

    def to_text(self) -> str:
        """The place, and how to use it."""
        return f"{', '.join(self.files)}\nclipshift predict {self.place} VIDEO"


def push(
    model: str | Path,
    repository: str | Path,
    *,
    license: str | None = None,  # noqa: A002 - the word of the command line
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
) -> Pushed:
    """Put a model where others can load it: a repository of the Hugging Face Hub, or a folder of the same form.

    The hub's client finds its token in the variable HF_TOKEN or where `hf auth login` left it.

    Args:
        model: Run folder, model folder, exported model, or published weights by name. Programs of `torch.export` are
            not taken: who loads one may run what lies in it.
        repository: OWNER/NAME or hf://OWNER/NAME, made if need be; or a folder, such as ./NAME; new or empty.
        license: Of the model, as the hub names it (apache-2.0, mit ...); by default none is stated.
        private: A repository that is made is private.
        revision: Branch of the repository; by default its main one.
        message: Of the commit.

    Returns:
        Where it is.

    Raises:
        ConfigError: The repository's name is none, or an option is only for the hub.
        DownloadError: The hub cannot be reached, or refuses.
        ExportError: The export is damaged, or a program of `torch.export`.
        MissingDependencyError: The hub's client, or for a trained model PyTorch, is not installed.
        OutputError: The folder holds something else, or cannot be written.
        WeightsError: There is no such model, or it is damaged.
    """
    reference = resolve_model(model)
    spec, files, card = _parts(reference)
    metadata = _metadata(spec, reference, license)
    with tempfile.TemporaryDirectory() as staging:
        folder = Path(staging)
        for name in files:
            shutil.copy2(reference.folder / name, folder / name)
        write_whole(folder / CONFIG_FILE, to_json(_config(spec), indent=2) + "\n")
        write_whole(
            folder / CARD_FILE, f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n\n{card}"
        )
        name = str(repository)
        if name.startswith(PREFIX) or is_repository(name):
            return _to_hub(folder, name, private=private, revision=revision, message=message)
        if private or revision or message:
            raise ConfigError(
                "A folder has no branches, commits and readers.", where=name, allowed=f"{PREFIX}OWNER/NAME"
            )
        return _to_folder(folder, Path(repository))


def _parts(reference: ModelReference) -> tuple[ModelSpec, tuple[str, ...], str]:
    """Description, names of the files, and card of a model, whose checksums are checked."""
    if reference.is_export:
        export = read_export(reference.folder)
        if export.target == "torch":
            raise ConfigError(
                "A program of torch.export is not put where others load it: reading one may run what lies in it.",
                where=reference.folder,
                allowed="a trained model, or an export to onnx or openvino",
            )
        card = (
            (reference.folder / CARD_FILE).read_text(encoding="utf-8")
            if (reference.folder / CARD_FILE).is_file()
            else ""
        )
        return export.spec, (*MODEL_FILES[export.target], EXPORT_FILE), card or _card(export.spec)
    _, spec = read_bundle(reference.folder)
    return spec, (WEIGHTS_FILE, SPEC_FILE), _card(spec)


def _config(spec: ModelSpec) -> dict[str, Any]:
    """What clients of the hub read of a classifier."""
    labels = dict(enumerate(spec.classes))
    return {
        "model_type": "clipshift",
        "architectures": [spec.model.architecture],
        "backbone": spec.model.backbone,
        "num_frames": spec.input.segments,
        "image_size": spec.side,
        "id2label": {str(number): label for number, label in labels.items()},
        "label2id": {label: number for number, label in labels.items()},
        "clipshift_version": __version__,
    }


def _metadata(spec: ModelSpec, reference: ModelReference, license_: str | None) -> dict[str, Any]:
    """The first lines of the card."""
    metadata: dict[str, Any] = {"library_name": "clipshift", "pipeline_tag": "video-classification"}
    if license_ is not None:
        metadata["license"] = license_
    metadata["tags"] = ["clipshift", "video-classification", "action-recognition", spec.model.architecture]
    metrics = _read_metrics(reference.run)
    if metrics:
        data = Path(str(metrics.get("data") or "validation clips")).name
        measured = {
            "top1": "accuracy",
            "top5": "accuracy",
            "mean_class": "accuracy",
            "mean_ap": "mean_average_precision",
        }
        names = {"top1": "Top-1", "top5": "Top-5", "mean_class": "Mean class accuracy", "mean_ap": "mAP"}
        results = [
            {"type": kind, "value": round(float(metrics[key]), 6), "name": names[key]}
            for key, kind in measured.items()
            if isinstance(metrics.get(key), int | float)
        ]
        task = {"type": "video-classification", "name": "Video classification"}
        entry = {"task": task, "dataset": {"name": data, "type": data}, "metrics": results}
        metadata["model-index"] = [{"name": f"{spec.model.architecture}-{spec.model.backbone}", "results": [entry]}]
    return metadata


def _read_metrics(run: Path | None) -> dict[str, Any]:
    """What a run's evaluation of its kept network found; nothing where there is none."""
    path = None if run is None else run / "evaluation" / METRICS
    if path is None or not path.is_file():
        return {}
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _card(spec: ModelSpec) -> str:
    """What a trained model is, and how to use it."""
    origin = "".join(f"| {key.replace('_', ' ')} | {value} |\n" for key, value in spec.provenance.items())
    return f"""# {spec.model.architecture.upper()} over {spec.model.backbone}, {len(spec.classes)} classes

A video classifier of clipshift {spec.clipshift}: {spec.input.segments} frames of {spec.side} px to one of
{", ".join(spec.classes[:60])}{f" and {len(spec.classes) - 60} more" if len(spec.classes) > 60 else ""}.

## How to use it

```python
import clipshift

model = clipshift.load("hf://OWNER/NAME")
print(model.predict("clip.mp4").top(5))
```

## Where it is from

| | |
|---|---|
{origin or "| | not told |" + chr(10)}
## Limits

It always answers with its own classes: a video of something else gets the nearest one. It was measured on the data that
is named above only; measure it on your own before anything depends on it.
"""


def _to_folder(staging: Path, folder: Path) -> Pushed:
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError("The folder for the model holds something else.", where=folder, allowed="new or empty")
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in staging.iterdir())
        # The description comes last: a folder without it is no model.
        for name in sorted(names, key=lambda name: name == SPEC_FILE):
            write_whole(folder / name, (staging / name).read_bytes())
    except OSError as error:
        raise OutputError.of(error, str(folder)) from error
    return Pushed(str(folder), tuple(names))


def _to_hub(staging: Path, name: str, *, private: bool, revision: str | None, message: str | None) -> Pushed:
    model = parse_hub_name(name)
    if model.revision is not None:
        raise ConfigError("A model is put on a branch.", where="repository", got=name, remedy="name it as --revision")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ModuleNotFoundError as error:
        raise MissingDependencyError.of(error) or error from error
    client = HfApi(library_name="clipshift", library_version=__version__)
    try:
        client.create_repo(model.repository, private=private, exist_ok=True)
        if revision is not None:
            client.create_branch(model.repository, branch=revision, exist_ok=True)
        commit = client.upload_folder(
            repo_id=model.repository,
            folder_path=staging,
            revision=revision,
            commit_message=message or f"A model of clipshift {__version__}",
        )
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:  # of which the client's other errors are
        raise hub_error(error, str(model), "The model could not be put on the hub.") from error
    return Pushed(f"{model}@{commit.oid}", tuple(sorted(path.name for path in staging.iterdir())))
