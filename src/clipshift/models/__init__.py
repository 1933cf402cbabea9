"""Networks: the temporal shift and where it goes, backbones, recognizers, the zoo, and models on disk.

Each name of `__init__.pyi` is imported when it is first used: what only lists models does not wait for PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
