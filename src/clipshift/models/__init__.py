"""Networks: the temporal shift and where it goes, backbones, recognizers, the zoo, and models on disk."""

from __future__ import annotations

from clipshift.models.bundle import find_bundle, load_bundle, save_bundle
from clipshift.models.folding import fold_branches
from clipshift.models.placement import shift_points
from clipshift.models.recognizer import Recognizer, build_recognizer
from clipshift.models.shift import TemporalShift, temporal_shift
from clipshift.models.zoo import ZOO, describe_model, describe_models

__all__ = [
    "ZOO",
    "Recognizer",
    "TemporalShift",
    "build_recognizer",
    "describe_model",
    "describe_models",
    "find_bundle",
    "fold_branches",
    "load_bundle",
    "save_bundle",
    "shift_points",
    "temporal_shift",
]
