# The names of this room that others use.
__all__: list[str]
from .cache import cached_file as cached_file
from .cache import cached_model_folder as cached_model_folder
from .cache import fetch as fetch
from .checkpoint_files import WeightsFile as WeightsFile
from .checkpoint_files import read_weights as read_weights
from .convert import Conversion as Conversion
from .loading import WeightsReport as WeightsReport
from .loading import load_weights as load_weights
from .published import PublishedWeights as PublishedWeights
from .published import published_weights as published_weights
from .recognition import Recognition as Recognition
from .resolve import find_model as find_model
from .resolve import published_model as published_model
