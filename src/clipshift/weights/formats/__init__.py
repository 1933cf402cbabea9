"""The layouts of weights that other projects publish, one module a project: pure functions from names to names."""

from __future__ import annotations

from clipshift.weights.formats import efficientnet_pytorch, mit, mmaction2, paddlevideo, timm, torchvision
from clipshift.weights.formats.layouts import CLASSIFIER, Layout, Target
from clipshift.weights.formats.timm import OWN

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
