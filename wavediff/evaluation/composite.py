"""Composite metrics of enhanced speech (Hu and Loizou 2008): CSIG, CBAK and COVL.

They are regressions of listeners' ratings on PESQ and three distances of frames of 30 ms at steps
of a quarter: the log-likelihood ratio, the weighted spectral slope and the segmental SNR. The
implementation follows the MATLAB code of Loizou's book (composite.m, 2007), which published values
are computed with. Signals are float64 ``[T]`` at the scale of 16-bit integers (full scale 32768),
at 8 or 16 kHz.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.fft

FULL_SCALE = 32768.0
KEPT = 0.95  # fraction of the frames, the best ones, in the means of LLR and WSS
FRAMES_AT_ONCE = 2048  # limits the memory for a long file
TINY = np.spacing(1.0)


class Composite(NamedTuple):
    """Predicted ratings, each between 1 and 5, higher is better."""

    csig: float  # speech distortion
    cbak: float  # background intrusiveness
    covl: float  # overall quality


def composite(estimate: np.ndarray, reference: np.ndarray, rate: int, pesq: float) -> Composite:
    """Return the ratings of ``estimate``, as in composite.m.

    Args:
        estimate: ``[T]``.
        reference: ``[T]``.
        rate: 8000 or 16000 Hz.
        pesq: the PESQ of the pair (MOS-LQO).

    Raises:
        ValueError: for audio of less than 38 ms.
    """
    if len(reference) - _frame_size(rate) < _skip(rate):
        raise ValueError("the composite metrics need at least 38 ms of audio")
    likelihood = _best_mean(log_likelihood_ratio(estimate, reference, rate))
    slope = _best_mean(weighted_spectral_slope(estimate, reference, rate))
    snr = float(np.mean(segmental_snr(estimate, reference, rate)))
    return Composite(
        _rating(3.093 - 1.029 * likelihood + 0.603 * pesq - 0.009 * slope),
        _rating(1.634 + 0.478 * pesq - 0.007 * slope + 0.063 * snr),
        _rating(1.594 + 0.805 * pesq - 0.512 * likelihood - 0.007 * slope),
    )


def segmental_snr(estimate: np.ndarray, reference: np.ndarray, rate: int) -> np.ndarray:
    """Return the SNR of each frame in dB, clipped to -10 to 35: ``[frames]``."""

    def snr(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
        noise = np.sum((reference - estimate) ** 2, axis=1)
        return 10 * np.log10(np.sum(reference**2, axis=1) / (noise + TINY) + TINY)

    return np.clip(_by_frame(snr, estimate, reference, rate), -10, 35)


def log_likelihood_ratio(estimate: np.ndarray, reference: np.ndarray, rate: int) -> np.ndarray:
    """Return ln(a_hat R a_hat^T / a R a^T) >= 0 of each frame: ``[frames]``.

    a and a_hat are the prediction error filters of the reference and the estimate, of order 16 (10
    below 10 kHz); R is the autocorrelation matrix of the reference.
    """
    order = 10 if rate < 10_000 else 16
    lags = np.arange(order + 1)

    def ratio(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
        correlation = _autocorrelation(reference, order)
        matrix = correlation[:, np.abs(lags[:, None] - lags)]
        a_hat, a = _prediction(_autocorrelation(estimate, order)), _prediction(correlation)
        error_hat, error = (np.einsum("fi,fij,fj->f", x, matrix, x) for x in (a_hat, a))
        # a minimises the error; lower values are rounding errors in nearly singular frames
        floor = np.maximum(error, TINY * correlation[:, 0])
        return np.log(np.maximum(error_hat, floor) / floor)

    return _by_frame(ratio, estimate, reference, rate)


def weighted_spectral_slope(estimate: np.ndarray, reference: np.ndarray, rate: int) -> np.ndarray:
    """Return the weighted mean squared difference of spectral slopes in dB^2: ``[frames]``.

    Slopes are differences between critical bands; those near spectral peaks have larger weights
    (Klatt 1982).
    """
    n_fft = 2 ** int(np.ceil(np.log2(2 * _frame_size(rate))))
    filters = _band_filters(rate, n_fft)

    def bands(frames: np.ndarray) -> np.ndarray:
        spectrum = scipy.fft.rfft(frames / FULL_SCALE, n_fft)[:, :-1]
        return 10 * np.log10(np.maximum(np.abs(spectrum) ** 2 @ filters.T, 1e-10))

    def distance(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
        levels = bands(estimate), bands(reference)
        weight = (_slope_weights(levels[0]) + _slope_weights(levels[1])) / 2
        difference = np.diff(levels[0]) - np.diff(levels[1])
        return np.sum(weight * difference**2, axis=1) / np.sum(weight, axis=1)

    return _by_frame(distance, estimate, reference, rate)


def _slope_weights(level: np.ndarray) -> np.ndarray:
    """Return Klatt's weights ``[frames, bands - 1]`` for levels ``[frames, bands]`` in dB.

    They are 20 / (20 + distance to the maximum) * 1 / (1 + distance to the nearest peak).
    """
    slope = np.diff(level)
    right, left = level[:, :-1].copy(), level[:, :-1].copy()
    # composite.m's peak of a rise is the band before its top
    for band in range(slope.shape[1] - 2, -1, -1):
        rises = slope[:, band + 1] > 0
        right[rises, band] = right[rises, band + 1]
    for band in range(1, slope.shape[1]):
        falls = slope[:, band - 1] <= 0
        left[falls, band] = left[falls, band - 1]
    peak = np.where(slope > 0, right, left)
    below_maximum = level.max(axis=1, keepdims=True) - level[:, :-1]
    return 20 / (20 + below_maximum) / (1 + peak - level[:, :-1])


def _band_filters(rate: int, n_fft: int) -> np.ndarray:
    """Return Gaussian critical-band filters ``[bands, n_fft / 2]``, truncated at -30 dB."""
    centre, width = np.array(CRITICAL_BANDS).T * n_fft / rate
    distance = (np.arange(n_fft // 2) - np.floor(centre)[:, None]) / width[:, None]
    filters = np.exp(-11 * distance**2) * width[0] / width[:, None]
    return np.where(filters > np.exp(-30 / (2 * 2.303)), filters, 0)


def _autocorrelation(frames: np.ndarray, order: int) -> np.ndarray:
    """Return lags 0 to ``order`` of each frame: ``[frames, order + 1]``.

    White noise far below one step of 16 bits is added, for silent frames.
    """
    size = frames.shape[1]
    lags = [np.einsum("ft,ft->f", frames[:, : size - k], frames[:, k:]) for k in range(order + 1)]
    lags[0] = lags[0] + 1e-10
    return np.stack(lags, axis=1)


def _prediction(correlation: np.ndarray) -> np.ndarray:
    """Return prediction error filters ``[frames, order + 1]`` by the Levinson-Durbin recursion."""
    order = correlation.shape[1] - 1
    filters = np.zeros_like(correlation)
    filters[:, 0] = 1
    error = correlation[:, 0].copy()
    for i in range(1, order + 1):
        reflection = -np.einsum("fk,fk->f", filters[:, :i], correlation[:, i:0:-1]) / error
        reflection = np.clip(reflection, -1, 1)  # against rounding in nearly singular frames
        filters[:, : i + 1] += reflection[:, None] * filters[:, i::-1]
        error = np.maximum(error * (1 - reflection**2), TINY * correlation[:, 0])
    return filters


def _by_frame(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    estimate: np.ndarray,
    reference: np.ndarray,
    rate: int,
) -> np.ndarray:
    """Apply ``function`` to windowed frames ``[frames, time]`` of both, block by block."""
    blocks = zip(_frames(estimate, rate), _frames(reference, rate), strict=True)
    return np.concatenate([function(*block) for block in blocks])


def _frames(signal: np.ndarray, rate: int) -> Iterator[np.ndarray]:
    """Yield blocks ``[frames, time]`` of Hann-windowed frames of 30 ms, without the last frame."""
    size, skip = _frame_size(rate), _skip(rate)
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, size + 1) / (size + 1)))
    views = np.lib.stride_tricks.sliding_window_view(signal, size)[::skip]
    count = (len(signal) - size) // skip
    for start in range(0, count, FRAMES_AT_ONCE):
        yield views[start : min(start + FRAMES_AT_ONCE, count)] * window


def _frame_size(rate: int) -> int:
    return round(0.03 * rate)


def _skip(rate: int) -> int:
    return _frame_size(rate) // 4


def _best_mean(values: np.ndarray) -> float:
    return float(np.mean(np.sort(values)[: round(KEPT * len(values))]))


def _rating(value: float) -> float:
    return min(5.0, max(1.0, value))


CRITICAL_BANDS = (  # centre and width in Hz
    (50.0, 70.0),
    (120.0, 70.0),
    (190.0, 70.0),
    (260.0, 70.0),
    (330.0, 70.0),
    (400.0, 70.0),
    (470.0, 70.0),
    (540.0, 77.3724),
    (617.372, 86.0056),
    (703.378, 95.3398),
    (798.717, 105.411),
    (904.128, 116.256),
    (1020.38, 127.914),
    (1148.30, 140.423),
    (1288.72, 153.823),
    (1442.54, 168.154),
    (1610.70, 183.457),
    (1794.16, 199.776),
    (1993.93, 217.153),
    (2211.08, 235.631),
    (2446.71, 255.255),
    (2701.97, 276.072),
    (2978.04, 298.126),
    (3276.17, 321.465),
    (3597.63, 346.136),
)
