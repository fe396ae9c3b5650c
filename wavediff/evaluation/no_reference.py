"""Metrics of one recording, without a reference: levels, noise, bandwidth, clipping.

Every metric is a function ``(audio, sample_rate) -> float`` of ``[channels, time]`` at a rate in
Hz; ``NO_REFERENCE`` lists them by name. Unless a docstring says otherwise, the value is the mean
over the channels for which there is one. A metric raises ``UndefinedMetric`` with the reason if no
channel has a value.
"""

import math
from collections.abc import Callable
from functools import wraps

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft
from scipy.ndimage import uniform_filter1d
from scipy.signal import get_window

from wavediff.evaluation.metrics import SILENCE, Metric, UndefinedMetric, is_silent
from wavediff.evaluation.speech_level import SpeechLevel, frame_size, speech_level
from wavediff.evaluation.wada import wada_snr

FLOOR_DB = -100.0  # below the quantisation noise of 16 bits
PAUSE_QUANTILE = 0.1  # of the frames, where the recording has no pauses
LEAST_PAUSES = 10  # frames
LEAST_SECONDS = 0.1  # as for metrics with a reference
# clipping
FLAT_SAMPLES = 3
FLAT_STEP = SILENCE  # within which samples are equal: one step of 16 bits
CLIPPED_STEP = 4 * SILENCE  # to a neighbour of a clipped run; a natural peak has a smaller one
CLIPPED_LEVEL = 0.01  # a lower peak may be flat by quantisation alone
# bandwidth
WINDOW_SECONDS = 0.064  # at most, and more than half of it
BLOCK_HOPS = 6
FLOOR_HZ = 400.0  # width of the quietest band
CONTENT_QUANTILE, FLOOR_QUANTILE = 0.95, 0.1  # of a band's power over time
ABOVE_FLOOR_DB = 10.0
RANGE_DB = 80.0  # below the strongest band, where resamplers and codecs leave residues


def per_channel(
    function: Callable[[np.ndarray, int], float],
) -> Callable[[np.ndarray, int], float]:
    """Turn a function of a signal ``[time]`` into a metric, the mean over the channels."""

    @wraps(function)
    def metric(audio: np.ndarray, sample_rate: int) -> float:
        values, reasons = [], []
        for channel in audio:
            try:
                values.append(function(channel.astype(np.float64), sample_rate))
            except UndefinedMetric as reason:
                reasons.append(reason)
        if not values:
            raise reasons[0]
        return float(np.mean(values))

    return metric


@per_channel
def active_level(signal: np.ndarray, sample_rate: int) -> float:
    """Active speech level in dBFS (0 is a full-scale square wave): ITU-T P.56, method B."""
    return speech_level(long_enough(signal, sample_rate), sample_rate).level


@per_channel
def activity(signal: np.ndarray, sample_rate: int) -> float:
    """Activity factor in percent of the time, ITU-T P.56, method B; 0 for silence."""
    found = _speech(long_enough(signal, sample_rate), sample_rate)
    return 0.0 if found is None else 100 * found.activity


@per_channel
def noise_floor(signal: np.ndarray, sample_rate: int) -> float:
    """Median level of the pauses in dBFS, at least -100.

    Pauses are the frames of 20 ms that are not active by P.56; where there are less than 0.2 s of
    them, as in continuous noise, the quietest tenth of the frames.
    """
    x = long_enough(signal, sample_rate) - signal.mean()
    size = frame_size(sample_rate)
    starts = np.arange(0, len(x), size)
    counts = np.diff(np.append(starts, len(x)))
    means, powers = (np.add.reduceat(y, starts) / counts for y in (x, x**2))
    found = _speech(signal, sample_rate)
    if found is not None and found.pauses.sum() >= LEAST_PAUSES:
        quiet = found.pauses
    else:
        quiet = powers <= np.quantile(powers, PAUSE_QUANTILE)
    # the mean of all is not that of the pauses, where loud speech is not free of an offset
    offset = np.median(means[quiet])
    floor = np.median((powers - 2 * offset * means + offset**2)[quiet])
    return max(FLOOR_DB, 10 * math.log10(max(float(floor), 1e-30)))


@per_channel
def snr(signal: np.ndarray, sample_rate: int) -> float:
    """Estimated signal-to-noise ratio in dB, -20 to 100: ``wavediff.evaluation.wada``."""
    return wada_snr(_audible(long_enough(signal, sample_rate)))


