"""The points of a learning curve from whole trainings, each done once."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from clipshift.config import Config, Settings
from clipshift.datasets.clip import Clip
from clipshift.datasets.write_lists import write_parts
from clipshift.errors import OutputError, TrainingInterrupted
from clipshift.evaluation.results import Evaluation
from clipshift.files import from_json, path_bytes, to_json, write_whole
from clipshift.probing.shares import ClipKey, Trial, key_of
from clipshift.progress import Progress
from clipshift.training.run import train

TRAININGS = "trainings"
_RESULT = "result.json"


def answers_of_training(
    trials: Sequence[Trial],
    settings: Sequence[Settings],
    config: Config,
    *,
    folder: Path,
    recipe: str | Path | None,
    weights: str | Path | None,
    command: str,
    progress: Progress | None = None,
) -> list[dict[ClipKey, bool]]:
    """Which of the tested clips the network of each trial has right.

    Trainings lie in `trainings/`, in a folder named by their settings and clips: one that is done is not done again,
    and one that was interrupted goes on. Of those that are done only the answers are kept.

    Args:
        trials: What is learnt from and tested.
        settings: Of the trainings.
        config: The same, resolved with the recipe.
        folder: Of the learning curve.
        recipe: Of the trainings.
        weights: What they start from.
        command: Goes on after an interruption.
        progress: Called with (trainings done, trainings in all) after each.

    Raises:
        OutputError: A result cannot be written.
        TrainingInterrupted: SIGTERM or Ctrl-C came; everything is kept.
        UserError: As `clipshift.train` does.
    """
    found = []
    for done, trial in enumerate(trials, start=1):
        own = [*settings, f"train.seed={config.train.seed + trial.repeat}", "train.examine=false"]
        place = folder / TRAININGS / _name(trial, own, recipe, weights)
        answers = _stored(place, trial)
        if answers is None:
            lists = write_parts(
                place / "data",
                trial.train.classes,
                {"train": trial.train.clips, "val": trial.test.clips},
                root=place / "data",
            )
            try:
                result = train(lists.data, *own, out=place / "run", recipe=recipe, weights=weights)
            except TrainingInterrupted as stopped:
                raise TrainingInterrupted(stopped.exit_code, stopped.checkpoint, command) from None
            answers = _keep(place, trial, result.evaluation)
        found.append(answers)
        if progress is not None:
            progress(done, len(trials))
    return found


def _name(trial: Trial, settings: Sequence[Settings], recipe: object, weights: object) -> str:
    """Of the folder of a training: another one where the settings or the clips are others."""
    words = f"{[str(each) for each in settings]}\0{recipe}\0{weights}\0{trial.train.classes}"
    digest = hashlib.sha256(path_bytes(words))
    for clip in (*trial.train.clips, None, *trial.test.clips):
        digest.update(path_bytes("\0|" if clip is None else f"\0{clip.source}\0{clip.label}"))
    return f"repeat{trial.repeat}-share{trial.share:g}-{digest.hexdigest()[:12]}"


def _stored(place: Path, trial: Trial) -> dict[ClipKey, bool] | None:
    """The answers of a training that is done."""
    try:
        right = from_json((place / _RESULT).read_text(encoding="utf-8"))["right"]
    except (OSError, ValueError, LookupError, TypeError):  # none yet, or not whole
        return None
    if len(right) != len(trial.test):
        return None
    return {key_of(clip): bool(value) for clip, value in zip(trial.test.clips, right, strict=True)}


def _keep(place: Path, trial: Trial, evaluation: Evaluation) -> dict[ClipKey, bool]:
    """Write down which clips were right, unreadable ones being wrong, and remove the rest of the training."""
    clips: Sequence[Clip] = trial.test.clips
    right = [bool(score.correct) for score in evaluation.scores]
    try:
        write_whole(place / _RESULT, to_json({"right": right}) + "\n")
    except OSError as error:
        raise OutputError.of(error, place) from error
    shutil.rmtree(place / "run", ignore_errors=True)
    return {key_of(clip): value for clip, value in zip(clips, right, strict=True)}
