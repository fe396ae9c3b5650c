import math
import sys

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linprog

from wavediff.errors import UserError
from wavediff.series.baselines import (
    FORECASTS,
    fit_quantiles,
    linear_interpolation,
    quantile_regression,
    random_walk,
    seasonal_naive,
    seasonal_naive_intervals,
)

NAN = math.nan
OWN = ["seasonal naive", "seasonal naive with intervals", "random walk", "quantile regression"]
FITTED = ["AutoETS", "AutoTheta", "AutoARIMA"]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_seasonal_naive_repeats_the_last_season():
    history = np.array([[9.0, 9.0, 1.0, 2.0, 3.0]])
    assert seasonal_naive(history, 7, 3, 100, 0).tolist() == [[[1, 2, 3, 1, 2, 3, 1]]]
    assert seasonal_naive(history, 2, 1, 100, 0).tolist() == [[[3, 3]]]


def test_seasonal_naive_looks_further_back_where_a_phase_is_missing():
    history = np.array([[5.0, NAN, 7.0, 1.0, NAN, NAN], [NAN] * 6])
    # phase 0: 1; phase 1: never seen, so the last value; phase 2: a season earlier
    assert seasonal_naive(history, 3, 3, 1, 0).tolist() == [[[1, 1, 7], [0, 0, 0]]]


def test_the_noise_of_seasonal_naive_grows_from_season_to_season():
    season, sigma = 4, 2.0
    steps = sigma * normal(1, 400, season)
    history = steps.cumsum(1).reshape(1, -1)  # a random walk in each phase
    paths = seasonal_naive_intervals(history, 3 * season, season, 4000, 0)
    assert paths.shape == (4000, 1, 12)
    expected = sigma * np.sqrt(np.repeat([1, 2, 3], season))
    np.testing.assert_allclose(paths[:, 0].std(0), expected, rtol=0.06)
    point = seasonal_naive(history, 12, season, 1, 0)[0]
    np.testing.assert_allclose(paths.mean(0), point, atol=0.25)


def test_the_random_walk_has_the_last_steps_size_and_correlation():
    steps = normal(3, 500)
    steps[:, -60:] *= np.array([[1.0], [2.0], [3.0]])
    steps[1] = -steps[0]
    history = steps.cumsum(1)
    paths = random_walk(history, 9, 1, 8000, 0)
    mean_square = np.square(steps[:, -60:]).mean(1)
    np.testing.assert_allclose(paths.var(0), mean_square[:, None] * np.arange(1, 10), rtol=0.08)
    np.testing.assert_allclose(paths.mean(0), history[:, -1:] * np.ones(9), atol=1e-10)
    assert np.corrcoef(paths[:, 0, 3], paths[:, 1, 3])[0, 1] == pytest.approx(-1)


def test_a_gap_at_the_end_widens_the_random_walk():
    history = normal(1, 300).cumsum(1)
    history[:, -20:] = NAN
    paths = random_walk(history, 10, 1, 4000, 0)
    assert paths[:, 0, 0].var() / paths[:, 0, 9].var() == pytest.approx(21 / 30, rel=0.08)
    assert paths.mean(0)[0, 0] == pytest.approx(history[0, -21])


def test_differences_over_gaps_count_as_single_steps():
    history = np.array([[0.0, 1.0, 2.0, NAN, NAN, NAN, 4.0]])
    # steps 1, 1 and, over a gap of 4, 2 / sqrt(4) = 1: a mean square of 1
    paths = random_walk(history, 1, 1, 8000, 0)
    assert paths.var() == pytest.approx(1, rel=0.08)


def pinball(residual: np.ndarray, q: float) -> float:
    return np.maximum(q * residual, (q - 1) * residual).sum()


def test_quantile_regression_reaches_the_linear_programs_optimum():
    design = np.c_[np.ones(150), normal(150, 2)]
    target = design @ [1.0, 2.0, -1.0] + np.random.default_rng(1).standard_t(3, 150)
    levels = (0.1, 0.5, 0.9)
    found = fit_quantiles(design[None], target[None], levels)[0]
    for q, coefficients in zip(levels, found, strict=True):
        cost = np.r_[np.zeros(6), np.full(150, q), np.full(150, 1 - q)]
        equal = np.c_[design, -design, np.eye(150), -np.eye(150)]
        best = linprog(cost, A_eq=equal, b_eq=target, bounds=(0, None)).fun
        assert best <= pinball(target - design @ coefficients, q) <= best * 1.002


