import numpy as np
import pandas
import pytest

from wavediff.series.calendar import features, lags, names, season

FREQUENCIES = ["s", "15min", "h", "D", "B", "W-SUN", "MS", "ME", "QS-JAN", "YE-DEC"]


@pytest.mark.parametrize("freq", FREQUENCIES)
def test_features_lie_between_minus_and_plus_a_half(freq):
    index = pandas.date_range("2023-01-01", periods=2000, freq=freq)[:2000]
    found = features(index, freq)
    assert found.shape == (len(names(freq)), 2000)
    assert found.dtype == np.float32
    assert (np.abs(found) <= 0.5).all()


def test_features_are_those_of_the_stamps():
    index = pandas.DatetimeIndex(["2024-12-29 23:00", "2024-01-01 00:00"])  # a Sunday, a Monday
    found = dict(zip(names("h"), features(index, "h"), strict=True))
    np.testing.assert_allclose(found["hour"], [0.5, -0.5])
    np.testing.assert_allclose(found["day_of_week"], [0.5, -0.5])
    np.testing.assert_allclose(found["day_of_month"], [28 / 30 - 0.5, -0.5], rtol=1e-6)
    np.testing.assert_allclose(found["day_of_year"], [363 / 365 - 0.5, -0.5], rtol=1e-6)
    assert features(pandas.RangeIndex(5), None).shape == (0, 5)
    assert names("YS-JAN") == ()
    assert names("15min")[0] == "minute"


def test_seasons():
    seasons = {"h": 24, "2h": 12, "15min": 96, "min": 1440, "s": 3600, "D": 7, "B": 5, "W-SUN": 1}
    seasons |= {"MS": 12, "ME": 12, "QS-JAN": 4, "QE-DEC": 4, "YS-JAN": 1, "5h": 1, None: 1}
    assert {freq: season(freq) for freq in seasons} == seasons


def test_lags_never_need_what_is_to_be_told():
    assert lags("h", 24) == [24 * day for day in (1, 2, 3, 4, 5, 6, 7, 14, 21, 28)]
    assert lags("MS", 12) == [12, 24, 36]
    for freq in FREQUENCIES:
        for horizon in (1, 7, 24, 48, 400):
            assert all(lag >= horizon for lag in lags(freq, horizon))
    assert lags(None, 3) == []
