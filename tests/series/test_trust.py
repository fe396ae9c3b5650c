"""What makes a forecast trustworthy: periods, ranges, calibration, comparison, covariates."""

import numpy as np
import pytest
from scipy.stats import norm

from wavediff.errors import UserError
from wavediff.series import calibration, covariates, two_filter
from wavediff.series.assessment import SAMPLES, assess
from wavediff.series.kinds import Range, range_of
from wavediff.series.period import Periods, estimated, of_frequency
from wavediff.series.series_set import Series, SeriesSet


@pytest.mark.parametrize(
    ("freq", "periods"),
    [
        ("s", (3600, 86400)), ("min", (60, 1440)), ("15min", (96, 672)), ("h", (24, 168)),
        ("6h", (4, 28)), ("D", (7, 365)), ("B", (5, 261)), ("W", (52, 1)), ("2W", (26, 1)),
        ("MS", (12, 1)), ("QE", (4, 1)), ("YS", (1, 1)), ("5MS", (1, 1)),
    ],
)  # fmt: skip
def test_periods_of_calendars(freq, periods):
    assert of_frequency(freq) == Periods(*periods)


@pytest.mark.parametrize("period", [2, 4, 7, 12, 48])
def test_a_period_is_estimated_below_noise_and_trend(period):
    generator = np.random.default_rng(period)
    t = np.arange(12 * period + 40)
    profile = generator.normal(size=period)
    profile[0] += 3
    x = 3 * profile[t % period] + 0.05 * t + generator.normal(size=len(t))
    x[5] = np.nan
    assert estimated([x, x[::-1]]) == period


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(size=200),
        np.random.default_rng(0).normal(size=200).cumsum(),
        np.zeros(50),
        np.arange(5.0),
        np.full(40, np.nan),
    ],
)
def test_no_period_where_none_is_clear(x):
    assert estimated([x]) == 1


def test_ranges_follow_from_the_values():
    whole, positive = np.arange(10.0), np.arange(10) + 0.5
    assert range_of([whole], "auto") == Range(0.0, None, True)
    assert range_of([positive], "auto") == Range(0.0, None, False)
    assert range_of([whole, -positive], "auto") == Range()
    assert range_of([whole[:5]], "auto") == Range()  # too few to tell
    assert range_of([whole], "real", lower=-1, upper=4) == Range(-1, 4)
    assert range_of([-whole], "count") == Range(0.0, None, True)
    paths = np.array([[-0.7, 0.4, 2.6]])
    np.testing.assert_array_equal(Range(0.0, None, True).apply(paths), [[0, 0, 3]])
    np.testing.assert_array_equal(Range(-0.5, 1.0).apply(paths), [[-0.5, 0.4, 1.0]])


def gaussian(count: int, horizon: int, std: float, samples: int = 400) -> np.ndarray:
    grid = norm.ppf((np.arange(samples) + 0.5) / samples)
    return np.broadcast_to(std * grid[:, None, None], (samples, count, horizon))


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_calibration_finds_the_missing_factor(std):
    targets = np.random.default_rng(0).normal(size=(600, 5))
    forecasts = gaussian(600, 5, std)
    found = calibration.factors(list(forecasts.swapaxes(0, 1)), list(targets))
    np.testing.assert_allclose(found, 1 / std, rtol=0.1)
    paths = calibration.apply(forecasts[:, 0], found)
    np.testing.assert_allclose(paths.std(0), 1, rtol=0.1)
    np.testing.assert_allclose(np.median(paths, 0), 0, atol=1e-6)


def test_calibration_widens_with_the_horizon_and_needs_forecasts():
    generator = np.random.default_rng(1)
    targets = generator.normal(size=(200, 4)) * [2.0, 1.0, 1.0, 3.0]
    found = calibration.factors(list(gaussian(200, 4, 1).swapaxes(0, 1)), list(targets))
    assert (np.diff(found) >= 0).all()
    assert calibration.factors([np.zeros((5, 4))] * 19, [np.zeros(4)] * 19) is None


def test_isotonic_regression_pools_violators():
    found = calibration._isotonic(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4))
    np.testing.assert_allclose(found, [1, 2.5, 2.5, 4])
    found = calibration._isotonic(np.array([3.0, 1.0]), np.array([1.0, 3.0]))
    np.testing.assert_allclose(found, [1.5, 1.5])


def rows(count: int = 3) -> list[np.ndarray]:
    t = np.arange(60)
    return [10 + np.tile([0.0, 5, -5, 1], 15) + 0.01 * t * k for k in range(count)]


def test_a_perfect_model_is_kept_and_a_bad_one_gives_way_to_seasonal_naive():
    data = [row + np.random.default_rng(k).normal(size=60) for k, row in enumerate(rows())]

    def perfect(cuts):
        return np.stack([data[k][at : at + 4] for k, at in cuts])[None].repeat(SAMPLES, 0)

    found = assess(data, 4, 4, perfect)
    assert not found.naive.any()
    assert found.wql == 0
    assert found.coverage_80 == 1
    assert found.windows.tolist() == [7, 7, 7]  # half of the steps at most
    first, second = found.sentences()
    assert "on the last 7 windows of 4 steps of each of 3 series" in first
    assert "80 % intervals covered 100 %" in first
    assert "better in 3 of 3 series" in second

    found = assess(data, 4, 4, lambda cuts: perfect(cuts) + 50)
    assert found.naive.all()
    assert (found.ratio > 5).all()
    assert "seasonal naive's forecast is given instead for 3 of them" in found.sentences()[1]
    found = assess(data[:1], 4, 4, lambda cuts: perfect(cuts) + 50)
    assert found.sentences()[1].startswith("no better than seasonal naive here")


