"""The layouts of weights that other homes publish, one module a home: pure functions from names to names."""

from __future__ import annotations

from clipshift.models.published import efficientnet_pytorch, mit, mmaction2, paddlevideo, timm, torchvision
from clipshift.models.published.layouts import CLASSIFIER, Layout, Target
from clipshift.models.published.timm import OWN

__all__ = ["CLASSIFIER", "LAYOUTS", "OWN", "Layout", "Target"]

LAYOUTS = (
    paddlevideo.LAYOUT,
    mmaction2.LAYOUT,
    OWN,
    mit.LAYOUT,
    timm.LAYOUT,
    torchvision.LAYOUT,
    efficientnet_pytorch.LAYOUT,
)
"""In the order in which they are tried: the first that matches is taken."""
