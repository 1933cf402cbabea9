"""`clipshift.calibrate`: how sure a model may be, from labeled clips that it has not learnt from."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clipshift.config import Calibration, ModelSpec, Settings
from clipshift.config.model_spec import MODEL_FOLDER
from clipshift.errors import DataError, ExportError, RunError, WeightsError
from clipshift.evaluation.calibration import LEAST_CLIPS, calibrate_scores
from clipshift.evaluation.evaluator import evaluate
from clipshift.evaluation.results import Evaluation, load_evaluation, metrics_of
from clipshift.inference.known_clips import load_known_clips, save_known_clips
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.models.bundle import load_bundle, read_bundle, replace_spec, save_bundle
from clipshift.progress import Progress


@dataclass(frozen=True)
class Calibrated:
    """A calibrated model.

    Attributes:
        folder: The model folder.
        calibration: What its description says now.
        evaluation: Of the clips that it was fitted on; with the temperature.
    """

    folder: Path
    calibration: Calibration
    evaluation: Evaluation

    def lines(self) -> list[str]:
        """What was found."""
        return [f"calibrated  {self.calibration.describe()}", f"model       {self.folder}"]


def calibrate(
    model: str | Path | ModelReference,
    data: str | Path,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    settings: Settings | Sequence[Settings] = (),
    progress: Progress | None = None,
) -> Calibrated:
    """Fit how sure a trained model may be, and write it into its description.

    Training does so with its validation clips; this is for models without, and for clips of another place. Exports are
    made anew afterwards.

    Args:
        model: Run folder, model folder, or published weights by name.
        data: Labeled clips that the model has not learnt from: a folder with a folder per class (also in train/ and
            val/), a list, or a data.yaml. Of several parts the validation part is read, else the test part.
        out: Model folder to write; by default the model's own is changed. Published weights need one.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        workers: Threads that read videos ahead of the network; `auto`: one per core.
        settings: Of reading clips, in place of those that the model was trained with, such as
            `"data.max_seconds=50000"` ([ReadingConfig][clipshift.config.ReadingConfig]).
        progress: Called with (videos done, videos in all) after each video.

    Returns:
        The model folder, and what its description says now.

    Raises:
        DataError: The data cannot be used, or has too few clips.
        ExportError: It is an exported model.
        WeightsError: The model cannot be loaded, or lies where nothing is changed.
        RunError: The model cannot be written.
    """
    reference = resolve_model(model)
    if reference.is_export:
        raise ExportError(
            "The temperature is inside an exported file.",
            where=reference.name,
            remedy="calibrate the trained model, then export it again",
        )
    if reference.published is not None and out is None:
        raise WeightsError(
            "Published weights are shared by all who use them.",
            where=reference.name,
            remedy="name a folder for the calibrated model with --out",
        )
    evaluation = evaluate(reference, data, device=device, workers=workers, settings=settings, progress=progress)
    calibration = fit_calibration(evaluation)
    if calibration is None:
        raise DataError(
            "There are too few clips to calibrate on.",
            where=data,
            got=f"{evaluation.metrics.scored} readable clips",
            allowed=f"{LEAST_CLIPS} or more",
        )
    folder = reference.folder if out is None else Path(out)
    try:
        if out is None:
            replace_spec(folder, _calibrated(read_bundle(folder)[1], calibration))
        else:
            network, spec = load_bundle(reference.folder)
            save_bundle(folder, network, _calibrated(spec, calibration))
            if spec.unknown is not None:
                save_known_clips(folder, load_known_clips(reference.folder, spec.unknown))
    except OSError as error:
        raise RunError("The model cannot be written.", where=folder, got=error.strerror or error) from error
    return Calibrated(folder, calibration, with_temperature(evaluation, calibration.temperature))


def calibrate_run(run: Path) -> Evaluation:
    """Fit how sure the model of a run may be on its own evaluation, and write both anew.

    The logits are stored, so this costs no pass over the clips. It does the same each time that it is called.

    Args:
        run: A run folder with a model and an evaluation.

    Returns:
        The evaluation, with the temperature; as it was, if there are too few clips.

    Raises:
        RunError: The evaluation cannot be read, or something not be written.
        WeightsError: The model is damaged.
    """
    evaluation = load_evaluation(run / "evaluation")
    calibration = fit_calibration(evaluation)
    if calibration is None:
        return evaluation
    try:
        replace_spec(run / MODEL_FOLDER, _calibrated(read_bundle(run / MODEL_FOLDER)[1], calibration))
    except OSError as error:
        raise RunError("The model cannot be written.", where=run / MODEL_FOLDER, got=error) from error
    evaluation = with_temperature(evaluation, calibration.temperature)
    evaluation.save(run / "evaluation")
    return evaluation


def say_calibration(run: Path, evaluation: Evaluation) -> str:
    """One line on the calibration of a run's model, for its log."""
    fitted = read_bundle(run / MODEL_FOLDER)[1].calibration
    if fitted is None:
        return (
            f"Not calibrated, the temperature stays 1: {evaluation.metrics.scored} validation clips could be read, and "
            f"{LEAST_CLIPS} are needed. With more labeled clips: clipshift calibrate {shlex.quote(str(run))} DATA"
        )
    return f"Calibrated: {fitted.describe()}."


def fit_calibration(evaluation: Evaluation) -> Calibration | None:
    """How sure the evaluated model may be; None if fewer than `LEAST_CLIPS` clips could be read."""
    logits, targets = evaluation.targets()
    return calibrate_scores(logits, targets, data=Path(evaluation.data).name)


def with_temperature(evaluation: Evaluation, temperature: float) -> Evaluation:
    """The same scores, with probabilities and metrics of logits / temperature."""
    metrics = metrics_of(evaluation.scores, evaluation.classes, evaluation.metrics.bad_policy, temperature)
    return replace(evaluation, metrics=metrics)


def _calibrated(spec: ModelSpec, calibration: Calibration) -> ModelSpec:
    return spec.model_copy(update={"calibration": calibration})
