"""The band above the model's, kept with a Wiener gain from the octave below it.

A model at 16 kHz holds nothing above 8 kHz. That band, and what a resampler's transition band takes
below, is the complement y - up(down(y)) of the input y. It is added with the gain

    g(t) = energy of the enhanced / energy of the noisy signal, in [0, 1],

measured in the top octave of the model's band (4 to 7.5 kHz) and smoothed over 40 ms: for speech S
in noise N it is the Wiener gain S / (S + N). Hiss is removed where the model removed it, sibilants
stay, and a model that changes nothing returns y itself.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from wavediff.data.resampling import StreamResampler, resampler_delay
from wavediff.tasks.piecewise import Array, Piecewise, SignalBuffer, seconds_to_samples

TOP_OCTAVE = (0.5, 0.9375)  # of the highest frequency that both the input and the model have
BAND_TAPS = 64  # of its filter on either side, at a sample rate of twice that frequency
GAIN_SECONDS = 0.02  # smoothing of the gain on either side
SILENT_ENERGY = 1e-20  # per sample: makes 0 / 0 a gain of 1, far below any recording


class HighBand:
    """Brings a model's output up to the input's rate and adds the high band of the input.

    Args:
        sample_rate, model_rate: of the input and of the model, in Hz.
        noisy: the input ``[channels, time]`` at ``sample_rate``. Samples that the output has not
            reached must stay in the buffer; whoever owns it releases them.
        channels: of the input.

    Attributes:
        latency: seconds by which the result is later than what is pushed, at most.
    """

    def __init__(
        self, sample_rate: int, model_rate: int, noisy: SignalBuffer, channels: int
    ) -> None:
        self.sample_rate, self.model_rate, self.noisy = sample_rate, model_rate, noisy
        self._up = StreamResampler(model_rate, sample_rate, 2 * channels)
        self._band = band_filter(min(sample_rate, model_rate), model_rate)
        smoothing = seconds_to_samples(GAIN_SECONDS, model_rate)
        self._window = np.hanning(2 * smoothing + 1)
        reach = len(self._band) // 2 + smoothing
        self._gain = Piecewise(self._gains, 2 * channels, channels, reach, reach)
        self._gain_buffer, self._up_buffer = SignalBuffer(channels), SignalBuffer(2 * channels)
        self.latency = reach / model_rate + resampler_delay(model_rate, sample_rate)

    def push(self, both: Array) -> Array:
        """Enhanced and noisy ``[2 channels, n]`` at the model's rate -> ``[channels, m]``."""
        self._gain_buffer.push(self._gain.push(both))
        self._up_buffer.push(self._up.push(both))
        # the gain on either side of a sample is needed
        last = (self._gain_buffer.stop - 1) * self.sample_rate // self.model_rate
        return self._combine(min(self._up_buffer.stop, last))

    def finish(self, total: int) -> Array:
        """The rest of an output of ``total`` samples."""
        self._gain_buffer.push(self._gain.finish())
        self._up_buffer.push(self._up.finish(total))
        return self._combine(self._up_buffer.stop)

    def _combine(self, stop: int) -> Array:
        """The output up to ``stop``."""
        start = self._up_buffer.start
        enhanced, noisy = np.split(self._up_buffer.take(max(start, stop)), 2)
        if stop <= start:  # most blocks complete nothing
            return enhanced
        position = np.arange(start, stop) * (self.model_rate / self.sample_rate)
        first = int(position[0])
        gains = self._gain_buffer.peek(first)
        self._gain_buffer.drop(first)
        grid = np.arange(first, first + gains.shape[1])
        g = np.stack([np.interp(position, grid, row) for row in gains])
        return enhanced + g * (self.noisy.peek(start, stop) - noisy)

    def _gains(self, both: Array, *_: object) -> Array:
        """Wiener gains in [0, 1] from the top octave of the enhanced and the noisy channels."""
        energy = convolve(convolve(both, self._band) ** 2, self._window)
        enhanced, noisy = np.split(np.maximum(energy, 0) + SILENT_ENERGY, 2)
        return np.minimum(enhanced / noisy, 1)


def band_filter(lower_rate: int, sample_rate: int) -> Array:
    """Linear-phase band-pass for the top octave below ``lower_rate / 2``, odd length.

    A Hamming-windowed sinc with gain 1 in the middle of the band.
    """
    taps = math.ceil(BAND_TAPS * sample_rate / lower_rate)
    low, high = (share * lower_rate / sample_rate for share in TOP_OCTAVE)
    n = np.arange(-taps, taps + 1)
    kernel = (high * np.sinc(high * n) - low * np.sinc(low * n)) * np.hamming(2 * taps + 1)
    return kernel / (kernel * np.cos(np.pi * (low + high) / 2 * n)).sum()


def convolve(x: Array, kernel: Array) -> Array:
    """``x [channels, time]`` filtered by a centred ``kernel`` of odd length, by overlap-save."""
    taps, length = len(kernel), x.shape[1]
    if not length:
        return x
    size = 1 << min(8 * taps, length + taps).bit_length()
    step = size - taps + 1
    padded = np.pad(x, ((0, 0), (taps // 2, taps // 2 + -length % step)))
    frames = sliding_window_view(padded, size, axis=1)[:, ::step]
    filtered = np.fft.irfft(np.fft.rfft(frames) * np.fft.rfft(kernel, size), size)
    return filtered[..., taps - 1 :].reshape(len(x), -1)[:, :length]
