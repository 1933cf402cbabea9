"""`clipshift.evaluate_events` and `clipshift.fit_events`: how well a model finds events in annotated long videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import numpy as np

from clipshift.config import EventRules, Settings, with_events
from clipshift.datasets.clip import MarkedVideo
from clipshift.datasets.spans import VideoFinder
from clipshift.errors import ConfigError, DataError, RunError
from clipshift.evaluation.event_metrics import EventMetrics, FoundVideo, measure_events
from clipshift.inference.observing import rate_of, rules_of
from clipshift.inference.predictions import Failure
from clipshift.inference.predictor import Model
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.progress import Progress
from clipshift.temporal import FittedRules, ScoredVideo, fit_rules
from clipshift.temporal.annotations import Annotation, check_spans, read_annotations
from clipshift.temporal.fitting import Measure
from clipshift.timelines.making import make_timelines, open_model, split_settings
from clipshift.timelines.report import write_event_report
from clipshift.timelines.result import Timeline
from clipshift.timelines.storing import check_storable, store_events

if TYPE_CHECKING:
    from clipshift.device import Amp

VIDEOS = "videos"
_VALIDATION = ("validation", "val", "test", "testing")
"""Subsets that are measured on where there are several, the first that is there."""


@dataclass(frozen=True)
class EventEvaluation:
    """How well events are found.

    Attributes:
        metrics: The numbers.
        failed: Videos that could not be read, with the reason: their events count as missed.
        data: The file of annotations.
        model: `path` and `sha256` of the model.
        rules: The rules of events.
        rate: Frames a second that the network saw.
        window: Whether it answered for a sliding window.
        folder: Where the results are; None where they were not kept.
    """

    metrics: EventMetrics
    failed: tuple[tuple[str, str], ...]
    data: str
    model: Mapping[str, str]
    rules: EventRules
    rate: float
    window: bool
    folder: Path | None = None

    def to_text(self) -> str:
        """The summary as plain text."""
        lines = self.metrics.lines()
        lines += [f"bad: {name}: {reason} (its events count as missed)" for name, reason in self.failed]
        if self.folder is not None:
            lines += ["", str(self.folder / "report.html")]
        return "\n".join(lines)


@dataclass(frozen=True)
class FittedEvents:
    """Rules that were fitted, and stored in the model.

    Attributes:
        fitted: The rules, and what they reach for each class on the data that they were fitted to.
        stored: The file that has them now.
    """

    fitted: FittedRules
    stored: Path

    def to_text(self) -> str:
        """The summary as plain text."""
        rows = [f"{'class':24} {'events':>6} {'F1':>6} {'false/h':>8}  enter leave smooth shortest merge"]
        for name, fit in self.fitted.classes.items():
            rule = self.fitted.rules.of(name)
            rows.append(
                f"{name:24} {fit.events:6} {100 * fit.f1:5.1f}% {fit.false_per_hour:8.1f}  {rule.enter:5g} "
                f"{rule.leave:5g} {rule.smoothing:6g} {rule.shortest:8g} {rule.merge_gap:5g}"
            )
            if fit.reason is not None:
                rows.append(f"  note: {fit.reason}")
        rows.append(f"lag {self.fitted.rules.lag:g} s; the figures are of the data that the rules were fitted to")
        return "\n".join([*rows, f"stored in {self.stored}"])


@dataclass(frozen=True)
class _Measured:
    """Annotated videos with what a model found in them."""

    annotations: list[Annotation]
    results: list[Timeline | Failure]
    model: Model
    identity: Mapping[str, str]
    rules: EventRules
    rate: float


class _How(TypedDict):
    """How a model answers along the videos."""

    rate: float | None
    window: bool
    device: str
    amp: Amp
    settings: Settings | Sequence[Settings]
    workers: int | Literal["auto"]
    progress: Progress | None


def evaluate_events(  # noqa: PLR0913
    model: str | Path | ModelReference | Model,
    annotations: str | Path,
    *,
    videos: str | Path | None = None,
    subset: str | None = None,
    rate: float | None = None,
    window: bool = False,
    device: str = "auto",
    amp: Amp = "fp32",
    settings: Settings | Sequence[Settings] = (),
    workers: int | Literal["auto"] = "auto",
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> EventEvaluation:
    """Measures how well a model finds the annotated events of long videos.

    Every annotated video counts: of one that cannot be read all events are missed.

    Args:
        model: Run folder, model folder, exported model, or published weights by name. Also what `load` returned.
        annotations: File of what is true, in any form that is read.
        videos: Folder of the videos; by default that of the file of annotations.
        subset: The part of the data to measure on; by default of several parts the validation part, else the test part.
        rate: Frames a second that the network sees, as in its training; by default as the model says.
        window: Let the network answer for a sliding window of its last frames, which any network can. Costs as many
            times more as it has frames.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        settings: As for `timeline`: of events and of reading.
        workers: Processes, each with a video of its own; `auto`: one a core.
        out: Folder for metrics.json, report.html and the time line of each video; the same call again goes on where it
            was interrupted. None keeps nothing.
        progress: Called with the number of videos that are done and of all.

    Returns:
        The metrics.

    Raises:
        ConfigError: As for `timeline`.
        DataError: The annotations cannot be read or have no event, or the model does not know a class.
        OutputError: As for `timeline`.
        RunError: `out` cannot be written.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="clipshift-"))) if out is None else Path(out)
        done = _measure(
            model, annotations, folder / VIDEOS, videos=videos, subset=subset, rate=rate, window=window,
            device=device, amp=amp, settings=settings, workers=workers, progress=progress,
        )  # fmt: skip
        pairs = list(zip(done.annotations, done.results, strict=True))
        found = {note.path: _found(note, result, done.rules) for note, result in pairs}
        evaluation = EventEvaluation(
            measure_events(found, done.rules.background),
            tuple((result.path, result.error) for result in done.results if isinstance(result, Failure)),
            str(annotations),
            done.identity,
            done.rules,
            done.rate,
            window,
            None if out is None else folder,
        )
        if out is not None:
            try:
                write_event_report(folder, evaluation, found, pairs)
            except OSError as error:
                raise RunError("The evaluation cannot be written.", where=folder, got=error) from error
    return evaluation