@per_channel
def bandwidth(signal: np.ndarray, sample_rate: int) -> float:
    """Highest frequency with content above the floor, in Hz.

    A band has content if its power reaches 10 dB above the floor for a twentieth of the time. The
    floor is the quietest of all bands in the quietest tenth of the time, at least the
    quantisation noise of 16 bits, and the floor with its 10 dB at least 80 dB below the strongest
    band. Where all bands are alike, as in white noise, there is no floor, and the result is half
    the sample rate.
    """
    x = _audible(long_enough(signal, sample_rate) - signal.mean())
    power = _powers(x, 2 ** math.floor(math.log2(WINDOW_SECONDS * sample_rate)))
    size = 2 * (len(power) - 1)
    content = np.quantile(power, CONTENT_QUANTILE, axis=1)
    quantisation = SILENCE**2 / 12 * 2 / size  # 2 bins: the window's noise bandwidth
    quiet = np.quantile(power, FLOOR_QUANTILE, axis=1)
    quiet = uniform_filter1d(quiet, round(FLOOR_HZ * size / sample_rate), mode="nearest")
    floor = max(float(quiet.min()), quantisation)
    threshold = max(floor * 10 ** (ABOVE_FLOOR_DB / 10), content.max() * 10 ** (-RANGE_DB / 10))
    above = np.flatnonzero(content > threshold)
    return float(above[-1] / size if len(above) else 0.5) * sample_rate


def clipped(audio: np.ndarray, sample_rate: int) -> float:
    """Clipped samples in percent of those of all channels: see ``clipped_runs``."""
    return 100 * sum(runs.sum() for runs in map(_flat_runs, audio)) / audio.size


def clipped_runs(audio: np.ndarray, sample_rate: int) -> float:
    """Number of clipped runs in all channels.

    A run is clipped if it holds 3 or more samples within one 16-bit step of the largest or the
    smallest sample of its channel, and is entered or left by a step larger than 4 of them, which
    tells it from a slow peak. Peaks below -40 dBFS are not searched.
    """
    return float(sum(len(runs) for runs in map(_flat_runs, audio)))


@per_channel
def dc_offset(signal: np.ndarray, sample_rate: int) -> float:
    """Magnitude of the mean, in percent of full scale."""
    return 100 * abs(float(signal.mean()))


NO_REFERENCE = {
    "speech_level": Metric("speech level (dBFS)", None, active_level),
    "activity": Metric("activity (%)", None, activity),
    "noise_floor": Metric("noise floor (dBFS)", False, noise_floor),
    "wada_snr": Metric("WADA-SNR (dB)", True, snr),
    "bandwidth": Metric("bandwidth (Hz)", None, bandwidth),
    "clipped": Metric("clipped (%)", False, clipped),
    "clipped_runs": Metric("clipped runs", False, clipped_runs),
    "dc_offset": Metric("DC offset (%)", False, dc_offset),
}


def _powers(x: np.ndarray, size: int) -> np.ndarray:
    """The power of bands of 3 bins, of a signal ``[time]``, over blocks of ``BLOCK_HOPS`` windows.

    Returns:
        ``[size / 2 + 1, blocks]``; the last block also holds the windows that make up no whole one.
    """
    window = get_window("blackmanharris", size)  # side lobes at -92 dB
    frames = sliding_window_view(x, size)[:: size // 2]
    blocks = np.array_split(frames, BLOCK_HOPS * np.arange(1, len(frames) // BLOCK_HOPS))
    bins = [np.mean(np.abs(rfft(window * block)) ** 2, axis=0) for block in blocks]
    return uniform_filter1d(np.stack(bins, axis=1), 3, axis=0, mode="nearest") / window.sum() ** 2


def _flat_runs(signal: np.ndarray) -> np.ndarray:
    """The lengths of the clipped runs of a signal ``[time]``."""
    lengths = []
    for x in (signal, -signal):
        top = x.max()
        if top < CLIPPED_LEVEL:
            continue
        flat = np.concatenate([[False], x >= top - FLAT_STEP, [False]]).astype(np.int8)
        starts, ends = (np.flatnonzero(np.diff(flat) == edge) for edge in (1, -1))
        before = top - x[np.maximum(starts - 1, 0)]  # no step at the ends of the recording
        after = top - x[np.minimum(ends, len(x) - 1)]
        long = ends - starts >= FLAT_SAMPLES
        lengths.append((ends - starts)[long & (np.maximum(before, after) > CLIPPED_STEP)])
    return np.concatenate([np.zeros(0, int), *lengths])


def _speech(signal: np.ndarray, sample_rate: int) -> SpeechLevel | None:
    try:
        return speech_level(signal, sample_rate)
    except UndefinedMetric:
        return None


def long_enough(signal: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return ``[time]`` as it is. Raises UndefinedMetric below 0.1 s."""
    if len(signal) < LEAST_SECONDS * sample_rate:
        number = f"{len(signal)} sample{'s' * (len(signal) != 1)}"
        milliseconds = 1000 * len(signal) / sample_rate
        raise UndefinedMetric(
            f"only {number} ({milliseconds:.3g} ms), not {1000 * LEAST_SECONDS:g} ms"
        )
    return signal


def _audible(signal: np.ndarray) -> np.ndarray:
    """The signal. Raises UndefinedMetric for silence."""
    if is_silent(signal):
        raise UndefinedMetric("silent")
    return signal
