import numpy as np
import pytest
from scipy.special import digamma

from wavediff.evaluation.metrics import UndefinedMetric
from wavediff.evaluation.wada import SHAPE, statistics, wada_snr

N = 160_000  # 10 s at 16 kHz


def noisy(snr, seed=0, n=N):
    """Gamma-distributed amplitudes of power 1 and random signs, in Gaussian noise."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(SHAPE, (SHAPE * (SHAPE + 1)) ** -0.5, n) * rng.choice([-1, 1], n)
    return 0.1 * (x + 10 ** (-snr / 20) * rng.standard_normal(n))


@pytest.mark.parametrize("snr", [0, 5, 10, 15, 20, 30])
def test_the_snr_of_the_model_comes_back(snr):
    assert [wada_snr(noisy(snr, seed)) for seed in range(3)] == pytest.approx([snr] * 3, abs=0.7)


def test_the_statistic_ends_at_its_closed_forms():
    table = statistics()
    assert (np.diff(table) > 0).all()
    # a Gaussian alone, and the gamma distribution alone
    gaussian = 0.5 * np.log(2 / np.pi) + (np.euler_gamma + np.log(2)) / 2
    assert table[0] == pytest.approx(gaussian, abs=1e-3)
    assert table[-1] == pytest.approx(np.log(SHAPE) - digamma(SHAPE), abs=0.05)


@pytest.mark.parametrize("snr", [0, 10, 40])
def test_the_statistic_is_that_of_samples(snr):
    z = np.abs(noisy(snr, n=1_000_000))
    statistic = np.log(z.mean()) - np.log(z).mean()
    assert statistics()[snr + 20] == pytest.approx(statistic, abs=4e-3)


def test_noise_is_at_the_low_end_and_padding_and_offset_do_not_count():
    noise = np.random.default_rng(0).standard_normal(N)
    assert wada_snr(noise) < -8
    x = noisy(10)
    padded = np.concatenate([np.zeros(N), x])
    assert wada_snr(padded) == pytest.approx(wada_snr(x), abs=1e-6)
    assert wada_snr(x + 0.2) == pytest.approx(wada_snr(x), abs=0.05)


@pytest.mark.parametrize("signal", [np.zeros(100), np.ones(100), np.zeros(0)])
def test_what_does_not_vary_has_no_snr(signal):
    with pytest.raises(UndefinedMetric):
        wada_snr(signal)
