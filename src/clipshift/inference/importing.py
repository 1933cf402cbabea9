"""How PyTorch is imported by a program that uses clipshift as a library."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Let Python look for no garbage while PyTorch and timm are imported, and take all there is for old afterwards.

    They make 400,000 objects that stay. Python would go through the new ones after every 700; and if the collector were
    switched on again alone, through all of them at once.
    """
    if not gc.isenabled() or gc.get_freeze_count():  # a program that has plans of its own
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # into the oldest generation, which is seldom gone through
        gc.enable()
