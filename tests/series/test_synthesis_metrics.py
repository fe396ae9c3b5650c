import math

import numpy as np
import pytest
import torch

from wavediff.series.synthesis_metrics import (
    complete_windows,
    discriminative_score,
    predictive_score,
    random_features,
    series_frechet,
)

QUICK = {"repeats": 1, "steps": 150, "hidden": 8}


def autoregression(n: int, a: float, seed: int, length: int = 10) -> np.ndarray:
    """``[n, 2, length]`` with variance 1 whatever `a`."""
    e = np.random.default_rng(seed).standard_normal((n, 2, length))
    x = e.copy()
    for t in range(1, length):
        x[..., t] = a * x[..., t - 1] + math.sqrt(1 - a * a) * e[..., t]
    return x


REAL, ALIKE = autoregression(300, 0.9, 0), autoregression(300, 0.9, 1)


@pytest.mark.slow
def test_equal_sets_cannot_be_told_apart_and_very_different_ones_can():
    n_test = 2 * 60
    real, alike = REAL[..., :5], ALIKE[..., :5]
    assert discriminative_score(real, alike, **QUICK).mean < 4 * math.sqrt(0.25 / n_test)
    assert discriminative_score(real, alike + 4, **QUICK).mean > 0.45


def test_scores_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = discriminative_score(REAL, ALIKE, repeats=2, steps=5)
    state = torch.get_rng_state()
    assert discriminative_score(REAL, ALIKE, repeats=2, steps=5) == first
    assert torch.equal(torch.get_rng_state(), state)
    a = predictive_score(REAL, ALIKE, repeats=2, steps=5)
    assert a.std > 0
    assert predictive_score(REAL, ALIKE, repeats=2, steps=5, seed=9) != a


def test_units_do_not_matter():
    units = np.array([1000.0, 0.01])[:, None]
    for score in (discriminative_score, predictive_score):
        found = score(units * REAL - 7, units * ALIKE - 7, repeats=1, steps=5)
        assert found.mean == pytest.approx(score(REAL, ALIKE, repeats=1, steps=5).mean, rel=1e-2)


def test_what_was_learned_from_the_same_process_predicts_better():
    alike = predictive_score(REAL, ALIKE, **QUICK).mean
    flipped = ALIKE * np.where(np.arange(10) % 2, 1, -1)  # each step of the other sign
    assert alike < 0.6 * predictive_score(REAL, flipped, **QUICK).mean


def test_with_linear_features_the_distance_is_the_gaussians():
    """Scaled by the real set's mean m and deviation s, a x + b moves by |m|/s and |a - 1|."""
    x = 5 + 2 * REAL[:, :1]
    mean, std = x.mean(), x.std(ddof=1)
    found = series_frechet(x, 3 * x + 1, lambda windows: windows[:, 0, :1])
    first = x[:, 0, 0]
    expected = ((3 * first.mean() + 1 - first.mean()) / std) ** 2
    expected += (2 * first.std(ddof=1) / std) ** 2
    assert found == pytest.approx(expected, rel=1e-4)
    assert mean != 0


def test_the_distance_sees_order_in_time_level_and_spread():
    real, alike = (autoregression(2000, 0.9, seed, length=24) for seed in (2, 3))
    floor = series_frechet(real, alike)
    shuffled = np.random.default_rng(4).permuted(alike, axis=-1)
    assert series_frechet(real, real) < 1e-6
    for other in (shuffled, alike + 0.5, 1.5 * alike):
        assert series_frechet(real, other) > 4 * floor


@pytest.mark.parametrize("length", [1, 2, 8, 9, 17, 100])
def test_features_are_the_same_for_any_length_and_number_of_windows(length: int):
    x = torch.randn(12, 3, length, generator=torch.Generator().manual_seed(0))
    found = random_features(x, n=10)
    assert found.shape == (12, 10)
    assert found.isfinite().all()
    assert torch.allclose(found[:4], random_features(x[:4], n=10), atol=1e-6)
    assert not torch.allclose(found, random_features(x, n=10, seed=1))


def test_a_constant_variable_is_scored():
    flat = REAL.copy()
    flat[:, 1] = 5.0
    assert math.isfinite(series_frechet(flat, ALIKE))
    assert math.isfinite(predictive_score(flat, flat, repeats=1, steps=3).mean)


def test_windows_are_complete_and_spread_evenly():
    short, long = np.zeros((2, 4)), np.arange(60.0).reshape(2, 30)
    long[1, 12] = math.nan
    found = complete_windows([short, long], 5, 100)
    starts = [*range(8), *range(13, 26)]
    np.testing.assert_array_equal(found, [long[:, at : at + 5] for at in starts])
    np.testing.assert_array_equal(complete_windows([short, long], 5, 3), found[[0, 10, 20]])
    assert len(complete_windows([short], 5, 3)) == 0


@pytest.mark.parametrize("score", [discriminative_score, predictive_score, series_frechet])
def test_sets_that_do_not_fit_are_refused(score):
    bad = REAL.copy()
    bad[3, 1, 2] = math.nan
    for other in (REAL[:, :1], REAL[..., :5], REAL[:9], REAL[0]):
        with pytest.raises(ValueError, match="the sets must be"):
            score(REAL, other)
    with pytest.raises(ValueError, match="missing or not finite"):
        score(REAL, bad)
