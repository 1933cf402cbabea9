"""`clipshift.timeline`: what happens when, in any number of long videos."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipshift.config import EventRules, Settings, flatten, with_events
from clipshift.config.resolving import parse_setting
from clipshift.datasets.clip import Clip, TrackPart
from clipshift.datasets.fragments import fragment
from clipshift.errors import ConfigError, DataError, OutputError, VideoError
from clipshift.evaluation.report.lanes import make_lanes
from clipshift.inference.looking import Look
from clipshift.inference.observing import rate_of, rules_of
from clipshift.inference.predictions import Failure
from clipshift.inference.predictor import Model, load
from clipshift.inference.reference import ModelReference, resolve_model
from clipshift.inference.scorer import one_line
from clipshift.inference.sources import find_clips, videos_of_tracks
from clipshift.inference.video_scores import check_way, score_video
from clipshift.locks import hold_folder
from clipshift.parallel.prefetch import available_cores
from clipshift.parallel.processes import Died, map_processes
from clipshift.progress import Progress
from clipshift.temporal import Segment, find_events
from clipshift.temporal.annotations import Annotation, read_annotations
from clipshift.timelines.drawing import draw_timeline
from clipshift.timelines.outputs import begin, check_place, finish, give_up, read_timeline
from clipshift.timelines.result import Cause, Timeline
from clipshift.video.annotated import check_absent
from clipshift.video.limits import Limits

if TYPE_CHECKING:
    from clipshift.device import Amp


@dataclass(frozen=True)
class _Job:
    """A video whose time line is to be made."""

    model: Model
    video: str
    place: Path
    cause: Cause
    truth: tuple[Segment, ...] | None
    threads: int
    look: Look | None = None


def timeline(  # noqa: PLR0913
    model: str | Path | ModelReference | Model,
    *videos: str | Path,
    out: str | Path,
    rate: float | None = None,
    window: bool = False,
    annotations: str | Path | None = None,
    annotated: str | Path | None = None,
    tracks: str | Path | None = None,
    device: str = "auto",
    amp: Amp = "fp32",
    settings: Settings | Sequence[Settings] = (),
    workers: int | Literal["auto"] = "auto",
    progress: Progress | None = None,
) -> list[Timeline | Failure]:
    """Finds what happens when in long videos, and writes it in all forms: a folder of files for each video.

    Each frame of a video is decoded once, in its turn, and memory does not grow with the length. A causal network takes
    one frame after the other; any other one needs `window`. The same call again leaves what is finished as it is, and
    makes what is not. Several videos are worked on at the same time, one a core.

    Args:
        model: Run folder, model folder, exported model, or published weights by name. Also what `load` returned.
        videos: Video files, folders, globs and lists. Of one video the files lie in `out`, of several in a folder each
            with the video's name.
        out: Folder for the results: new, empty, or of the same call.
        rate: Frames a second that the network sees, as in its training; by default as the model says.
        window: Let the network answer for a sliding window of its last frames, which any network can. Costs as many
            times more as it has frames.
        annotations: File of what is true, in any form that is read; drawn above what was found.
        annotated: File for the video, of which there is one then, with labels drawn, MP4; must not be there. The video
            is decoded a second time for it.
        tracks: CSV of boxes over time, `path, track, time, x, y, w, h`: a time line for each track in the videos, or,
            where none is named, in all that it names, by a sliding window that looks at the track's boxes.
        device: auto (a GPU where there is one), cpu, cuda or cuda:N.
        amp: Precision of a trained model: fp32, bf16 or fp16 (a GPU only); an exported one has its own.
        settings: Of events, in place of the model's own, such as `"events.default.enter=0.6"`
            ([EventRules][clipshift.config.event_rules.EventRules]), and of reading, such as `"data.max_seconds=50000"`.
        workers: Processes, each with a video of its own; `auto`: one a core, on a GPU one. With 0, this one does the
            work.
        progress: Called with the seconds of video that are done and all of them; of several, with the number of videos.

    Returns:
        A time line each, in the order of the videos, or why one could not be read.

    Raises:
        ConfigError: The network is not causal and `window` is false, there is no rate, or a setting is not valid; or
            what is asked for is not possible with tracks.
        DataError: The tracks or annotations cannot be read, or there is no video.
        ExportError: An exported model takes clips and `window` is false, or cannot be run.
        OutputError: `out` has something else in it, which would be written over, or cannot be written; or `annotated`
            is there.
        WeightsError: The model cannot be loaded.
    """
    events, reading = split_settings(settings)
    loaded, identity = open_model(model, device, amp, reading)
    check_way(loaded, window=window)
    rate = rate_of(loaded, rate)
    rules = with_events(rules_of(loaded, rate), loaded.classes, events)
    marked = None if annotations is None else read_annotations(annotations)
    if tracks is None:
        clips = _whole(find_clips(videos, loaded.spec.reading))
        looks = [None if clip.region is None else Look(clip.region) for clip in clips]
    else:
        _check_tracks(loaded, window=window, annotations=annotations, annotated=annotated)
        pairs, margin = videos_of_tracks(tracks, videos), loaded.spec.reading.track_margin
        clips = [clip if track is None else replace(clip, track=TrackPart(track.name)) for clip, track in pairs]
        looks = [None if track is None else Look(track=track, margin=margin) for _, track in pairs]
    if not clips:
        raise DataError("There is no video.", allowed="video files, folders, globs and lists")
    out = Path(out)
    if annotated is not None:
        _check_annotated(Path(annotated), out, len(clips))
    cause = partial(Cause, model=identity, rate=rate, window=window, rules=rules, classes=loaded.classes)
    places = [out] if len(clips) == 1 and tracks is None else _places(clips, out)
    truth = [None if marked is None else truth_of(clip.path, marked) for clip in clips]
    results = _make_all(
        loaded, clips, places, cause, truth, looks=looks, out=out, device=device, workers=workers, progress=progress
    )
    if annotated is not None and isinstance(results[0], Timeline):
        limits, square = Limits.of(loaded.spec.reading), loaded.spec.input.pixel_aspect == "apply"
        draw_timeline(
            results[0], clips[0].path, Path(annotated), limits=limits, square_pixels=square, progress=progress
        )
    return results


def _check_annotated(annotated: Path, out: Path, videos: int) -> None:
    """Raise an error, before the long work, for a video with labels that could not be written after it.

    Raises:
        ConfigError: There are several videos.
        OutputError: The file is there, or its folder is not.
    """
    if videos > 1:
        raise ConfigError(
            "Labels are drawn into one video at a time.",
            where="annotated",
            got=f"{videos} videos",
            remedy="name one of them, with a folder of its own for the results, or leave the drawing out",
        )
    if annotated.parent.absolute() != out.absolute() or out.is_dir():  # that folder is made
        check_absent(annotated)


def make_timelines(  # noqa: PLR0913
    model: Model,
    identity: Mapping[str, str],
    videos: Sequence[Path],
    *,
    out: Path,
    rules: EventRules,
    rate: float,
    window: bool,
    truth: Sequence[Sequence[Segment]],
    device: str,
    workers: int | Literal["auto"],
    progress: Progress | None,
) -> list[Timeline | Failure]:
    """The time lines of annotated videos, each in a folder in `out` with the video's name, even of one.

    Arguments, results and errors are as of [timeline][clipshift.timelines.making.timeline]; `truth` is of each video.
    """
    check_way(model, window=window)
    cause = partial(Cause, model=identity, rate=rate, window=window, rules=rules, classes=model.classes)
    clips = [Clip(path.absolute(), str(path), None) for path in videos]
    marked = [tuple(segments) for segments in truth]
    return _make_all(
        model, clips, _places(clips, out), cause, marked, out=out, device=device, workers=workers, progress=progress
    )


def _make_all(  # noqa: PLR0913
    model: Model,
    clips: Sequence[Clip],
    places: Sequence[Path],
    cause: partial[Cause],
    truth: Sequence[tuple[Segment, ...] | None],
    *,
    looks: Sequence[Look | None] | None = None,
    out: Path,
    device: str,
    workers: int | Literal["auto"],
    progress: Progress | None,
) -> list[Timeline | Failure]:
    with hold_folder(out, doing="makes time lines in this folder", error=OutputError):
        threads = 1 if len(clips) > 1 else 2
        jobs = [
            _job(model, clip, place, cause, marked, look, threads=threads)
            for clip, place, marked, look in zip(clips, places, truth, looks or [None] * len(clips), strict=True)
        ]
        return _work(jobs, clips, _processes(workers, jobs, model, device), progress)


def split_settings(settings: Settings | Sequence[Settings]) -> tuple[list[Settings], list[Settings]]:
    """Settings of events, and all others.

    Raises:
        ConfigError: One has not the form key=value.
    """
    given = [settings] if isinstance(settings, str | Mapping) else settings
    events: list[Settings] = []
    others: list[Settings] = []
    for one in given:
        for key, value in flatten(parse_setting(one) if isinstance(one, str) else one).items():
            (events if key.partition(".")[0] == "events" else others).append({key: value})
    return events, others


def truth_of(path: str | Path, annotations: Iterable[Annotation]) -> tuple[Segment, ...] | None:
    """What is annotated of a video: by its path, or else its name, with or without the ending; None for nothing."""
    given = Path(path)
    for same in (str, lambda one: Path(one).name, lambda one: Path(one).stem):
        found = [one.segments for one in annotations if same(one.path) == same(str(given))]
        if len(found) == 1:
            return found[0]
    return None


def open_model(
    model: str | Path | ModelReference | Model, device: str, amp: Amp, settings: Sequence[Settings]
) -> tuple[Model, dict[str, str]]:
    """The model, and what reports say of it.

    Raises:
        ConfigError: There are settings for a model that is loaded already.
    """
    if isinstance(model, Model):
        if settings:
            raise ConfigError(
                "A loaded model has the settings that it was loaded with.", where="settings", got=list(settings)
            )
        return model, {} if model.opening is None else resolve_model(model.opening.model).identity()
    reference = resolve_model(model)
    named = reference.name if reference.published else reference.folder
    return load(named, device=device, amp=amp, settings=settings), reference.identity()


def _whole(clips: Iterable[Clip]) -> list[Clip]:
    """The clips; of spans of a video the whole video, once."""
    found: dict[object, Clip] = {}
    for number, clip in enumerate(clips):
        if clip.span is None:
            found[number] = clip
        else:
            name = str(clip.path) + fragment(None, clip.region)
            found.setdefault(
                (clip.path, clip.region), Clip(clip.path, name, None, region=clip.region, address=clip.address)
            )
    return list(found.values())


def _places(clips: Sequence[Clip], out: Path) -> list[Path]:
    """A folder for each video, with its name and that of a track; those of the same name get their number, too."""
    stems = [
        clip.path.stem + ("" if clip.track is None else f"-track-{re.sub(r'[^A-Za-z0-9_.]', '_', clip.track.name)}")
        for clip in clips
    ]
    counts, seen = Counter(name.casefold() for name in stems), Counter[str]()
    places = []
    for name in stems:
        folded = name.casefold()
        seen[folded] += 1
        places.append(out / (name if counts[folded] == 1 else f"{name}-{seen[folded]}"))
    return places


def _check_tracks(model: Model, *, window: bool, annotations: str | Path | None, annotated: str | Path | None) -> None:
    """Raise an error for what cannot be had of tracks.

    Raises:
        ConfigError: See the texts.
    """
    if not window:
        raise ConfigError(
            "What is looked at moves with a track, so a network that remembers earlier frames cannot go along it.",
            where="tracks",
            remedy="let it answer for a sliding window: --window (window=True)",
        )
    if model.spec.input.region is not None:
        raise ConfigError(
            "The model looks at a region of every picture, and tracks are regions of their own.",
            where="tracks",
            got=f"input.region={model.spec.input.region}",
            allowed="one of the two",
        )
    if annotations is not None or annotated is not None:
        raise ConfigError(
            "What is annotated, and what is drawn, is of whole videos, and not of one track.",
            where="annotations" if annotations is not None else "annotated",
            allowed="neither, with tracks",
        )


def _job(
    model: Model,
    clip: Clip,
    place: Path,
    cause: partial[Cause],
    truth: tuple[Segment, ...] | None,
    look: Look | None,
    *,
    threads: int,
) -> _Job | Failure:
    if clip.error is not None:
        return Failure(clip.name, one_line(VideoError(clip.error.what, got=clip.error.got)) or "", clip.track)
    if clip.region is not None and model.spec.input.region is not None:
        return Failure(clip.name, "The clip has a region of its own, and the model looks at a region of every picture.")
    if clip.address is not None:
        return Failure(clip.name, "A time line is made of a file on this machine, and this one is in a store.")
    try:
        facts = clip.path.stat()
    except OSError as error:
        return Failure(clip.name, f"The video cannot be read. ({error.strerror})")
    part = None if look is None else look.to_json()
    full = cause(video=str(clip.path), bytes=facts.st_size, modified=facts.st_mtime_ns, part=part)
    name = clip.name if clip.track is None else f"{clip.name} track {clip.track.name.replace('/', '_')}"
    return _Job(model, name, place, full, truth, threads, look)


def _processes(workers: int | Literal["auto"], jobs: Sequence[_Job | Failure], model: Model, device: str) -> int:
    """How many processes work; none where one alone is best in this one."""
    count = sum(isinstance(job, _Job) for job in jobs)
    if workers != "auto":
        return min(workers, count)
    where = getattr(model.scorer, "device", None)
    on_cpu = device in ("auto", "cpu") and (where is None or where.type == "cpu")
    cores = min(available_cores(), count)
    return cores if on_cpu and cores > 1 and model.opening is not None else 0


def _work(
    jobs: Sequence[_Job | Failure], clips: Sequence[Clip], workers: int, progress: Progress | None
) -> list[Timeline | Failure]:
    results: list[Timeline | Failure | None] = [None if isinstance(job, _Job) else job for job in jobs]
    waiting: list[int] = []
    for number, job in enumerate(jobs):
        if not isinstance(job, _Job):
            continue
        if check_place(job.place, job.cause):
            results[number] = replace(read_timeline(job.place, job.video), truth=job.truth)
        else:
            waiting.append(number)
    single = progress if len(jobs) == 1 else None
    work = partial(_numbered, progress=single) if workers < 1 else _numbered
    numbered = [(number, job) for number in waiting if isinstance(job := jobs[number], _Job)]
    done = len(jobs) - len(waiting)
    for (number, job), result in map_processes(work, numbered, workers):
        if isinstance(result, Died):
            give_up(job.place, made=False)
        results[number] = Failure(clips[number].name, result.cause) if isinstance(result, Died) else result
        done += 1
        if progress is not None and single is None:
            progress(done, len(jobs))
    return [result for result in results if result is not None]


def _numbered(numbered: tuple[int, _Job], progress: Progress | None = None) -> Timeline | Failure:
    return _make(numbered[1], progress)


def _make(job: _Job, progress: Progress | None) -> Timeline | Failure:
    """Makes the time line of a video; what it leaves at an error is nothing."""
    made = not job.place.exists()
    started = time.perf_counter()
    try:
        scores = score_video(
            job.model,
            Path(job.cause.video),
            job.cause.rate,
            begin(job.place),
            window=job.cause.window,
            longest_display=job.cause.rules.most_gap,
            threads=job.threads,
            look=job.look,
            progress=progress,
        )
        classes = job.cause.classes
        events = find_events(scores.times, scores.probabilities, job.cause.rules, classes, end=scores.seconds)
        line = Timeline(
            job.video,
            job.place,
            tuple(events),
            scores.seconds,
            scores.frames,
            scores.notes,
            took=time.perf_counter() - started,
            truth=job.truth,
        )
        lanes = make_lanes(
            classes,
            line.segments,
            job.truth or (),
            times=scores.times,
            probabilities=scores.probabilities,
            seconds=scores.seconds,
        )
        finish(line, job.cause, scores, lanes, job.model.engine)
    except VideoError as error:
        give_up(job.place, made=made)
        return Failure(job.video, one_line(error) or "")
    except OSError as error:
        give_up(job.place, made=made)
        raise OutputError.of(error, job.place) from error
    except BaseException:
        give_up(job.place, made=made)
        raise
    return line
