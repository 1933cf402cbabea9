"""Clips: what they are, and their frames. Needs no PyTorch."""

from __future__ import annotations

from clipshift.video.arrays import check_video
from clipshift.video.frame_folder import fitting_pattern
from clipshift.video.limits import Limits
from clipshift.video.opening import VIDEO_SUFFIXES, decode, is_video_file, open_clip, probe
from clipshift.video.reader import ClipInfo, ClipReader
from clipshift.video.span import Span

__all__ = [
    "VIDEO_SUFFIXES",
    "ClipInfo",
    "ClipReader",
    "Limits",
    "Span",
    "check_video",
    "decode",
    "fitting_pattern",
    "is_video_file",
    "open_clip",
    "probe",
]
