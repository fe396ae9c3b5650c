"""Enhancement while a signal arrives, with the delay of two hops and nothing else.

    y --> without offset --> / level --> STFT --> step --> inverse STFT --> * level --> out

The STFT is taken at the signal's own rate, with frames of the same duration as the model's: their
lowest bins are those that the model knows. Resamplers would add twice the delay. What lies above
the model's band gets the Wiener gain of the octave below it in the same frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from wavediff.errors import UserError
from wavediff.representations.asymmetric_stft import AsymmetricSTFT
from wavediff.representations.level import CausalLevel
from wavediff.tasks.high_band import SILENT_ENERGY, TOP_OCTAVE
from wavediff.tasks.piecewise import Array
from wavediff.tasks.stream import check_stream, like, to_array

if TYPE_CHECKING:
    from wavediff.tasks.enhancer import Enhancer

OFFSET_HZ = 4.0  # -3 dB of the high-pass that takes out an offset
LEVEL_ORDER = 6  # of the low-pass of what the level is taken of, at rates above the model's

Step = Callable[[NDArray[np.complex64]], NDArray[np.complex64]]


class LiveStream:
    """Enhances blocks of any size; the output has as many samples as the input, aligned.

        stream = enhancer.stream(48_000)
        for block in microphone:
            play(stream.push(block))        # later by ``stream.latency`` seconds at most
        play(stream.finish())

    Each channel is enhanced by itself. Memory does not grow. Digital silence stays silent.

    Args:
        enhancer: a ``causal`` one.
        step: a ``LiveStep`` of it, or one that computes the same.
        sample_rate: of the blocks, in Hz, 1000 to 768000.
        channels: of the blocks.
        dry: share of the input in the output, 0 to 1. It may be set at any time: the next frame
            has the new one, and frames are cross-faded.
        progress: called with the seconds of the signal that have been processed.

    Raises:
        UserError: for values out of range.

    Attributes:
        hop: samples of a frame; the output is computed in multiples of it.
        latency: seconds from an input sample to the push that returns its output, at most: two
            hops. Pushes of multiples of ``hop`` return all but the last ``hop``.
    """

    def __init__(
        self,
        enhancer: Enhancer,
        step: Step,
        sample_rate: int,
        channels: int = 1,
        *,
        dry: float = 0.0,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        from scipy import signal  # slow to import: here, not in the first block

        check_stream(sample_rate, channels, dry)
        self._signal = signal
        representation = enhancer.representation
        self.sample_rate, self.channels = int(sample_rate), channels
        self.progress = progress
        self._step = step
        self._ratio = sample_rate / enhancer.sample_rate
        self.hop = max(1, round(representation.hop_length * self._ratio))
        own = AsymmetricSTFT(
            2 * round(representation.n_fft / representation.hop_length * self.hop / 2), self.hop
        )
        self._n_fft = own.n_fft
        self._window: Array = own.window.numpy()
        self._synthesis_window = own.synthesis_window.numpy()
        self._model_bins = representation.n_fft // 2 + 1
        bins = self._n_fft // 2 + 1
        # at higher rates the bin at the end of the model's band has a phase that it does not know
        self._known = bins if bins <= self._model_bins else self._model_bins - 1
        top = min(bins, self._model_bins) - 1
        self._octave = slice(*(round(share * top) for share in TOP_OCTAVE))
        assert isinstance(enhancer.level, CausalLevel)
        self._level_rms, self._level = enhancer.level_rms, enhancer.level
        self.latency = 2 * self.hop / self.sample_rate

        self._band = self._band_state = None  # low-pass of what the level is taken of
        if self._ratio > 1:
            self._band = signal.butter(
                LEVEL_ORDER, enhancer.sample_rate / 2, fs=self.sample_rate, output="sos"
            )
            self._band_state = np.zeros((len(self._band), channels, 2))
        self._offset_state: Array | None = None
        self._waiting = np.zeros((channels, 0))  # samples of an incomplete block
        self._energies = np.zeros((channels, self._level.past))
        self._level_before: Tensor | None = None
        self._history = np.zeros((channels, self._n_fft - self.hop))
        self._tail = np.zeros((channels, 1, self.hop))  # of the frame before
        self._last_raw = np.zeros((channels, 1, self.hop))
        self.dry = self._last_dry = dry
        self._last_level = np.zeros((channels, 1, self.hop))
        self._peaks = np.zeros((channels, -(-self._n_fft // self.hop) - 1))  # of the blocks before
        self._frames = 0
        self._pushed = self._returned = 0
        self._finished = False
        self._example: Tensor | NDArray = np.zeros(0, np.float32)

    @property
    def dry(self) -> float:
        """Share of the input in the output."""
        return self._dry

    @dry.setter
    def dry(self, share: float) -> None:
        check_stream(self.sample_rate, self.channels, share)
        self._dry = float(share)

    def push(self, block: Tensor | NDArray) -> Tensor | NDArray:
        """Add ``[channels, n]``, return the output ``[channels, m]`` that is complete.

        An array gives an array, a tensor a tensor, of its own floating-point type. Full scale is
        [-1, 1]; samples beyond it are allowed.

        Raises:
            UserError: for another shape, integers, NaN or infinite samples; after ``finish``.
        """
        if self._finished:
            raise UserError("this stream is finished: begin another")
        samples = to_array(block, self._pushed)
        if samples.ndim != 2 or len(samples) != self.channels:
            raise UserError(
                f"a block must be [{self.channels}, time], not {list(samples.shape)}: for other "
                "channels begin by stream(sample_rate, channels=...)"
            )
        self._example = block
        self._pushed += samples.shape[1]
        self._waiting = np.concatenate([self._waiting, samples], axis=1)
        whole = self._waiting.shape[1] // self.hop * self.hop
        ready, self._waiting = np.split(self._waiting, [whole], axis=1)
        return like(block, self._enhanced(ready))

    def finish(self) -> Tensor | NDArray:
        """The rest ``[channels, m]``, after the last block.

        Raises:
            UserError: when called again.
        """
        if self._finished:
            raise UserError("this stream is finished: begin another")
        self._finished = True
        missing = -self._waiting.shape[1] % self.hop + self.hop
        due = self._pushed - self._returned
        return like(self._example, self._enhanced(self._waiting, missing)[:, :due])

    def _enhanced(self, samples: Array, silence: int = 0) -> Array:
        """The output that whole blocks ``[channels, n hop]`` complete: that of a hop earlier.

        silence: samples of the blocks that follow ``samples``.
        """
        count = (samples.shape[1] + silence) // self.hop
        if not count:
            return samples
        x = self._filtered(samples)
        if silence:
            samples, x = (np.pad(part, ((0, 0), (0, silence))) for part in (samples, x))
        raw = samples.reshape(self.channels, count, self.hop)
        level = self._levels(x)
        peaks = np.concatenate([self._peaks, np.abs(raw).max(axis=2)], axis=1)
        around = sliding_window_view(peaks, self._peaks.shape[1] + 1, axis=1).max(axis=2)
        self._peaks = peaks[:, count:]

        normalised = np.divide(
            x.reshape(raw.shape), level, out=np.zeros(raw.shape), where=level > 0
        )
        blocks = self._synthesised(self._masked(self._spectra(normalised), around > 0))
        levels = np.concatenate([self._last_level, level], axis=1)
        ceiling = np.maximum(1, around)[..., None]
        out = np.clip(blocks * levels[:, :-1], -ceiling, ceiling)
        self._last_level = level[:, -1:]
        out = (out + self._share(count) * self._earlier(raw)).reshape(self.channels, -1)

        self._frames += count
        if self.progress is not None:
            self.progress(self._frames * self.hop / self.sample_rate)
        out = out if self._frames > count else out[:, self.hop :]  # before the signal
        self._returned += out.shape[1]
        return out

    def _earlier(self, raw: Array) -> Array:
        """The input ``[channels, blocks, hop]`` one block earlier."""
        both = np.concatenate([self._last_raw, raw], axis=1)
        self._last_raw = both[:, -1:]
        return both[:, :-1]

    def _share(self, count: int) -> Array:
        """The input's share ``[blocks, hop]`` of the output: frames with another cross-fade."""
        share = np.full((count, self.hop), self._dry)
        rise = np.square(np.sin(np.pi / 2 * (np.arange(self.hop) + 0.5) / self.hop))
        share[0] += (1 - rise) * (self._last_dry - self._dry)
        self._last_dry = self._dry
        return share

    def _filtered(self, samples: Array) -> Array:
        """``samples [channels, time]`` without their offset: a high-pass of the first order."""
        if not samples.shape[1]:
            return samples
        if self._offset_state is None:
            self._offset_state = -samples[:, :1]  # as if the first sample had been there for ever
        pole = np.exp(-2 * np.pi * OFFSET_HZ / self.sample_rate)
        x, self._offset_state = self._signal.lfilter(
            [1, -1], [1, -pole], samples, axis=1, zi=self._offset_state
        )
        return x

    def _levels(self, x: Array) -> Array:
        """The level ``[channels, blocks, hop]`` of ``x [channels, time]``, see ``CausalLevel``."""
        if self._band is not None:
            x, self._band_state = self._signal.sosfilt(self._band, x, axis=1, zi=self._band_state)
        energies = np.square(x).reshape(self.channels, -1, self.hop).mean(axis=2)
        energies = np.concatenate([self._energies, energies], axis=1)
        self._energies = energies[:, energies.shape[1] - self._energies.shape[1] :]
        ends = self._level.at_ends(torch.from_numpy(energies))
        before = ends[:, :1] if self._level_before is None else self._level_before
        starts = torch.cat([before, ends[:, :-1]], dim=1)
        self._level_before = ends[:, -1:]
        return self._level.within(starts, ends, self.hop).numpy() / self._level_rms

    def _spectra(self, blocks: Array) -> NDArray[np.complex128]:
        """``[channels, bins, blocks]`` of the frames that end with the ``blocks``."""
        x = np.concatenate([self._history, blocks.reshape(self.channels, -1)], axis=1)
        self._history = x[:, x.shape[1] - self._history.shape[1] :]
        frames = sliding_window_view(x, self._n_fft, axis=1)[:, :: self.hop]
        return np.fft.rfft(frames * self._window).swapaxes(1, 2) / self._ratio

    def _masked(
        self, noisy: NDArray[np.complex128], sounding: NDArray[np.bool_]
    ) -> NDArray[np.complex128]:
        """What the model, and the gain above its band, leave of spectra ``[channels, bins, n]``.

        sounding: ``[channels, n]``, whether a frame holds anything but digital silence.
        """
        seen = np.zeros((len(noisy), self._model_bins, noisy.shape[2]), np.complex64)
        seen[:, : self._known] = noisy[:, : self._known]
        known = self._step(seen)[:, : self._known]
        if not np.isfinite(known).all():
            raise UserError(
                "the model's output holds NaN or infinite samples: its checkpoint is broken, "
                "try another"
            )
        energies = [
            np.square(np.abs(z[:, self._octave])).sum(axis=1, keepdims=True) + SILENT_ENERGY
            for z in (known, noisy)
        ]
        gain = np.minimum(1, energies[0] / energies[1])
        wet = np.concatenate([known, gain * noisy[:, self._known :]], axis=1)
        wet *= (1 - self._dry) * sounding[:, None]
        return wet

    def _synthesised(self, spectra: NDArray[np.complex128]) -> Array:
        """The blocks ``[channels, n, hop]`` before those with which the frames end."""
        frames = np.fft.irfft(spectra.swapaxes(1, 2) * self._ratio, self._n_fft)
        frames = frames[..., -2 * self.hop :] * self._synthesis_window
        early, late = frames[..., : self.hop], frames[..., self.hop :]
        out = early + np.concatenate([self._tail, late[:, :-1]], axis=1)
        self._tail = late[:, -1:]
        return out
