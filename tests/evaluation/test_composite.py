import numpy as np
import pytest
import scipy.linalg

from wavediff.evaluation import composite as c

RATE = 16000
SIZE, SKIP = 480, 120
WINDOW = np.hanning(SIZE + 2)[1:-1]


@pytest.fixture(scope="module")
def noise():
    """A second of noise and the same through two filters, at the scale of 16-bit integers."""
    white = 1000 * np.random.default_rng(0).standard_normal(RATE)
    dull = np.convolve(white, [1, 0.9], "same")
    return white, dull, np.convolve(white, [1, 0.4, 0.3], "same")


def test_segmental_snr_closed_form_and_limits(noise):
    white = noise[0]
    assert c.segmental_snr(0.9 * white, white, RATE) == pytest.approx(20)
    assert c.segmental_snr(white, white, RATE) == pytest.approx(35)
    assert c.segmental_snr(5 * white, white, RATE) == pytest.approx(-10)
    assert len(c.segmental_snr(white, white, RATE)) == (RATE - SIZE) // SKIP


@pytest.mark.parametrize(("rate", "order"), [(16000, 16), (8000, 10)])
def test_log_likelihood_ratio_by_the_normal_equations(noise, rate, order):
    _, reference, estimate = noise
    size = round(0.03 * rate)
    ratios = c.log_likelihood_ratio(estimate, reference, rate)
    for frame in (0, 7, len(ratios) - 1):
        windowed = np.hanning(size + 2)[1:-1] * np.stack(
            [x[frame * (size // 4) :][:size] for x in (estimate, reference)]
        )
        lags = [np.correlate(x, x, "full")[size - 1 :][: order + 1] for x in windowed]
        a_hat, a = (
            np.concatenate([[1], -scipy.linalg.solve_toeplitz(r[:-1], r[1:])]) for r in lags
        )
        matrix = scipy.linalg.toeplitz(lags[1])
        expected = np.log((a_hat @ matrix @ a_hat) / (a @ matrix @ a))
        assert ratios[frame] == pytest.approx(expected, rel=1e-9)
        assert expected > 0.01


def test_log_likelihood_ratio_is_blind_to_gain_and_survives_silence_and_tones(noise):
    white = noise[0]
    assert c.log_likelihood_ratio(0.1 * white, white, RATE) == pytest.approx(0, abs=1e-9)
    hum = 1000 * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE)  # next to singular
    silence = np.zeros(RATE)
    for estimate in (white, hum, silence):
        for reference in (white, hum, silence):
            ratios = c.log_likelihood_ratio(estimate, reference, RATE)
            assert np.isfinite(ratios).all()
            assert ratios.min() >= 0


def test_slope_weights_by_hand():
    # slopes +1 +2 -1 -1 +4: the peak of a rise is the band before its top, of a fall its first
    level = np.array([[0.0, 1, 3, 2, 1, 5]])
    peak = np.array([1, 1, 3, 3, 1])
    expected = 20 / (20 + 5 - level[0, :-1]) / (1 + peak - level[0, :-1])
    np.testing.assert_allclose(c._slope_weights(level)[0], expected)


def test_band_filters():
    filters = c._band_filters(RATE, 1024)
    assert filters.shape == (25, 512)
    # equal sums, but for the grid of bins and what is cut off
    np.testing.assert_allclose(filters.sum(1), filters.sum(1).mean(), rtol=0.05)
    assert filters[24].argmax() == int(3597.63 / RATE * 1024)
    assert filters[24].max() == pytest.approx(70 / 346.136)


def test_weighted_spectral_slope(noise):
    white, dull, _ = noise
    assert c.weighted_spectral_slope(white, white, RATE) == pytest.approx(0)
    # slopes do not see a gain, as long as no band falls below the floor
    assert c.weighted_spectral_slope(0.5 * white, white, RATE) == pytest.approx(0, abs=1e-12)
    one, other = (c.weighted_spectral_slope(*p, RATE) for p in ((dull, white), (white, dull)))
    np.testing.assert_allclose(one, other)
    # one frame from its definition
    frames = [x[SKIP : SKIP + SIZE] * WINDOW / 32768 for x in (white, dull)]
    power = [np.abs(np.fft.fft(x, 1024)[:512]) ** 2 for x in frames]
    levels = [10 * np.log10(c._band_filters(RATE, 1024) @ p) for p in power]
    weights = sum(c._slope_weights(level[None])[0] for level in levels) / 2
    squares = (np.diff(levels[0]) - np.diff(levels[1])) ** 2
    assert one[1] == pytest.approx(np.average(squares, weights=weights))


def test_long_audio_in_blocks_is_the_same(noise, monkeypatch):
    metrics = (c.segmental_snr, c.log_likelihood_ratio, c.weighted_spectral_slope)
    whole = [metric(noise[1], noise[0], RATE) for metric in metrics]
    monkeypatch.setattr(c, "FRAMES_AT_ONCE", 10)
    for metric, expected in zip(metrics, whole, strict=True):
        np.testing.assert_allclose(metric(noise[1], noise[0], RATE), expected, rtol=1e-9)


def test_ratings_are_the_published_regressions(noise):
    white, dull, _ = noise
    # a gain: LLR and WSS vanish, the segmental SNR is 20 dB
    ratings = c.composite(0.9 * white, white, RATE, pesq=2.0)
    assert ratings.csig == pytest.approx(3.093 + 0.603 * 2)
    assert ratings.cbak == pytest.approx(1.634 + 0.478 * 2 + 0.063 * 20)
    assert ratings.covl == pytest.approx(1.594 + 0.805 * 2)
    # the 5 % of the frames that are worst do not count for LLR and WSS, and do for the SNR
    likelihood, slope = (
        np.sort(metric(dull, white, RATE))[: round(0.95 * 129)].mean()
        for metric in (c.log_likelihood_ratio, c.weighted_spectral_slope)
    )
    ratings = c.composite(dull, white, RATE, pesq=3.0)
    assert ratings.csig == pytest.approx(3.093 - 1.029 * likelihood + 1.809 - 0.009 * slope)
    assert ratings.covl == pytest.approx(1.594 + 2.415 - 0.512 * likelihood - 0.007 * slope)
    # never beyond 1 to 5
    assert c.composite(white, white, RATE, pesq=4.64) == (5, 5, 5)
    assert min(c.composite(5 * dull, white[::-1].copy(), RATE, pesq=-9)) == 1


def test_too_short():
    with pytest.raises(ValueError, match="38 ms"):
        c.composite(np.ones(599), np.ones(599), RATE, pesq=1.0)
    assert c.composite(np.ones(600), np.ones(600), RATE, pesq=1.0).cbak > 1
