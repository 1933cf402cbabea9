"""One way to open a clip, whatever it is: a video file or a folder of frames."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from clipshift.errors import VideoError
from clipshift.remote import RemoteFile, VideoPath
from clipshift.video.frame_folder import FrameFolder
from clipshift.video.limits import Limits
from clipshift.video.region import RegionReader
from clipshift.video.span import SpanReader
from clipshift.video.video_file import VideoFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from clipshift.config import Region
    from clipshift.video.reader import ClipInfo, ClipReader
    from clipshift.video.span import Span

DEFAULT_PATTERN = "img_{:05d}.jpg"
VIDEO_SUFFIXES: frozenset[str] = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    }
)
"""Endings, in lower case, of the files that count as videos when a folder is searched."""


def is_video_file(path: str | Path) -> bool:
    """Whether a path ends as a video file does; nothing is opened."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def open_clip(
    path: str | VideoPath,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    frame_pattern: str = DEFAULT_PATTERN,
    frames: int | None = None,
    threads: int = 1,
    square_pixels: bool = False,
    span: Span | None = None,
    region: Region | None = None,
) -> ClipReader:
    """Opens a clip for reading; use it in a `with` statement.

    A file is a video, whatever its name. Its packets are read once, but no frame is decoded before one is asked for, or
    the true size and orientation are (a file whose packets do not tell the number of frames is decoded once, to count;
    of one whose frames may differ in size the first frame is decoded with those that are asked for first). A folder
    holds the frames as images.

    Of several video streams the one is read that players and FFmpeg choose.

    Args:
        path: A video file, a folder of images, or a file in a store.
        limits: What is larger is refused before decoding.
        frame_pattern: Names of the images of a folder, numbered from 1; a folder that starts at 0 is recognized.
        frames: How many frames of a folder a list declares: fewer than there are means the first ones.
        threads: Cores that the decoder may use. With more than one it decodes several pictures of H.264 at once, where
            the same frames come sooner so; one is the cheapest where several clips are read side by side.
        square_pixels: Whether frames whose pixels the file declares not to be square (DVD, DV, anamorphic video) are
            scaled in width as players do, by FFmpeg's bicubic scaler. All others are the same either way.
        span: Start and end of the part that is meant, in seconds since the first frame; None: the whole video.
        region: The part of the picture that is meant, as shares of it; None: all of it.

    Returns:
        The reader; its `frame_count` is known.

    Raises:
        VideoError: The clip is missing, damaged, cut off, not a video, or larger than `limits`.
        DownloadError: A store does not answer, or does not take the credentials.
    """
    if isinstance(path, RemoteFile):
        remember = span is not None
        remote = VideoFile(path, limits=limits, threads=threads, square_pixels=square_pixels, remember=remember)
        return _part_of(remote, span, region, path)
    path = Path(path)
    mode = _mode(path)
    reader: ClipReader
    if stat.S_ISDIR(mode):
        reader = FrameFolder(path, limits=limits, frame_pattern=frame_pattern, frames=frames)
    elif not stat.S_ISREG(mode):
        # A pipe or a device could be read without end.
        raise VideoError("The path is neither a file nor a folder.", where=path)
    else:
        reader = VideoFile(path, limits=limits, threads=threads, square_pixels=square_pixels, remember=span is not None)
    return _part_of(reader, span, region, path)


def _part_of(reader: ClipReader, span: Span | None, region: Region | None, path: VideoPath) -> ClipReader:
    try:
        part = reader if span is None else SpanReader(reader, span)
        return part if region is None else RegionReader(part, region)
    except VideoError as error:
        reader.close()
        raise VideoError(error.what, where=path, got=error.got, remedy=error.remedy) from error
    except BaseException:
        reader.close()
        raise


def probe(
    path: str | Path,
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    frame_pattern: str = DEFAULT_PATTERN,
    frames: int | None = None,
) -> ClipInfo:
    """Says what a clip is; arguments and errors as of [clipshift.video.open_clip][]."""
    with open_clip(path, limits=limits, frame_pattern=frame_pattern, frames=frames) as clip:
        return clip.info


def decode(
    path: str | Path,
    indices: Sequence[int],
    *,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    frame_pattern: str = DEFAULT_PATTERN,
    frames: int | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Decodes frames of a clip; errors as of [clipshift.video.open_clip][].

    Args:
        path: A video file, or a folder of images.
        indices: Frame numbers, 0 <= i < number of frames, in any order, repeats allowed.
        limits: What is larger is refused before decoding.
        frame_pattern: Names of the images of a folder.
        frames: How many frames of a folder a list declares.
        threads: Cores that the decoder may use.

    Returns:
        uint8 (T, H, W, 3), RGB, in the order of `indices`; bit-identical to decoding everything and picking.

    Raises:
        IndexError: An index lies outside the clip.
    """
    with open_clip(path, limits=limits, frame_pattern=frame_pattern, frames=frames, threads=threads) as clip:
        return clip.read(indices)


def _mode(path: Path) -> int:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise VideoError("The clip does not exist.", where=path) from error
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or error
        raise VideoError("The clip cannot be read.", where=path, got=found) from error
    if not os.access(path, os.R_OK):
        raise VideoError("The clip may not be read.", where=path, got="no permission", remedy=f"chmod u+r '{path}'")
    return mode
