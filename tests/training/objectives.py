"""What a Trainer of a test minimizes."""

from __future__ import annotations

from clipshift.config import Config, OptimConfig
from clipshift.models.recognizer import Recognizer
from clipshift.training.objectives import LabelLoss, LearnLabels, LearnMutually, Objective


def objective_for(config: Config, partner: Recognizer | None, partner_optim: OptimConfig | None = None) -> Objective:
    """The labels' loss, or mutual learning with a partner."""
    if partner is None:
        return LearnLabels(LabelLoss(config))
    return LearnMutually(LabelLoss(config), partner, partner_optim or config.optim, config)
