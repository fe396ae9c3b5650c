"""A limiter for full scale and a gate for digital silence, both with a finite look-ahead."""

from __future__ import annotations

import numpy as np

from wavediff.tasks.piecewise import Array, seconds_to_samples

# ``scipy.ndimage`` is slow to import, and most recordings are neither silent nor above full scale:
# it is imported where it is used.

NEAR_SECONDS = 0.01  # distance within which the input's peak counts as ceiling, or its silence ends
FADE_SECONDS = 0.005  # duration of a change of the limiter's or the gate's gain


def limiter_reach(sample_rate: int) -> int:
    """Samples before and after a sample that ``limit`` looks at."""
    return seconds_to_samples(NEAR_SECONDS + 2 * FADE_SECONDS, sample_rate)


def limit(wet: Array, noisy: Array, sample_rate: int) -> Array:
    """Keep digital silence, and ``|wet|`` within full scale or the input's own peak nearby.

    Args:
        wet: the output before the limiter, ``[channels, time]``; it is not changed.
        noisy: the input, alike.
        sample_rate: of both, in Hz.

    Returns:
        ``[channels, time]``. The limiter's gain is common to all channels, which keeps the stereo
        image; silence is gated in each channel by itself.
    """
    out = wet.copy()
    near = seconds_to_samples(NEAR_SECONDS, sample_rate)
    fade = seconds_to_samples(FADE_SECONDS, sample_rate)
    for channel, samples in enumerate(noisy):
        active = samples != 0
        if np.diff(np.flatnonzero(active), prepend=-1, append=len(samples)).max() > 2 * near:
            out[channel] *= gate_gain(active, near, fade)
    if np.abs(out).max(initial=0) > 1:
        from scipy import ndimage

        peak = ndimage.maximum_filter1d(np.abs(noisy), 2 * near + 1, mode="nearest")
        ceiling = np.maximum(1, peak)
        allowed = np.minimum(1, ceiling / np.maximum(np.abs(out), 1)).min(axis=0)
        out *= limiter_gain(allowed, fade)
        out.clip(-ceiling, ceiling, out=out)  # rounding errors
    return out


def gate_gain(active: Array, near: int, fade: int) -> Array:
    """A gain of 1 within ``near`` samples of where ``active [time]`` is true, then down to 0."""
    from scipy import ndimage

    open_gate = ndimage.maximum_filter1d(active, 2 * (near + fade) + 1, mode="nearest")
    return smooth(open_gate.astype(np.float64), fade)


def limiter_gain(allowed: Array, fade: int) -> Array:
    """A smooth gain nowhere above ``allowed [time]``, from samples within 2 ``fade``.

    The minimum over +- fade, averaged over at most +- fade, cannot exceed the value in the middle.
    """
    from scipy import ndimage

    return smooth(ndimage.minimum_filter1d(allowed, 2 * fade + 1, mode="nearest"), fade)


def smooth(gain: Array, fade: int) -> Array:
    """``gain [time]`` in [0, 1] averaged by a triangle over at most +- fade, exact at 0 and 1."""
    from scipy import ndimage

    box = 2 * (fade // 2) + 1
    for _ in range(2):
        average = ndimage.uniform_filter1d(gain, box, mode="nearest")
        gain = np.where(np.minimum(average, 1 - average) < 1e-12, np.round(average), average)
    return gain
