"""Looks a data set over before it is trained on: unreadable clips, leaks between the parts, odd classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from clipshift.config import DataConfig
from clipshift.datasets.checksums import describe_aspects, file_hash
from clipshift.datasets.clip import Clip, DataSet, MarkedVideo, absolute, plural, some
from clipshift.datasets.fragments import fragment
from clipshift.datasets.manifest import read_dataset
from clipshift.datasets.tools.near_duplicates import LOOK_FRAMES, find_near_duplicates, look_of
from clipshift.errors import DataError, VideoError
from clipshift.parallel.prefetch import available_cores, prefetch
from clipshift.preprocessing.sampling import segment_middles
from clipshift.progress import Progress
from clipshift.temporal.annotations import Annotation, SpanFinding, check_spans

Severity = Literal["error", "warning", "info"]

_IMBALANCE = 5
"""Ratio of the largest to the smallest class from which on it is mentioned."""
_FEW = 10
"""Clips below which a class counts as small."""
_LINES = 10
"""Lines of details of one finding that the text shows."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    kind: str
    """A word for programs: `data`, `unreadable`, `leak`, `duplicate`, `contradiction`, `empty`, `few`, ..."""
    text: str
    """One sentence."""
    clips: tuple[str, ...] = ()
    """Names of the clips concerned."""
    details: tuple[str, ...] = ()
    """A line for each clip, pair or group."""
    remedy: str | None = None


@dataclass(frozen=True)
class CheckReport:
    """What `clipshift check` says."""

    source: str
    summary: str
    """What the data set is."""
    findings: tuple[Finding, ...]
    """Errors first."""

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings and information do not count."""
        return all(finding.severity != "error" for finding in self.findings)

    def with_findings(self, *more: Finding) -> CheckReport:
        """The same report with more findings."""
        return replace(self, findings=_errors_first((*self.findings, *more)))

    def to_json(self) -> dict[str, Any]:
        """All findings with all their clips, for json.dumps."""
        return {"ok": self.ok, **asdict(self)}

    def to_text(self) -> str:
        """The findings for reading, with at most ten lines of details each."""
        lines = [f"{self.source}", f"  {self.summary}"]
        for finding in self.findings:
            lines.append(f"{finding.severity + ':':9}{finding.text}")
            lines += [f"           {detail}" for detail in finding.details[:_LINES]]
            if len(finding.details) > _LINES:
                lines.append(f"           ... and {len(finding.details) - _LINES} more (--json lists all)")
            if finding.remedy is not None:
                lines.append(f"      do:  {finding.remedy}")
        counts = Counter(finding.severity for finding in self.findings)
        lines.append(f"{plural(counts['error'], 'error')}, {plural(counts['warning'], 'warning')}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Inspected:
    """One clip after it was opened and its sampled frames were decoded."""

    clip: Clip
    split: str
    error: str | None = None
    bytes: int = 0
    """Size of the file; 0 for a frame folder."""
    frames: int = 0
    width: int = 0
    height: int = 0
    fps: float | None = None
    seconds: float = 0.0
    """Length; of a frame folder as if at 25 frames a second."""
    pixel_aspect: float = 1.0
    """Width of a stored pixel by its height."""
    video_streams: int = 1
    look: np.ndarray | None = None


def check_data(
    source: str | Path,
    data: DataConfig,
    *,
    segments: int = 8,
    several: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Looks over a data set: reads it, decodes the sampled frames of every clip, and compares clips.

    Args:
        source: As for `read_dataset`.
        data: The settings for reading; `max_bad` decides whether unreadable clips are an error.
        segments: Frames that the model takes of each clip; their middles are decoded.
        several: Whether a clip may have several labels.
        workers: Threads; None for one a core.
        progress: Called with the number of finished clips and of all clips.

    Returns:
        The findings, errors first. A data set that cannot be read is an error among them, not an exception.
    """
    shown = str(absolute(source))
    try:
        dataset = read_dataset(source, data, several=several)
    except DataError as error:
        return CheckReport(shown, "cannot be read", (finding_of(error, "data"),))
    inspected = _inspect_all(dataset, data, segments, workers or available_cores(), progress)
    findings = [
        *_unreadable(inspected, data),
        *_marks(dataset, data, workers or available_cores()),
        *_class_findings(dataset),
        *_copies(dataset.classes, inspected),
        *_shapes(inspected, segments),
        *_ways_of_reading(inspected),
        *(Finding("info", "reading", note) for note in dataset.notes),
    ]
    return CheckReport(shown, _summary(dataset, inspected), _errors_first(findings))


