"""Enhancement of an endless signal at any rate, block by block, in bounded memory.

    y --> down to the model's rate --> enhance chunk by chunk --> up again --> + high band
      --> mix with y (dry) --> silence and full scale kept --> out

Every stage has a finite reach and cuts at fixed absolute positions, so that the sizes of the blocks
do not matter and the result is that of the whole signal at once, up to rounding.

What the model's band does not hold (above 8 kHz for a model at 16 kHz, and what a resampler's
transition band takes below) is the complement y - up(down(y)). It is kept with the gain

    g(t) = energy of the enhanced / energy of the noisy signal, in [0, 1],

measured in the top octave of the model's band (4 to 7.5 kHz) and smoothed over 40 ms: for speech S
in noise N it is the Wiener gain S / (S + N). Hiss goes where the model took it away, sibilants
stay, and a model that changes nothing gives y itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from scipy import ndimage, signal
from torch import Tensor

from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError

TOP_OCTAVE = (0.5, 0.9375)  # of the highest frequency that both the input and the model have
BAND_TAPS = 64  # of the filter for it on either side, at a sample rate of twice that frequency
GAIN_SECONDS = 0.02  # the gain's smoothing on either side
SILENT_ENERGY = 1e-20  # per sample: keeps 0 / 0 at 1, far below any recording
NEAR_SECONDS = 0.01  # an input peak so near allows an output as high; so near silence is silence
FADE_SECONDS = 0.005  # in which the limiter's gain, or that of silence, changes
CHUNK_SECONDS = 20.0
CHUNK_CONTEXTS = 2  # a chunk is at least so many times as long as its context
BATCH_SECONDS = 30.0  # channels x chunk that the model sees at once
PUSHED_AT_ONCE = 1 << 19  # samples of a signal in memory

Array = NDArray[np.float64]


class EnhancerStream:
    """Takes blocks of any size and gives enhanced blocks back: in all as many samples, aligned.

    Each channel is enhanced by itself with the same noise; the limiter's gain is common to all, so
    that the image stays.

    Args:
        enhancer: an ``Enhancer``.
        sample_rate: of the blocks, in Hz.
        channels: of the blocks.
        sampler: an ``Enhancer.with_sampler``; None is the checkpoint's own.
        seed: of the noise.
        dry: share of the input in the output, 0 to 1; at 1 the output is the input.
        chunk_seconds: of signal per network call, beside its context; by default 20, or more where
            the sampler's context is so long that it would be most of the work.
        callback: told how many seconds of the signal the network has done.

    Raises:
        UserError: for values out of range.
    """

    def __init__(
        self,
        enhancer: Any,
        sample_rate: int,
        channels: int = 1,
        *,
        sampler: Sampler | None = None,
        seed: int = 0,
        dry: float = 0.0,
        chunk_seconds: float | None = None,
        callback: Callable[[float], None] | None = None,
    ) -> None:
        if not 1_000 <= sample_rate <= 768_000 or sample_rate != int(sample_rate):
            raise UserError(f"a sample rate of {sample_rate} Hz cannot be: give 1000 to 768000")
        if channels < 1:
            raise UserError(f"audio has at least 1 channel, not {channels}")
        if not 0 <= dry <= 1:
            raise UserError(f"dry is a share from 0 to 1, not {dry}")
        if chunk_seconds is not None and not chunk_seconds > 0:
            raise UserError(f"a chunk takes more than 0 seconds, not {chunk_seconds}")
        self.enhancer, self.sampler, self.seed, self.dry = enhancer, sampler, seed, dry
        self.callback = callback
        self.sample_rate, self.channels = int(sample_rate), channels
        self.model_rate = int(enhancer.sample_rate)
        self.resampled = self.sample_rate != self.model_rate

        hop = enhancer.hop_length
        past, ahead = enhancer.reach(sampler)
        if chunk_seconds is None:
            chunk_seconds = max(CHUNK_SECONDS, CHUNK_CONTEXTS * (past + ahead) / self.model_rate)
        size = max(1, round(chunk_seconds * self.model_rate / hop)) * hop
        self._group = max(1, int(BATCH_SECONDS * self.model_rate / (past + size + ahead)))
        rows = channels * (2 if self.resampled else 1)
        self._enhance = Local(self._enhanced, channels, rows, past, ahead, size, hop)
        guard_reach = seconds_to_samples(NEAR_SECONDS + 2 * FADE_SECONDS, self.sample_rate)
        self._guard = Local(self._guarded, 2 * channels, channels, guard_reach, guard_reach)
        self.latency = (size + ahead) / self.model_rate + guard_reach / self.sample_rate

        self._input = Fifo(channels)
        if self.resampled:
            self._down = Resampler(self.sample_rate, self.model_rate, channels)
            self._up = Resampler(self.model_rate, self.sample_rate, 2 * channels)
            self._band = band_filter(min(self.sample_rate, self.model_rate), self.model_rate)
            smoothing = seconds_to_samples(GAIN_SECONDS, self.model_rate)
            self._window = signal.windows.hann(2 * smoothing + 1, sym=True)
            gain_reach = len(self._band) // 2 + smoothing
            self._gain = Local(self._gains, 2 * channels, channels, gain_reach, gain_reach)
            self._gained, self._updone = Fifo(channels), Fifo(2 * channels)
            self.latency += gain_reach / self.model_rate
            self.latency += resampler_delay(self.sample_rate, self.model_rate)
            self.latency += resampler_delay(self.model_rate, self.sample_rate)
        self._finished = False
        self._like: Tensor | np.ndarray = np.zeros(0, np.float32)

    latency: float
    """Seconds from an input sample to the push that gives its output, at most."""

    def push(self, block: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """The next ``[channels, n]`` in, the output ``[channels, m]`` that is ready out.

        An array gives an array, a tensor a tensor, of its own floating-point type; full scale is
        [-1, 1], and more is allowed.

        Raises:
            UserError: for another shape, integers, NaN or infinite samples; after ``finish``.
        """
        if self._finished:
            raise UserError("this stream is finished: begin another")
        samples = to_array(block)
        if samples.ndim != 2 or len(samples) != self.channels:
            raise UserError(
                f"a block must be [{self.channels}, time], not {list(samples.shape)}: for other "
                "channels begin by stream(sample_rate, channels=...)"
            )
        self._like = block
        self._input.push(samples)
        low = self._down.push(samples) if self.resampled else samples
        return like(block, self._guard.push(self._mix(self._raised(self._enhance.push(low)))))

    def finish(self) -> Tensor | np.ndarray:
        """The rest ``[channels, m]``, after the last block."""
        if self._finished:
            raise UserError("this stream is finished: begin another")
        self._finished = True
        total = self._input.stop
        if not self.resampled:
            wet = self._enhance.finish()
        else:
            low_total = -(-total * self.model_rate // self.sample_rate)
            low = self._down.finish(low_total)
            both = np.concatenate([self._enhance.push(low), self._enhance.finish()], axis=1)
            wet = self._raised(both, total)
        rest = self._guard.push(self._mix(wet))
        return like(self._like, np.concatenate([rest, self._guard.finish()], axis=1))

    def _enhanced(self, piece: Array, start: int, wanted: slice) -> Array:
        """Enhanced channels of a piece; where they will be resampled, the noisy ones below them."""
        out = np.zeros_like(piece)
        heard = np.flatnonzero(piece.any(axis=1))  # silence stays silence
        for first in range(0, len(heard), self._group):
            rows = heard[first : first + self._group]
            noisy = torch.from_numpy(piece[rows].astype(np.float32))[:, None]
            enhanced = self.enhancer.enhance(
                noisy.to(self.enhancer.device), sampler=self.sampler, seed=self.seed, offset=start
            )
            out[rows] = enhanced[:, 0].double().cpu().numpy()
        if not np.isfinite(out[:, wanted]).all():
            raise UserError(
                "the model's output holds NaN or infinite samples: its checkpoint is broken, "
                "try another"
            )
        if self.callback is not None:
            self.callback((start + wanted.stop) / self.model_rate)
        return np.concatenate([out, piece]) if self.resampled else out

    def _raised(self, both: Array, total: int | None = None) -> Array:
        """Enhanced and noisy channels at the model's rate -> wet ones at the input's.

        total: of samples of the whole signal, once it is known; then all the rest is given.
        """
        if not self.resampled:
            return both
        gains = self._gain.push(both)
        raised = self._up.push(both)
        if total is not None:
            gains = np.concatenate([gains, self._gain.finish()], axis=1)
            raised = np.concatenate([raised, self._up.finish(total)], axis=1)
        self._gained.push(gains)
        self._updone.push(raised)
        ready = self._updone.stop
        if total is None:  # the gain on either side of a sample is needed
            last = self._gained.stop - 1
            ready = min(ready, max(0, last * self.sample_rate // self.model_rate))
        start, stop = self._updone.start, max(self._updone.start, ready)
        enhanced, noisy = np.split(self._updone.take(stop), 2)
        if stop == start:  # most blocks only wait for more
            return enhanced
        at = np.arange(start, stop) * (self.model_rate / self.sample_rate)
        first = int(at[0])
        gains = self._gained.peek(first)
        self._gained.drop(first)
        known = np.arange(first, first + gains.shape[1])
        g = np.stack([np.interp(at, known, row) for row in gains])
        return enhanced + g * (self._input.peek(start, stop) - noisy)

    def _gains(self, both: Array, start: int, wanted: slice) -> Array:
        """Wiener gains in [0, 1] from the top octave of the enhanced and the noisy channels."""
        energy = signal.oaconvolve(both, self._band[None], mode="same", axes=1) ** 2
        energy = signal.oaconvolve(energy, self._window[None], mode="same", axes=1)
        enhanced, noisy = np.split(np.maximum(energy, 0) + SILENT_ENERGY, 2)
        return np.minimum(enhanced / noisy, 1)

    def _mix(self, wet: Array) -> Array:
        """The output before the limiter, and below it the input."""
        y = self._input.take(self._input.start + wet.shape[1])
        return np.concatenate([(1 - self.dry) * wet + self.dry * y, y])

    def _guarded(self, both: Array, start: int, wanted: slice) -> Array:
        """Digital silence stays, and |out| within full scale or the input's own peak nearby."""
        out, y = np.split(both, 2)
        out = out.copy()  # what is cut from the signal is context of the next piece too
        near = seconds_to_samples(NEAR_SECONDS, self.sample_rate)
        reach = seconds_to_samples(FADE_SECONDS, self.sample_rate)
        for channel, noisy in enumerate(y):
            sounding = noisy != 0
            if np.diff(np.flatnonzero(sounding), prepend=-1, append=len(noisy)).max() > 2 * near:
                out[channel] *= faded(sounding, near, reach)
        if np.abs(out).max(initial=0) > 1:
            peak = ndimage.maximum_filter1d(np.abs(y), 2 * near + 1, mode="nearest")
            ceiling = np.maximum(1, peak)
            allowed = np.minimum(1, ceiling / np.maximum(np.abs(out), 1)).min(axis=0)
            out *= held(allowed, reach)
            out.clip(-ceiling, ceiling, out=out)  # of rounding errors
        return out


