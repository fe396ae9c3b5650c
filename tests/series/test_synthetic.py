"""Synthetic series: seeded, of every family, and told with the periods that they have."""

import numpy as np
import pytest
import torch

from wavediff.errors import UserError
from wavediff.series import synthetic
from wavediff.series.synthetic_windows import CHUNK, SyntheticWindows, told


@pytest.mark.parametrize("name", synthetic.FAMILIES)
def test_a_family_is_finite_varied_and_seeded(name):
    family, weight = synthetic.FAMILIES[name]
    period = np.tile([1, 4, 7, 12, 24], 8)
    found = family(np.random.default_rng(0), period, 120)
    assert found.shape == (40, 120)
    assert np.isfinite(found).all()
    assert (found.std(1) > 0).mean() > 0.9
    assert weight > 0
    np.testing.assert_array_equal(found, family(np.random.default_rng(0), period, 120))
    assert (found != family(np.random.default_rng(1), period, 120)).any()


def test_counts_are_counts_and_growth_is_positive():
    period = np.tile([1, 12], 30)
    counts = synthetic.counts(np.random.default_rng(0), period, 100)
    assert (counts >= 0).all()
    assert (counts == np.rint(counts)).all()
    assert (synthetic.growth(np.random.default_rng(0), period, 100) > 0).all()


def test_smoothing_with_a_season_repeats_it():
    period = np.full(300, 12)
    found = synthetic.structural(np.random.default_rng(0), period, 240)
    change = np.diff(found, axis=1)
    at_lag = [(change[:, lag:] * change[:, :-lag]).mean() for lag in (6, 12)]
    assert at_lag[1] > 3 * abs(at_lag[0])


def test_series_have_gaps_and_the_weights_choose_the_families():
    values, period = synthetic.series(np.random.default_rng(0), 500, 200)
    assert values.shape == (500, 200)
    assert 0.001 < np.isnan(values).mean() < 0.1
    assert not np.isinf(values).any()
    assert {1, 4, 12} <= set(period.tolist())
    values, _ = synthetic.series(np.random.default_rng(0), 50, 100, {"counts": 1.0})
    assert np.nanmedian(values) >= 0


def test_a_window_is_a_function_of_seed_and_number():
    families = {name: weight for name, (_, weight) in synthetic.FAMILIES.items()}
    one, other = SyntheticWindows(0, families), SyntheticWindows(0, families)
    for index in (5, CHUNK + 3, 5):
        first, second = one[index], other[index]
        torch.testing.assert_close(first["values"], second["values"], equal_nan=True)
    horizon = int(one[5]["horizon"])
    assert {int(one[k]["horizon"]) for k in range(CHUNK)} == {horizon}  # a batch is one tensor
    held_out = SyntheticWindows(0, families, stream=1)
    assert held_out[5]["values"].shape != one[5]["values"].shape or not torch.equal(
        held_out[5]["values"].nan_to_num(), one[5]["values"].nan_to_num()
    )


def test_the_model_is_told_a_longer_season_of_the_calendar():
    periods = told(np.random.default_rng(0), np.full(1000, 24))
    assert (periods[:, 0] == 24).mean() == pytest.approx(0.9, abs=0.05)
    assert (periods[:, 1] == 168).mean() == pytest.approx(0.72, abs=0.06)


@pytest.mark.parametrize("families", [{"waves": 1.0}, {"counts": 0.0}, {"counts": -1.0}])
def test_wrong_weights_are_refused(families):
    with pytest.raises(UserError, match=r"data\.families is .* give weights of 0 or more"):
        SyntheticWindows(0, families)
