"""The active speech level and the activity of a recording: ITU-T P.56 (2011), method B.

The envelope q of the rectified signal is smoothed twice with the time constant T = 30 ms. For each
threshold c, a sample is active if q reached c then or within the hangover of H = 200 ms before.
With the level A(c) of all energy over the active time, the active speech level is the A(c) that
lies M = 15.9 dB above its own threshold c.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal import lfilter

from wavediff.evaluation.metrics import UndefinedMetric, is_silent

TIME_CONSTANT = 0.03  # seconds
HANGOVER = 0.2  # seconds
MARGIN = 15.9  # dB between threshold and active level
FRAME_SECONDS = 0.02
# Halved from half of full scale, as in the standard, whose 15 are for 16 bits.
THRESHOLDS = 2.0 ** -np.arange(24, 0, -1)
BLOCK_FRAMES = 1500


@dataclass(frozen=True)
class SpeechLevel:
    """Of one channel.

    Attributes:
        level: active speech level in dBFS, where 0 is a full-scale square wave.
        activity: active share of the time, 0 to 1.
        pauses: which frames of 20 ms hold no active sample, bool ``[frames]``.
    """

    level: float
    activity: float
    pauses: np.ndarray


def speech_level(signal: np.ndarray, sample_rate: int) -> SpeechLevel:
    """Measure a signal ``[time]``, whose mean is removed first.

    Raises:
        UndefinedMetric: for silence, and for a signal that no threshold finds active, as a click.
    """
    x = signal - signal.mean(dtype=np.float64)
    if is_silent(x):
        raise UndefinedMetric("silent")
    counts = np.zeros(len(THRESHOLDS))
    frames = []
    size = frame_size(sample_rate)
    for held in _held_envelopes(x, sample_rate):
        counts += len(held) - np.searchsorted(np.sort(held), THRESHOLDS)
        frames.append(np.maximum.reduceat(held, np.arange(0, len(held), size)))
    energy = float(np.dot(x, x))
    level = _active_level(energy, counts)
    threshold = 10 ** ((level - MARGIN) / 20)
    activity = min(1.0, energy / len(x) / 10 ** (level / 10))
    return SpeechLevel(level, activity, np.concatenate(frames) < threshold)


def frame_size(sample_rate: int) -> int:
    """The samples of a frame of 20 ms."""
    return max(1, round(FRAME_SECONDS * sample_rate))


def _held_envelopes(x: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    """Yield, block by block, the largest envelope within the hangover before each sample.

    A sample is active at every threshold up to this value.
    """
    g = math.exp(-1 / (TIME_CONSTANT * sample_rate))
    hangover = math.ceil(HANGOVER * sample_rate)
    p_state, q_state, past = np.zeros(1), np.zeros(1), np.zeros(hangover)
    size = BLOCK_FRAMES * frame_size(sample_rate)
    for start in range(0, len(x), size):
        p, p_state = lfilter([1 - g], [1, -g], np.abs(x[start : start + size]), zi=p_state)
        q, q_state = lfilter([1 - g], [1, -g], p, zi=q_state)
        known = np.concatenate([past, q])
        # a window of hangover + 1 samples that ends at each one
        held = maximum_filter1d(known, hangover + 1, origin=hangover // 2, mode="nearest")
        past = known[-hangover:]
        yield held[hangover:]


def _active_level(energy: float, counts: np.ndarray) -> float:
    """The level in dBFS from the active samples at each threshold, interpolated in dB.

    Raises:
        UndefinedMetric: where no level lies within the margin above its threshold.
    """
    heard = counts > 0
    levels = 10 * np.log10(energy / counts[heard])
    excess = levels - 20 * np.log10(THRESHOLDS[heard]) - MARGIN
    below = np.flatnonzero(excess <= 0)
    if not len(below) or below[0] == 0:
        raise UndefinedMetric("no speech that is active by ITU-T P.56")
    j = below[0]
    share = excess[j - 1] / (excess[j - 1] - excess[j])
    return float(levels[j - 1] + share * (levels[j] - levels[j - 1]))