def finding_of(error: DataError, kind: str) -> Finding:
    """What an error says, as a finding."""
    parts = [("where", error.where), ("got", error.got), ("allowed", error.allowed)]
    details = tuple(f"{name}: {value}" for name, value in parts if value is not None)
    return Finding("error", kind, error.what, details=details, remedy=error.remedy)


def _errors_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    rank = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda finding: rank[finding.severity]))


def _summary(dataset: DataSet, inspected: list[Inspected]) -> str:
    seconds = sum(item.seconds for item in inspected)
    length = f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds / 60:.1f} minutes"
    counts = f"{len(dataset.train)} training and {plural(len(dataset.validation), 'validation clip')}"
    return f"{plural(len(dataset.classes), 'class')}, {counts}, {length}; split {dataset.split}"


def _inspect_all(
    dataset: DataSet,
    data: DataConfig,
    segments: int,
    workers: int,
    progress: Progress | None,
) -> list[Inspected]:
    jobs = [(clip, "train") for clip in dataset.train.clips]
    jobs += [(clip, "validation") for clip in dataset.validation.clips]
    inspected = []
    for item in prefetch(lambda job: _inspect(job[0], job[1], data, segments), jobs, workers):
        inspected.append(item)
        if progress is not None:
            progress(len(inspected), len(jobs))
    return inspected


def _inspect(clip: Clip, split: str, data: DataConfig, segments: int) -> Inspected:
    try:
        with clip.open(data) as reader:
            info = reader.info
            spread = segment_middles(info.frames, LOOK_FRAMES)
            look = look_of(reader.read(spread))
            others = sorted(set(segment_middles(info.frames, segments)) - set(spread))
            if others:
                reader.read(others)
        size = 0 if clip.path.is_dir() else clip.path.stat().st_size
    except VideoError as error:
        reason = error.what if error.got is None else f"{error.what} ({error.got})"
        return Inspected(clip, split, error=reason)
    except OSError as error:
        return Inspected(clip, split, error=error.strerror or str(error))
    seconds = info.seconds if info.seconds is not None else info.frames / 25
    return Inspected(
        clip,
        split,
        bytes=size,
        frames=info.frames,
        width=info.width,
        height=info.height,
        fps=info.fps,
        seconds=seconds,
        pixel_aspect=info.pixel_aspect,
        video_streams=info.video_streams,
        look=look,
    )


def _unreadable(inspected: list[Inspected], data: DataConfig) -> list[Finding]:
    bad = [item for item in inspected if item.error is not None]
    if not bad:
        return []
    share = len(bad) / len(inspected)
    return [
        Finding(
            "error" if share > data.max_bad else "warning",
            "unreadable",
            f"{len(bad)} of {plural(len(inspected), 'clip')} cannot be read ({share:.1%}; data.max_bad is "
            f"{data.max_bad:.1%}).",
            tuple(item.clip.name for item in bad),
            tuple(f"{item.clip.name}: {item.error}" for item in bad),
            "replace or remove them: training passes over them, evaluation counts them as wrong",
        )
    ]


_MARKS: dict[str, tuple[str, str]] = {
    "beyond": ("beyond the end of their video", "correct the times; what lies beyond the end is left out"),
    "empty": ("without a length", "correct the times, or remove them"),
    "short": ("shorter than the step from one frame to the next", "correct the times, or remove them"),
    "duplicate": ("that are there twice", "keep one of each"),
    "overlap": ("that share time with another label", "end one where the other begins, or use train.multi_label=true"),
}
"""What is said of spans that `check_spans` finds, and what to do."""


