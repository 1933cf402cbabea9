"""Clips that are made of two: which pixels come from where, and that the share says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clipshift.config import AugmentConfig
from clipshift.training.losses import mixup
from clipshift.training.mixing import mix_clips, mixes, paste_box


def numbered(clips: int = 4, frames: int = 8, height: int = 20, width: int = 30) -> torch.Tensor:
    """Clips in which every pixel is the number of its clip."""
    return torch.arange(float(clips)).view(-1, 1, 1, 1, 1).expand(clips, frames, 3, height, width).clone()


@pytest.mark.parametrize("in_time", [False, True])
def test_the_share_is_that_of_the_pixels_that_stay(in_time: bool) -> None:
    clips = numbered()
    partial = 0
    for seed in range(200):
        mixed, order, share = paste_box(clips, 1.0, np.random.default_rng(seed), in_time=in_time)
        assert torch.equal(clips, numbered())
        for number in range(4):
            other = int(order[number])
            if other == number:
                assert torch.equal(mixed[number], clips[number])
                continue
            assert set(mixed[number].flatten().tolist()) <= {float(number), float(other)}
            stays = mixed[number] == number
            assert float(stays.double().mean()) == pytest.approx(share, abs=1e-12)
            assert torch.equal(stays[:, 0], stays[:, 1])
            # What is taken is one box.
            times, rows, columns = (~stays[:, 0]).nonzero(as_tuple=True)
            if len(times):
                sides = [len(set(where.tolist())) for where in (times, rows, columns)]
                assert np.prod(sides) == len(times)
                assert sides == [int(where.max() - where.min()) + 1 for where in (times, rows, columns)]
                assert in_time or sides[0] == 8
                partial += sides[0] < 8
    assert (partial > 100) is in_time


@pytest.mark.parametrize("in_time", [False, True])
def test_without_a_border_the_share_is_the_drawn_one(in_time: bool) -> None:
    clips = numbered(2, 64, 100, 100)
    kept, drawn = [], []
    for seed in range(300):
        random = np.random.default_rng(seed)
        expected = random.beta(8.0, 8.0)
        random.permutation(2)
        middles = random.random(3)
        half = (1 - expected) ** (1 / (3 if in_time else 2)) / 2
        inside = middles if in_time else middles[1:]
        if half <= inside.min() and inside.max() <= 1 - half:
            kept.append(paste_box(clips, 8.0, np.random.default_rng(seed), in_time=in_time)[2])
            drawn.append(expected)
    assert len(kept) > 3
    np.testing.assert_allclose(kept, drawn, atol=0.03)


def test_mixing_is_a_function_of_the_generator() -> None:
    clips = torch.randn(4, 8, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    for settings in (AugmentConfig(cutmix=1.0), AugmentConfig(videomix=0.5), AugmentConfig(mixup=0.2, cutmix=1.0)):
        one, two = (mix_clips(clips, settings, np.random.default_rng(9)) for _ in range(2))
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])
        assert one[2] == two[2]


def test_mixup_alone_draws_what_it_always_did() -> None:
    clips = torch.randn(4, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    random, other = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(2):
        found, expected = mix_clips(clips, AugmentConfig(mixup=0.2), random), mixup(clips, 0.2, other)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert found[2] == expected[2]
    assert random.bit_generator.state == other.bit_generator.state


def test_each_way_is_as_likely() -> None:
    clips = numbered(2, 8, 20, 20)
    counts = {"mixup": 0, "cutmix": 0, "videomix": 0}
    settings = AugmentConfig(mixup=8.0, cutmix=8.0, videomix=8.0)
    random = np.random.default_rng(0)
    for _ in range(900):
        mixed, order, _ = mix_clips(clips, settings, random)
        if order[0] == 0:
            continue
        stays = mixed[0, :, 0] == 0
        if not set(mixed.flatten().tolist()) <= {0.0, 1.0}:
            counts["mixup"] += 1
        else:
            counts["cutmix" if bool((stays == stays[:1]).all()) else "videomix"] += 1
    assert 400 < sum(counts.values()) < 500
    assert min(counts.values()) > 110


def test_what_is_switched_on() -> None:
    assert not mixes(AugmentConfig())
    assert mixes(AugmentConfig(mixup=0.2))
    assert mixes(AugmentConfig(cutmix=1.0))
    assert mixes(AugmentConfig(videomix=1.0))
