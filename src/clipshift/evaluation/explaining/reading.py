"""What a model sees of a clip: each frame once, with its number and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from clipshift.datasets.clip import Clip
from clipshift.errors import VideoError
from clipshift.evaluation.explaining.occlusion import Seen
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.scorer import Scorer
from clipshift.preprocessing.motion_region import seen_frames
from clipshift.preprocessing.windows import choose_test_frames, sets_of_array
from clipshift.video import ClipReader, check_video
from clipshift.video.span import frames_on_display

_PIECE_BYTES = 128 * 1024 * 1024
"""Decoded pixels that are held at once before they are scaled down."""
_PICTURE = (320, 240)


def see_clip(scorer: Scorer, clip: Clip, clips: int) -> Seen:
    """What a model sees of a clip; where it looks at what moves, frames are cut to that.

    Args:
        scorer: The model.
        clip: The clip.
        clips: Sets of frames.

    Raises:
        VideoError: It cannot be read.
        ConfigError: The model's sampling does not know so many sets.
    """
    settings = scorer.spec.input
    with clip.open_for(settings, scorer.spec.reading) as reader:
        video, sets = choose_test_frames(reader, settings, clips)
        wanted = sorted({index for indices in sets for index in indices})
        piece = max(1, _PIECE_BYTES // reader.bytes_per_frame)
        scale = _scaling(scorer)
        frames_FHWC = np.concatenate(
            [scale(video.read(wanted[first : first + piece])) for first in range(0, len(wanted), piece)]
        )
        times = _times(video)
        first = 0 if clip.span is None or video is not reader else _first_of_span(reader)
    frames_FHWC, _ = seen_frames(frames_FHWC, settings)
    return Seen(
        frames_FHWC,
        tuple(first + index for index in wanted),
        None if times is None else tuple(float(times[index]) for index in wanted),
        _places(sets, wanted),
    )


def see_frames(scorer: Scorer, frames_THWC: np.ndarray, clips: int) -> Seen:
    """The same of a whole decoded video, uint8 (T, H, W, 3), which has no times.

    Raises:
        VideoError: The array is not a video.
        ConfigError: The model's sampling does not know so many sets.
    """
    check_video(frames_THWC)
    sets = sets_of_array(len(frames_THWC), scorer.spec.input, clips)
    wanted = sorted({index for indices in sets for index in indices})
    seen_FHWC, _ = seen_frames(_scaling(scorer)(frames_THWC[wanted]), scorer.spec.input)
    return Seen(seen_FHWC, tuple(wanted), None, _places(sets, wanted))


def small_pictures(seen: Seen) -> np.ndarray:
    """The frames as pages show them: uint8 (F, h, w, 3) within 320 x 240 pixels."""
    pictures = []
    for frame in seen.frames:
        image = Image.fromarray(np.ascontiguousarray(frame))
        image.thumbnail(_PICTURE)
        pictures.append(np.asarray(image))
    return np.stack(pictures)


def _places(sets: Sequence[Sequence[int]], wanted: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    where = {index: place for place, index in enumerate(wanted)}
    return tuple(tuple(where[index] for index in indices) for indices in sets)


def _scaling(scorer: Scorer) -> Callable[[np.ndarray], np.ndarray]:
    """What a network does with frames first, once for all answers; a file takes them as they are."""
    if isinstance(scorer, ExportScorer) or scorer.spec.input.region is not None:
        return np.asarray  # a region is of the whole picture
    from clipshift.preprocessing.transforms import scale_frames  # only here: it needs PyTorch

    return lambda frames_THWC: scale_frames(frames_THWC, scorer.spec.input)


def _times(video: ClipReader) -> np.ndarray | None:
    try:
        return video.boundaries
    except VideoError:  # a frame folder has none
        return None


def _first_of_span(reader: ClipReader) -> int:
    """The number in the file of the first frame of a span."""
    begins = reader.stretch.video.boundaries[:-1]
    return int(frames_on_display(begins, float(reader.boundaries[0])))
