"""The layouts of weights that other homes publish, one module a home: pure functions from names to names."""

from __future__ import annotations

from clipshift.config.schema import ShiftConfig
from clipshift.models.published import efficientnet_pytorch, mit, mmaction2, timm, torchvision
from clipshift.models.published.layouts import CLASSIFIER, Layout, Target

__all__ = ["CLASSIFIER", "LAYOUTS", "OWN", "Layout", "Target"]

_AS_IN_THE_PAPER = ShiftConfig(fold_div=8, order="future_first", rounding="each")

OWN = Layout("clipshift", timm.is_own, timm.rename_own)
LAYOUTS = (
    OWN,
    Layout("MIT temporal-shift-module", mit.is_mit, mit.rename_mit, _AS_IN_THE_PAPER),
    Layout("mmaction2", mmaction2.is_mmaction2, mmaction2.rename_mmaction2, _AS_IN_THE_PAPER),
    Layout("timm or torchvision", timm.is_timm, timm.rename_timm),
    Layout("torchvision MobileNetV2", torchvision.is_mobilenet_v2, torchvision.rename_mobilenet_v2),
    Layout(
        "efficientnet_pytorch",
        efficientnet_pytorch.is_efficientnet_pytorch,
        efficientnet_pytorch.rename_efficientnet_pytorch,
        note="trained with TensorFlow's padding, as timm's tf_efficientnet_* have it; EfficientNet-Lite also wants "
        "input.mean=[0.5,0.5,0.5] and input.std=[0.5,0.5,0.5]",
    ),
)
"""In the order in which they are tried: the first that matches is taken."""
