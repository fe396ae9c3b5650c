"""Restoration without learning: what a generator is compared with.

- ``linear_prediction``: gaps are extrapolated from both sides by Burg's method and cross-faded
  (Etter 1996; Kauppinen and Roth 2002).
- ``replicate_band``: spectral band replication (Dietz et al. 2002). The envelope of the high band,
  which a codec would transmit, is estimated from the low band with the constants ``ENVELOPE``.
- ``spline``: a cubic spline through the samples that are not clipped.
- ``cbar``: the signal with the least energy of its second difference whose clipped samples lie at
  or beyond the clipping level (Harvilla and Stern 2014, CBAR).

Signals are NumPy arrays ``[time]``. Run on training recordings, this file fits ``ENVELOPE``:

    python tools/restoration_classical.py data/librispeech-16k/train
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import librosa
import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import find_objects, label, uniform_filter1d
from scipy.optimize import lsq_linear
from scipy.signal import lfilter, lfiltic

from wavediff.cli import run
from wavediff.commands.arguments import positive_int
from wavediff.data.audio import read_audio
from wavediff.inputs import find_audio

# Longer contexts and lower orders fade sooner within the gap; both were chosen on training files.
ORDER = 0.0625  # seconds: 1000 coefficients at 16 kHz
CONTEXT = 0.125  # seconds at most on either side of a gap, from which coefficients are estimated
DITHER = 1e-5  # noise relative to the context

FRAME = 0.032  # seconds, of the spectrum in which a band is replicated
SOURCE = 0.5  # of the cutoff: where the band that is copied up begins
SMOOTH = 300.0  # Hz, of the envelope that the copied band loses
BANDS = (100.0, 1000.0, 2000.0)  # Hz: where the bands of the low band's envelope begin
FLOOR = 1e-7  # of a power in the spectrum, as in the LSD
# Per column of ``features``: of the level of the high band above that of the last of BANDS, in dB,
# and of its tilt in dB per kHz.
ENVELOPE = np.array([[-1.2, -2.415], [-0.199, -0.002], [-0.001, 0.007], [-0.185, -0.06]])


def linear_prediction(
    x: np.ndarray,
    gaps: Sequence[tuple[int, int]],
    rate: int,
) -> np.ndarray:
    """Fill gaps (start, stop) of ``x``, in samples and in order, from the known samples around."""
    out = x.astype(np.float64)
    longest, order = round(CONTEXT * rate), round(ORDER * rate)
    stops = [0, *(stop for _, stop in gaps)]
    starts = [*(start for start, _ in gaps[1:]), len(x)]
    for (start, stop), first, last in zip(gaps, stops, starts, strict=False):
        size = stop - start
        before = out[max(first, start - longest) : start]
        after = out[stop : min(last, stop + longest)]
        forward = extrapolate(before, size, order)
        backward = extrapolate(after[::-1], size, order)[::-1]
        weight = np.cos(np.linspace(0, np.pi / 2, size + 2)[1:-1]) ** 2
        if not len(before) or not len(after):
            weight = np.full(size, float(len(before) > 0))
        out[start:stop] = weight * forward + (1 - weight) * backward
    return out


def extrapolate(x: np.ndarray, size: int, order: int) -> np.ndarray:
    """The next ``size`` samples of ``x``, by an all-pole model of at most ``order``."""
    order = min(order, len(x) // 2)
    if order < 1 or not np.any(x):
        return np.zeros(size)
    # the recursion divides by the error of prediction, which a sum of sinusoids does not have
    noise = DITHER * np.sqrt(np.mean(x**2)) * np.random.default_rng(0).standard_normal(len(x))
    coefficients = librosa.lpc(x + noise, order=order)
    state = lfiltic([1.0], coefficients, x[::-1])
    return lfilter([1.0], coefficients, np.zeros(size), zi=state)[0]


def replicate_band(x: np.ndarray, rate: int, cutoff: float) -> np.ndarray:
    """Add a band from ``cutoff`` Hz up to ``x``, which has none; the band below stays as it is.

    The upper half of the low band, with its envelope made flat, is copied as often as needed.
    """
    spectrum, hz = spectrum_of(x, rate)
    first = int(np.searchsorted(hz, cutoff))
    width = first - int(np.searchsorted(hz, SOURCE * cutoff))
    width -= width % 4  # a shift by so many bins keeps the phases, at a hop of a quarter frame
    power = decibels(spectrum)
    smooth = 2 * round(SMOOTH / hz[1] / 2) + 1
    envelope = uniform_filter1d(power[:first], smooth, axis=0)
    added = np.zeros_like(spectrum)
    level, tilt = ENVELOPE.T @ features(power, hz, cutoff)
    for start in range(first, len(hz), width):
        bins = slice(start, min(start + width, len(hz)))
        source = slice(first - width, first - width + bins.stop - start)
        target = level + tilt * kilohertz_above(hz[bins], cutoff) + last_level(power, hz, cutoff)
        added[bins] = spectrum[source] * 10 ** ((target - envelope[source]) / 20)
    n_fft = 2 * (len(hz) - 1)
    return x + librosa.istft(added, n_fft=n_fft, hop_length=n_fft // 4, length=len(x))


def spectrum_of(x: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """STFT ``[bins, frames]`` and the bins' frequencies in Hz."""
    n_fft = 2 ** round(np.log2(FRAME * rate))
    spectrum = librosa.stft(x.astype(np.float64), n_fft=n_fft, hop_length=n_fft // 4)
    return spectrum, librosa.fft_frequencies(sr=rate, n_fft=n_fft)


def decibels(spectrum: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.abs(spectrum) ** 2 + FLOOR)


def last_level(power: np.ndarray, hz: np.ndarray, cutoff: float) -> np.ndarray:
    """Mean ``power [bins, frames]`` in dB from the last of BANDS up to the cutoff, ``[frames]``."""
    return power[(hz >= BANDS[-1]) & (hz < cutoff)].mean(0)


def kilohertz_above(hz: np.ndarray, cutoff: float) -> np.ndarray:
    return (hz[:, None] - cutoff) / 1000


def features(power: np.ndarray, hz: np.ndarray, cutoff: float) -> np.ndarray:
    """Of the low band, ``[4, frames]``; none depends on the recording's level.

    1, the levels of the lower bands relative to the last, and the last relative to its mean over
    the recording, in dB.
    """
    last = last_level(power, hz, cutoff)
    lower = [power[(hz >= low) & (hz < high)].mean(0) - last for low, high in pairwise(BANDS)]
    return np.stack([np.ones_like(last), *lower, last - last.mean()])


def regress(powers: Sequence[np.ndarray], hz: np.ndarray, cutoff: float) -> np.ndarray:
    """ENVELOPE by least squares of ``[bins, frames]`` in dB of recordings with the whole band."""
    high = hz >= cutoff
    above = kilohertz_above(hz[high], cutoff)
    line = np.linalg.pinv(np.hstack([np.ones_like(above), above]))
    inputs = [features(power, hz, cutoff) for power in powers]
    lines = [line @ (power[high] - last_level(power, hz, cutoff)) for power in powers]
    return np.linalg.lstsq(np.hstack(inputs).T, np.hstack(lines).T)[0]


def spline(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Samples of ``x`` at ``low`` or below and ``high`` or above, by a spline through the others.

    A restored sample lies at its clipping level or beyond.
    """
    known = np.flatnonzero((x > low) & (x < high))
    clipped = np.flatnonzero((x <= low) | (x >= high))
    clipped = clipped[(clipped > known[0]) & (clipped < known[-1])] if len(known) > 1 else []
    out = x.astype(np.float64)
    if len(clipped):
        out[clipped] = CubicSpline(known, out[known])(clipped)
    return beyond(out, x, low, high)


def cbar(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Samples of ``x`` at ``low`` or below and ``high`` or above, with the least curvature.

    Runs of clipped samples that share a second difference are solved together.
    """
    clipped = (x <= low) | (x >= high)
    between = ~clipped & np.roll(clipped, 1) & np.roll(clipped, -1)
    groups, _ = label(clipped | between)
    out = x.astype(np.float64)
    for (run_of_samples,) in find_objects(groups):
        window = slice(max(run_of_samples.start - 2, 0), run_of_samples.stop + 2)
        values, free = out[window], clipped[window]
        if len(values) < 3:
            continue
        difference = np.diff(np.eye(len(values)), n=2, axis=0)
        rest = -difference[:, ~free] @ values[~free]
        upper = values[free] > 0
        bounds = (np.where(upper, high, -np.inf), np.where(upper, np.inf, low))
        out[window][free] = lsq_linear(difference[:, free], rest, bounds, method="bvls").x
    return beyond(out, x, low, high)


def beyond(out: np.ndarray, x: np.ndarray, low: float, high: float) -> np.ndarray:
    """``out`` where rounding or the method brought no sample back from its clipping level."""
    out = np.where(x >= high, np.maximum(out, high), out)
    return np.where(x <= low, np.minimum(out, low), out)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="training recordings")
    parser.add_argument("--files", type=positive_int, default=125, help="(default: %(default)s)")
    parser.add_argument("--cutoff", type=float, default=3600, help="in Hz (default: %(default)g)")
    arguments = parser.parse_args(argv)
    files = find_audio([arguments.folder])
    files = files[:: max(1, len(files) // arguments.files)][: arguments.files]
    powers, rate, hz = [], None, np.zeros(0)
    for path in files:
        audio, rate = read_audio(path, rate)
        spectrum, hz = spectrum_of(audio[0].numpy(), rate)
        powers.append(decibels(spectrum))
    print(np.round(regress(powers, hz, arguments.cutoff), 3).tolist())
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
