"""The first layers on a few frames at a time: the same bits, and nothing that looks at other frames."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clipshift.models import Recognizer, pieces
from clipshift.models.folding import inference_form
from clipshift.models.pieces import InPieces
from clipshift.models.shift import TemporalShift
from clipshift.models.temporal_attention import TemporalAttention
from clipshift.models.zoo import ZOO

_SEGMENTS = 6  # no multiple of the frames of a piece


def _form(name: str) -> Recognizer:
    return inference_form(Recognizer(ZOO[name].model, segments=_SEGMENTS, classes=3))


@pytest.mark.parametrize("name", ["pptsmv2", "pptsmv2-16f-attention", "tsm-mobilenetv2"])
def test_pieces_give_the_bits_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form = _form(name)
    clips = torch.randn(2, _SEGMENTS, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    [first] = [module for module in form.modules() if isinstance(module, InPieces)]
    assert not any(isinstance(module, TemporalShift | TemporalAttention) for module in first.modules())
    seen: list[int] = []
    next(iter(first)).register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with torch.inference_mode():
        found = form(clips)
        monkeypatch.setattr(pieces, "FRAMES", 100)
        whole: Tensor = form(clips)
    assert seen == [4, 4, 4, 12]
    assert torch.equal(found, whole)


def test_layers_behind_the_shift_or_with_small_pictures_stay_whole() -> None:
    names = {name for name, module in _form("pptsmv2").named_modules() if isinstance(module, InPieces)}
    assert names == {"backbone.stem.0"}
    assert not any(isinstance(module, InPieces) for module in _form("tsm-r18").modules())
