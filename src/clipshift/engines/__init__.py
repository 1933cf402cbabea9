"""Exported models: what lies in their folder, and the engines that run them; PyTorch is not needed.

[clipshift.engines.torch_program][] runs exports for PyTorch and is imported only for these.
"""

from __future__ import annotations

from clipshift.engines.exported import EXPORT_FILE, Export, Precision, Target, find_export, read_export
from clipshift.engines.scores import (
    ScoredClip,
    Scorer,
    ViewAverage,
    average_views,
    one_line,
    score_in_batches,
    score_side_by_side,
)
from clipshift.engines.scoring import ExportScorer
from clipshift.engines.sessions import EngineOptions, Session, open_session

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
    "score_in_batches",
    "score_side_by_side",
]
