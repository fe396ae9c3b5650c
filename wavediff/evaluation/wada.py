"""Blind estimation of the signal-to-noise ratio: WADA-SNR of Kim and Stern (Interspeech 2008).

The amplitude of clean speech is modelled by a symmetric gamma distribution of shape 0.4, noise by
a Gaussian. Of their sum z, the statistic G = ln E|z| - E ln|z| depends on the SNR alone. It rises
from its value for a Gaussian to that for speech without noise, and is inverted by a table.
"""

from functools import lru_cache

import numpy as np
from scipy.integrate import cumulative_simpson, simpson
from scipy.special import dawsn, erf, gamma

from wavediff.evaluation.metrics import UndefinedMetric

SHAPE = 0.4
LOW, HIGH = -20, 100  # dB, the range of the table
_LOG = np.linspace(-80, 20, 20_001)  # ln of |x| and of |x| / sigma


def wada_snr(signal: np.ndarray) -> float:
    """Return the SNR in dB, -20 to 100, of a noisy recording of speech ``[time]``.

    Samples that are exactly zero (padding, gates) are left out, then the mean is removed.

    Raises:
        UndefinedMetric: where less than two different values are left.
    """
    z = np.asarray(signal[signal != 0], np.float64)
    z = np.abs(z - z.mean()) if len(z) else z
    z = z[z > 0]
    if len(z) < 2:
        raise UndefinedMetric("silent or constant")
    statistic = np.log(z.mean()) - np.log(z).mean()
    table = statistics()
    return float(np.interp(statistic, table, np.arange(LOW, HIGH + 1.0)))


@lru_cache(maxsize=1)
def statistics() -> np.ndarray:
    """Return G at each whole SNR from -20 to 100 dB, by numerical integration.

    With x of the gamma distribution and n of the Gaussian of deviation sigma, both expectations are
    first taken over n in closed form. For mu = |x| / sigma,

        E_n |x + n| / sigma    = sqrt(2 / pi) exp(-mu^2 / 2) + mu erf(mu / sqrt 2)
        E_n ln |x + n| / sigma = -(gamma_E + ln 2) / 2 + int_0^mu sqrt(2) D(t / sqrt 2) dt

    where D is Dawson's function. The integrals run over ln x and ln t, in which they are smooth.
    """
    x = np.exp(_LOG)
    weight = x**SHAPE * np.exp(-x) / gamma(SHAPE)  # the density of ln |x|, of E x^2 = a (a + 1)
    mean = np.sqrt(2 / np.pi) * np.exp(-(x**2) / 2) + x * erf(x / np.sqrt(2))
    log = cumulative_simpson(np.sqrt(2) * dawsn(x / np.sqrt(2)) * x, x=_LOG, initial=0)
    log -= (np.euler_gamma + np.log(2)) / 2
    snr = np.arange(LOW, HIGH + 1.0)
    log_sigma = 0.5 * np.log(SHAPE * (SHAPE + 1)) - snr * np.log(10) / 20
    table = []
    for shift in log_sigma:
        log_mu = np.minimum(_LOG - shift, _LOG[-1])  # beyond, the density is zero
        mean_mu = np.exp(np.interp(log_mu, _LOG, np.log(mean)))
        log_z = np.interp(log_mu, _LOG, log)
        table.append(np.log(simpson(weight * mean_mu, x=_LOG)) - simpson(weight * log_z, x=_LOG))
    return np.array(table)
