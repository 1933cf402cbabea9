"""Weights of other homes: files read without running them, names of every home, published ones fetched, converted."""

from __future__ import annotations

from clipshift.weights.by_name import find_model, published_model
from clipshift.weights.cache import cached_file, cached_model_folder, fetch
from clipshift.weights.convert import Conversion, convert
from clipshift.weights.files import WeightsFile, read_weights
from clipshift.weights.loading import WeightsReport, load_weights
from clipshift.weights.table import PUBLISHED, PublishedWeights

__all__ = [
    "PUBLISHED",
    "Conversion",
    "PublishedWeights",
    "WeightsFile",
    "WeightsReport",
    "cached_file",
    "cached_model_folder",
    "convert",
    "fetch",
    "find_model",
    "load_weights",
    "published_model",
    "read_weights",
]
