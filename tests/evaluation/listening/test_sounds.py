"""Anchors against the recommendation's mask, and loudness against BS.1770's own test signal."""

import numpy as np
import pytest
from scipy.signal import freqz

from wavediff.errors import UserError
from wavediff.evaluation.listening.anchors import anchor, low_pass_filter
from wavediff.evaluation.listening.loudness import common_loudness, loudness, peak_db


@pytest.mark.parametrize("rate", [8820, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_the_low_anchor_is_within_the_mask_of_bs_1534(rate):
    frequency, response = freqz(low_pass_filter(3500, rate), worN=1 << 15, fs=rate)
    decibels = 20 * np.log10(np.maximum(np.abs(response), 1e-9))
    assert np.abs(decibels[frequency <= 3500]).max() < 0.1
    assert decibels[frequency >= 4000].max(initial=-99) < -25
    assert decibels[frequency >= 4500].max(initial=-99) < -50


def test_the_mid_anchor_ends_at_7_khz():
    frequency, response = freqz(low_pass_filter(7000, 48_000), worN=1 << 15, fs=48_000)
    decibels = 20 * np.log10(np.maximum(np.abs(response), 1e-9))
    assert np.abs(decibels[frequency <= 7000]).max() < 0.1
    assert decibels[frequency >= 8000].max() < -50


def test_an_anchor_is_not_delayed():
    rate = 48_000
    time = np.arange(rate) / rate
    low, high = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 6000 * time)
    sound = np.stack([low + high, low])
    filtered = anchor(sound, rate, "low")
    assert filtered.shape == sound.shape
    assert filtered[:, 2000:-2000] == pytest.approx(np.stack([low, low])[:, 2000:-2000], abs=2e-3)


def test_a_rate_without_a_band_above_the_anchor_is_refused():
    noise = np.zeros((1, 8000), np.float32)
    with pytest.raises(UserError, match=r"at 6000 Hz the low anchor.*--anchors none"):
        anchor(noise, 6000, "low")
    with pytest.raises(UserError, match=r"at 8000 Hz the mid anchor.*--anchors low"):
        anchor(noise, 8000, "mid")


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_the_tone_of_bs_1770_has_its_loudness(rate):
    """A full-scale tone of 997 Hz in one channel has -3.01 LUFS, in two 0 LUFS."""
    pytest.importorskip("pyloudnorm")
    tone = np.sin(2 * np.pi * 997 * np.arange(4 * rate) / rate)[None]
    assert loudness(tone, rate) == pytest.approx(-3.01, abs=0.1)
    assert loudness(np.repeat(tone, 2, 0), rate) == pytest.approx(0, abs=0.1)
    assert loudness(0.1 * tone, rate) == pytest.approx(-23.01, abs=0.1)
    assert loudness(0 * tone, rate) == -np.inf


def test_the_common_loudness_is_the_one_at_which_nothing_clips():
    assert common_loudness(-23, [(-20, -1), (-30, -10)]) == -23
    # -30 LUFS with a peak of -1 dB cannot be louder than with one of -1 dB
    assert common_loudness(-23, [(-20, -1), (-30, -1)]) == -30
    assert peak_db(np.array([0.5, -0.25])) == pytest.approx(-6.02, abs=0.01)
