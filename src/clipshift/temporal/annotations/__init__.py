"""Spans of time that people marked in videos: read, written and looked over, in the forms that tools use."""

from clipshift.temporal.annotations.checking import SpanFinding, check_spans
from clipshift.temporal.annotations.forms import FORMS, Form, read_annotations, write_annotations
from clipshift.temporal.annotations.model import Annotation

__all__ = [
    "FORMS",
    "Annotation",
    "Form",
    "SpanFinding",
    "check_spans",
    "read_annotations",
    "write_annotations",
]
