import math

import numpy as np
import pytest
import scoringrules
import torch
from scipy import stats

from wavediff.series.metrics import (
    DECILES,
    INTERVALS,
    TWENTIETHS,
    combined,
    coverage,
    crps_sum,
    ensemble_crps,
    interval_width,
    mae,
    mase,
    quantiles,
    rmse,
    seasonal_error,
    sums,
    weighted_quantile_loss,
)

NAN = math.nan


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def grid(n: int) -> np.ndarray:
    """The standard normal's quantiles at (i + 1/2) / n."""
    return stats.norm.ppf((np.arange(n) + 0.5) / n)


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_the_ensemble_crps_is_that_of_scoringrules(n: int):
    samples, target = 5 * normal(n, 4, 7), 5 * normal(4, 7, seed=1)
    expected = scoringrules.crps_ensemble(target, samples, m_axis=0, estimator="nrg")
    np.testing.assert_allclose(ensemble_crps(samples, target), expected, rtol=0, atol=1e-12)
    assert ensemble_crps(1e6 + samples, 1e6 + target) == pytest.approx(expected, abs=1e-8)


def test_the_ensemble_crps_tends_to_the_gaussians():
    """sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) (Gneiting & Raftery 2007)."""
    y = np.array([-2.0, 0.0, 0.3, 4.0])
    mean, sigma, n = 1.0, 2.0, 20_000
    z = (y - mean) / sigma
    pdf, cdf = stats.norm.pdf(z), stats.norm.cdf(z)
    expected = sigma * (z * (2 * cdf - 1) + 2 * pdf - 1 / math.sqrt(math.pi))
    samples = np.repeat((mean + sigma * grid(n))[:, None], len(y), axis=1)
    np.testing.assert_allclose(ensemble_crps(samples, y), expected, atol=1e-3)


def test_quantiles_are_gluonts_sorted_sample_at_the_rounded_index():
    samples = np.array([30.0, 10.0, 20.0, 50.0, 40.0, 60.0])[:, None]
    # 5 q = 0.5, 1.5, 2.5, 3.5, 4.5: halves to the even index
    found = quantiles(samples, [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])[:, 0]
    assert found.tolist() == [10, 10, 30, 30, 50, 50, 60]
    hundred = np.random.default_rng(0).permutation(100.0 * np.arange(100))
    expected = [100 * int(np.round(99 * q)) for q in DECILES]
    assert quantiles(hundred, DECILES).tolist() == expected == [
        1000, 2000, 3000, 4000, 5000, 5900, 6900, 7900, 8900,
    ]  # fmt: skip


def test_linear_quantiles_are_numpys():
    samples = normal(37, 3)
    found = quantiles(samples, [0, *TWENTIETHS, 1], "linear")
    np.testing.assert_allclose(found, np.quantile(samples, [0, *TWENTIETHS, 1], axis=0), rtol=1e-12)


def test_the_weighted_quantile_loss_by_hand():
    """QL_q(y, f) = q (y - f) above the quantile, (1 - q) (f - y) below it."""
    samples = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    target = np.array([4.0, -5.0])
    losses = {0.0: (0 * 3, 1 * 15), 0.5: (0.5 * 2, 0.5 * 25), 1.0: (1 * 1, 0 * 35)}
    expected = np.mean([2 * sum(pair) for pair in losses.values()]) / 9
    assert weighted_quantile_loss(samples, target, list(losses)) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [DECILES, TWENTIETHS])
@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
def test_a_point_forecast_is_scored_by_its_absolute_error(levels, interpolation):
    point, target = normal(1, 50), normal(50, seed=1)
    expected = np.abs(point[0] - target).sum() / np.abs(target).sum()
    found = weighted_quantile_loss(point, target, levels, interpolation)
    assert found == pytest.approx(expected, rel=1e-12)
    assert ensemble_crps(point, target).sum() / np.abs(target).sum() == pytest.approx(expected)