def enhance_signal(
    enhancer: Any, audio: Tensor | np.ndarray, sample_rate: int, **options: Any
) -> Tensor | np.ndarray:
    """``audio [time]`` or ``[channels, time]`` enhanced, of the same kind, shape and type.

    options: those of ``EnhancerStream``.

    Raises:
        UserError: for another type or shape, integers, NaN or infinite samples, or a rate that
            cannot be.
    """
    if not isinstance(audio, np.ndarray | Tensor):
        kind = type(audio).__name__
        raise UserError(f"audio must be an array or a tensor, not a {kind}: give np.asarray(audio)")
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and not len(audio)):
        raise UserError(f"audio must be [time] or [channels, time], not {list(audio.shape)}")
    if audio.ndim == 2 and len(audio) > 256:
        raise UserError(
            f"audio of shape {list(audio.shape)} would have {len(audio)} channels: give "
            "[channels, time], its transpose"
        )
    signals = audio[None] if audio.ndim == 1 else audio
    stream = EnhancerStream(enhancer, sample_rate, len(signals), **options)
    size = max(1, PUSHED_AT_ONCE // len(signals))
    starts = range(0, signals.shape[1], size) or [0]
    parts = [stream.push(signals[:, start : start + size]) for start in starts]
    parts.append(stream.finish())
    whole = torch.cat(parts, dim=1) if isinstance(audio, Tensor) else np.concatenate(parts, axis=1)
    return whole[0] if audio.ndim == 1 else whole


class Fifo:
    """The part ``start`` to ``stop`` of a signal ``[channels, time]`` that is still needed."""

    def __init__(self, channels: int) -> None:
        self._blocks: list[Array] = [np.zeros((channels, 0))]
        self.start = self.stop = 0

    def push(self, block: Array) -> None:
        self._blocks.append(block)
        self.stop += block.shape[1]

    def peek(self, start: int, stop: int | None = None) -> Array:
        """Samples at absolute positions; ``stop`` is by default all there are."""
        if len(self._blocks) > 1:  # joined only when asked for: blocks may be short
            self._blocks = [np.concatenate(self._blocks, axis=1)]
        stop = self.stop if stop is None else stop
        return self._blocks[0][:, start - self.start : stop - self.start]

    def drop(self, start: int) -> None:
        """Forget what lies before ``start``."""
        self._blocks = [self.peek(start).copy()]
        self.start = start

    def take(self, stop: int) -> Array:
        """Samples up to ``stop``, which are then forgotten."""
        if stop == self.start:
            return self._blocks[0][:, :0]
        taken = self.peek(self.start, stop)
        self.drop(stop)
        return taken


class Local:
    """A function of a signal ``[channels, time]`` with a finite reach, applied piece by piece.

    Args:
        function: ``(piece, start, wanted) -> [outputs, time]`` of a piece that begins at the
            absolute position ``start`` and of which the slice ``wanted`` will be used.
        inputs, outputs: channels of the signal and of the result.
        past, ahead: samples before and after a sample that its result depends on.
        size: samples of a piece's wanted part, cut at multiples of it; None takes what there is.
        align: pieces start at multiples of it.
    """

    def __init__(
        self,
        function: Callable[[Array, int, slice], Array],
        inputs: int,
        outputs: int,
        past: int,
        ahead: int,
        size: int | None = None,
        align: int = 1,
    ) -> None:
        self.function, self.past, self.ahead = function, past, ahead
        self.size, self.align = size, align
        self.done = 0
        self._input, self._outputs = Fifo(inputs), outputs

    def push(self, block: Array) -> Array:
        """``[channels, n]`` in, what is ready out."""
        self._input.push(block)
        ready = self._input.stop - self.ahead
        parts = []
        while ready >= self.done + (self.size or 1):
            parts.append(self._piece(self.done + self.size if self.size else ready))
        return self._joined(parts)

    def finish(self) -> Array:
        """The rest, which nothing follows."""
        parts = []
        while self.done < self._input.stop:
            stop = self.done + self.size if self.size else self._input.stop
            parts.append(self._piece(min(stop, self._input.stop)))
        return self._joined(parts)

    def _piece(self, stop: int) -> Array:
        start = self._input.start
        right = min(stop + self.ahead, self._input.stop)
        wanted = slice(self.done - start, stop - start)
        out = self.function(self._input.peek(start, right), start, wanted)[:, wanted]
        self.done = stop
        self._input.drop(max(start, (stop - self.past) // self.align * self.align))
        return out

    def _joined(self, parts: list[Array]) -> Array:
        return np.concatenate(parts, axis=1) if parts else np.zeros((self._outputs, 0))


class Resampler:
    """``soxr.ResampleStream`` of ``[channels, time]``: sample k of the result lies at k / new."""

    def __init__(self, old: int, new: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(old, new, channels, dtype="float64", quality="HQ")
        self._channels, self.old, self.done = channels, old, 0

    def push(self, block: Array) -> Array:
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T)).T
        self.done += out.shape[1]
        return out

    def finish(self, total: int) -> Array:
        """The rest of ``total`` samples; silence follows the signal."""
        before, parts = self.done, [np.zeros((self._channels, 0))]
        while self.done < total:
            parts.append(self.push(np.zeros((self._channels, self.old // 10))))
        return np.concatenate(parts, axis=1)[:, : total - before]


@lru_cache(maxsize=64)
def resampler_delay(old: int, new: int) -> float:
    """Seconds that a ``Resampler`` lags behind at most, as measured: soxr works in blocks."""
    resampler, block, delay = Resampler(old, new, 1), np.zeros((1, max(1, old // 500))), 0.0
    for k in range(1, 501):
        waiting = k * block.shape[1] / old - resampler.done / new
        resampler.push(block)
        delay = max(delay, waiting)
    return delay


def band_filter(lower_rate: int, sample_rate: int) -> Array:
    """Linear-phase band-pass for the top octave below ``lower_rate / 2``, odd length."""
    taps = math.ceil(BAND_TAPS * sample_rate / lower_rate)
    edges = [share * lower_rate / 2 for share in TOP_OCTAVE]
    return signal.firwin(2 * taps + 1, edges, pass_zero=False, fs=sample_rate)


def faded(sounding: Array, near: int, reach: int) -> Array:
    """A gain of 1 within ``near`` samples of where ``sounding [time]`` is true, then down to 0."""
    open_ = ndimage.maximum_filter1d(sounding, 2 * (near + reach) + 1, mode="nearest")
    return smoothed(open_.astype(np.float64), reach)


def held(allowed: Array, reach: int) -> Array:
    """A smooth gain nowhere above ``allowed [time]``, by what lies within 2 ``reach`` samples.

    The minimum over +- reach, averaged over at most +- reach, cannot exceed what is in the middle.
    """
    return smoothed(ndimage.minimum_filter1d(allowed, 2 * reach + 1, mode="nearest"), reach)


def smoothed(gain: Array, reach: int) -> Array:
    """``gain [time]`` in [0, 1] averaged by a triangle over at most +- reach, exact at 0 and 1."""
    box = 2 * (reach // 2) + 1
    for _ in range(2):
        average = ndimage.uniform_filter1d(gain, box, mode="nearest")
        gain = np.where(np.minimum(average, 1 - average) < 1e-12, np.round(average), average)
    return gain


def seconds_to_samples(seconds: float, sample_rate: int) -> int:
    return math.ceil(seconds * sample_rate)


def to_array(block: Tensor | np.ndarray) -> Array:
    """A float64 copy. Raises UserError for integers, NaN or infinite samples."""
    samples = block.detach().cpu().numpy() if isinstance(block, Tensor) else np.asarray(block)
    if not np.issubdtype(samples.dtype, np.floating):
        raise UserError(
            f"audio of type {samples.dtype} has no known full scale: give floats in [-1, 1], for "
            "int16 audio / 32768"
        )
    if not np.isfinite(samples).all():
        raise UserError("the audio holds NaN or infinite samples: export it again")
    return samples.astype(np.float64)


def like(example: Tensor | np.ndarray, samples: Array) -> Tensor | np.ndarray:
    """The samples as the kind, type and device of the example."""
    if isinstance(example, Tensor):
        return torch.from_numpy(np.ascontiguousarray(samples)).to(example)
    return samples.astype(example.dtype)
