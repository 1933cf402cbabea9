"""Networks with fewer of the same blocks, for what does not hang on their number."""

from __future__ import annotations

import re

from clipshift.config.schema import ModelConfig


def shallow(model: ModelConfig) -> ModelConfig:
    """R26 for R50 and R101: as wide, with two of the same blocks in a stage, which all shift."""
    backbone = re.sub(r"^resnet(50|101)(?=d?$)", "resnet26", model.backbone)
    if backbone == model.backbone:
        return model
    shift = model.shift.model_copy(update={"deep_networks": "every_second_block"})  # r26 is not deep
    return model.model_copy(update={"backbone": backbone, "shift": shift})
