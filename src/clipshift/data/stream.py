"""Test views of clips, decoded ahead in threads: for evaluation and prediction."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from clipshift.config import DataConfig, InputConfig
from clipshift.data.clips import Clip
from clipshift.data.transforms import Crops, test_views
from clipshift.errors import VideoError
from clipshift.video import Limits, open_clip, segment_middles

_PIECE_BYTES = 128 * 1024 * 1024
"""Decoded pixels that are held at once before they are scaled down."""


@dataclass(frozen=True, eq=False)
class ReadClip:
    """A clip that was read, or why it could not be: one of `views` and `error` is None."""

    clip: Clip
    views: torch.Tensor | None
    """uint8 (V, T, 3, side, side), V = clips x crops."""
    error: VideoError | None


def read_views(clip: Clip, settings: InputConfig, data: DataConfig, *, crops: Crops, clips: int = 1) -> torch.Tensor:
    """Reads the test views of one clip: the middles of its segments, scaled and cropped.

    Args:
        clip: The clip.
        settings: Segments, sizes and interpolation.
        data: Limits and the pattern of frame folders.
        crops: Crops of every frame (`clipshift.data.transforms.test_views`).
        clips: Sets of frames, spread evenly inside the segments.

    Returns:
        uint8 (V, T, 3, side, side) with V = clips x crops, the crops of the first set of frames first.

    Raises:
        VideoError: The clip cannot be read.
    """
    limits, pattern = Limits.of(data), data.frame_pattern
    with open_clip(clip.path, limits=limits, frame_pattern=pattern, frames=clip.frames) as reader:
        sets = [segment_middles(reader.info.frames, settings.segments, k, clips) for k in range(clips)]
        wanted = sorted({index for indices in sets for index in indices})
        # Large frames of many sets are decoded and scaled piece by piece: the scaled ones are small.
        piece = max(1, _PIECE_BYTES // (reader.info.width * reader.info.height * 3))
        views_VTCHW = torch.cat(
            [test_views(reader.read(wanted[i : i + piece]), settings, crops) for i in range(0, len(wanted), piece)],
            dim=1,
        )
    where = {index: position for position, index in enumerate(wanted)}
    if len(sets) == 1 and sets[0] == wanted:
        return views_VTCHW
    return torch.cat([views_VTCHW[:, [where[index] for index in indices]] for indices in sets])


def read_ahead(
    clips: Iterable[Clip],
    settings: InputConfig,
    data: DataConfig,
    *,
    crops: Crops = "centre",
    clips_per_video: int = 1,
    workers: int,
) -> Iterator[ReadClip]:
    """Reads clips in threads, ahead of their use, and gives them in their order.

    At most 2 x workers clips are read ahead and held, and no more are taken from `clips`: it may be endless. Threads
    end with the iteration, also when it is left early and the iterator closed.

    Args:
        clips: What to read; consumed step by step.
        settings: Segments, sizes and interpolation.
        data: Limits and the pattern of frame folders.
        crops: Crops of every frame.
        clips_per_video: Sets of frames of every clip.
        workers: Threads; 0 reads in the caller's.

    Yields:
        Every clip with its views, or with its error: an unreadable clip stops nothing.
    """

    def read(clip: Clip) -> ReadClip:
        try:
            return ReadClip(clip, read_views(clip, settings, data, crops=crops, clips=clips_per_video), None)
        except VideoError as error:
            return ReadClip(clip, None, error)

    if workers < 1:
        yield from map(read, clips)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read-ahead")
    waiting: deque[Future[ReadClip]] = deque()
    try:
        for clip in clips:
            waiting.append(pool.submit(read, clip))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
