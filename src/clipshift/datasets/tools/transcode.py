"""Writes the clips of a data set anew, as frames or as video that is quick to seek in; the originals stay as they are.

Every clip is made in a place of its own, verified, and moved to its place in one step: what is in its place is whole. A
record of what was made lets the same command go on after any interruption.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import av
from PIL import Image

from clipshift.config import DataConfig
from clipshift.datasets.checksums import describe_aspects
from clipshift.datasets.clip import Clip, absolute, plural, shown
from clipshift.datasets.manifest import LabeledParts, read_parts
from clipshift.datasets.write_lists import WrittenLists, alone, check_folder, write_parts
from clipshift.errors import DataError, VideoError
from clipshift.files import from_json, printable, write_whole
from clipshift.parallel.prefetch import available_cores
from clipshift.parallel.processes import Died, map_processes
from clipshift.progress import Progress
from clipshift.video import ClipReader, Limits, is_video_file, open_clip

_SETTINGS = "rewrite.json"
_RECORD = "done.jsonl"
_FAILED = "failed.txt"
_SCRATCH = ".parts"
_FORMAT = 1
_NO_RATE = 25
"""Frames per second of a clip that does not say, such as a frame folder."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass(frozen=True)
class Transcoded:
    """A data set whose clips were written anew."""

    folder: Path
    lists: WrittenLists | None
    """The data.yaml and the lists of the new clips; None where none could be made."""
    made: int
    """Clips that this call wrote."""
    kept: int
    """Clips that an earlier call had written."""
    failed: tuple[tuple[str, str], ...]
    """Names of clips that could not be read or written, with the reason; they are left out of the lists."""
    bytes_before: int
    """Size of the original files of the clips that were written."""
    bytes_after: int
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no clip failed."""
        return not self.failed

    def lines(self) -> list[str]:
        """The summary for reading."""
        again = f", {self.kept} were there" if self.kept else ""
        lines = [f"note: {note}" for note in self.notes]
        lines.append(
            f"wrote {plural(self.made, 'clip')}{again}: {_megabytes(self.bytes_before)} became "
            f"{_megabytes(self.bytes_after)} in {shown(self.folder)}"
        )
        if self.failed:
            lines.append(f"error: {plural(len(self.failed), 'clip')} failed (all in {shown(self.folder / _FAILED)}):")
            lines += [f"  {name}: {reason}" for name, reason in self.failed[:10]]
        if self.lists is not None:
            lines += ["", f"clipshift check {shlex.quote(shown(self.lists.data))}"]
        return lines


@dataclass(frozen=True)
class _Made:
    """What one clip became."""

    target: str
    source: str
    source_bytes: int
    source_time: int
    frames: int
    width: int
    height: int
    files: int
    bytes: int
    pixel_aspect: float = 1.0
    """Of the original; videos are written with it, images cannot have it."""


class _Kept(Enum):
    """A clip that is in its place from an earlier call."""

    AS_IT_IS = auto()


@dataclass(frozen=True)
class _Job:
    clip: Clip
    name: str
    """The new clip's path from the folder."""
    number: int
    known: _Made | None
    """What the record says of it."""


@dataclass(frozen=True)
class _Frames:
    """How clips become frames."""

    short_side: int | None
    quality: int

    suffix = ""

    def write(self, reader: ClipReader, place: Path) -> tuple[int, int, int]:
        """Writes all frames into a new folder; gives their number, width and height."""
        place.mkdir(parents=True)
        width, height = fitted_size(reader.info.width, reader.info.height, self.short_side)
        count = 0
        for picture_HWC in reader.frames():
            count += 1
            image = Image.fromarray(picture_HWC)
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BICUBIC)
            # In memory first: Pillow's own writing to a file takes no notice of a write that took a part only.
            coded = io.BytesIO()
            image.save(coded, "JPEG", quality=self.quality)
            (place / DataConfig().frame_pattern.format(count)).write_bytes(coded.getbuffer())
        return count, width, height


