"""Reports with blank pictures, for tests of something else: drawing is most of the time of a small training.

tests/evaluation draws what there may be, tests/test_readme.py that of whole trainings.
"""

from __future__ import annotations

import io

import pytest
from PIL import Image


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """Have reports get blank pictures, until the patch is undone."""
    from clipshift.evaluation.report import canvas, page

    blank = io.BytesIO()
    Image.new("RGB", (8, 8)).save(blank, "png")
    for module in (canvas, page):
        patch.setattr(module, "render", lambda *_: blank.getvalue())
