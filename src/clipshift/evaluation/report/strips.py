"""Frames of a clip as small JPEG pictures that an HTML page carries inside itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipshift.config import Region
from clipshift.errors import VideoError
from clipshift.preprocessing.sampling import segment_middles
from clipshift.video import Limits, Span, open_clip

_BOX = (176, 132)  # pixels: sharp at the sizes shown, and a few kilobytes
_QUALITY = 74


def clip_strip(
    path: Path,
    *,
    frames: int,
    limits: Limits,
    frame_pattern: str,
    span: Span | None = None,
    region: Region | None = None,
) -> tuple[list[str], str | None]:
    """The frames in the middles of `frames` equal parts of a clip, or of a part of it, decoded again from its file.

    Returns:
        Data URIs, and None; or none, and why the clip cannot be read now.
    """
    try:
        with open_clip(path, limits=limits, frame_pattern=frame_pattern, span=span, region=region) as reader:
            frames_THWC = reader.read(segment_middles(reader.frame_count, frames))
    except VideoError as error:
        return [], error.what
    return [picture_uri(frame) for frame in frames_THWC], None


def tensor_strip(clip_TCHW: NDArray[np.uint8], *, frames: int) -> list[str]:
    """At most `frames` pictures of a clip of uint8 (T, 3, H, W) pixels, evenly spread, as data URIs."""
    shown = min(frames, len(clip_TCHW))
    return [picture_uri(np.moveaxis(clip_TCHW[index], 0, -1)) for index in segment_middles(len(clip_TCHW), shown)]


def data_uri(content: bytes, kind: str) -> str:
    """The bytes of a file of MIME type `kind` as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture_uri(frame_HWC: NDArray[Any], *, box: tuple[int, int] = _BOX) -> str:
    """A frame (H, W, 3) of uint8, RGB, as a JPEG picture in a data URI, within `box` (width and height in pixels)."""
    image = Image.fromarray(np.ascontiguousarray(frame_HWC))
    image.thumbnail(box)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return data_uri(file.getvalue(), "image/jpeg")
