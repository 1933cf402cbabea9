"""Late fusion: one evaluation from the stored scores of several, without running a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from clipshift.errors import ConfigError, DataError, RunError
from clipshift.evaluation.evaluator import check_some_read
from clipshift.evaluation.metrics import compute_metrics
from clipshift.evaluation.results import METRICS, PREDICTIONS, ClipScore, Evaluation, load_evaluation


def fuse(
    sources: Sequence[str | Path | Evaluation],
    *,
    weights: Sequence[float] | None = None,
    bad: Literal["wrong", "exclude"] | None = None,
    out: str | Path | None = None,
) -> Evaluation:
    """Measures the weighted average of the class probabilities that several evaluations gave the same videos.

    With softmax scores p_i and weights w_i a video's score is sum_i w_i p_i / sum_i w_i (the late fusion of
    Simonyan and Zisserman 2014, section 2); its logarithm is stored as the logits.

    Args:
        sources: Two or more: run folders, folders that `evaluate` wrote into, their `predictions.jsonl`, or
            evaluations. They must be of the same videos, known by their names, with the same labels and class names;
            the order may differ, and is the first one's.
        weights: A number for each of them; by default all count the same. Numbers are positive.
        bad: How videos count that one of them could not read. Default: as in the first.
        out: Folder for metrics.json and predictions.jsonl. None writes nothing.

    Returns:
        The scores of the videos and their metrics.

    Raises:
        ConfigError: There are fewer than two sources, or the weights do not fit.
        DataError: The evaluations are not of the same videos and classes, or there is no video that all could read.
        RunError: A source cannot be read, or `out` not be written.
    """
    parts = [_part(source) for source in sources]
    if out is not None:
        _check_out(Path(out), sources)
    shares = _shares(parts, weights)
    first = parts[0].evaluation
    for part in parts[1:]:
        _check_same(parts[0], part)
    columns = [[part.evaluation.classes.index(name) for name in first.classes] for part in parts]
    rows = [{score.name: score for score in part.evaluation.scores} for part in parts]

    scores = []
    for score in first.scores:
        views = [by_name[score.name] for by_name in rows]
        error = next((view.error or "not scored" for view in views if view.logits is None), None)
        logits = None
        if error is None:
            logs = [
                _log_shares(view, order, part.evaluation.temperature)
                for view, order, part in zip(views, columns, parts, strict=True)
            ]
            logits = tuple(_log_average(logs, shares).tolist())
        scores.append(
            ClipScore(score.name, score.path, score.label, logits, error, span=score.span, region=score.region)
        )

    check_some_read(scores, first.data or parts[0].name)
    scored = [score for score in scores if score.logits is not None]
    evaluation = Evaluation(
        classes=first.classes,
        scores=tuple(scores),
        metrics=compute_metrics(
            torch.tensor([score.logits for score in scored]).reshape(len(scored), len(first.classes)),
            torch.tensor([score.label for score in scored], dtype=torch.int64),
            first.classes,
            bad_labels=[score.label for score in scores if score.logits is None],
            bad=bad or first.metrics.bad_policy,
        ),
        protocol="probabilities averaged: "
        + "; ".join(
            f"{share:.4g} x {part.name} ({part.evaluation.protocol})" for share, part in zip(shares, parts, strict=True)
        ),
        seconds=sum(part.evaluation.seconds for part in parts),
        data=first.data,
        reading=first.reading,
    )
    if out is not None:
        evaluation.save(out)
    return evaluation


@dataclass(frozen=True)
class _Part:
    """One of the evaluations, and what messages call it."""

    name: str
    evaluation: Evaluation


def _part(source: str | Path | Evaluation) -> _Part:
    if isinstance(source, Evaluation):
        return _Part(source.model.get("path", source.data) or "evaluation", source)
    found = _folder(Path(source))
    if (found / PREDICTIONS).is_file():
        return _Part(str(source), load_evaluation(found))
    raise RunError(
        "There are no stored scores.",
        where=source,
        allowed=f"a run folder, or a folder with {PREDICTIONS} and {METRICS}",
        remedy="clipshift evaluate MODEL DATA --out FOLDER writes them",
    )


def _check_out(out: Path, sources: Sequence[str | Path | Evaluation]) -> None:
    """Raises ConfigError where the fusion would replace scores that it is made of."""
    for source in sources:
        if not isinstance(source, Evaluation) and out.exists() and _folder(Path(source)).samefile(out):
            raise ConfigError(
                "The folder for the fusion holds scores that it is made of.",
                where=out,
                got=source,
                remedy="name another folder with --out",
            )


def _folder(path: Path) -> Path:
    """Where the scores lie that a path means; the path, where there are none."""
    folder = path.parent if path.name in (PREDICTIONS, METRICS) else path
    return next((found for found in (folder, folder / "evaluation") if (found / PREDICTIONS).is_file()), path)


def _shares(parts: Sequence[_Part], weights: Sequence[float] | None) -> list[float]:
    """The weights, with the sum 1."""
    if len(parts) < 2:
        raise ConfigError("A fusion needs at least two evaluations.", where="fuse", got=len(parts))
    numbers = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
    if len(numbers) != len(parts):
        raise ConfigError(
            "There must be one weight for each evaluation.",
            where="weights",
            got=f"{len(numbers)} weights for {len(parts)} evaluations",
        )
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        raise ConfigError("The weights of a fusion must be positive.", where="weights", got=numbers)
    return [number / sum(numbers) for number in numbers]


def _check_same(first: _Part, other: _Part) -> None:
    """Raises unless both are of the same classes and videos, with the same labels."""
    one, two = first.evaluation, other.evaluation
    where = f"{first.name} and {other.name}"
    if len(set(one.classes)) != len(one.classes) or sorted(one.classes) != sorted(two.classes):
        raise DataError("The evaluations have other classes.", where=where, got=_difference(one.classes, two.classes))
    if any(score.labels for part in (one, two) for score in part.scores):
        raise DataError("Evaluations of videos with several labels cannot be fused.", where=where)
    names = [[score.name for score in part.scores] for part in (one, two)]
    for part, found in zip((first, other), names, strict=True):
        if len(set(found)) != len(found):
            raise DataError("Two videos of an evaluation have the same name.", where=part.name)
    if set(names[0]) != set(names[1]):
        raise DataError(
            "The evaluations are not of the same videos.",
            where=where,
            got=_difference(*names),
            remedy="evaluate both models on the same data",
        )
    labels = {score.name: two.classes[score.label] for score in two.scores}
    for score in one.scores:
        if one.classes[score.label] != labels[score.name]:
            raise DataError(
                "A video has another label in each evaluation.",
                where=score.name,
                got=f"{one.classes[score.label]} and {labels[score.name]}",
            )


def _difference(one: Sequence[str], two: Sequence[str]) -> str:
    """How many names are in one list alone, with an example."""
    texts = []
    for names, others, place in ((one, two, "first"), (two, one, "second")):
        alone = sorted(set(names) - set(others))
        if alone:
            texts.append(f"{len(alone)} only in the {place}, for example {alone[0]!r}")
    return "; ".join(texts) or "a name twice"


def _log_shares(score: ClipScore, order: Sequence[int], temperature: float) -> Tensor:
    """Logarithms of a video's probabilities, float64 (K,), in the first evaluation's order of classes."""
    return torch.tensor(score.logits, dtype=torch.float64)[list(order)].div(temperature).log_softmax(dim=0)


def _log_average(logs: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """log(sum_i w_i exp(l_i)), float32 (K,), also of probabilities too small for a floating-point number."""
    weighted = torch.stack([log + math.log(share) for log, share in zip(logs, shares, strict=True)])
    return weighted.logsumexp(dim=0).float()
