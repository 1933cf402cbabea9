"""What happens when in long videos: a model run along files, the results of each, and how good they are.

Each name of `__init__.pyi` is imported when it is first used: the form of a time line does not wait for its pages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