def test_many_levels_make_the_quantile_loss_the_crps():
    samples, target = normal(2000, 5), normal(5, seed=1)
    levels = tuple((np.arange(2000) + 0.5) / 2000)
    expected = ensemble_crps(samples, target).sum() / np.abs(target).sum()
    assert weighted_quantile_loss(samples, target, levels) == pytest.approx(expected, rel=2e-3)


def test_crps_sum_by_hand():
    samples = np.array([[[1.0, 2.0], [10.0, 20.0]], [[3.0, 4.0], [30.0, 40.0]]])  # [S, V, T]
    target = np.array([[2.0, 3.0], [20.0, NAN]])
    # sums 11 and 33 of a sum of 22 at the only whole step; index round(q) is 1 above 0.5
    loss = sum(2 * q * 11 for q in TWENTIETHS if q <= 0.5)
    loss += sum(2 * (1 - q) * 11 for q in TWENTIETHS if q > 0.5)
    assert crps_sum(samples, target) == pytest.approx(loss / len(TWENTIETHS) / 22)
    assert crps_sum(samples[:, None], target[None]) == crps_sum(samples, target)


def test_mae_is_of_the_median_and_rmse_of_the_mean():
    samples = np.array([0.0, 1.0, 5.0])[:, None] * np.ones(2)
    target = np.array([4.0, -1.0])
    assert mae(samples, target) == (3 + 2) / 2
    assert rmse(samples, target) == pytest.approx(math.sqrt((4 + 9) / 2))


def test_mase_by_hand():
    history = np.array([[1.0, 2.0, 4.0, NAN, 5.0, 9.0], [7.0] * 6])
    # pairs two apart: |4 - 1|, |5 - 4|; the others miss a value; the second never moves
    scale = seasonal_error(history, 2)
    assert scale.tolist() == [2.0, 0.0]
    point = np.array([[[10.0, 10.0, 10.0], [0.0, 0.0, 0.0]]])
    target = np.array([[13.0, NAN, 11.0], [1.0, 1.0, 1.0]])
    assert mase(point, target, scale) == (3 + 1) / 2 / 2
    assert np.isnan(seasonal_error(history, 7)).all()
    assert math.isnan(mase(point, target, [NAN, NAN]))


def test_variables_weigh_alike_in_mase_whatever_their_missing_values():
    target = np.array([[2.0, NAN, NAN], [4.0, 4.0, 4.0]])
    assert mase(np.zeros((1, 2, 3)), target, [1.0, 1.0]) == 3


@pytest.mark.parametrize("level", INTERVALS)
def test_intervals_of_samples_from_the_truth_cover_what_order_statistics_do(level: float):
    n, points = 100, 10_000
    draws = normal(n + 1, points)
    found = coverage(draws[:n], draws[n], level)
    low, high = np.round(99 * (1 - level) / 2), np.round(99 * (1 + level) / 2)
    expected = (high - low) / (n + 1)
    assert found == pytest.approx(expected, abs=4 * math.sqrt(0.25 / points))


@pytest.mark.parametrize("level", INTERVALS)
def test_intervals_of_a_known_distribution_have_its_coverage_and_width(level: float):
    samples = np.repeat(grid(1001)[:, None], 1000, axis=1)
    z = stats.norm.ppf((1 + level) / 2)
    assert coverage(samples, grid(1000), level) == pytest.approx(level, abs=3e-3)
    assert interval_width(samples, grid(1000), level) == pytest.approx(2 * z, rel=1e-2)
    narrow = stats.norm.cdf(z / 2) - stats.norm.cdf(-z / 2)
    assert coverage(samples / 2, grid(1000), level) == pytest.approx(narrow, abs=3e-3)


def test_an_interval_includes_its_ends():
    assert coverage([[0.0, 0.0, 0.0]] * 3, [0.0, 1.0, NAN], 0.5) == 0.5


