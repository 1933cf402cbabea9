"""`clipshift.verify`: whether exported models give the numbers of the trained one, over a folder of clips."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

from clipshift._version import __version__
from clipshift.config import Settings
from clipshift.datasets.clip import Clip, evenly
from clipshift.errors import DataError, ExportError
from clipshift.exporting.check_clips import find_labeled
from clipshift.exporting.comparison import (
    AGREEMENT,
    ALLOWED_WITHIN,
    LARGEST_DIFFERENCE,
    Answers,
    Difference,
    accuracy,
    agrees,
    answer,
    difference,
    gap_within,
)
from clipshift.files import to_json, write_whole
from clipshift.inference.export_folder import Export, Precision, find_export, read_export
from clipshift.inference.predictor import Model, load
from clipshift.progress import Progress

JSON_FILE, HTML_FILE = "verification.json", "verification.html"
_MOST_NAMED = 20
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineRow:
    """One engine of the table.

    Attributes:
        name: The model or export that was named.
        engine: What ran it.
        precision: Of the export; that of the trained model is fp32.
        seconds: Of one clip, decoding included, the median.
        accuracy: Top-1 on the labeled clips, in [0, 1]; None without labels.
        difference: From the trained model; None for that itself.
        ok: Whether it is near enough for its precision.
        disagreeing: Names of clips with another most probable class.
        notes: What may be the reason of a difference.
    """

    name: str
    engine: str
    precision: Precision
    seconds: float
    accuracy: float | None
    difference: Difference | None
    ok: bool
    disagreeing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verification:
    """The alignment table: the trained model first, then each engine of each export.

    Attributes:
        rows: One for each engine.
        clips: How many clips there were.
        unreadable: Names of those that the trained model could not read.
        data: Where they are from.
    """

    rows: tuple[EngineRow, ...]
    clips: int
    unreadable: tuple[str, ...]
    data: str

    @property
    def ok(self) -> bool:
        """Whether all agree."""
        return all(row.ok for row in self.rows)

    def to_text(self) -> str:
        """The table for a terminal."""
        lines = [f"{self.clips} clips of {self.data}, {len(self.unreadable)} of them unreadable", ""]
        lines.append(f"{'largest':>9} {'mean':>9} {'same class':>11} {'top-1':>7} {'ms/clip':>8}        engine")
        for row in self.rows:
            gap = row.difference
            gaps = f"{gap.largest:9.1e} {gap.mean:9.1e} {gap.agreement:11.2%}" if gap else f"{'':9} {'':9} {'':11}"
            top1 = "" if row.accuracy is None else f"{row.accuracy:.1%}"
            said = "      " if gap is None else "ok    " if row.ok else "DIFFER"
            lines.append(f"{gaps} {top1:>7} {row.seconds * 1e3:8.1f} {said} {row.name}: {row.engine}")
            lines += [f"{'':50}{text}" for text in (*row.notes, *row.disagreeing[:_MOST_NAMED])]
        lines += ["", "All agree." if self.ok else "They do not agree: see the rows with DIFFER."]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {"clipshift": __version__, "ok": self.ok, **asdict(self)}

    def save(self, folder: str | Path) -> None:
        """Write `verification.json` and `verification.html`, a page that needs nothing else.

        Raises:
            ExportError: The folder cannot be written.
        """
        folder = Path(folder)
        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("clipshift", "exporting"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        page = environment.get_template("verification.html").render(
            found=self, allowed=AGREEMENT, largest=LARGEST_DIFFERENCE, version=__version__, most=_MOST_NAMED
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / JSON_FILE, to_json(self.to_json(), indent=1) + "\n")
            write_whole(folder / HTML_FILE, page)
        except OSError as error:
            raise ExportError("The verification cannot be written.", where=folder, got=error.strerror) from error


def verify(
    model: str | Path,
    *exports: str | Path,
    data: str | Path,
    most: int = 0,
    out: str | Path | None = None,
    settings: Settings | Sequence[Settings] = (),
    progress: Progress | None = None,
) -> Verification:
    """Compare exported models with the trained one, on every device that their engines have here.

    Args:
        model: The trained model: run folder, model folder, or published weights by name.
        exports: Folders of exported models.
        data: Clips: a folder, list or data.yaml, with labels or without.
        most: Compare on so many of them, spread evenly; 0: on all.
        out: Folder for verification.html and verification.json. None writes nothing.
        settings: Of reading clips, for the model and the exports, in place of their own, such as
            `"data.max_seconds=50000"` ([ReadingConfig][clipshift.config.ReadingConfig]).
        progress: Called with (clips done, clips in all) for each engine.

    Returns:
        The table; `ok` says whether all agree.

    Raises:
        ExportError: An export is damaged, or has other classes than the model.
        ConfigError: A setting is not valid.
        DataError: There are no clips, or the model can read none of them.
        MissingDependencyError: An engine is not installed.
        WeightsError: There is no such model.
    """
    if not exports:
        raise ExportError("Nothing was named to compare with the model.", allowed="folders of exported models")
    trained = load(model, device="cpu", settings=settings)
    found_exports = [_read(name, trained) for name in exports]
    clips = find_labeled(data, trained.spec)
    clips = evenly(clips, most) if most else clips
    known: dict[tuple[str, int], Answers] = {}
    rows: list[EngineRow] = []
    for name, (folder, export) in zip(exports, found_exports, strict=True):
        views = (export.spec.crops, export.spec.clips)
        if views not in known:
            known[views] = answer(trained, clips, like=export.spec, progress=progress)
            _check_read(known[views], clips, str(data))
            rows.append(_row(str(model), known[views], None, clips, "fp32"))
        opened = _on_all_devices(folder, export, settings)
        for each in opened:
            found = answer(each, clips, progress=progress)
            rows.append(_compared(_row(str(name), found, known[views], clips, export.precision), each, trained))
    first = next(iter(known.values()))
    verification = Verification(
        tuple(rows), len(clips), tuple(clips[number].name for number in first.errors), str(data)
    )
    if out is not None:
        verification.save(out)
    return verification


def _read(name: str | Path, trained: Model) -> tuple[Path, Export]:
    """The folder of an export of the model's classes, and what it is."""
    folder = find_export(name)
    if folder is None:
        raise ExportError(
            "This is no exported model.", where=name, remedy="clipshift export MODEL --to onnx --out FOLDER"
        )
    export = read_export(folder)
    if export.spec.classes != trained.classes:
        raise ExportError("The export has other classes than the model.", where=name)
    return folder, export


