"""The report of a run or of an evaluation: one HTML file that needs nothing else and opens offline."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined, Template
from pydantic import ValidationError
from torch.nn import functional as F

from clipshift._version import __version__
from clipshift.config import DataConfig, ReadingConfig, flatten
from clipshift.errors import RunError
from clipshift.evaluation.metrics import CALIBRATION_BINS, Metrics, wilson_interval
from clipshift.evaluation.report.canvas import DARK, Plot, render, save_plots
from clipshift.evaluation.report.mistakes import Explain, explainer
from clipshift.evaluation.report.plots import evaluation_plots, training_plots
from clipshift.evaluation.report.run_files import RunFiles, read_run
from clipshift.evaluation.report.strips import clip_strip, data_uri, tensor_strip
from clipshift.evaluation.results import ClipScore, Evaluation
from clipshift.files import printable, write_whole
from clipshift.video import Limits

REPORT = "report.html"

_MOST_WRONG = 12
_MOST_UNCERTAIN = 4
_MOST_PAIRS = 10
_MOST_BAD = 50
_MOST_BATCH = 8
_MOST_FRAMES = 8
_MOST_SECONDS = 1e9

Section = dict[str, Any]


def write_report(run: str | Path, *, title: str | None = None, explain: bool = False) -> Path:
    """Writes `report.html`, and the plots as `plots/*.png`, from the files of a run folder.

    Sections whose files are missing are left out, so the folder of an evaluation alone is enough. Frames are decoded
    again from the clips' own paths; a clip that is no longer there is said, and does not matter otherwise.

    Args:
        run: A run folder, or a folder that `Evaluation.save` wrote.
        title: Headline of the report. Default: the folder's name.
        explain: Show, of the worst mistakes, which frames and what in them made the model answer so
            ([explain][clipshift.evaluation.explaining.explain.explain]). Takes about ten answers of it for each.

    Returns:
        The path of the report.

    Raises:
        RunError: There is nothing to report in the folder, or it cannot be written; or the mistakes cannot be
            explained, as the model is not known.
        WeightsError: The model that explains is no longer there.
    """
    folder = Path(run)
    found = read_run(folder)
    if found.empty:
        raise RunError(
            "There is nothing to report in this folder.",
            where=folder,
            got="; ".join(found.notes) or None,
            allowed="a run folder, or one with predictions.jsonl and metrics.json",
            remedy="check the path, or run `clipshift evaluate` with --out",
        )
    html = _template().render(
        title=title or folder.resolve().name,
        version=__version__,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        facts=_facts(found),
        notes=found.notes,
        headline=_headline(found),
        examined=found.examination,
        kept=found.old_classes,
        training=_training(found),
        confusion=_confusion(found),
        classes=_classes(found),
        clips=_clips(found, explainer(found) if explain else None),
        batch=_batch(found),
        data=_data(found),
        bad=_bad(found),
        config_text=found.config_text,
        environment=_rows(found.environment),
        commands=_commands(found),
    )
    path = folder / REPORT
    try:
        write_whole(path, html)
    except OSError as error:
        raise RunError("The report cannot be written.", where=path, got=error) from error
    return path


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    environment.filters["percent"] = _percent
    environment.filters["plural"] = _plural
    source = files("clipshift.evaluation.report").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _printable(value: object) -> object:
    return printable(value, line_breaks=True) if type(value) is str else value  # and not what is marked as safe


def _percent(share: float | None) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def _plural(count: int, word: str) -> str:
    ending = "" if count == 1 else "es" if word.endswith("s") else "s"
    return f"{count:,} {word}{ending}"


def _pictures(folder: Path, plots: Sequence[Plot]) -> dict[str, Section]:
    """The plots by name, as data URIs in both themes; the light ones become files, too."""
    try:
        paths = save_plots(folder / "plots", plots)
        return {
            plot.name: {
                "title": plot.title,
                "width": round(96 * plot.size[0]),
                "light": data_uri(path.read_bytes(), "image/png"),
                "dark": data_uri(render(plot, DARK), "image/png"),
            }
            for plot, path in zip(plots, paths, strict=True)
        }
    except OSError as error:
        raise RunError("The plots cannot be written.", where=folder / "plots", got=error) from error


def _facts(found: RunFiles) -> list[str]:
    """The line under the title: what was trained, on how much, for how long."""
    model, settings = found.config.get("model") or found.model.get("model"), found.config.get("input")
    settings = settings or found.model.get("input")
    facts = []
    if isinstance(model, Mapping):
        facts.append(f"{str(model.get('architecture', '')).upper()} on {model.get('backbone', '?')}")
    if isinstance(settings, Mapping):
        facts.append(f"{settings.get('segments', '?')} frames of {settings.get('crop', '?')} px")
    if found.classes:
        facts.append(_plural(len(found.classes), "class"))
    epochs = [record for record in found.records if record.get("kind") == "epoch"]
    if epochs:
        facts.append(f"{_plural(len(epochs), 'epoch')} in {_duration(_seconds(epochs))}")
    if "epoch" in _provenance(found):
        facts.append(f"kept: epoch {_provenance(found)['epoch']}")
    return facts


def _seconds(records: Iterable[Mapping[str, Any]]) -> float:
    """The sum of their `seconds`; what is no such number is left out."""
    found = (record.get("seconds") for record in records)
    return math.fsum(value for value in found if isinstance(value, int | float) and 0 <= value < _MOST_SECONDS)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _headline(found: RunFiles) -> Section | None:
    if found.evaluation is None:
        return None
    numbers = found.evaluation.metrics
    counted = numbers.total if numbers.bad_policy == "wrong" else numbers.scored
    right = sum(score.correct for score in found.evaluation.scores)
    supports = [entry.support for entry in numbers.per_class]
    return {
        "numbers": numbers,
        "right": right,
        "wrong": numbers.scored - right,
        "interval": wilson_interval(right, counted) if counted else None,
        "constant": max(supports) / counted if counted else None,
        "bins": CALIBRATION_BINS,
        "calibration": _calibration(found, numbers),
        "policy": "counted as wrong" if numbers.bad_policy == "wrong" else "left out of all numbers",
        "protocol": found.evaluation.protocol,
        "data": found.evaluation.data,
        "split": _split(found),
    }


def _calibration(found: RunFiles, numbers: Metrics) -> str:
    """How the temperature came to be, and what it does to the calibration error."""
    if numbers.calibration_error_before is None:
        return "Not calibrated: the temperature is 1. clipshift calibrate MODEL DATA fits it on labeled clips."
    text = (
        f"Logits are divided by a temperature of {numbers.temperature:.3g}; without it the calibration error is "
        f"{_percent(numbers.calibration_error_before)}."
    )
    fitted = found.model.get("calibration")
    after = fitted.get("error_after") if isinstance(fitted, Mapping) else None
    if isinstance(fitted, Mapping) and isinstance(after, int | float):
        text += (
            f" It was fitted on {_plural(int(fitted.get('clips', 0)), 'clip')}. If these are the clips of this page, "
            f"the fairer figure is that of each half with the temperature of the other: {_percent(after)}."
        )
    return text


def _provenance(found: RunFiles) -> Mapping[str, Any]:
    provenance = found.model.get("provenance")
    return provenance if isinstance(provenance, Mapping) else {}


def _split(found: RunFiles) -> str:
    """The sentence on where the split came from, which training notes with the model."""
    return str(_provenance(found).get("split", ""))


def _training(found: RunFiles) -> Section | None:
    try:
        plots = training_plots(found.records)
        pictures = _pictures(found.folder, plots)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        found.notes.append(f"metrics.jsonl cannot be plotted: {type(error).__name__}: {error}")
        return None
    return {"plots": list(pictures.values())} if pictures else None


def _confusion(found: RunFiles) -> Section | None:
    evaluation = found.evaluation
    # Where videos may have several labels, none is taken for another.
    if evaluation is None or not evaluation.metrics.scored or not evaluation.metrics.confusion:
        return None
    return {"plots": _pictures(found.folder, evaluation_plots(evaluation)), "pairs": _pairs(evaluation.metrics)}


def _pairs(numbers: Metrics) -> list[Section]:
    """The most frequent confusions, most frequent first."""
    counts = np.array(numbers.confusion)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_MOST_PAIRS]
    pairs = [(int(place) // len(counts), int(place) % len(counts)) for place in order]
    return [
        {
            "truth": numbers.per_class[truth].name,
            "predicted": numbers.per_class[predicted].name,
            "count": int(counts[truth, predicted]),
            "of": sum(numbers.confusion[truth]),
        }
        for truth, predicted in pairs
        if counts[truth, predicted]
    ]


def _classes(found: RunFiles) -> list[Section]:
    """One row per class, the worst first."""
    if found.evaluation is None:
        return []
    numbers = found.evaluation.metrics
    rows = []
    for index, entry in enumerate(numbers.per_class):
        row = numbers.confusion[index] if numbers.confusion else ()
        others = [0 if column == index else count for column, count in enumerate(row)] or [0]
        most = max(range(len(others)), key=others.__getitem__)
        taken_for = f"{numbers.per_class[most].name} ({others[most]})" if others[most] else ""
        rows.append({"index": index, "entry": entry, "taken_for": taken_for})
    return sorted(rows, key=lambda row: 2.0 if row["entry"].accuracy is None else row["entry"].accuracy)


def _clips(found: RunFiles, why: Explain | None) -> Section | None:
    if found.evaluation is None:
        return None
    scored = [score for score in found.evaluation.scores if score.logits is not None]
    loss = partial(_loss, temperature=found.evaluation.temperature)
    wrong = sorted((score for score in scored if not score.correct), key=loss, reverse=True)
    unsure = sorted((score for score in scored if score.correct), key=loss, reverse=True)
    return {
        "wrong": [_clip(score, found, found.evaluation) | (why(score) if why else {}) for score in wrong[:_MOST_WRONG]],
        "explained": why is not None,
        "wrong_count": len(wrong),
        # Where the answer is right, the highest loss is the lowest probability.
        "unsure": [_clip(score, found, found.evaluation) for score in unsure[:_MOST_UNCERTAIN]],
    }


def _loss(score: ClipScore, temperature: float) -> float:
    if score.labels:
        chances = score.chances(temperature)
        right = torch.zeros_like(chances).index_fill(0, torch.tensor(score.labels), 1.0)
        return float(F.binary_cross_entropy(chances, right))
    logits = torch.tensor([score.logits], dtype=torch.float64) / temperature
    return float(F.cross_entropy(logits, torch.tensor([score.label])))


def _clip(score: ClipScore, found: RunFiles, evaluation: Evaluation) -> Section:
    chances = evaluation.chances(score)
    best = torch.sort(chances, descending=True, stable=True).indices[:3].tolist()
    reading = evaluation.reading or _reading(found.config)
    pictures, reason = clip_strip(
        Path(score.path),
        frames=_frames(found),
        limits=Limits.of(reading),
        frame_pattern=reading.frame_pattern,
        span=score.span,
        region=score.region,
    )
    bars = [
        (evaluation.classes[index], float(chances[index]), index in (score.labels or (score.label,))) for index in best
    ]
    return {
        "name": score.name,
        "truth": evaluation.classes[score.label],
        "truth_chance": float(chances[score.label]),
        "truth_shown": score.label in best,
        "bars": bars,
        "pictures": pictures,
        "adds": (),
        "notes": (),
        "reason": reason,
    }


def _reading(config: Mapping[str, Any]) -> ReadingConfig:
    """How the clips were opened, of an evaluation that does not say so itself."""
    try:
        return DataConfig.model_validate(config.get("data") or {}, strict=False)
    except ValidationError:  # of another version: the defaults serve for pictures
        return ReadingConfig()


def _frames(found: RunFiles) -> int:
    for settings in (found.model.get("input"), found.config.get("input")):
        if isinstance(settings, Mapping) and isinstance(settings.get("segments"), int):
            return min(_MOST_FRAMES, max(1, int(settings["segments"])))
    return _MOST_FRAMES


def _batch(found: RunFiles) -> list[Section]:
    if found.batch is None:
        return []
    names = dict(enumerate(found.classes))
    return [
        {"name": names.get(label, f"class {label}"), "pictures": tensor_strip(clip_TCHW, frames=_MOST_FRAMES)}
        for clip_TCHW, label in zip(found.batch.clips[:_MOST_BATCH], found.batch.labels, strict=False)
    ]


def _data(found: RunFiles) -> Section | None:
    if not found.data:
        return None
    counts = Counter((str(clip.get("class")), str(clip.get("split"))) for clip in found.data)
    splits = list(dict.fromkeys(str(clip.get("split")) for clip in found.data))
    names = list(dict.fromkeys([*found.classes, *(str(clip.get("class")) for clip in found.data)]))
    return {
        "splits": splits,
        "rows": [(name, [counts[name, split] for split in splits]) for name in names],
        "totals": [sum(counts[name, split] for name in names) for split in splits],
        "duration": _duration(_seconds(found.data)),
        "clips": len(found.data),
        "unreadable": sum(clip.get("error") is not None for clip in found.data),
        "split": _split(found),
    }


def _bad(found: RunFiles) -> Section | None:
    scores = found.evaluation.scores if found.evaluation else ()
    rows = [("evaluation", score.name, score.error, "") for score in scores if score.error is not None]
    training = dict.fromkeys(
        (str(sample.get("name")), str(sample.get("reason")), str(sample.get("substitute") or ""))
        for sample in found.bad_samples
    )
    rows += [("training", *sample) for sample in training]
    return {"rows": rows[:_MOST_BAD], "more": len(rows) - _MOST_BAD} if rows else None


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in flatten(values).items():
        text = ", ".join(str(entry) for entry in value) if isinstance(value, list) else str(value)
        rows.append((key, text or "none"))
    return rows


def _commands(found: RunFiles) -> list[tuple[str, str]]:
    """What to do next, with this run's own paths."""
    model = str(found.folder) if found.model else (found.evaluation.model.get("path", "") if found.evaluation else "")
    if not model:
        return []
    return [
        ("Classify new videos", shlex.join(["clipshift", "predict", model, "VIDEOS"])),
        ("Measure on other labeled videos", shlex.join(["clipshift", "evaluate", model, "DATA"])),
    ]
