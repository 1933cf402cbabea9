"""What an evaluation found: one score per video, the metrics of all, and their files."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.cells import cell_len, set_cell_size

from clipshift._version import __version__
from clipshift.config import ReadingConfig, Region
from clipshift.datasets.fragments import stored_region
from clipshift.errors import RunError
from clipshift.evaluation.metrics import (
    CALIBRATION_BINS,
    BadPolicy,
    ClassMetrics,
    Metrics,
    compute_metrics,
    compute_multilabel_metrics,
    metrics_from_json,
    ranking,
    wilson_interval,
)
from clipshift.files import from_json, to_json, write_whole
from clipshift.video import Span

PREDICTIONS = "predictions.jsonl"
METRICS = "metrics.json"

_CLASS_ROWS = 20
_BAD_ROWS = 10
_NAME_WIDTH = 40


@dataclass(frozen=True)
class ClipScore:
    """What the network said about one video.

    Attributes:
        name: Path relative to the data's root, for people.
        path: Absolute path.
        label: The right class, an index.
        logits: K floats of single precision, averaged over the views; None for a video that could not be read.
        error: Why it could not be read, one line; None otherwise.
        labels: All right classes, ascending, where a video may have several; `label` is the first then.
        span: Start and end in seconds, where the clip is a part of the video.
        region: Left, top, width and height as shares of the picture, where it is a part of that.
    """

    name: str
    path: str
    label: int
    logits: tuple[float, ...] | None
    error: str | None
    labels: tuple[int, ...] = ()
    span: Span | None = None
    region: Region | None = None

    @property
    def predicted(self) -> int | None:
        """Index of the highest logit, the lowest such index; None for an unreadable video."""
        return None if self.logits is None else self.logits.index(max(self.logits))

    @property
    def correct(self) -> bool:
        """Whether that is the label, or one of them; an unreadable video is not."""
        return self.predicted in (self.labels or (self.label,))

    def chances(self, temperature: float = 1.0) -> torch.Tensor:
        """(K,) float64: the classes' probabilities.

        Args:
            temperature: Divides the logits.

        Raises:
            ValueError: The video could not be read.
        """
        if self.logits is None:
            raise ValueError(f"{self.name} has no logits")
        logits = torch.tensor(self.logits, dtype=torch.float64) / temperature
        return logits.sigmoid() if self.labels else logits.softmax(dim=0)


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation.

    Attributes:
        classes: K names.
        scores: One per video, in the order of the data.
        metrics: The numbers.
        protocol: How the videos were seen: frames, clips, crops, averaging; one sentence.
        seconds: Wall time of the scoring.
        data: The folder or list that was evaluated.
        model: Which model: `path` and `sha256` of its weights, where they are known.
        reading: How the videos were opened, where that is known.
    """

    classes: tuple[str, ...]
    scores: tuple[ClipScore, ...]
    metrics: Metrics
    protocol: str
    seconds: float
    data: str = ""
    model: dict[str, str] = field(default_factory=dict)
    reading: ReadingConfig | None = None

    @property
    def temperature(self) -> float:
        """What logits are divided by before they become probabilities."""
        return self.metrics.temperature

    def chances(self, score: ClipScore) -> torch.Tensor:
        """(K,) float64: a video's probabilities.

        Raises:
            ValueError: The video could not be read.
        """
        return score.chances(self.temperature)

    def targets(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits float32 (N, K) of the videos that were scored, and their labels: int64 (N,), or bool (N, K)."""
        scored = [score for score in self.scores if score.logits is not None]
        logits = torch.tensor([score.logits for score in scored]).reshape(len(scored), len(self.classes))
        if any(score.labels for score in self.scores):
            return logits, targets_of(scored, len(self.classes))
        return logits, torch.tensor([score.label for score in scored], dtype=torch.int64)

    def save(self, folder: str | Path) -> None:
        """Writes `predictions.jsonl` (one line per video) and `metrics.json` into `folder`, which is made if need be.

        Raises:
            RunError: The folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lines = (to_json(self._prediction(score)) for score in self.scores)
            write_whole(folder / PREDICTIONS, (f"{line}\n" for line in lines))
            write_whole(folder / METRICS, (f"{line}\n" for line in _rows(self._metrics_json())))
        except OSError as error:
            raise RunError("The evaluation cannot be written.", where=folder, got=error) from error

    def to_text(self) -> str:
        """The summary as plain text: totals first, then the metrics, the worst classes and the bad videos."""
        numbers = self.metrics
        lines = [f"{'videos':12}{_totals(numbers)}"]
        for k, share in numbers.topk.items():
            lines.append(f"{f'top-{k}':12}{_percent(share)}{_interval(numbers, share) if k == 1 else ''}")
        if numbers.mean_ap is not None:
            lines.append(
                f"{'mAP':12}{_percent(numbers.mean_ap)} mean average precision; top-1: one of a video's labels"
            )
        left_out = f" ({numbers.empty_classes} without a video left out)" if numbers.empty_classes else ""
        lines.append(f"{'mean class':12}{_percent(numbers.mean_class)} over {len(self.classes)} classes{left_out}")
        lines.append(
            f"{'calibration':12}{numbers.calibration_error:7.4f} expected error, {CALIBRATION_BINS} bins; "
            + _temperature(numbers)
        )
        lines.append(f"{'loss':12}{numbers.loss:7.4f}")
        lines.append(f"{'protocol':12}{self.protocol}")
        lines += ["", *_class_table(numbers.per_class), *self._bad_lines()]
        return "\n".join(lines)

    def _bad_lines(self) -> list[str]:
        bad = [score for score in self.scores if score.error is not None]
        if not bad:
            return []
        how = "counted as wrong" if self.metrics.bad_policy == "wrong" else "left out of all metrics"
        lines = ["", f"bad videos ({len(bad)}, {how}):"]
        lines += [f"  {_printable(score.name)}: {_printable(score.error or '')}" for score in bad[:_BAD_ROWS]]
        if len(bad) > _BAD_ROWS:
            lines.append(f"  ... {len(bad) - _BAD_ROWS} more in {PREDICTIONS}")
        return lines

    def _prediction(self, score: ClipScore) -> dict[str, Any]:
        best: dict[str, float] = {}
        if score.logits is not None:
            logits = torch.tensor([score.logits], dtype=torch.float64)
            chances = self.chances(score).tolist()
            best = {self.classes[index]: round(chances[index], 6) for index in ranking(logits)[0, :5].tolist()}
        predicted = score.predicted
        return {
            "name": score.name,
            "path": score.path,
            **({} if score.span is None else {"start": score.span[0], "end": score.span[1]}),
            **({} if score.region is None else {"region": score.region}),
            "label": score.label,
            "class": self.classes[score.label],
            **({"labels": score.labels, "classes": [self.classes[k] for k in score.labels]} if score.labels else {}),
            "predicted": None if predicted is None else self.classes[predicted],
            "correct": score.correct,
            "probabilities": best,
            # Nine digits bring every float32 back unchanged.
            "logits": None if score.logits is None else [float(f"{logit:.9g}") for logit in score.logits],
            "error": score.error,
        }

    def _metrics_json(self) -> dict[str, Any]:
        return {
            "format": 1,
            "protocol": self.protocol,
            "seconds": round(self.seconds, 3),
            "data": self.data,
            "model": self.model,
            "reading": None if self.reading is None else self.reading.model_dump(mode="json"),
            "versions": {"clipshift": __version__, "torch": torch.__version__, "python": platform.python_version()},
            **self.metrics.to_json(),
        }


def targets_of(scores: Sequence[ClipScore], classes: int) -> torch.Tensor:
    """(N, K) bool: the labels of videos that may have several."""
    targets = torch.zeros(len(scores), classes, dtype=torch.bool)
    for row, score in zip(targets, scores, strict=True):
        row[list(score.labels)] = True
    return targets


def metrics_of(
    scores: Sequence[ClipScore], classes: Sequence[str], bad: BadPolicy, temperature: float = 1.0
) -> Metrics:
    """The metrics of scored videos; `bad` says how the unreadable ones count.

    Args:
        scores: With one label each, or with several.
        classes: K names.
        bad: See `Metrics.bad_policy`.
        temperature: Divides the logits before they become probabilities.
    """
    scored = [score for score in scores if score.logits is not None]
    unreadable = [score for score in scores if score.logits is None]
    logits = torch.tensor([score.logits for score in scored]).reshape(len(scored), len(classes))
    if any(score.labels for score in scores):
        targets, missed = (targets_of(each, len(classes)) for each in (scored, unreadable))
        return compute_multilabel_metrics(
            logits, targets, classes, bad_targets=missed, bad=bad, temperature=temperature
        )
    labels = torch.tensor([score.label for score in scored], dtype=torch.int64)
    missing = [score.label for score in unreadable]
    return compute_metrics(logits, labels, classes, bad_labels=missing, bad=bad, temperature=temperature)


def load_evaluation(folder: str | Path) -> Evaluation:
    """Reads what `Evaluation.save` wrote.

    Raises:
        RunError: A file is missing, or is not what `save` writes.
    """
    folder = Path(folder)
    try:
        values = from_json((folder / METRICS).read_text(encoding="utf-8"))
        metrics = metrics_from_json(values)
        with (folder / PREDICTIONS).open(encoding="utf-8") as lines:
            scores = tuple(_score(from_json(line), len(metrics.per_class)) for line in lines)
        return Evaluation(
            classes=tuple(entry.name for entry in metrics.per_class),
            scores=scores,
            metrics=metrics,
            protocol=str(values["protocol"]),
            seconds=float(values["seconds"]),
            data=str(values["data"]),
            model=dict(values["model"]),
            reading=None if values.get("reading") is None else ReadingConfig.model_validate(values["reading"]),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RunError(
            "The evaluation in this folder cannot be read.",
            where=folder,
            got=" ".join(f"{type(error).__name__}: {error}".split()),
            remedy="run `clipshift evaluate` again",
        ) from error


def _score(line: dict[str, Any], classes: int) -> ClipScore:
    labels, logits = (line["label"], *line.get("labels", ())), line["logits"]
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise ValueError(f"labels {labels} of {classes} classes")
    texts = (line["name"], line["path"], *([] if line["error"] is None else [line["error"]]))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name, path or error that is no text")
    if logits is not None:
        numbers = torch.tensor(logits, dtype=torch.float32)
        if numbers.shape != (classes,) or not numbers.isfinite().all():
            raise ValueError(f"logits that are not a finite number for each of {classes} classes")
        logits = tuple(numbers.tolist())
    span = None
    if line.get("start") is not None:
        span = (float(line["start"]), float(line["end"]))
        if not (math.isfinite(span[0]) and math.isfinite(span[1]) and 0 <= span[0] <= span[1]):
            raise ValueError(f"a span from {span[0]} to {span[1]}")
    region = stored_region(line.get("region"))
    return ClipScore(line["name"], line["path"], line["label"], logits, line["error"], labels[1:], span, region)


def _rows(values: dict[str, Any]) -> Iterable[str]:
    """JSON with one line per key, and one per entry of a list: a confusion matrix stays readable."""
    yield "{"
    for number, (key, value) in enumerate(values.items(), start=1):
        comma = "," if number < len(values) else ""
        if isinstance(value, list) and value:
            rows = [to_json(entry) for entry in value]
            yield f"  {json.dumps(key)}: ["
            yield ",\n".join(f"    {row}" for row in rows)
            yield f"  ]{comma}"
        else:
            yield f"  {json.dumps(key)}: {to_json(value)}{comma}"
    yield "}"


def _totals(numbers: Metrics) -> str:
    text = f"{numbers.total} total, {numbers.scored} scored, {numbers.bad} bad"
    if not numbers.bad:
        return text
    return text + (" (counted as wrong)" if numbers.bad_policy == "wrong" else " (left out of all metrics)")


def _temperature(numbers: Metrics) -> str:
    if numbers.calibration_error_before is None:
        return "not calibrated: temperature 1"
    return f"temperature {numbers.temperature:.3g}, without it {numbers.calibration_error_before:.4f}"


def _interval(numbers: Metrics, share: float) -> str:
    counted = numbers.total if numbers.bad_policy == "wrong" else numbers.scored
    if not counted:
        return ""
    low, high = wilson_interval(round(share * counted), counted)
    return f"   95 % interval {100 * low:.1f} to {100 * high:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:7.2f} %"


def _class_table(entries: Iterable[ClassMetrics]) -> list[str]:
    # The worst first; classes without a video last: there is nothing to see.
    ordered = sorted(entries, key=lambda entry: 2.0 if entry.accuracy is None else entry.accuracy)
    shown = ordered[:_CLASS_ROWS]
    names = [_printable(entry.name) for entry in shown]
    width = min(_NAME_WIDTH, max([cell_len(name) for name in names] + [len("class (worst first)")]))
    lines = [f"{'class (worst first)':{width}}  videos  accuracy  precision      F1"]
    for entry, name in zip(shown, names, strict=True):
        cells = f"{_cell(entry.accuracy):>8}  {_cell(entry.precision):>9}  {_cell(entry.f1):>6}"
        lines.append(f"{_fit(name, width)}  {entry.support:6}  {cells}")
    if len(ordered) > len(shown):
        lines.append(f"... {len(ordered) - len(shown)} more in {METRICS}")
    return lines


def _fit(name: str, width: int) -> str:
    return set_cell_size(name, width) if cell_len(name) <= width else set_cell_size(name, width - 1) + "…"


def _cell(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _printable(text: str) -> str:
    """Names come from other people's files: no control characters reach the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
