"""`clipshift.export`: a trained model as a file for an engine, delivered only when it gives the model's numbers."""

from __future__ import annotations

import copy
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
import yaml

from clipshift._version import __version__
from clipshift.config import Crops, ModelSpec, Settings, with_reading
from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.datasets.clip import Clip, evenly, some
from clipshift.errors import ConfigError, ExportError
from clipshift.exporting.card import card_text
from clipshift.exporting.check_clips import (
    GENERATED,
    CalibrationClips,
    calibration_clips,
    find_labeled,
    generated_clips,
    validation_clips,
)
from clipshift.exporting.comparison import Answers, answer
from clipshift.exporting.parity import check
from clipshift.exporting.streaming_graph import check_frames, check_streaming, describe_streaming
from clipshift.exporting.targets import WRITERS, Quantize, check_target, give_name, package_versions
from clipshift.files import printable, sha256_of_file, write_whole
from clipshift.inference.export_folder import (
    MODEL_FILES,
    Checked,
    Export,
    InputForm,
    Precision,
    Target,
    find_export,
    write_description,
)
from clipshift.inference.network_scorer import NetworkScorer
from clipshift.inference.predictor import Model, load
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.locks import hold
from clipshift.models.bundle import load_bundle
from clipshift.models.pieces import first_layers_in_pieces
from clipshift.models.recognizer import Recognizer
from clipshift.parallel.prefetch import pick_threads
from clipshift.progress import Progress
from clipshift.training.run_folder import CONFIG, is_unfinished

MOST_CLIPS = 64
"""Real clips that an export is compared on."""