@dataclass(frozen=True)
class _Video:
    """How clips become video that is quick to seek in."""

    short_side: int | None
    crf: int
    group: int

    suffix = ".mp4"

    def write(self, reader: ClipReader, place: Path) -> tuple[int, int, int]:
        """Writes one file; gives the number of its frames, width and height."""
        info = reader.info
        width, height = fitted_size(info.width, info.height, self.short_side, even=True)
        rate = Fraction(min(240.0, max(1.0, info.fps or _NO_RATE))).limit_denominator(1001)
        # Groups of a fixed length that refer to nothing outside: every frame is at most `group` - 1 pictures from a
        # key frame. In I b b P b P no b picture is referred to, so that any frame takes four pictures at most. Without
        # CABAC a file grows by a tenth and is read in two thirds of the time; without the deblocking filter and weights
        # it loses 0.3 dB and is read in a tenth less. The times are even, also where those of the original are not.
        groups = f"keyint={self.group}:min-keyint={self.group}:scenecut=0:open-gop=0"
        pictures = "bframes=2:b-adapt=0:b-pyramid=none:weightp=0:weightb=0"
        options = {
            "crf": str(self.crf),
            "preset": "veryfast",
            "x264-params": f"{groups}:{pictures}:cabac=0:no-deblock=1:threads=1",
        }
        count = 0
        with av.open(
            str(place), "w", format="mp4", options={"movflags": "faststart", "fflags": "+bitexact"}
        ) as container:
            stream = container.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            if info.pixel_aspect != 1:
                aspect = info.pixel_aspect * (info.width / width) / (info.height / height)
                stream.codec_context.sample_aspect_ratio = Fraction(aspect).limit_denominator(4096)
            stream.thread_count = 1
            for picture_HWC in reader.frames():
                frame = av.VideoFrame.from_ndarray(picture_HWC, format="rgb24")
                frame = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
                frame.pts, frame.time_base = count, 1 / rate
                container.mux(stream.encode(frame))
                count += 1
            container.mux(stream.encode(None))
        return count, width, height


