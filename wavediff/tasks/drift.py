"""Offsets and drift below what is audible, taken out of a recording where they matter to a model.

A converter's offset or a drift inflates the level that a model normalises by, and its lowest bins.
But recordings hold rumble that is part of them, so what lies below 20 Hz is subtracted only

- where it varies with as much power as all else has over the last two seconds, or
- of it the mean over that time, the offset, where that is not small beside the root mean square.

All else is left as it is, to the bit. The filter and the decision have a finite reach.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from wavediff.tasks.high_band import convolve
from wavediff.tasks.piecewise import Array, seconds_to_samples

CUTOFF = 32.0  # Hz, -6 dB; with this length, 20 Hz is taken out and 45 Hz kept
FILTER_SECONDS = 0.06  # on either side
BLOCKS_PER_SECOND = 500  # the grid of the decision
PAST_SECONDS, AHEAD_SECONDS = 2.0, 0.03  # that it looks at
ESTABLISHED_SECONDS = 1.0  # until which drift must be stronger
LEAST_SECONDS = 0.05  # of a signal: a period of 20 Hz
# power ratios from which to which the subtraction sets in; recordings of speech in noise stay below
DRIFT_RATIO = (0.6, 1.0)  # of what lies below 20 Hz to the rest
OFFSET_RATIO = (0.015, 0.04)  # of the squared mean to all
SILENT_ENERGY = 1e-20  # per sample
WHOLE = 1 - 1e-6  # of the filter's weights


def drift_reach(sample_rate: int) -> tuple[int, int]:
    """Samples before and after a sample that ``without_drift`` looks at."""
    block = _block(sample_rate)
    past = PAST_SECONDS + 2 * FILTER_SECONDS
    ahead = AHEAD_SECONDS + FILTER_SECONDS
    return (
        seconds_to_samples(past, sample_rate) + 2 * block,
        seconds_to_samples(ahead, sample_rate) + 2 * block,
    )


def drift_align(sample_rate: int) -> int:
    """Samples on a multiple of which a piece of a signal must begin."""
    return _block(sample_rate)


def without_drift(
    audio: Array, sample_rate: int, wanted: slice, start: int = 0, settle: float = 0.0
) -> Array:
    """Take offset and drift out of the slice ``wanted`` of ``audio [channels, time]``.

    Args:
        audio: a piece of a signal, float64.
        sample_rate: in Hz.
        wanted: samples of the piece; the others may be returned with their drift.
        start: position of the piece in the signal.
        settle: seconds of the signal's beginning that are decided on together, at their end. They
            lie in the piece where any of them is wanted.
    """
    length = audio.shape[1]
    if length < LEAST_SECONDS * sample_rate:
        return audio
    out = audio.copy()
    kernel = _kernel(sample_rate)
    half = len(kernel) // 2
    left, right = max(0, wanted.start - half), min(length, wanted.stop + half)
    inner = slice(wanted.start - left, wanted.stop - left)
    for channel, samples in enumerate(audio):
        offset, gain = _decide(samples, sample_rate, settle - start / sample_rate)[:, wanted]
        out[channel, wanted] -= offset
        if gain.any():
            near = np.stack([samples[left:right], np.ones(right - left)])
            low, weight = convolve(near, kernel)[:, inner]
            out[channel, wanted] -= gain * low / weight
    return out


def _decide(samples: Array, sample_rate: int, settle: float) -> Array:
    """What is subtracted from ``samples [time]``: an offset, and a share of the low band, 0 to 1.

    Both are constant up to ``settle``, in seconds of the piece.
    """
    block, length = _block(sample_rate), len(samples)
    starts = np.arange(0, length, block)
    counts = np.diff(np.append(starts, length))
    means = np.add.reduceat(samples, starts) / counts
    energies = np.add.reduceat(samples * samples, starts) / counts + SILENT_ENERGY
    rate = sample_rate / block
    low, weight = convolve(np.stack([means, np.ones(len(means))]), _kernel(rate))
    low = low / weight
    # beside an end of the signal the filter is cut off, and lets through what is above 20 Hz
    inside = (weight > WHOLE).astype(np.float64)
    past, ahead = round(PAST_SECONDS * rate), round(AHEAD_SECONDS * rate)
    energy, power, low_sum, total, count, inner_sum, inner_count = _sums(
        np.stack([energies, low**2, low, means, np.ones(len(means)), inside * low, inside]),
        past,
        ahead,
    )
    rest, energy = (np.maximum(x, SILENT_ENERGY) for x in (energy - power, energy))
    # a short part of speech may be rumble alone
    known = np.minimum(1, count / (ESTABLISHED_SECONDS * rate))
    removed = np.maximum(
        _ramp(power / rest * known, DRIFT_RATIO),
        _ramp(total**2 / count / energy * known**2, OFFSET_RATIO),
    )
    # an offset alone is taken out as a constant, which leaves all that is beside it as it is
    varying = np.maximum(0, power - low_sum**2 / count)
    gain = _ramp(varying / rest * known, DRIFT_RATIO)
    some = inner_count > 0
    mean = np.where(some, inner_sum, low_sum) / np.where(some, inner_count, count)
    decided = np.stack([np.maximum(0, removed - gain) * mean, gain])
    settled = min(round(settle * rate), len(gain) - 1)
    if settled > 0:
        decided[:, :settled] = decided[:, settled, None]
    if not decided.any():
        return np.zeros((2, length))
    at, centres = np.arange(length), starts + (block - 1) / 2
    return np.stack([np.interp(at, centres, row) for row in decided])


def _sums(x: Array, past: int, ahead: int) -> Array:
    """Sums of ``x [rows, time]`` from ``past`` before to ``ahead`` after each position."""
    total = np.pad(np.cumsum(x, axis=1), ((0, 0), (1, 0)))
    at = np.arange(x.shape[1])
    right, left = np.minimum(at + ahead + 1, x.shape[1]), np.maximum(at - past, 0)
    return total[:, right] - total[:, left]


def _ramp(ratio: Array, bounds: tuple[float, float]) -> Array:
    low, high = bounds
    return np.clip((ratio - low) / (high - low), 0, 1)


@lru_cache(maxsize=8)  # a stream needs the same two for each chunk
def _kernel(rate: float) -> Array:
    """A low-pass of odd length and sum 1."""
    half = round(FILTER_SECONDS * rate)
    n = np.arange(-half, half + 1)
    kernel = np.sinc(2 * CUTOFF / rate * n) * np.kaiser(2 * half + 1, 5.0)
    return kernel / kernel.sum()


def _block(sample_rate: int) -> int:
    return max(1, round(sample_rate / BLOCKS_PER_SECOND))