def fit_events(  # noqa: PLR0913
    model: str | Path | ModelReference,
    annotations: str | Path,
    *,
    videos: str | Path | None = None,
    subset: str | None = None,
    measure: Measure = "f1",
    recall: float = 0.8,
    rate: float | None = None,
    window: bool = False,
    device: str = "auto",
    amp: Amp = "fp32",
    settings: Settings | Sequence[Settings] = (),
    workers: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> FittedEvents:
    """Fits a model's rules of events to annotated long videos, and stores them in the model.

    Videos that cannot be read are left out. Measure the result on others.

    Args:
        model: Run folder, model folder or exported model; its `model.json` gets the rules.
        annotations: File of what is true, in any form that is read.
        videos: Folder of the videos; by default that of the file of annotations.
        subset: The part of the data to fit to; by default of several parts the validation part, else the test part.
        measure: What is made best for each class: f1, or false_events: the fewest that leave a recall.
        recall: Share of the events that false_events leaves found, above 0 and at most 1.
        rate: Frames a second that the network sees, as in its training; by default as the model says.
        window: Let the network answer for a sliding window of its last frames, which any network can. Costs as many
            times more as it has frames.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        settings: As for `timeline`: where the search begins, and of reading.
        workers: Processes, each with a video of its own; `auto`: one a core.
        progress: Called with the number of videos that are done and of all.

    Returns:
        The rules, and where they are.

    Raises:
        ConfigError: As for `timeline`; there is no such measure or recall; or the model is not one's own.
        DataError: As for `evaluate_events`; or no video can be read.
    """
    if measure not in ("f1", "false_events"):
        raise ConfigError("There is no such measure.", where="measure", got=measure, allowed="f1, false_events")
    if not 0 < recall <= 1:
        raise ConfigError("There is no such recall.", where="recall", got=recall, allowed="above 0, at most 1")
    reference = resolve_model(model)
    check_storable(reference)
    with TemporaryDirectory(prefix="clipshift-") as scratch:
        done = _measure(
            reference, annotations, Path(scratch), videos=videos, subset=subset, rate=rate, window=window,
            device=device, amp=amp, settings=settings, workers=workers, progress=progress,
        )  # fmt: skip
        fitted = _fit(done, measure, recall)
    return FittedEvents(fitted, store_events(reference, fitted.rules))


def fit_to_videos(
    model: str | Path, videos: Sequence[MarkedVideo], *, device: str = "auto", progress: Progress | None = None
) -> FittedEvents:
    """As [fit_events][clipshift.timelines.fit_events] with its defaults, to the videos of a data set.

    Args:
        model: Run folder or model folder.
        videos: Each with what is marked in it, in classes of the model.
        device: As for `fit_events`.
        progress: Called with the number of videos that are done and of all.

    Raises:
        ConfigError: The network is not causal, or its model says no rate.
        DataError: A span lies beyond its video, or no video can be read.
    """
    reference = resolve_model(model)
    notes = [Annotation(str(one.path), one.segments, one.duration) for one in videos]
    with TemporaryDirectory(prefix="clipshift-") as scratch:
        done = _measure_notes(
            reference, notes, [one.path for one in videos], Path(scratch), where=reference.folder, rate=None,
            window=False, device=device, amp="fp32", settings=(), workers=0, progress=progress,
        )  # fmt: skip
        fitted = _fit(done, "f1", recall=0.8)
    return FittedEvents(fitted, store_events(reference, fitted.rules))


def _fit(done: _Measured, measure: Measure, recall: float) -> FittedRules:
    scored = [
        _scored(note, result)
        for note, result in zip(done.annotations, done.results, strict=True)
        if isinstance(result, Timeline)
    ]
    if not scored:
        failure = next(one for one in done.results if isinstance(one, Failure))
        raise DataError("Not one of the videos can be read.", where=failure.path, got=failure.error)
    ticks = range(done.model.spec.input.segments + 1)
    return fit_rules(
        scored,
        done.model.classes,
        measure=measure,
        recall=recall,
        base=done.rules,
        lags=[tick / done.rate for tick in ticks],
    )


def _measure(
    model: str | Path | ModelReference | Model,
    annotations: str | Path,
    out: Path,
    *,
    videos: str | Path | None,
    subset: str | None,
    **how: Unpack[_How],
) -> _Measured:
    notes = choose_subset(read_annotations(annotations), subset, Path(annotations))
    folder = Path(annotations).parent if videos is None else Path(videos)
    finder = VideoFinder([folder])
    paths = [finder.find(note.path) or folder / note.path for note in notes]
    return _measure_notes(model, notes, paths, out, where=Path(annotations), **how)


def _measure_notes(
    model: str | Path | ModelReference | Model,
    notes: list[Annotation],
    paths: Sequence[Path],
    out: Path,
    *,
    where: Path,
    **how: Unpack[_How],
) -> _Measured:
    events, reading = split_settings(how["settings"])
    loaded, identity = open_model(model, how["device"], how["amp"], reading)
    rate = rate_of(loaded, how["rate"])
    rules = with_events(rules_of(loaded, rate), loaded.classes, events)
    check_classes(notes, (*loaded.classes, *rules.background), where)
    results = make_timelines(
        loaded, identity, paths, out=out, rules=rules, rate=rate, window=how["window"],
        truth=[note.segments for note in notes], device=how["device"], workers=how["workers"], progress=how["progress"],
    )  # fmt: skip
    return _Measured(notes, results, loaded, identity, rules, rate)


def choose_subset(annotations: Sequence[Annotation], subset: str | None, file: Path) -> list[Annotation]:
    """The annotations of a part of the data.

    Raises:
        DataError: There is no such part, or nothing at all.
    """
    there = sorted({one.subset for one in annotations if one.subset is not None})
    if subset is None and len(there) > 1:
        subset = next((name for name in _VALIDATION if name in there), None)
        if subset is None:
            raise DataError("The data have several parts.", where=file, allowed=there, remedy="name one: --subset")
    chosen = [one for one in annotations if subset is None or one.subset == subset]
    if not chosen:
        raise DataError("There is no annotated video.", where=file, got=subset, allowed=there or None)
    return chosen


def check_classes(annotations: Sequence[Annotation], classes: Sequence[str], file: Path) -> None:
    """Raise an error for annotations that cannot be meant of this model.

    Raises:
        DataError: They have a class that it does not know, or a span that lies beyond its video.
    """
    for finding in check_spans(annotations, classes=set(classes)):
        if finding.kind == "unknown":
            raise DataError(
                "The model does not know a class of the annotations.",
                where=file,
                got=finding.segment.label,
                allowed=classes,
            )
        if finding.kind == "beyond":
            raise DataError("A span of the annotations lies beyond its video.", where=finding.path, got=finding.text)


def _found(note: Annotation, result: Timeline | Failure, rules: EventRules) -> FoundVideo:
    truth = tuple(one for one in note.segments if one.label not in rules.background)
    if isinstance(result, Timeline):
        return FoundVideo(result.events, truth, result.seconds)
    last = max((one.end for one in note.segments), default=0.0)
    return FoundVideo((), truth, note.duration or last)


def _scored(note: Annotation, line: Timeline) -> ScoredVideo:
    with np.load(line.folder / "scores.npz") as scores:
        times, probabilities = scores["times"], scores["probabilities"]
    return ScoredVideo(times, probabilities, note.segments, line.seconds)
