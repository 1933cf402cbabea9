"""Clips: what they are, their frames, and which frames a network sees. Needs no PyTorch."""

from __future__ import annotations

from clipshift.preprocessing.sampling import frame_sets, segment_middles, segment_random, training_frames
from clipshift.video.arrays import check_video
from clipshift.video.frame_folder import fitting_pattern
from clipshift.video.limits import Limits
from clipshift.video.opening import VIDEO_SUFFIXES, decode, is_video_file, open_clip, probe
from clipshift.video.reader import ClipInfo, ClipReader

__all__ = [
    "VIDEO_SUFFIXES",
    "ClipInfo",
    "ClipReader",
    "Limits",
    "check_video",
    "decode",
    "fitting_pattern",
    "frame_sets",
    "is_video_file",
    "open_clip",
    "probe",
    "segment_middles",
    "segment_random",
    "training_frames",
]