def test_missing_targets_are_never_scored():
    samples, target = normal(9, 2, 6), normal(2, 6, seed=1)
    hidden = target.copy()
    hidden[:, 4:] = NAN
    samples[:, :, 5] = NAN  # not scored, so not looked at
    found = combined([sums(samples, hidden, [1.0, 2.0])])
    expected = combined([sums(samples[..., :4], target[:, :4], [1.0, 2.0])])
    assert found == expected
    assert found["points"] == 8
    assert np.isnan(ensemble_crps(samples, hidden)).tolist() == np.isnan(hidden).tolist()


def test_parts_add_up_to_the_whole():
    samples, target, scale = normal(20, 3, 2, 8), normal(3, 2, 8, seed=1), np.full((3, 2), 0.7)
    target[0, 0, :3] = NAN
    whole = combined([sums(samples, target, scale)])
    parts = combined(sums(samples[:, i], target[i], scale[i]) for i in range(3))
    assert parts == pytest.approx(whole, rel=1e-12)
    assert whole == pytest.approx(
        {
            "CRPS (9 deciles)": weighted_quantile_loss(samples, target),
            "CRPS (19 quantiles)": weighted_quantile_loss(samples, target, TWENTIETHS, "linear"),
            "CRPS (ensemble)": np.nansum(ensemble_crps(samples, target))
            / np.nansum(np.abs(target)),
            "CRPS-sum": crps_sum(samples, target),
            "MAE": mae(samples, target),
            "RMSE": rmse(samples, target),
            "MASE": mase(samples, target, scale),
            "coverage 50 %": coverage(samples, target, 0.5),
            "coverage 80 %": coverage(samples, target, 0.8),
            "coverage 95 %": coverage(samples, target, 0.95),
            "width 50 %": interval_width(samples, target, 0.5),
            "width 80 %": interval_width(samples, target, 0.8),
            "width 95 %": interval_width(samples, target, 0.95),
            "points": 45,
        }
    )


def test_what_a_point_forecast_or_one_variable_does_not_have_is_left_out():
    found = combined([sums(normal(1, 1, 5), normal(1, 5, seed=1))])
    assert set(found) == {
        "CRPS (9 deciles)", "CRPS (19 quantiles)", "CRPS (ensemble)", "MAE", "RMSE", "points",
    }  # fmt: skip


def test_nothing_to_score_is_nan_and_zero_targets_have_no_relative_error():
    assert combined([]) == {}
    nothing = combined([sums(np.zeros((3, 1, 2)), np.full((1, 2), NAN))])
    assert nothing.pop("points") == 0
    assert all(math.isnan(value) for value in nothing.values())
    zeros = combined([sums(np.ones((3, 1, 2)), np.zeros((1, 2)))])
    assert math.isnan(zeros["CRPS (9 deciles)"])
    assert zeros["MAE"] == 1


def test_tensors_are_taken():
    samples = torch.tensor(normal(5, 3), requires_grad=True)
    assert mae(samples, torch.zeros(3)) == mae(samples.detach().numpy(), np.zeros(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mae(np.zeros((3, 4)), np.zeros(5)), "samples must be"),
        (lambda: mae(np.zeros((0, 4)), np.zeros(4)), "samples must be"),
        (lambda: mae(np.full((2, 4), NAN), np.zeros(4)), "not finite"),
        (lambda: mae(np.full((2, 4), np.inf), np.zeros(4)), "not finite"),
        (lambda: quantiles(np.zeros((3, 1)), [1.5]), "levels"),
        (lambda: quantiles(np.zeros((3, 1)), [0.5], "cubic"), "interpolation"),
        (lambda: quantiles(np.zeros((0, 1)), [0.5]), "at least one"),
        (lambda: coverage(np.zeros((3, 1)), np.zeros(1), 80), "between 0 and 1"),
        (lambda: crps_sum(np.zeros((3, 4)), np.zeros(4)), "variables, time"),
        (lambda: mase(np.zeros((3, 2, 4)), np.zeros((2, 4)), [1.0]), "scale for each"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
