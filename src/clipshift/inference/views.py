"""Test views of clips, decoded ahead in threads: for evaluation and prediction."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clipshift.config import Crops, InputConfig, ReadingConfig, Region
from clipshift.datasets.clip import Clip
from clipshift.errors import VideoError
from clipshift.parallel.prefetch import decoder_threads, prefetch
from clipshift.preprocessing.motion_region import cell_means, region_of_cells
from clipshift.preprocessing.transforms import evaluation_views
from clipshift.preprocessing.windows import choose_test_frames, sets_of_array
from clipshift.video import check_video

_PIECE_BYTES = 128 * 1024 * 1024
"""Decoded pixels that are held at once before they are scaled down."""


@dataclass(frozen=True, eq=False)
class ReadClip:
    """A clip that was read, or why it could not be: one of `views` and `error` is None."""

    clip: Clip
    views: torch.Tensor | None
    """uint8 (V, T, 3, side, side), V = clips x crops."""
    error: VideoError | None


def read_views(
    clip: Clip, settings: InputConfig, data: ReadingConfig, *, crops: Crops, clips: int = 1, threads: int = 1
) -> torch.Tensor:
    """Reads the test views of one clip: the frames that `settings` take, scaled and cropped.

    Args:
        clip: The clip.
        settings: Segments, sampling, sizes and interpolation.
        data: Limits and the pattern of frame folders.
        crops: Crops of every frame (`clipshift.preprocessing.transforms.evaluation_views`).
        clips: Sets of frames of the video.
        threads: Cores that the decoder may use.

    Returns:
        uint8 (V, T, 3, side, side) with V = clips x crops, the crops of the first set of frames first.

    Raises:
        VideoError: The clip cannot be read.
        ConfigError: `settings.sampling` does not know so many sets of frames.
    """
    with clip.open_for(settings, data, threads=threads) as reader:
        # Large frames of many sets are decoded and scaled piece by piece: the scaled ones are small.
        piece = max(1, _PIECE_BYTES // reader.bytes_per_frame)
        video, sets = choose_test_frames(reader, settings, clips)
        return _views(video.read, sets, settings, crops=crops, piece=piece)


def views_of_frames(frames_THWC: np.ndarray, settings: InputConfig, *, crops: Crops, clips: int = 1) -> torch.Tensor:
    """The test views of a whole decoded video: of the frames that `read_views` would decode.

    An array has no times: with `settings.rate` its frames count as having come at that rate.

    Args:
        frames_THWC: All its frames, uint8 (T, H, W, 3), RGB.
        settings: Segments, sampling, sizes and interpolation.
        crops: Crops of every frame.
        clips: Sets of frames of the video.

    Returns:
        uint8 (V, T, 3, side, side), as of `read_views`.

    Raises:
        VideoError: The array is not a video.
        ConfigError: `settings.sampling` does not know so many sets of frames.
    """
    check_video(frames_THWC)
    frames = len(frames_THWC)

    def read(indices: Sequence[int]) -> np.ndarray:
        return np.asarray(frames_THWC[list(indices)])

    return _views(read, sets_of_array(frames, settings, clips), settings, crops=crops, piece=frames)


def _views(
    read: Callable[[Sequence[int]], np.ndarray],
    sets: list[list[int]],
    settings: InputConfig,
    *,
    crops: Crops,
    piece: int,
) -> torch.Tensor:
    """The views of all sets of frames; every frame is read once, `piece` frames at a time."""
    wanted = sorted({index for indices in sets for index in indices})
    pieces = [wanted[i : i + piece] for i in range(0, len(wanted), piece)]
    if settings.region == "motion" and len(pieces) > 1:
        settings = settings.model_copy(update={"region": _motion_of(read, pieces)})
    views_VTCHW = torch.cat([evaluation_views(read(indices), settings, crops) for indices in pieces], dim=1)
    if sets == [wanted]:
        return views_VTCHW
    where = {index: position for position, index in enumerate(wanted)}
    return torch.cat([views_VTCHW[:, [where[index] for index in indices]] for indices in sets])


def _motion_of(read: Callable[[Sequence[int]], np.ndarray], pieces: Sequence[Sequence[int]]) -> Region | None:
    """The region of all frames together in which something moves; frames are read once more for it."""
    cells, size = [], (0, 0)
    for indices in pieces:
        frames_THWC = read(indices)
        size = frames_THWC.shape[1], frames_THWC.shape[2]
        cells.append(cell_means(frames_THWC))
    return region_of_cells(np.concatenate(cells), *size)


def prefetch_views(
    clips: Iterable[Clip],
    settings: InputConfig,
    data: ReadingConfig,
    *,
    crops: Crops = "center",
    clips_per_video: int = 1,
    workers: int,
) -> Generator[ReadClip]:
    """Reads clips in threads, ahead of their use, and gives them in their order.

    At most 2 x workers clips are read ahead and held, and no more are taken from `clips`: it may be endless. Threads
    end with the iteration, also when it is left early and the iterator closed.

    Args:
        clips: What to read; consumed step by step.
        settings: Segments, sampling, sizes and interpolation.
        data: Limits and the pattern of frame folders.
        crops: Crops of every frame.
        clips_per_video: Sets of frames of every clip.
        workers: Threads; 0 reads in the caller's, with all cores for the decoder.

    Returns:
        An iterator over every clip with its views, or with its error: an unreadable clip stops nothing.
    """
    threads = decoder_threads(workers)

    def read(clip: Clip) -> ReadClip:
        try:
            views = read_views(clip, settings, data, crops=crops, clips=clips_per_video, threads=threads)
            return ReadClip(clip, views, None)
        except VideoError as error:
            return ReadClip(clip, None, error)

    return prefetch(read, clips, workers)
