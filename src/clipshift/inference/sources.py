"""From files, folders, globs and lists to a stream of clips; nothing grows with their number."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from clipshift.config import ReadingConfig
from clipshift.datasets.clip import Clip
from clipshift.datasets.folders import is_folder, is_frame_folder, is_left_out
from clipshift.datasets.fragments import fragment, split_fragment
from clipshift.datasets.lists import LIST_SUFFIXES, stream_clips
from clipshift.datasets.tracks import COLUMNS, Track, is_tracks, track_clips, tracked_videos
from clipshift.errors import ConfigError, DataError, UserError, VideoError
from clipshift.parallel.prefetch import pick_threads
from clipshift.remote import check_address, is_remote, list_store
from clipshift.video import is_video_file


def find_clips(sources: Iterable[str | Path], reading: ReadingConfig) -> Iterator[Clip]:
    """The clips that the sources mean, one after the other, without looking further ahead than one folder.

    A source that does not exist, cannot be read or holds no clip ends nothing: in its place comes a clip with the
    error, which is said where the clip is opened.

    Args:
        sources: A video file (any suffix: what is named is tried), a folder (its videos and frame folders, also in
            folders below, in the order of their names), a glob pattern, a list (`.txt`, `.csv`, `.jsonl`, also of
            spans, regions and tracks, or `.json` annotations), a part of a video (`a.mp4#t=1.5,4`, in seconds,
            `a.mp4#xywh=percent:25,0,50,100`), or `-`: standard input, with any of these a line;
            a video or folder in a store (`s3://`, `gs://`, `hf://`, `https://` for files).
        reading: How frame folders are recognized.

    Yields:
        Clips without labels; their name is the path as the source gave it.
    """
    for source in _each(sources):
        found = False
        try:
            for clip in _clips_remote(source) if is_remote(source) else _clips_of(source, reading):
                found = True
                yield clip
        except ConfigError as error:
            yield _no_clip(error.where or "", error)  # without the credentials that are in the source
        except (DataError, VideoError) as error:
            yield _no_clip(source, error)
        except (OSError, ValueError) as error:  # a name too long, with a NUL byte, or in a folder that may not be read
            reason = (isinstance(error, OSError) and error.strerror) or error
            yield _no_clip(source, DataError("The path cannot be read.", where=source, got=reason))
        else:
            if not found:
                remedy = "name a video, a folder, a glob or a list"
                yield _no_clip(source, DataError("There is no video here.", where=source, remedy=remedy))


def clips_of_tracks(tracks: str | Path, videos: Sequence[str | Path], reading: ReadingConfig) -> Iterator[Clip]:
    """The clips of tracks in some videos.

    Args:
        tracks: A list of tracks.
        videos: Files; of one without a track comes a clip with an error. None: all of the list.
        reading: How tracks are cut into clips.

    Raises:
        DataError: This is no list of tracks, it cannot be read, or is malformed.
    """
    only = [Path(video).resolve() for video in videos] if videos else None
    left = dict.fromkeys(only or ())
    for clip in track_clips(_tracks_list(tracks), reading, only=only):
        left.pop(clip.path.resolve(), None)
        yield clip
    for video in left:
        yield _without_track(video, tracks)


def videos_of_tracks(tracks: str | Path, videos: Sequence[str | Path]) -> list[tuple[Clip, Track | None]]:
    """Whole videos with their tracks, a pair for each track; arguments and errors as of `clips_of_tracks`."""
    only = [Path(video).resolve() for video in videos] if videos else None
    found = list(tracked_videos(_tracks_list(tracks), only=only))
    pairs: list[tuple[Clip, Track | None]] = [(clip, track) for clip, own in found for track in own]
    there = {clip.path.resolve() for clip, _ in found}
    return pairs + [(_without_track(video, tracks), None) for video in only or () if video not in there]


def _tracks_list(tracks: str | Path) -> Path:
    path = Path(tracks)
    if not path.is_file() or not is_tracks(path):
        raise DataError("This is no list of tracks.", where=path, allowed=f"CSV with the columns {', '.join(COLUMNS)}")
    return path


def _without_track(video: Path, tracks: str | Path) -> Clip:
    return _no_clip(str(video), DataError("There is no track of this video.", where=video, got=tracks))


def find_clips_of(source: str | Path, reading: ReadingConfig) -> list[Clip]:
    """All clips of one source, as of [find_clips][clipshift.inference.sources.find_clips].

    Raises:
        DataError: There is not one clip, whether it can be read or not.
    """
    clips = list(find_clips([source], reading))
    error = clips[0].error
    if error is not None and all(clip.error is not None for clip in clips):
        raise error
    return clips


def is_one_clip(sources: Sequence[str | Path], reading: ReadingConfig) -> bool:
    """Whether the sources are one video or frame folder, of which an answer is wanted soon; nothing is opened."""
    if len(sources) != 1:
        return False
    if is_remote(str(sources[0])):
        return is_video_file(split_fragment(str(sources[0]))[0])
    path = Path(sources[0])
    try:
        if path.is_dir():
            return is_frame_folder(path, reading.frame_pattern)
        if split_fragment(str(path))[0] != str(path):
            return True
        return path.is_file() and path.suffix.lower() not in LIST_SUFFIXES
    except (DataError, OSError, ValueError):  # what is wrong with it is said when it is read
        return False


def pick_workers(sources: object, workers: int | Literal["auto"], reading: ReadingConfig) -> int:
    """Number of reading threads: as asked, or (`auto`) one per core, and none for one clip, on which all cores work."""
    if workers == "auto" and isinstance(sources, list | tuple) and is_one_clip(sources, reading):
        return 0
    return pick_threads(workers)


def _no_clip(name: str, error: UserError) -> Clip:
    return Clip(path=Path(name).absolute(), name=name, label=None, error=error)


def _clips_of(source: str, reading: ReadingConfig) -> Iterator[Clip]:
    path = Path(source)
    if path.is_dir():
        yield from _clips_below(path, reading)
    elif path.exists():
        if path.suffix.lower() in LIST_SUFFIXES:
            yield from track_clips(path, reading) if is_tracks(path) else _clips_listed(path)
        else:
            yield Clip(path=path.absolute(), name=source, label=None)
    elif glob.has_magic(source):
        for match in map(Path, sorted(glob.iglob(source, recursive=True))):  # noqa: PTH207 - keeps the pattern's form
            if _is_left_out_below(match, path):
                continue
            if match.is_dir():
                yield from _clips_below(match, reading)
            elif is_video_file(match):
                yield Clip(path=match.absolute(), name=str(match), label=None)
    else:
        name, span, region = split_fragment(source)
        there = Path(name).is_file() or (span is None and Path(name).is_dir())
        if name == source or not there:
            raise DataError("There is no such file or folder.", where=source)
        part = name + fragment(span, region)
        yield Clip(path=Path(name).absolute(), name=part, label=None, span=span, region=region)


def _is_left_out_below(match: Path, pattern: Path) -> bool:
    """Whether a match is left out as in a folder; not so where the pattern itself names what is left out.

    Hidden files and folders only match where the pattern asks for them.
    """
    named = set(pattern.parts)
    return any(is_left_out(part) and not part.startswith(".") and part not in named for part in match.parts)


def _each(sources: Iterable[str | Path]) -> Iterator[str]:
    """The sources, and for `-` the lines of standard input, as they come; a name need not be UTF-8."""
    for source in map(str, sources):
        if source != "-":
            yield source
            continue
        for line in sys.stdin.buffer:
            name = os.fsdecode(line.rstrip(b"\r\n"))
            if name and name != "-":
                yield name


def _clips_listed(path: Path) -> Iterator[Clip]:
    for listed in stream_clips(path):
        if isinstance(listed, DataError):
            yield _no_clip(listed.where or str(path), listed)
        else:
            video, span, region = listed
            if isinstance(video, str):
                try:
                    check_address(video)
                except ConfigError as error:
                    yield _no_clip(error.where or "", error)
                    continue
            name = str(video) + fragment(span, region)
            address = video if isinstance(video, str) else None
            yield Clip(Path(video).absolute(), name, None, span=span, region=region, address=address)


def _clips_remote(source: str) -> Iterator[Clip]:
    """A file of a store, or what lies below a folder; what ends as no video is a folder, but on web servers."""
    check_address(source)
    name, span, region = split_fragment(source)
    if name != source or name.startswith("https://") or is_video_file(name):
        yield Clip(path=Path(name), name=source, label=None, span=span, region=region, address=name)
        return
    for address, below in list_store(name):
        if is_left_out(address.rpartition("/")[2]):
            continue
        if below:
            yield from _clips_remote(address + "/")
        elif is_video_file(address):
            yield Clip(path=Path(address), name=address, label=None, address=address)


def _clips_below(folder: Path, reading: ReadingConfig, above: frozenset[str] = frozenset()) -> Iterator[Clip]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in
        return
    try:
        one_clip = is_frame_folder(folder, reading.frame_pattern)
    except DataError as error:
        yield _no_clip(str(folder), error)
        return
    if one_clip:
        yield Clip(path=folder.absolute(), name=str(folder), label=None)
        return
    with os.scandir(folder) as entries:
        ordered = sorted((entry.name, is_folder(entry)) for entry in entries if not is_left_out(entry.name))
    for name, below in ordered:
        if below:
            yield from _clips_below(folder / name, reading, above | {real})
        elif is_video_file(folder / name):
            yield Clip(path=(folder / name).absolute(), name=str(folder / name), label=None)