def extract_frames(  # noqa: PLR0913 - every one is a choice
    data: str | Path,
    to: str | Path,
    *,
    short_side: int | None = None,
    quality: int = 95,
    plain_names: bool = False,
    multi_label: bool = False,
    settings: DataConfig | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Transcoded:
    """Writes every clip of a data set as a folder of JPEG images, `img_00001.jpg` and so on, and lists of these.

    Spans of videos are cut out, each as a clip.

    The same call again goes on where it was interrupted, and tries what failed once more.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml; stays as it is.
        to: Folder for the frames, their lists and a data.yaml: new, empty, or of the same call.
        short_side: Scale the shorter side down to so many pixels; smaller clips keep their size. So do all where it is
            None.
        quality: Of the JPEG images, 1 to 100.
        plain_names: Blanks in names become underscores. For systems that split lists at blanks.
        multi_label: A clip may have several labels. As with the setting `train.multi_label`.
        settings: The settings for reading; the defaults by default.
        workers: Processes; by default one a core. With 0, this one does the work.
        progress: Called with the number of finished clips and of all clips.

    Raises:
        DataError: The data cannot be read, or the result cannot be written.
    """
    _check_range("short_side", short_side, 16, 8192)
    _check_range("quality", quality, 1, 100)
    form = _Frames(short_side, quality)
    return _rewrite(
        data,
        to,
        form,
        plain_names=plain_names,
        multi_label=multi_label,
        settings=settings,
        workers=workers,
        progress=progress,
    )


def repack_videos(  # noqa: PLR0913 - every one is a choice
    data: str | Path,
    to: str | Path,
    *,
    short_side: int | None = 256,
    crf: int = 20,
    group: int = 6,
    plain_names: bool = False,
    multi_label: bool = False,
    settings: DataConfig | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Transcoded:
    """Writes every clip of a data set as H.264 in short closed groups of pictures, without sound, and lists of these.

    Spans of videos are cut out, each as a clip.

    The same call again goes on where it was interrupted, and tries what failed once more.

    Args:
        data: Folder with a folder per class (also in train/ and val/), a list, or a data.yaml; stays as it is.
        to: Folder for the videos, their lists and a data.yaml: new, empty, or of the same call.
        short_side: Scale the shorter side down to so many pixels; smaller clips keep their size. Down to an even one,
            as H.264 needs. So do all where it is None.
        crf: Quality, 0 to 51; less is better and larger. It is x264's constant rate factor.
        group: Pictures from one key frame to the next.
        plain_names: Blanks in names become underscores. For systems that split lists at blanks.
        multi_label: A clip may have several labels. As with the setting `train.multi_label`.
        settings: The settings for reading; the defaults by default.
        workers: Processes; by default one a core. With 0, this one does the work.
        progress: Called with the number of finished clips and of all clips.

    Raises:
        DataError: The data cannot be read, the result cannot be written, or there is no encoder.
    """
    _check_range("short_side", short_side, 16, 8192)
    _check_range("crf", crf, 0, 51)
    _check_range("group", group, 1, 1000)
    check_encoder()
    form = _Video(short_side, crf, group)
    return _rewrite(
        data,
        to,
        form,
        plain_names=plain_names,
        multi_label=multi_label,
        settings=settings,
        workers=workers,
        progress=progress,
    )


def check_encoder() -> None:
    """Sees that PyAV can encode H.264.

    Raises:
        DataError: It was built without x264.
    """
    try:
        av.Codec("libx264", "w")
    except (av.FFmpegError, ValueError) as error:
        raise DataError(
            "There is no encoder for H.264: PyAV was built without x264.",
            got=f"PyAV {av.__version__}",
            remedy="install PyAV's own wheel (pip install --force-reinstall av); or make frames instead: clipshift "
            "frames DATA --to FOLDER; or encode with ffmpeg: -an -c:v libx264 -g 6 -sc_threshold 0",
        ) from error


def fitted_size(width: int, height: int, short_side: int | None, *, even: bool = False) -> tuple[int, int]:
    """The size after scaling the shorter side down to `short_side`; never larger, and even where the coding needs it.

    Args:
        width: In pixels.
        height: In pixels.
        short_side: None keeps the size.
        even: Whether both sides must be even.

    Returns:
        Width and height.
    """
    short = min(width, height)
    if short_side is not None and short > short_side:
        width, height = (max(1, round(side * short_side / short)) for side in (width, height))
    if even:
        width, height = (max(2, side - side % 2) for side in (width, height))
    return width, height


def new_names(names: Sequence[str], suffix: str, *, plain: bool = False) -> list[str]:
    """Names of the new clips: those of the old ones with another ending, all different, none inside another.

    Args:
        names: Paths from the data's root, or whole ones.
        suffix: The new ending; empty for folders.
        plain: Whether blanks become underscores.
    """
    cleaned = []
    for name in names:
        parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".", "..")]
        cleaned.append("/".join("_".join(part.split()) if plain else part for part in parts))
    short = [str(PurePosixPath(name).with_suffix("")) if is_video_file(name) else name for name in cleaned]
    uses = Counter(short)
    above = {str(parent) for name in short for parent in PurePosixPath(name).parents}
    taken: set[str] = set()
    result = []
    for name, whole in zip(short, cleaned, strict=True):
        # `a.avi` beside `a.mp4`, or beside a folder `a`: the old ending stays in the name.
        wanted = whole if uses[name] > 1 or name in above else name
        number, free = 1, wanted
        while free in taken or free in above:
            number += 1
            free = f"{wanted}_{number}"
        taken.add(free)
        result.append(free + suffix)
    return result


def _rewrite(
    data: str | Path,
    to: str | Path,
    form: _Frames | _Video,
    *,
    plain_names: bool,
    multi_label: bool,
    settings: DataConfig | None,
    workers: int | None,
    progress: Progress | None,
) -> Transcoded:
    settings = DataConfig() if settings is None else settings
    folder = absolute(to)
    found = read_parts(data, settings, several=multi_label, absent=True)
    _check_apart(folder, found)
    clips = {clip.source: clip for part in found.parts.values() for clip in part.clips}
    names = new_names([_cut_name(clip) for clip in clips.values()], form.suffix, plain=plain_names)
    choices = {"kind": type(form).__name__.strip("_").lower(), **asdict(form), "plain_names": plain_names}
    workers = available_cores() if workers is None else workers
    try:
        _begin(folder, {"format": _FORMAT, **choices})
        with alone(folder):
            known = _read_record(folder / _RECORD)
            jobs = [
                _Job(clip, name, number, known.get(name))
                for number, (clip, name) in enumerate(zip(clips.values(), names, strict=True))
            ]
            made, fresh, failed = _make_all(folder, form, settings, jobs, workers, progress)
            _write_failed(folder / _FAILED, failed)
            lists = _write_lists(folder, found, made)
    except OSError as error:
        raise DataError(
            "The clips cannot be written.",
            where=folder,
            got=error.strerror or error,
            remedy="mend that; the same command then goes on with what is left",
        ) from error
    return Transcoded(
        folder=folder,
        lists=lists,
        made=fresh,
        kept=len(made) - fresh,
        failed=tuple(failed),
        bytes_before=sum(item.source_bytes for item in made.values()),
        bytes_after=sum(item.bytes for item in made.values()),
        notes=(*found.notes, *_notes(form, made.values())),
    )