def test_series_that_are_too_short_are_told():
    found = assess([np.arange(9.0), np.full(40, np.nan)], 4, 1, lambda cuts: np.zeros((1, 0, 4)))
    assert found.windows.tolist() == [0, 0]
    assert "too short to check" in found.sentences()[0]
    assert not found.naive.any()


def walk(pasts, horizon, samples):
    """Exact paths of a Gaussian random walk, by their quantiles in each step."""
    grid = norm.ppf((np.arange(samples) + 0.5) / samples)
    steps = np.sqrt(np.arange(1, horizon + 1))
    known = [past[~np.isnan(past)] for past in pasts]
    last = np.array([past[-1] if len(past) else np.nan for past in known])
    drawn = grid[:, None] * steps
    generator = np.random.default_rng(len(pasts))
    drawn = np.stack([generator.permuted(drawn, axis=0) for _ in pasts], axis=1)
    return last[None, :, None] + drawn


def test_a_gap_in_a_random_walk_is_a_brownian_bridge():
    x = np.random.default_rng(0).normal(size=400).cumsum()
    x[100:107] = np.nan
    series = SeriesSet([Series("a", 0, x[None])], ["a"])
    (found,), told = two_filter.impute(series, 1, 4000, walk)
    a, b = x[99], x[107]
    share = np.arange(1, 8) / 8
    bridge = np.sqrt(8 * share * (1 - share))
    np.testing.assert_allclose(found.median[0, 100:107], a + (b - a) * share, atol=0.15)
    factor = float(told[0].split("(x ")[1].rstrip(")"))
    assert factor == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(found.std[0, 100:107], factor * bridge, rtol=0.08)
    np.testing.assert_array_equal(found.median[0, :100], x[:100])
    assert (found.std[0, :100] == 0).all()


def test_interpolation_is_used_where_it_is_better():
    t = np.arange(120)
    x = np.where(t % 9 == 4, np.nan, 0.5 * t)
    series = SeriesSet([Series("a", 0, x[None])], ["a"])
    bad = lambda pasts, horizon, samples: 40 + walk(pasts, horizon, samples)  # noqa: E731
    (found,), told = two_filter.impute(series, 1, 20, bad)
    np.testing.assert_allclose(found.median[0], 0.5 * t)
    assert "linear interpolation is better here" in told[1]
    gap = two_filter.Gap(0, 10, 17)
    bridge = two_filter._bridge(gap, x)
    share = np.arange(1, 8) / 8
    np.testing.assert_allclose(bridge, np.sqrt(8 * share * (1 - share)))
    np.testing.assert_allclose(
        two_filter._bridge(two_filter.Gap(0, 117, 120), x), np.sqrt(np.arange(1, 4))
    )


def test_gaps_at_the_ends_are_forecast_from_one_side():
    x = np.random.default_rng(0).normal(size=200).cumsum()
    x[:5] = x[-3:] = np.nan
    series = SeriesSet([Series("a", 0, np.stack([x, np.full(200, np.nan)]))], ["a", "b"])
    (found,), _ = two_filter.impute(series, 1, 200, walk)
    np.testing.assert_allclose(found.median[0, :5], x[5], atol=0.6)
    assert np.isnan(found.median[1]).all()


def test_the_effect_of_a_covariate_is_found_below_season_and_level():
    generator = np.random.default_rng(0)
    t = np.arange(150)
    promo = (generator.random(150 + 10) < 0.2).astype(float)
    y = np.tile(generator.normal(size=5) * 9, 30) + generator.normal(size=150).cumsum()
    y = y + 7 * promo[:150]
    y[3] = np.nan
    constant = np.full(160, 2.0)
    found = covariates.effect(y, np.stack([promo, constant]), 5)
    assert found.shape == (160,)
    np.testing.assert_allclose(found, 7 * promo, atol=0.8)
    assert not covariates.effect(y[:5], np.stack([promo[:15]]), 5).any()
    assert len(t) == 150


def test_a_covariate_that_ends_in_the_horizon_is_refused_with_its_name_and_step():
    known = np.stack([np.arange(20.0), np.r_[np.arange(15.0), np.full(5, np.nan)]])
    series = SeriesSet([Series("shop", 100, np.zeros((1, 12)), known)], ["y"], None, ("a", "b"))
    assert covariates.until(series, 0, 15).shape == (2, 15)
    with pytest.raises(UserError, match="shop: the known column b has no value for 115"):
        covariates.until(series, 0, 16)
    np.testing.assert_array_equal(covariates.continued(known, 22)[:, -3:], [[19] * 3, [14] * 3])
