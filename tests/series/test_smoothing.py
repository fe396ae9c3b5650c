"""Exponential smoothing of a batch beside closed forms."""

import numpy as np
import pytest
import torch

from wavediff.series import smoothing
from wavediff.series.smoothing import METHODS, smooth

NO_SEASON = torch.tensor([[1, 1]])


def known(values: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(values, dtype=torch.bool)


def only(monkeypatch, *method: float) -> None:
    monkeypatch.setattr(smoothing, "METHODS", [method])


def test_simple_exponential_smoothing_is_the_recursion(monkeypatch):
    only(monkeypatch, 0.3, 0.0, 0.0, 0.0)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 40)))
    found = smooth(x, known(x), NO_SEASON, 5)
    level = x[0, :4].mean()
    errors = []
    for value in x[0]:
        errors.append(value - level)
        level = level + 0.3 * errors[-1]
    torch.testing.assert_close(found.centre, level.expand(1, 5))
    late = torch.stack(errors[3:])
    torch.testing.assert_close(found.spread[0, 0], late.square().mean().sqrt())
    growth = 1 + 0.3**2 * torch.arange(5, dtype=torch.float64)  # Hyndman et al. 2008, table 6.1
    run = smoothing._run(x, known(x), NO_SEASON[:, 0], 5)
    torch.testing.assert_close(run.variance[0, :, 0], growth)


def test_damped_trend_continues_by_the_sum_of_powers(monkeypatch):
    only(monkeypatch, 0.5, 0.2, 0.9, 0.0)
    x = (2.0 * torch.arange(60, dtype=torch.float64))[None]
    found = smooth(x, known(x), NO_SEASON, 4)
    steps = found.centre[0].diff()
    torch.testing.assert_close(steps[1:] / steps[:-1], torch.full((2,), 0.9, dtype=torch.float64))


def test_a_line_and_a_season_continue():
    t = torch.arange(120 + 24, dtype=torch.float64)
    x = (0.5 * t + torch.sin(2 * torch.pi * t / 12) * 10)[None]
    found = smooth(x[:, :120], known(x[:, :120]), torch.tensor([[12, 1]]), 24)
    torch.testing.assert_close(found.centre, x[:, 120:], atol=0.3, rtol=0)
    assert found.spread.max() < 0.5


def test_errors_further_ahead_are_those_of_earlier_forecasts(monkeypatch):
    only(monkeypatch, 0.4, 0.1, 0.9, 0.0)
    x = torch.from_numpy(np.random.default_rng(7).normal(size=(1, 60)).cumsum(1))
    run = smoothing._run(x, known(x), NO_SEASON[:, 0], 9)
    assert sorted(run.later) == [3, 9]
    for steps, (errors, there) in run.later.items():
        for end in (20, 40):
            earlier = smoothing._run(x[:, :end], known(x[:, :end]), NO_SEASON[:, 0], 9)
            wanted = x[0, end + steps - 1] - earlier.forecast[0, steps - 1, 0]
            torch.testing.assert_close(errors[0, end - 1, 0], wanted)
            assert there[0, end - 1, 0]


def test_the_spread_of_a_random_walk_grows_with_the_root():
    generator = np.random.default_rng(1)
    x = torch.from_numpy(generator.normal(size=(200, 200)).cumsum(1))
    found = smooth(x, known(x), NO_SEASON.expand(200, 2), 16)
    ratio = (found.spread[:, 15] / found.spread[:, 0]).median()
    assert ratio == pytest.approx(4, rel=0.15)
    assert found.spread[:, 0].median() == pytest.approx(1, rel=0.1)


def test_errors_are_calibrated_on_average():
    generator = np.random.default_rng(2)
    x = torch.from_numpy(generator.normal(size=(500, 1)) + generator.normal(size=(500, 68)))
    found = smooth(x[:, :60], known(x[:, :60]), NO_SEASON.expand(500, 2), 8)
    z = (x[:, 60:] - found.centre) / found.spread
    assert z.std() == pytest.approx(1, abs=0.12)


def test_missing_values_and_a_late_start_change_nothing_of_the_rest():
    generator = np.random.default_rng(3)
    x = torch.from_numpy(generator.normal(size=(1, 50)).cumsum(1))
    late = torch.cat([torch.full((1, 14), torch.nan, dtype=torch.float64), x], 1)
    found, other = (smooth(y, torch.isfinite(y), NO_SEASON, 6) for y in (x, late))
    torch.testing.assert_close(found.centre, other.centre)
    torch.testing.assert_close(found.spread, other.spread)
    gap = x.clone()
    gap[:, 20:25] = torch.nan
    assert torch.isfinite(smooth(gap, torch.isfinite(gap), NO_SEASON, 6).centre).all()


def test_noise_has_no_season():
    generator = np.random.default_rng(4)
    x = torch.from_numpy(generator.normal(size=(300, 96)))
    found = smooth(x, known(x), torch.tensor([[12, 1]]).expand(300, 2), 12)
    assert found.season.std() < 0.25  # of 12 means of 8 values it would be 0.35
    assert found.centre.std() < 0.35


def test_weights_prefer_the_method_that_made_the_series():
    generator = np.random.default_rng(5)
    walk = torch.from_numpy(generator.normal(size=(50, 150)).cumsum(1))
    noise = torch.from_numpy(generator.normal(size=(50, 150)))
    alphas = torch.tensor([method[0] for method in METHODS], dtype=torch.float64)
    mean = [
        (smooth(x, known(x), NO_SEASON.expand(50, 2), 1).weights @ alphas).mean()
        for x in (walk, noise)
    ]
    assert mean[0] > 0.75
    assert mean[1] < 0.25