def _cut_name(clip: Clip) -> str:
    """The name of a clip; of a part of a video one that is still a name of a video, `a_1.5_4.mp4`.

    A region's numbers, hundredths of the picture, stand behind an `x`: `a_1.5_4_x25_0_50_100.mp4`.
    """
    if not clip.fragment:
        return clip.name
    name = PurePosixPath(clip.video_name)
    part = clip.fragment.removeprefix("#").removeprefix("t=").replace("xywh=percent:", "x")
    return str(name.with_name(f"{name.stem}_{part.replace(',', '_').replace('&', '_')}{name.suffix}"))


def _notes(form: _Frames | _Video, made: Iterable[_Made]) -> tuple[str, ...]:
    aspects = describe_aspects((item.target, item.pixel_aspect) for item in made)
    if aspects is None:
        return ()
    images = "images are written as stored, and input.pixel_aspect has no effect on them"
    return (f"{aspects}: {images if isinstance(form, _Frames) else 'the new files say the same'}",)


def _make_all(
    folder: Path,
    form: _Frames | _Video,
    settings: DataConfig,
    jobs: list[_Job],
    workers: int,
    progress: Progress | None,
) -> tuple[dict[str, _Made], int, list[tuple[str, str]]]:
    """Makes what is not there yet; gives what there is by original, how much of it is new, and what failed."""
    scratch = folder / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    made: dict[str, _Made] = {}
    failed: dict[int, tuple[str, str]] = {}
    fresh = 0
    work = partial(_work, folder=folder, form=form, settings=settings)
    with (folder / _RECORD).open("a", encoding="utf-8") as record:
        for done, (job, result) in enumerate(map_processes(work, jobs, workers), start=1):
            if isinstance(result, _Made):
                made[job.clip.source] = result
                fresh += 1
                record.write(json.dumps(asdict(result)) + "\n")
                record.flush()
            elif result is _Kept.AS_IT_IS and job.known is not None:
                made[job.clip.source] = job.known
            else:
                reason = result.cause if isinstance(result, Died) else str(result)
                failed[job.number] = (job.clip.name, reason)
            if progress is not None:
                progress(done, len(jobs))
    shutil.rmtree(scratch, ignore_errors=True)
    return made, fresh, [failed[number] for number in sorted(failed)]


def _work(job: _Job, *, folder: Path, form: _Frames | _Video, settings: DataConfig) -> _Made | _Kept | str:
    """Makes one clip, in a process of its own; gives what it became, or why it could not be made.

    Raises:
        DataError: Nothing more can be written.
    """
    target, place = folder / job.name, folder / _SCRATCH / f"{job.number}{form.suffix}"
    try:
        if job.known is not None and _is_made(job, target):
            return _Kept.AS_IT_IS
        size, time = _stamp(job.clip.path)
        limits = Limits.of(settings)
        with job.clip.open(settings) as reader:
            count, width, height = form.write(reader, place)
            expected, aspect = reader.info.frames, reader.info.pixel_aspect
        _verify(place, (expected, width, height), limits)
        files, size_after = _measure(place)
        _move(place, target)
        return _Made(job.name, job.clip.source, size, time, count, width, height, files, size_after, aspect)
    except VideoError as error:
        return error.what if error.got is None else f"{error.what} ({error.got})"
    except MemoryError:
        return "not enough memory for its frames"
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, av.FFmpegError | ValueError) and getattr(error, "errno", None) not in _FULL:
            return f"it cannot be encoded ({error})"
        raise DataError(
            "The clips cannot be written.",
            where=target,
            got=getattr(error, "strerror", None) or error,
            remedy="mend that; the same command then goes on with what is left",
        ) from error
    finally:
        _remove(place)


