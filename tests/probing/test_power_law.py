"""Power laws with a known answer, and how often the interval holds it."""

from __future__ import annotations

import numpy as np
import pytest

from clipshift.probing.power_law import extrapolate, fit_power_law

SIZES = np.array([12.0, 18, 27, 42, 64, 96])
LAWS = [(0.05, 1.5, 0.6), (0.02, 1.2, 0.4), (0.15, 2.0, 1.0), (0.0, 2.0, 0.5)]


def accuracy(law: tuple[float, float, float], clips: np.ndarray | float) -> np.ndarray:
    a, b, c = law
    return np.asarray(1 - a - b * np.asarray(clips, dtype=np.float64) ** -c)


@pytest.mark.parametrize("law", LAWS)
def test_a_curve_without_noise_is_continued(law: tuple[float, float, float]) -> None:
    found = fit_power_law(SIZES, accuracy(law, SIZES))
    np.testing.assert_allclose(found.accuracy(SIZES), accuracy(law, SIZES), atol=2e-3)
    assert float(found.accuracy(192)) == pytest.approx(float(accuracy(law, 192)), abs=4e-3)
    assert found.c == pytest.approx(law[2], rel=0.15)


def test_a_law_never_falls_and_never_passes_one() -> None:
    falling = fit_power_law(SIZES, np.linspace(0.9, 0.6, 6))
    assert falling.b == 0
    assert float(falling.accuracy(1000)) == pytest.approx(0.75)
    steep = fit_power_law(SIZES, np.array([0.2, 0.5, 0.8, 0.95, 0.99, 1.0]))
    assert steep.a == 0
    assert 0.99 < float(steep.accuracy(192)) <= 1


def drawn(law: tuple[float, float, float], repeats: int, clips: int, seed: int) -> np.ndarray:
    """Answers (R, S, M): how hard a clip is stays the same in all repeats, which differ by the clips learnt from."""
    hardness = np.random.default_rng(0).uniform(size=20_000) + 0.15 * np.random.default_rng(1).normal(size=20_000)
    bounds = np.quantile(hardness, accuracy(law, SIZES))
    random = np.random.default_rng(seed)
    own = random.uniform(size=clips) + 0.15 * random.normal(size=(repeats, len(SIZES), clips))
    return np.asarray(own < bounds[None, :, None], dtype=np.float64)


@pytest.mark.parametrize("repeats", [3, 10])
def test_the_interval_holds_the_truth_as_often_as_it_says(repeats: int) -> None:
    inside = []
    for number, law in enumerate(LAWS):
        for trial in range(30):
            right = drawn(law, repeats, 40, seed=1000 * number + trial)
            _, twice, gain = extrapolate(SIZES, right, np.arange(40), 192, draws=200, seed=trial)
            assert twice.low <= twice.value <= twice.high
            assert gain.low <= gain.value <= gain.high
            inside.append(twice.low <= float(accuracy(law, 192)) <= twice.high)
    # 120 trials: of 95 %, fewer than 88 % are inside once in some hundred times.
    assert 0.88 <= np.mean(inside) < 1


def test_clips_of_one_source_are_drawn_together() -> None:
    right = np.repeat(drawn(LAWS[0], 5, 10, seed=3), 4, axis=2)
    right[0, :, 5] = np.nan  # not tested in that repeat
    widths = []
    for sources in (np.arange(40) // 4, np.arange(40)):
        _, twice, _ = extrapolate(SIZES, right, sources, 192, draws=300)
        again = extrapolate(SIZES, right, sources, 192, draws=300)[1]
        assert again == twice
        widths.append(twice.high - twice.low)
    assert widths[0] > 1.3 * widths[1]