def test_rows_without_weight_do_not_count():
    design = np.c_[np.ones(60), normal(60)]
    target = design @ [1.0, 2.0] + normal(60, seed=1)
    weights = np.r_[np.ones(40), np.zeros(20)]
    target[40:] = 1e3
    found = fit_quantiles(design[None], target[None], (0.5,), weights[None])
    expected = fit_quantiles(design[None, :40], target[None, :40], (0.5,))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_quantile_regression_forecasts_an_autoregression():
    """y' = 0.8 y + e: mean 0.8^h y, variance (1 - 0.8^2h) / (1 - 0.8^2)."""
    e = normal(1500)
    history = np.zeros((1, 1500))
    for t in range(1, 1500):
        history[0, t] = 0.8 * history[0, t - 1] + e[t]
    history[0, -1] = 3.0
    paths = quantile_regression(history, 3, 2, 400, 0, rows=1400)
    h = np.arange(1, 4)
    sigma = np.sqrt((1 - 0.8 ** (2 * h)) / (1 - 0.8**2))
    np.testing.assert_allclose(np.median(paths[:, 0], axis=0), 3 * 0.8**h, atol=0.35)
    low, high = np.quantile(paths[:, 0], [0.1, 0.9], axis=0)
    np.testing.assert_allclose(high - low, 2 * stats.norm.ppf(0.9) * sigma, rtol=0.12)


def test_quantile_regression_learns_a_season_without_noise():
    history = np.tile([1.0, 5.0, 2.0], 40)[None]
    paths = quantile_regression(history, 4, 3, 10, 0)
    np.testing.assert_allclose(paths, np.broadcast_to([1, 5, 2, 1], (10, 1, 4)), atol=1e-2)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("length", [1, 2, 30, 90])
def test_every_forecast_keeps_the_convention(name: str, length: int):
    history = 10 + normal(3, length)
    history[0, ::4] = NAN
    history[1] = 7.0
    history[2] = NAN
    forecast = FORECASTS[name]
    paths = forecast(history, 5, 4, 6, 3)
    assert paths.shape == (1 if name == "seasonal naive" else 6, 3, 5)
    assert paths.dtype == np.float64
    assert np.isfinite(paths).all()
    np.testing.assert_allclose(paths[:, 1], 7, atol=1e-6)
    assert not paths[:, 2].any()
    assert np.array_equal(paths, forecast(history, 5, 4, 6, 3))
    if name != "seasonal naive" and length > 2:
        assert not np.array_equal(paths, forecast(history, 5, 4, 6, 4))


@pytest.mark.parametrize("name", OWN)
def test_histories_that_are_none_are_refused(name: str):
    for history, horizon, season in [
        (np.zeros(5), 1, 1),
        (np.zeros((1, 0)), 1, 1),
        (np.zeros((1, 5)), 0, 1),
        (np.zeros((1, 5)), 1, 0),
    ]:
        with pytest.raises(ValueError, match=r"a history is|at least 1"):
            FORECASTS[name](history, horizon, season, 2, 0)


def test_linear_interpolation_fills_gaps_and_nothing_else():
    values = np.array([[NAN, 1.0, NAN, NAN, 7.0, NAN], [NAN] * 6])
    kept = values.copy()
    assert linear_interpolation(values).tolist() == [[1, 1, 3, 5, 7, 7], [0] * 6]
    assert np.array_equal(values, kept, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTED)
def test_fitted_models_forecast_a_season_with_intervals(name: str):
    pytest.importorskip("statsforecast")
    t = np.arange(96)
    history = np.stack([50 + 10 * np.sin(2 * np.pi * t / 12) + normal(96), np.full(96, 4.0)])
    history[0, 40] = NAN
    paths = FORECASTS[name](history, 12, 12, 50, 0)
    assert paths.shape == (50, 2, 12)
    truth = 50 + 10 * np.sin(2 * np.pi * np.arange(96, 108) / 12)
    np.testing.assert_allclose(np.median(paths[:, 0], axis=0), truth, atol=3)
    assert (paths[:, 0].std(0) > 0.5).all()
    assert (paths[:, 0].std(0) < 3).all()
    assert (paths[:, 1] == 4).all()


@pytest.mark.parametrize("name", FITTED)
def test_without_statsforecast_one_sentence_says_what_to_install(name: str, monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    with pytest.raises(UserError, match=r"wavediff\[baselines\]") as caught:
        FORECASTS[name](np.ones((1, 9)), 2, 1, 5, 0)
    assert "\n" not in str(caught.value)