def _check_read(found: Answers, clips: Sequence[Clip], source: str) -> None:
    """Raise a DataError if the trained model could read no clip: there is nothing to compare."""
    if not found.read.any():
        raise DataError(
            "Not one of the clips can be read: there is nothing to compare.",
            where=source,
            got=f"{clips[0].name}: {found.errors[0]}",
            remedy="mend what is said of the clip, or name other clips with --data",
        )


def _on_all_devices(folder: Path, export: Export, settings: Settings | Sequence[Settings]) -> Iterator[Model]:
    yield load(folder, device="cpu", settings=settings)
    if export.target != "onnx":
        return
    from clipshift.inference.engines.onnxruntime import present_devices

    for device in present_devices():
        if device == "cpu":
            continue
        try:
            opened = load(folder, device=device, settings=settings)
        except ExportError as error:  # the file is right: the CPU has run it
            _LOG.warning("Not compared on %s: %s (%s)", device, error.what, error.got)
        else:
            yield opened


def _compared(row: EngineRow, exported: Model, trained: Model) -> EngineRow:
    """A row with what the temperatures are: that of the trained model, of the description, and inside the file."""
    own, there = exported.spec.temperature, trained.spec.temperature
    notes = []
    if own != there:
        notes.append(f"temperature {own:.3g}, of the model {there:.3g}: export it again")
    gap = gap_within(exported)
    if not gap <= ALLOWED_WITHIN[row.precision]:
        notes.append(f"its own probabilities differ by {gap:.1e} from those of its logits and description")
    return replace(row, ok=row.ok and not notes, notes=tuple(notes))


def _row(name: str, found: Answers, expected: Answers | None, clips: list[Clip], precision: Precision) -> EngineRow:
    gap = None if expected is None else difference(expected, found)
    return EngineRow(
        name=name,
        engine=found.engine,
        precision=precision,
        seconds=found.seconds,
        accuracy=accuracy(found, clips),
        difference=gap,
        ok=gap is None or agrees(gap, precision),
        disagreeing=() if gap is None else tuple(clips[number].name for number in gap.disagreeing),
    )
