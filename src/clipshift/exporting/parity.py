"""Whether an export gives its model's numbers, and what its precision is allowed to change in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipshift.datasets.clip import Clip
from clipshift.errors import ExportError
from clipshift.exporting.comparison import (
    AGREEMENT,
    LARGEST_DIFFERENCE,
    MOST_ACCURACY_LOST,
    Answers,
    Difference,
    accuracy,
    answer,
    difference,
    random_frames,
)
from clipshift.inference.export_folder import Checked, Export
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.predictor import Model
from clipshift.parallel.prefetch import pick_threads
from clipshift.progress import Progress


@dataclass(frozen=True, eq=False)
class Comparison:
    """An export beside its model, before anybody judges.

    Attributes:
        largest: The largest difference of a probability, over the random inputs and the clips; NaN where a
            probability is.
        random_inputs: How many inputs of random frames there were.
        gap: How far the answers for the clips are apart.
        expected: The model's answers for the clips.
        found: The export's.
    """

    largest: float
    random_inputs: int
    gap: Difference
    expected: Answers
    found: Answers


def compare(
    reference: Model,
    exported: Model,
    clips: Sequence[Clip],
    *,
    expected: Answers | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Let a model and its export answer for random frames and real clips.

    Args:
        reference: The trained model.
        exported: The export, opened as a user would.
        clips: Real clips.
        expected: The trained model's answers for them, where they are known.
        progress: Called with (clips done, clips in all), for each of the two.
    """
    random_gap, inputs = _compare_random(reference, exported)
    workers = pick_threads("auto")
    expected = expected or answer(reference, clips, workers=workers, progress=progress)
    found = answer(exported, clips, workers=workers, progress=progress)
    gap = difference(expected, found)
    largest = float(np.maximum(random_gap, gap.largest))  # unlike `max`, it keeps NaN
    return Comparison(largest, inputs, gap, expected, found)


def check(
    reference: Model,
    exported: Model,
    clips: Sequence[Clip],
    source: str,
    description: Export,
    *,
    expected: Answers | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Compare an export with its model, and judge it by what its precision allows.

    Args:
        reference: The trained model.
        exported: The export, opened as a user would.
        clips: Real clips.
        source: Where they are from, in words.
        description: Gives the precision.
        expected: As for `compare`.
        progress: As for `compare`.

    Raises:
        ExportError: They differ by more than the precision allows; the error has the numbers.
    """
    compared = compare(reference, exported, clips, expected=expected, progress=progress)
    if not compared.gap.clips:
        raise ExportError(
            "None of the clips for the check could be read.",
            where=source,
            got=compared.expected.errors.get(0, compared.found.errors.get(0)),
            remedy="mend what is said of the clip, or name other clips with --data",
        )
    if not np.isfinite(compared.largest):
        raise ExportError(
            "The exported file or its model answers with NaN; nothing was written.",
            where=f"{description.target}, {description.precision}",
            remedy="--precision fp32" if description.precision != "fp32" else None,
        )
    checked = Checked(
        clips=compared.gap.clips,
        unreadable=len(compared.expected.errors),
        source=source,
        random_inputs=compared.random_inputs,
        largest_difference=compared.largest,
        agreement=compared.gap.agreement,
        accuracy=accuracy(compared.found, clips),
        accuracy_of_model=accuracy(compared.expected, clips),
    )
    _judge(checked, compared, clips, description)
    return checked


def _judge(checked: Checked, compared: Comparison, clips: Sequence[Clip], description: Export) -> None:
    precision, gap = description.precision, compared.gap
    where = f"{description.target}, {precision}"
    if precision == "fp32" and checked.largest_difference > LARGEST_DIFFERENCE:
        raise ExportError(
            "The exported file does not give the numbers of the model; nothing was written.",
            where=where,
            got=f"a probability differs by {checked.largest_difference:.1e}",
            allowed=f"{LARGEST_DIFFERENCE:.0e}",
        )
    if gap.agreement < AGREEMENT[precision]:
        names = [
            f"{clips[number].name}: {_two_classes(compared, number, description)}" for number in gap.disagreeing[:3]
        ]
        raise ExportError(
            "The exported file gives clips another class than the model; nothing was written.",
            where=where,
            got=f"the same class in {gap.agreement:.1%} of {gap.clips} clips ({'; '.join(names)})",
            allowed=f"at least {AGREEMENT[precision]:.1%}",
            remedy="--precision fp32" if precision != "fp32" else None,
        )
    if precision == "int8" and checked.accuracy is not None and checked.accuracy_of_model is not None:
        lost = checked.accuracy_of_model - checked.accuracy
        if lost > MOST_ACCURACY_LOST:
            raise ExportError(
                "The exported file is less accurate than the model; nothing was written.",
                where=where,
                got=f"{checked.accuracy:.1%} of the clips, the model {checked.accuracy_of_model:.1%}",
                allowed=f"{MOST_ACCURACY_LOST:.1%} less",
                remedy="--precision fp32, or more clips for --calibrate",
            )


def _two_classes(compared: Comparison, number: int, description: Export) -> str:
    """The classes that a clip gets, with the model's probabilities of both: how far it tells them apart itself."""
    expected, found = compared.expected, compared.found
    if not (expected.read[number] and found.read[number]):
        return f"read by the {'model' if expected.read[number] else 'export'} alone"
    one, other = int(expected.best[number]), int(found.best[number])
    chances, classes = expected.probabilities[number], description.spec.classes
    return f"{classes[one]} ({chances[one]:.3f}), exported: {classes[other]} (in the model {chances[other]:.3f})"


def _answers(scorer: ExportScorer, frames_BTHWC: np.ndarray) -> tuple[np.ndarray, ...]:
    """The logits of an export, float32 (B, K), and where the file gives them, its probabilities."""
    if scorer.export.input != "frames":
        return (scorer.sets(frames_BTHWC),)
    if scorer.spec.input.region != "motion":
        return scorer.session.both(frames_BTHWC)
    answers = [scorer.session.both(np.stack(scorer.inputs(clip))) for clip in frames_BTHWC]  # of a size for each
    return tuple(np.concatenate(rows) for rows in zip(*answers, strict=True))


def _compare_random(reference: Model, exported: Model) -> tuple[float, int]:
    """The largest difference of a probability, and the number of inputs."""
    scorer = exported.scorer
    if not isinstance(scorer, ExportScorer):
        raise TypeError("an exported model is expected")
    largest, inputs = 0.0, 0
    for frames_BTHWC in random_frames(reference.spec):
        expected = np.stack([reference.probabilities(reference.scorer.one_set(clip)) for clip in frames_BTHWC])
        logits_BK, *own = _answers(scorer, frames_BTHWC)
        found = np.stack([exported.probabilities(logits) for logits in logits_BK])
        gaps = [np.abs(answer - expected).max() for answer in (found, *own)]
        largest = float(np.max([largest, *gaps]))  # unlike the `max` of Python, it keeps NaN
        inputs += 1
    return largest, inputs
