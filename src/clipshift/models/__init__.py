"""Networks: the temporal shift, backbones, recognizers, weights of any home, published ones, and models on disk."""

from __future__ import annotations

from clipshift.models.bundle import ModelSpec, find_bundle, load_bundle, save_bundle
from clipshift.models.cache import cached_file, cached_model_folder, fetch
from clipshift.models.placement import shift_points
from clipshift.models.published_weights import PUBLISHED, PublishedWeights
from clipshift.models.recognizer import Recognizer, build_recognizer
from clipshift.models.shift import TemporalShift, temporal_shift
from clipshift.models.weights import WeightsReport, load_weights, read_state_dict
from clipshift.models.zoo import ZOO, describe_model, describe_models

__all__ = [
    "PUBLISHED",
    "ZOO",
    "ModelSpec",
    "PublishedWeights",
    "Recognizer",
    "TemporalShift",
    "WeightsReport",
    "build_recognizer",
    "cached_file",
    "cached_model_folder",
    "describe_model",
    "describe_models",
    "fetch",
    "find_bundle",
    "load_bundle",
    "load_weights",
    "read_state_dict",
    "save_bundle",
    "shift_points",
    "temporal_shift",
]
