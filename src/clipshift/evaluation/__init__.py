"""Measuring a classifier: scores per video, exact metrics, plots and the report."""

from clipshift.evaluation.evaluator import describe_protocol, evaluate, evaluate_manifest, score_clips
from clipshift.evaluation.fusion import fuse
from clipshift.evaluation.metrics import ClassMetrics, Metrics, compute_metrics
from clipshift.evaluation.protocols import PROTOCOLS
from clipshift.evaluation.results import ClipScore, Evaluation, load_evaluation

__all__ = [
    "PROTOCOLS",
    "ClassMetrics",
    "ClipScore",
    "Evaluation",
    "Metrics",
    "compute_metrics",
    "describe_protocol",
    "evaluate",
    "evaluate_manifest",
    "fuse",
    "load_evaluation",
    "score_clips",
]
