"""Settings: their schema, the recipes, and how they become one configuration."""

from clipshift.config.calibration import Calibration
from clipshift.config.event_rules import EventRule, EventRules
from clipshift.config.event_settings import with_events
from clipshift.config.model_spec import Average, ModelSpec, with_reading
from clipshift.config.recipes import recipe_names, recipe_path
from clipshift.config.resolving import Resolved, Settings, load_config, resolve, save_config
from clipshift.config.schema import (
    MOST_CLIPS,
    AugmentConfig,
    Config,
    Crops,
    DataConfig,
    EvaluateConfig,
    InputConfig,
    ModelConfig,
    OptimConfig,
    ReadingConfig,
    Region,
    Sampling,
    ShiftConfig,
    TrainConfig,
    TrainSampling,
    check_region,
)
from clipshift.config.text import describe, flatten, setting
from clipshift.config.unknown_rule import UnknownRule

__all__ = [
    "MOST_CLIPS",
    "AugmentConfig",
    "Average",
    "Calibration",
    "Config",
    "Crops",
    "DataConfig",
    "EvaluateConfig",
    "EventRule",
    "EventRules",
    "InputConfig",
    "ModelConfig",
    "ModelSpec",
    "OptimConfig",
    "ReadingConfig",
    "Region",
    "Resolved",
    "Sampling",
    "Settings",
    "ShiftConfig",
    "TrainConfig",
    "TrainSampling",
    "UnknownRule",
    "check_region",
    "describe",
    "flatten",
    "load_config",
    "recipe_names",
    "recipe_path",
    "resolve",
    "save_config",
    "setting",
    "with_events",
    "with_reading",
]