def _marks(dataset: DataSet, data: DataConfig, workers: int) -> Iterable[Finding]:
    """Spans that cannot be meant so."""
    videos = {video.path: video for part in (dataset.train, dataset.validation) for video in part.videos}

    def look_at(video: MarkedVideo) -> list[SpanFinding]:
        try:
            with Clip(video.path, video.name, None).open(data) as reader:
                end, frames = reader.stretch.end, reader.frame_count
        except VideoError:  # told of its clips
            return []
        return check_spans([Annotation(video.name, video.segments, end)], frame_step=end / frames)

    found = [finding for findings in prefetch(look_at, videos.values(), workers) for finding in findings]
    for kind, (text, remedy) in _MARKS.items():
        own = [finding for finding in found if finding.kind == kind]
        if own:
            names = tuple(finding.path + fragment((finding.segment.start, finding.segment.end)) for finding in own)
            details = tuple(f"{finding.path}: {finding.segment.label} {finding.text}" for finding in own)
            yield Finding("warning", f"{kind}_span", f"{plural(len(own), 'span')} {text}.", names, details, remedy)


def _class_findings(dataset: DataSet) -> list[Finding]:
    findings = []
    parts = (("training", dataset.train.counts()), ("validation", dataset.validation.counts()))
    for part, counts in parts:
        empty = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 0]
        if empty:
            text = f"{plural(len(empty), 'class')} without a {part} clip."
            findings.append(Finding("warning", "empty", text, details=tuple(empty), remedy="add clips of them"))
    sizes = dict(zip(dataset.classes, dataset.train.counts(), strict=True))
    few = {name: count for name, count in sizes.items() if 0 < count < _FEW}
    if few:
        findings.append(
            Finding(
                "warning",
                "few",
                f"{plural(len(few), 'class')} with fewer than {_FEW} training clips.",
                details=tuple(f"{name}: {count}" for name, count in few.items()),
                remedy="add clips: with so few, the accuracy of a class is mostly chance",
            )
        )
    present = {name: count for name, count in sizes.items() if count}
    large, small = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
    if present[large] >= _IMBALANCE * present[small]:
        findings.append(
            Finding(
                "warning",
                "imbalance",
                f"The largest class has {present[large] / present[small]:.1f} times the clips of the smallest.",
                details=(f"{large}: {present[large]}", f"{small}: {present[small]}"),
                remedy="add clips of small classes, and judge by train.metric=mean_class",
            )
        )
    return findings


@dataclass(frozen=True)
class _Group:
    """Clips that are copies of one another."""

    items: tuple[Inspected, ...]
    note: str

    def line(self, classes: tuple[str, ...]) -> str:
        names = [f"{item.clip.name}" for item in self.items]
        labels = {classes[item.clip.label] for item in self.items if item.clip.label is not None}
        suffix = f" [{' / '.join(sorted(labels))}]" if len(labels) > 1 else ""
        return " = ".join(names[:3]) + (f" = {len(names) - 3} more" if len(names) > 3 else "") + suffix + self.note


def _copies(classes: tuple[str, ...], inspected: list[Inspected]) -> list[Finding]:
    """Copies by bytes and by look: across the split, inside one part, and under different labels."""
    same = _same_bytes(inspected)
    together = {id(item): number for number, group in enumerate(same) for item in group.items}
    alike = []
    seen = [item for item in inspected if item.look is not None]
    looks = [item.look for item in seen if item.look is not None]
    for pair in find_near_duplicates(looks, [item.seconds for item in seen]):
        first, second = seen[pair.first], seen[pair.second]
        if first.clip.path == second.clip.path:  # parts of one video look alike
            continue
        known = together.get(id(first))
        if known is None or known != together.get(id(second)):
            alike.append(_Group((first, second), f" ({pair.score:.2f})"))

    findings = []
    kinds: list[tuple[list[_Group], str, Severity]] = [
        (same, "the same bytes", "error"),
        (alike, "the same look, as if encoded anew (1 is a perfect copy)", "warning"),
    ]
    for groups, how, severity in kinds:
        across = [group for group in groups if len({item.split for item in group.items}) > 1]
        inside = [group for group in groups if group not in across]
        differing = [group for group in groups if len({item.clip.label for item in group.items}) > 1]
        findings += [
            *_copy_finding(
                classes,
                across,
                severity,
                "leak",
                f"in both training and validation, with {how}: validation is then better than the model.",
                "keep each on one side only",
            ),
            *_copy_finding(
                classes, inside, "warning", "duplicate", f"inside one part, with {how}.", "keep one of each"
            ),
            *_copy_finding(
                classes, differing, "warning", "contradiction", f"under different labels, with {how}.", "keep one label"
            ),
        ]
    return findings