def _verify(place: Path, expected: tuple[int, int, int], limits: Limits) -> None:
    """Decodes a new clip whole.

    Raises:
        VideoError: It is not what was to be written.
    """
    with open_clip(place, limits=limits) as reader:
        count = sum(1 for _ in reader.frames())
        found = (count, reader.info.width, reader.info.height)
    if found != expected:
        raise VideoError(
            "What was written is not what was read.",
            got="{} frames of {}x{}".format(*found),
            allowed="{} frames of {}x{}".format(*expected),
        )


def _is_made(job: _Job, target: Path) -> bool:
    """Whether a clip is in its place as the record says, and its original is still the same."""
    known = job.known
    if known is None or (known.source, known.source_bytes, known.source_time) != (
        job.clip.source,
        *_stamp(job.clip.path),
    ):
        return False
    return target.exists() and _measure(target) == (known.files, known.bytes)


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of the last change of an original.

    Raises:
        VideoError: It is gone.
    """
    try:
        status = path.stat()
        return (_measure(path)[1] if path.is_dir() else status.st_size), status.st_mtime_ns
    except OSError as error:
        raise VideoError("The clip cannot be read.", where=path, got=error.strerror or error) from error


def _measure(path: Path) -> tuple[int, int]:
    """How many files there are, and their size."""
    if path.is_file():
        return 1, path.stat().st_size
    with os.scandir(path) as entries:
        sizes = [entry.stat().st_size for entry in entries if entry.is_file()]
    return len(sizes), sum(sizes)


def _move(place: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove(target)
    place.replace(target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _begin(folder: Path, choices: dict[str, Any]) -> None:
    """Sees that a folder is new, empty, or of the same choices, and notes them.

    Raises:
        DataError: It holds something else.
    """
    note = folder / _SETTINGS
    remedy = "name another folder, or delete this one"
    if folder.exists() and not folder.is_dir():
        raise DataError("Output path is a file, not a folder.", where=folder, remedy="name another folder")
    if not note.exists():
        if folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise DataError("The folder for the clips holds something else.", where=folder, remedy=remedy)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(note, json.dumps(choices, indent=1) + "\n")
        return
    try:
        found = from_json(note.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if found != choices:
        old = found if isinstance(found, dict) else {}
        differing = [key for key in choices if old.get(key) != choices[key]]
        raise DataError(
            "The folder holds clips that were written with other settings.",
            where=note,
            got=", ".join(f"{key}={old.get(key)}" for key in differing) or "other settings",
            allowed=", ".join(f"{key}={choices[key]}" for key in differing),
            remedy=remedy,
        )
    check_folder(folder)


def _read_record(path: Path) -> dict[str, _Made]:
    """What was made, by name; a line that was cut off by an interruption is passed over."""
    known = {}
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    for line in text.split("\n"):
        with suppress(ValueError, TypeError):
            made = _Made(**from_json(line))
            known[made.target] = made
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    return known


def _write_failed(path: Path, failed: Iterable[tuple[str, str]]) -> None:
    lines = [f"{printable(name)}: {printable(reason)}\n" for name, reason in failed]
    if lines:
        write_whole(path, lines)
    else:
        path.unlink(missing_ok=True)


def _write_lists(folder: Path, found: LabeledParts, made: dict[str, _Made]) -> WrittenLists | None:
    parts = {}
    for name, part in found.parts.items():
        clips = []
        for clip in part.clips:
            if clip.source in made:
                new = made[clip.source]
                path = folder / new.target
                clips.append(
                    replace(clip, path=path, frames=new.frames if path.is_dir() else None, span=None, region=None)
                )
        parts[name] = clips
    return write_parts(folder, found.classes, parts, root=folder) if any(parts.values()) else None


def _check_apart(folder: Path, found: LabeledParts) -> None:
    """Raises DataError where the new clips would be found as clips of the data set that they are made from."""
    for part in found.parts.values():
        if part.source.is_dir() and folder.resolve().is_relative_to(part.source.resolve()):
            raise DataError(
                "The folder for the result lies among the clips of the data set.",
                where=folder,
                got=f"inside {part.source}",
                remedy="name a folder elsewhere: the originals stay as they are",
            )


def _check_range(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise DataError(f"`{name}` is out of its range.", got=value, allowed=f"{least} to {most}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