@dataclass(frozen=True)
class Exported:
    """A delivered export.

    Attributes:
        folder: Where it is.
        export: What it is, with the numbers of its check.
        notes: What a user should know.
    """

    folder: Path
    export: Export
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What happened, and the command to go on with."""
        export = self.export
        size = sum((self.folder / name).stat().st_size for name in MODEL_FILES[export.target]) / 1e6
        lines = [
            f"file      {self.folder / MODEL_FILES[export.target][0]}, {size:.1f} MB, {export.precision}",
            f"takes     {_takes(export)}",
        ]
        if export.checked is not None:
            lines += _check_lines(export.checked)
        fitted = export.spec.calibration
        lines.append(f"calibrated {'no: temperature 1' if fitted is None else fitted.describe()}")
        if export.excluded_layers:
            lines.append(f"excluded  from int8, in float32: {some(list(export.excluded_layers))}")
        lines += [f"note      {note}" for note in self.notes]
        return [*lines, "", f"clipshift predict {shlex.quote(str(self.folder))} VIDEO"]


def _takes(export: Export) -> str:
    segments, side = export.spec.input.segments, export.spec.side
    if export.input == "clips":
        return f"clips float32 (clips, {segments}, 3, {side}, {side}), normalized"
    frames = f"frames uint8 (clips, {segments}, height, width, 3)"
    if export.streaming is not None:
        frames = f"one frame uint8 (streams, height, width, 3) and {len(export.streaming.states)} states"
    cut = "as decoded"
    if export.spec.input.region == "motion":
        cut = "cut to the region that moves (docs/regions.md): clipshift does that, the file cannot"
    return f"{frames}, RGB, {cut}; any height and width"


def _check_lines(checked: Checked) -> list[str]:
    unread, wrong = "", ""
    if checked.unreadable:
        unread, wrong = f"; {checked.unreadable} more cannot be read", ", the unreadable ones as wrong"
    lines = [
        f"checked   {checked.clips} clips ({checked.source}{unread}) and {checked.random_inputs} random inputs: "
        f"probabilities differ by {checked.largest_difference:.1e} at most, same class in {checked.agreement:.1%}"
    ]
    if checked.largest_frame_error is not None:
        lines.append(
            f"stepwise  {checked.frames} random frames, one at a time: "
            f"logits differ by {checked.largest_frame_error:.1e} of the largest at most"
        )
    if checked.accuracy is not None and checked.accuracy_of_model is not None:
        lines.append(
            f"accuracy  {checked.accuracy:.1%} of the clips; of the model {checked.accuracy_of_model:.1%}{wrong}"
        )
    return lines


def export(  # noqa: PLR0913
    model: str | Path,
    *,
    to: Target,
    out: str | Path,
    precision: Precision = "fp32",
    input: InputForm = "frames",  # noqa: A002 - the word of the command line
    data: str | Path | None = None,
    calibrate: str | Path | None = None,
    crops: Crops | None = None,
    streaming: bool = False,
    license: str | None = None,  # noqa: A002 - the word of the command line
    settings: Settings | Sequence[Settings] = (),
    progress: Progress | None = None,
) -> Exported:
    """Write a trained model as a file that an engine runs without PyTorch, and prove that it gives the same numbers.

    The file takes frames as decoded and does scaling, crops, normalization, network and softmax itself. Before the
    folder gets its name, the file is run on random frames of several sizes and on real clips against the model: in fp32
    probabilities may differ by 1e-4 and every clip has the same class; in fp16 and bf16 99.5 % of the clips, in int8
    99 %, and there the accuracy on labeled clips may fall by half a point.

    Args:
        model: Run folder, model folder, or published weights by name.
        to: onnx (ONNX Runtime, TensorRT, browsers), openvino, or torch. For torch, the file is a program of
            `torch.export`.
        out: Folder for the export; new or empty.
        precision: fp32, fp16, bf16 (OpenVINO only) or int8 (not torch). In fp16, files for ONNX are for GPUs, those for
            OpenVINO are stored in half precision.
        input: What the file takes: frames as decoded, or clips, normalized frames. With `clips`, for programs with a
            preprocessing of their own, it gives logits.
        data: Clips to check on, with labels or without; by default the run's validation clips. Where there are none,
            generated ones.
        calibrate: Data set for int8. Ranges are measured on its training clips; all its clips check the file, the
            accuracy those of the validation part.
        crops: Crops of every frame inside the file; by default the model's own.
        streaming: The file takes one frame of a live stream at a time; of causal networks (onnx, openvino). It gives
            back what the streams keep. In fp32, the logits of every frame are compared, too: they may differ by 1e-5 of
            the largest.
        license: Of the model, for its card; by default that of the published weights. Else "not stated".
        settings: Of reading clips, in place of those that the model was trained with, such as
            `"data.max_seconds=50000"` ([ReadingConfig][clipshift.config.ReadingConfig]); they become the export's.
        progress: Called with (clips done, clips in all) in each pass over the real clips.

    Returns:
        Where it is, and what the check found.

    Raises:
        ConfigError: An option has a value that is not allowed.
        ExportError: The run is not finished, the folder is taken, the target cannot hold the model, or the file does
            not give the model's numbers.
        MissingDependencyError: A package for this target is not installed.
        WeightsError: There is no model, or it is damaged.
        DataError: `data` or `calibrate` cannot be used.
    """
    out = Path(out)
    _check_words(to=to, precision=precision, input=input, crops=crops or "center")
    check_target(to, precision)
    _check_calibration(precision, data=data, calibrate=calibrate)
    _check_out(out)
    _check_trained(model)
    trained = _read_trained(model, settings, crops)
    if streaming:
        check_streaming(trained.network, trained.spec, to, precision, input)
    description = Export(
        clipshift=__version__,
        target=to,
        precision=precision,
        input=input,
        streaming=describe_streaming(trained.network, trained.spec) if streaming else None,
        spec=trained.spec,
        license=license or trained.license,
        training=trained.training,
        versions=package_versions(to),
    )
    reference = trained.model()
    calibration = None if calibrate is None else calibration_clips(calibrate, trained.spec)
    with _staging(out) as staging, _clips(trained, data, calibration) as (clips, source):
        expected, quantize = None, None
        if calibration is not None:
            expected = answer(reference, clips, workers=pick_threads("auto"), progress=progress)
            quantize = _quantizer(description, calibration, reference, expected)
        description = write_files(staging, trained.network, description, quantize)
        checked = _check_files(staging, reference, description, clips, source, expected, progress)
        description = description.model_copy(update={"checked": checked})
        write_description(staging, description)
        write_whole(staging / "README.md", card_text(description, out))
        give_name(staging, out)
    return Exported(out, description, _notes(trained, source))


def write_files(folder: Path, network: Recognizer, description: Export, quantize: Quantize | None = None) -> Export:
    """Write what an engine needs to run a network; whether it gives the network's numbers is not looked at.

    Args:
        folder: Where to; is there, and empty.
        network: In evaluation mode.
        description: Target, precision, input and preprocessing.
        quantize: Makes the int8 form; needed for that precision.

    Returns:
        The description with the hashes of the files and the layers that stayed in float32, as it lies in the folder.
    """
    description = WRITERS[description.target](folder, network, description, quantize)
    files = {name: sha256_of_file(folder / name) for name in MODEL_FILES[description.target]}
    description = description.model_copy(update={"files": files})
    write_description(folder, description)
    return description


def _check_files(
    folder: Path,
    reference: Model,
    description: Export,
    clips: list[Clip],
    source: str,
    expected: Answers | None,
    progress: Progress | None,
) -> Checked:
    """Open what was written as a user would, and compare it with the trained model."""
    written = load(folder, device="cpu")
    checked = check(reference, written, clips, source, description, expected=expected, progress=progress)
    if description.streaming is None:
        return checked
    precision, spec = description.precision, description.spec
    return check_frames(reference.scorer.stepper, written.scorer.stepper, spec, precision, checked)


def _quantizer(description: Export, calibration: CalibrationClips, reference: Model, expected: Answers) -> Quantize:
    from clipshift.exporting.quantization.calibration import quantizer  # nncf is slow to import, and an extra

    return quantizer(description, calibration, reference, expected)


def _notes(trained: _TrainedModel, source: str) -> tuple[str, ...]:
    notes = []
    if trained.reference.run is not None and is_unfinished(trained.reference.run):
        notes.append("the training of this model is not finished: this is the best of its epochs so far")
    if trained.tells_unknown:
        notes.append("an export does not tell unknown clips, as the model does: every clip gets one of its classes")
    if source == GENERATED:
        notes.append("no clips of your own were at hand for the check; name some with --data")
    return tuple(notes)


_WORDS = {"to": Target, "precision": Precision, "input": InputForm, "crops": Crops}


def _check_words(**given: str) -> None:
    for option, word in given.items():
        if word not in get_args(_WORDS[option]):
            raise ConfigError(
                "An option has a value that is not allowed.", where=option, got=word, allowed=get_args(_WORDS[option])
            )


def _check_calibration(precision: Precision, *, data: str | Path | None, calibrate: str | Path | None) -> None:
    if calibrate is not None and precision != "int8":
        raise ExportError("Only int8 is calibrated.", where="--calibrate", got=precision, remedy="--precision int8")
    if precision == "int8" and (calibrate is None or data is not None):
        raise ExportError(
            "int8 needs clips to measure the ranges of its numbers on, and is checked on the same data set.",
            where="--calibrate, --data",
            remedy="name the data set that the model was trained on, --calibrate DATA, and leave --data out",
        )


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(
            "The output folder is there already.", where=out, remedy="choose another one with --out, or remove it"
        )


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder beside `out`, gone afterwards unless it became `out`."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = out.with_name(f".{out.name}.lock")
        with (
            hold(lock, doing="exports into this folder", error=ExportError, where=out),
            tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as scratch,
        ):
            _check_out(out)  # another process may have been quicker
            staging = Path(scratch) / "export"
            staging.mkdir()
            yield staging
    except OSError as error:
        raise ExportError("The export cannot be written.", where=out, got=error.strerror or error) from error


@contextmanager
def _clips(
    trained: _TrainedModel, data: str | Path | None, calibration: CalibrationClips | None
) -> Iterator[tuple[list[Clip], str]]:
    """Clips to compare on, and where they are from."""
    if calibration is not None:
        yield calibration.all(), "of the calibration and its validation"
        return
    if data is not None:
        yield evenly(find_labeled(data, trained.spec), MOST_CLIPS), printable(str(data))
        return
    run = trained.reference.run
    clips = [] if run is None else validation_clips(run)
    if trained.spec.labels == "several":  # a run folder does not tell all labels of a clip
        clips = [replace(clip, label=None) for clip in clips]
    if clips:
        yield evenly(clips, MOST_CLIPS), "the run's validation clips"
        return
    with generated_clips() as made:
        yield made, GENERATED


@dataclass(frozen=True)
class _TrainedModel:
    """The model that is exported, resolved once."""

    reference: ModelReference
    network: Recognizer
    spec: ModelSpec
    training: dict[str, Any]
    """All settings of its training, where they are known."""
    tells_unknown: bool
    """Whether it tells unknown clips by its features; the file gives none, so its description has nothing of that."""

    @property
    def license(self) -> str:
        """Of published weights, that of their source project."""
        published = self.reference.published
        return "not stated" if published is None else f"{published.project.license} (of the weights' source project)"

    def model(self) -> Model:
        """What the export is compared with: the network in its trained form, on the CPU in float32.

        Its numbers lie in memory as engines have them, channels last, and its first layers may take a few frames at a
        time: the same modules with the same numbers, half as long.
        """
        network = copy.deepcopy(self.network).eval().to(memory_format=torch.channels_last)
        first_layers_in_pieces(network)
        return Model(NetworkScorer(network, self.spec, torch.device("cpu"), as_trained=True))


def _read_trained(model: str | Path, settings: Settings | Sequence[Settings], crops: Crops | None) -> _TrainedModel:
    reference = resolve_model(model)
    network, spec = load_bundle(reference.folder)
    changes = {"unknown": None} if crops is None else {"unknown": None, "crops": crops}
    exported = with_reading(spec.model_copy(update=changes), settings)
    return _TrainedModel(reference, network, exported, _read_training(reference.run), spec.unknown is not None)


def _read_training(run: Path | None) -> dict[str, Any]:
    config = None if run is None else run / CONFIG
    if config is None or not config.is_file():
        return {}
    try:
        return dict(yaml.safe_load(config.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise ExportError("The settings of the training cannot be read.", where=config) from error


def _check_trained(model: str | Path) -> None:
    """Raise an error for an export, and for a run whose training is not finished."""
    if find_export(model) is not None:
        raise ExportError(
            "This is an exported model already.", where=model, remedy="name the trained model that it was made from"
        )
    run = Path(model)
    if not is_unfinished(run):
        return
    go_on = "give the same 'clipshift train' command again: it goes on where it stopped"
    best = run / MODEL_FOLDER
    if not best.is_dir():
        raise ExportError("The training of this run has not finished a single epoch.", where=run, remedy=go_on)
    raise ExportError(
        "The training of this run is not finished.",
        where=run,
        remedy=f"{go_on}; or name its best model so far in place of the run: "
        f"clipshift export {shlex.quote(str(best))} --to onnx --out FOLDER",
    )
