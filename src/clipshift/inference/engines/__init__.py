"""Exported models: what lies in their folder, and the engines that run them; PyTorch is not needed.

[clipshift.inference.engines.torch_program][] runs exports for PyTorch and is imported only for these.
"""

from __future__ import annotations

from clipshift.inference.engines.session import EngineOptions, Session, open_session
from clipshift.inference.export_folder import EXPORT_FILE, Export, Precision, Target, find_export, read_export
from clipshift.inference.exported_scorer import ExportScorer
from clipshift.inference.scorer import (
    ScoredClip,
    Scorer,
    ViewAverage,
    average_views,
    one_line,
    score_concurrently,
    score_in_batches,
)

__all__ = [
    "EXPORT_FILE",
    "EngineOptions",
    "Export",
    "ExportScorer",
    "Precision",
    "ScoredClip",
    "Scorer",
    "Session",
    "Target",
    "ViewAverage",
    "average_views",
    "find_export",
    "one_line",
    "open_session",
    "read_export",
    "score_concurrently",
    "score_in_batches",
]
