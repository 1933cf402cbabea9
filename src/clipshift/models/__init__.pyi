# The names of this room that others use.
__all__: list[str]
from .bundle import find_bundle as find_bundle
from .bundle import load_bundle as load_bundle
from .bundle import save_bundle as save_bundle
from .description import describe_model as describe_model
from .folding import fold_branches as fold_branches
from .placement import shift_points as shift_points
from .recognizer import Recognizer as Recognizer
from .recognizer import build_recognizer as build_recognizer
from .shift import TemporalShift as TemporalShift
from .shift import temporal_shift as temporal_shift
from .zoo import ZOO as ZOO
from .zoo import describe_models as describe_models
