"""Averages over a video's views, and how scores come out of a stream of clips."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from clipshift.config import Average, DataConfig, EvaluateConfig
from clipshift.device import autocast, cast_weights
from clipshift.inference.network_scorer import network_engine, score_stream
from clipshift.inference.scorer import ViewAverage
from clipshift.inference.views import read_views
from clipshift.models import Recognizer
from clipshift.models.zoo import ZOO
from tests.evaluation.synthetic import SETTINGS, SmallNetwork, make_manifest


def averaged(logits_VK: torch.Tensor, average: Average) -> torch.Tensor:
    scores = ViewAverage(average)
    for logits in logits_VK:
        scores.add(logits.numpy())
    assert scores.views == len(logits_VK)
    return torch.from_numpy(scores.result())


def test_logits_or_probabilities_are_averaged() -> None:
    logits_VK = torch.tensor([[4.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 2.0, -3.0]])
    torch.testing.assert_close(averaged(logits_VK, "logits"), logits_VK.mean(dim=0))
    found = averaged(logits_VK, "probabilities")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, logits_VK.softmax(dim=1).mean(dim=0).log())
    torch.testing.assert_close(found.softmax(dim=0), logits_VK.softmax(dim=1).mean(dim=0))


def test_one_view_keeps_its_answer() -> None:
    logits = torch.tensor([[3.0, -1.0, 0.5]])
    assert torch.equal(averaged(logits, "logits"), logits[0])
    torch.testing.assert_close(averaged(logits, "probabilities"), logits[0].log_softmax(dim=0))


def test_probabilities_too_small_for_a_number_have_logarithms() -> None:
    found = averaged(torch.tensor([[2000.0, 0.0], [1000.0, 0.0]]), "probabilities")
    torch.testing.assert_close(found, torch.tensor([0.0, -1000.0 - 0.6931472]))


def test_an_average_of_nothing() -> None:
    with pytest.raises(ValueError, match="no view"):
        ViewAverage().result()


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_probabilities_of_a_stream_are_averaged_over_the_views(tmp_path: Path, batch_size: int) -> None:
    manifest = make_manifest(tmp_path, clips=4, broken=[1])
    network = SmallNetwork().eval()
    engine = network_engine(network, SETTINGS, torch.device("cpu"))
    protocol = EvaluateConfig(crops="three", clips=2, batch_size=batch_size)
    stream = score_stream(engine, manifest.clips, SETTINGS, DataConfig(), protocol, average="probabilities", workers=0)
    for clip, scored in zip(manifest.clips, stream, strict=True):
        assert scored.clip == clip
        if scored.logits is None:
            assert scored.error
            continue
        logits_VK = engine(read_views(clip, SETTINGS, DataConfig(), crops="three", clips=2))
        torch.testing.assert_close(
            torch.from_numpy(scored.logits).exp(), logits_VK.softmax(dim=1).mean(dim=0), atol=1e-6, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["tsm-mobilenetv2", "pptsmv2-16f-attention"])
def test_weights_are_cast_once_and_answers_stay_equal(name: str) -> None:
    network = Recognizer(ZOO[name].model, segments=2, classes=5).eval()
    clips = torch.randn(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), autocast(torch.device("cpu"), "bf16"):
        expected = network(clips)
        cast = cast_weights(network, "bf16")
        assert torch.equal(cast(clips), expected)
    kinds = {module.weight.dtype for module in cast.modules() if type(module) in (nn.Conv2d, nn.Linear)}
    assert kinds == {torch.bfloat16}
    assert all(norm.weight.dtype == torch.float32 for norm in cast.modules() if isinstance(norm, nn.BatchNorm2d))
