"""The filters of the high band, against scipy's."""

import numpy as np
import pytest
from scipy import signal

from wavediff.tasks.high_band import TOP_OCTAVE, band_filter, convolve


@pytest.mark.parametrize(
    ("lower_rate", "rate"), [(16_000, 16_000), (8_000, 16_000), (11_025, 16_000)]
)
def test_the_band_filter_is_a_windowed_sinc(lower_rate, rate):
    kernel = band_filter(lower_rate, rate)
    edges = [share * lower_rate / 2 for share in TOP_OCTAVE]
    expected = signal.firwin(len(kernel), edges, pass_zero=False, fs=rate)
    np.testing.assert_allclose(kernel, expected, atol=1e-15)


@pytest.mark.parametrize("taps", [1, 129, 641])
@pytest.mark.parametrize("length", [0, 1, 100, 4097, 30_000])
def test_overlap_save_is_a_convolution(taps, length):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, length)), rng.standard_normal(taps)
    whole = np.stack([np.convolve(row, kernel) if length else np.zeros(taps) for row in x])
    expected = whole[:, taps // 2 :][:, :length]
    out = convolve(x, kernel)
    assert out.shape == x.shape
    np.testing.assert_allclose(out, expected, atol=1e-11)