def _copy_finding(
    classes: tuple[str, ...], groups: list[_Group], severity: Severity, kind: str, text: str, remedy: str
) -> Iterable[Finding]:
    if groups:
        names = tuple(item.clip.name for group in groups for item in group.items)
        lines = tuple(group.line(classes) for group in groups)
        start = "Copies of 1 clip" if len(groups) == 1 else f"Copies of {len(groups)} clips"
        yield Finding(severity, kind, f"{start} {text}", names, lines, remedy)


def _same_bytes(inspected: list[Inspected]) -> list[_Group]:
    """Groups of readable clips with the same bytes; only clips of the same size and length are hashed."""
    candidates: dict[tuple[int, int, int, int], list[Inspected]] = {}
    parts: set[Path] = set()
    for item in inspected:
        if item.clip.fragment and (item.clip.path in parts or item.error is not None):
            continue  # of all parts of a video one stands for its bytes
        parts.update([item.clip.path] if item.clip.fragment else [])
        if item.error is None:
            candidates.setdefault((item.bytes, -1 if item.clip.span else item.frames, *_size(item)), []).append(item)
    groups: dict[str, list[Inspected]] = {}
    for items in candidates.values():
        for item in items if len(items) > 1 else ():
            with suppress(VideoError):  # removed since it was opened
                groups.setdefault(file_hash(item.clip.path), []).append(item)
    return [_Group(tuple(items), "") for items in groups.values() if len(items) > 1]


def _size(item: Inspected) -> tuple[int, int]:
    """Width and height of the picture; one for all regions, which do not tell those of their video."""
    return (item.width, item.height) if item.clip.region is None else (-1, -1)


def _shapes(inspected: list[Inspected], segments: int) -> list[Finding]:
    good = [item for item in inspected if item.error is None]
    findings = []
    short = [item for item in good if item.frames < segments]
    if short:
        findings.append(
            Finding(
                "warning",
                "short",
                f"{plural(len(short), 'clip')} of fewer frames than input.segments={segments}: frames are repeated.",
                tuple(item.clip.name for item in short),
                tuple(f"{item.clip.name}: {plural(item.frames, 'frame')}" for item in short),
                f"lower input.segments (shortest clip: {min(item.frames for item in short)})",
            )
        )
    for kind, values, text in (
        ("sizes", [f"{item.width}x{item.height}" for item in good], "frame sizes"),
        ("rates", [f"{item.fps:.3g} fps" for item in good if item.fps is not None], "frame rates"),
    ):
        counts = Counter(values).most_common()
        if len(counts) > 1:
            listed = some([f"{value} ({count})" for value, count in counts], 5)
            findings.append(Finding("info", kind, f"{len(counts)} different {text}: {listed}."))
    return findings


def _ways_of_reading(inspected: list[Inspected]) -> Iterable[Finding]:
    """Clips of which more than one picture could be meant."""
    good = [item for item in inspected if item.error is None]
    aspects = describe_aspects((item.clip.name, item.pixel_aspect) for item in good)
    if aspects is not None:
        yield Finding(
            "info",
            "pixels",
            f"{aspects}; input.pixel_aspect=apply (as in the recipe finetune) scales frames as players do, "
            "ignore takes them as stored.",
            tuple(item.clip.name for item in good if item.pixel_aspect != 1),
        )
    several = tuple(item.clip.name for item in good if item.video_streams > 1)
    if several:
        count = plural(len(several), "clip")
        text = f"{count} of several videos (such as {several[0]}): the one that players show is read."
        yield Finding("info", "streams", text, several)
