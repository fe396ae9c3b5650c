"""Enhancement of an endless signal at any rate, block by block, in bounded memory.

    y --> without drift --> down to the model's rate --> enhance chunk by chunk --> up again
      --> + high band --> mix with y (dry) --> limiter and gate --> out

Every stage has a finite reach and cuts at fixed absolute positions. The result therefore does not
depend on the sizes of the blocks, and is that of the whole signal at once, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from wavediff.data.resampling import StreamResampler, resampler_delay
from wavediff.dense import require_dense
from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError, shorten
from wavediff.tasks.drift import ESTABLISHED_SECONDS, drift_align, drift_reach, without_drift
from wavediff.tasks.high_band import HighBand
from wavediff.tasks.limiter import limit, limiter_reach
from wavediff.tasks.piecewise import Array, Piecewise, SignalBuffer

CHUNK_SECONDS = 20.0
CHUNK_CONTEXTS = 2  # the least length of a chunk, in lengths of its context
BATCH_SECONDS = 30.0  # channels x chunk in one call of the model
LARGEST = 1e10  # of a sample: integers of 32 bits as floats are below
BLOCK_SAMPLES = 1 << 19  # of a whole signal in one push


class SpeechEnhancer(Protocol):
    """What a stream needs of an ``Enhancer``, where each member is explained."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def hop_length(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def reach(self, sampler: Sampler | None = None) -> tuple[int, int]: ...

    def enhance(
        self, noisy: Tensor, *, sampler: Sampler | None = None, seed: int = 0, offset: int = 0
    ) -> Tensor: ...


class Windows(Protocol):
    """Enhances the windows of one signal in order, as ``FrameEnhancer`` does."""

    def __call__(self, noisy: Tensor, start: int, wanted: slice, last: bool) -> Tensor: ...


class EnhancerStream:
    """Enhances blocks of any size; the output has as many samples as the input, aligned.

    Blocks are collected until a chunk is complete, so that their size does not change the cost.
    Each channel is enhanced by itself with the same noise. The limiter's gain is common to all
    channels, which keeps the stereo image. ``Enhancer.stream`` makes one.

    Args:
        enhancer: the model.
        sample_rate: of the blocks, in Hz, 1000 to 768000.
        channels: of the blocks.
        sampler: an ``Enhancer.with_sampler``; None is the checkpoint's own.
        seed: of the noise.
        dry: share of the input in the output, 0 to 1; at 1 the output is the input.
        chunk_seconds: of signal per network call, beside its context; by default 20, or more where
            the sampler's context is so long that it would be most of the work.
        progress: called with the seconds of the signal that the network has processed.
        windows: makes a ``FrameEnhancer``, which does not compute the context of short chunks
            again; None computes each chunk by itself.

    Raises:
        UserError: for values out of range.

    Attributes:
        latency: seconds from an input sample to the push that returns its output, at most.
    """

    def __init__(
        self,
        enhancer: SpeechEnhancer,
        sample_rate: int,
        channels: int = 1,
        *,
        sampler: Sampler | None = None,
        seed: int = 0,
        dry: float = 0.0,
        chunk_seconds: float | None = None,
        progress: Callable[[float], None] | None = None,
        windows: Callable[[], Windows] | None = None,
    ) -> None:
        check_stream(sample_rate, channels, dry, chunk_seconds)
        self.enhancer, self.sampler, self.seed, self.dry = enhancer, sampler, seed, dry
        self.progress, self.windows = progress, windows
        self._open_windows: dict[tuple[int, ...], Windows] = {}
        self.sample_rate, self.channels = int(sample_rate), channels
        self.model_rate = int(enhancer.sample_rate)
        self.resampled = self.sample_rate != self.model_rate

        hop = enhancer.hop_length
        past, ahead = enhancer.reach(sampler)
        if chunk_seconds is None:
            chunk_seconds = max(CHUNK_SECONDS, CHUNK_CONTEXTS * (past + ahead) / self.model_rate)
        size = max(1, round(chunk_seconds * self.model_rate / hop)) * hop
        self._rows_per_call = max(1, int(BATCH_SECONDS * self.model_rate / (past + size + ahead)))
        outputs = channels * (2 if self.resampled else 1)
        self._per_chunk = size + ahead
        self._enhance = Piecewise(self._enhance_piece, channels, outputs, past, ahead, size, hop)
        reach = limiter_reach(self.sample_rate)
        self._limit = Piecewise(self._limit_piece, 2 * channels, channels, reach, reach)
        self.latency = self._per_chunk / self.model_rate + reach / self.sample_rate

        self._input = SignalBuffer(channels)
        self._given = 0  # samples of the input that the stages below were given
        past, ahead = drift_reach(self.sample_rate)
        align = drift_align(self.sample_rate)
        self._drift = Piecewise(self._drift_piece, channels, channels, past, ahead, align=align)
        self._delay = ahead / self.sample_rate
        # the first chunk waits for as much as the model looks ahead, so the decision can
        self._settle = min(ESTABLISHED_SECONDS, (self._per_chunk - size) / self.model_rate)
        if self.resampled:
            self._down = StreamResampler(self.sample_rate, self.model_rate, channels)
            self._delay += resampler_delay(self.sample_rate, self.model_rate)
            self._steady = SignalBuffer(channels)  # the input without drift
            self._high_band = HighBand(self.sample_rate, self.model_rate, self._steady, channels)
            self.latency += self._high_band.latency
        self.latency += self._delay
        self._finished = False
        self._example: Tensor | np.ndarray = np.zeros(0, np.float32)

    def push(self, block: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """Add ``[channels, n]``, return the output ``[channels, m]`` that is complete.

        An array gives an array, a tensor a tensor, of its own floating-point type. Full scale is
        [-1, 1]; samples beyond it are allowed.

        Raises:
            UserError: for another shape, integers, NaN or infinite samples; after ``finish``.
        """
        self._require_open()
        samples = to_array(block, self._input.stop)
        if samples.ndim != 2 or len(samples) != self.channels:
            raise UserError(
                f"a block must be [{self.channels}, time], not {list(samples.shape)}: for other "
                "channels begin by stream(sample_rate, channels=...)"
            )
        self._example = block
        self._input.push(samples)
        due = (self._enhance.done + self._per_chunk) / self.model_rate + self._delay
        if self._input.stop < int(due * self.sample_rate):
            return like(block, samples[:, :0])
        wet = self._enhanced(self._drift.push(self._next()))
        return like(block, self._limit.push(self._mix(wet)))

    def finish(self) -> Tensor | np.ndarray:
        """The rest ``[channels, m]``, after the last block.

        Raises:
            UserError: when called again.
        """
        self._require_open()
        self._finished = True
        total = self._input.stop
        parts = [self._enhanced(self._drift.push(self._next()))]
        parts.append(self._enhanced(self._drift.finish()))
        if self.resampled:
            low = self._down.finish(-(-total * self.model_rate // self.sample_rate))
            parts.append(self._high_band.push(self._enhance.push(low)))
            parts.append(self._high_band.push(self._enhance.finish()))
            parts.append(self._high_band.finish(total))
        else:
            parts.append(self._enhance.finish())
        out = [self._limit.push(self._mix(np.concatenate(parts, axis=1))), self._limit.finish()]
        return like(self._example, np.concatenate(out, axis=1))

    def _enhanced(self, samples: Array) -> Array:
        """What is complete of the output with these samples, before the mix."""
        if not self.resampled:
            return self._enhance.push(samples)
        self._steady.push(samples)
        return self._high_band.push(self._enhance.push(self._down.push(samples)))

    def _next(self) -> Array:
        """The input since the last call."""
        given, self._given = self._given, self._input.stop
        return self._input.peek(given)

    def _require_open(self) -> None:
        if self._finished:
            raise UserError("this stream is finished: begin another")

    def _drift_piece(self, piece: Array, start: int, wanted: slice, last: bool) -> Array:
        return without_drift(piece, self.sample_rate, wanted, start, self._settle)

    def _enhance_piece(self, piece: Array, start: int, wanted: slice, last: bool) -> Array:
        """Enhanced channels of a piece; for the high band, the noisy ones follow."""
        out = np.zeros_like(piece)
        active = np.flatnonzero(piece.any(axis=1))  # silence stays silence
        before, self._open_windows = self._open_windows, {}
        for first in range(0, len(active), self._rows_per_call):
            rows = active[first : first + self._rows_per_call]
            noisy = torch.from_numpy(piece[rows].astype(np.float32))[:, None]
            noisy = noisy.to(self.enhancer.device)
            if self.windows is None:
                enhanced = self.enhancer.enhance(
                    noisy, sampler=self.sampler, seed=self.seed, offset=start
                )
            else:
                key = tuple(rows.tolist())
                windows = self._open_windows[key] = before.get(key) or self.windows()
                enhanced = windows(noisy, start, wanted, last)
            out[rows] = enhanced[:, 0].double().cpu().numpy()
        if not np.isfinite(out[:, wanted]).all():
            raise UserError(
                "the model's output holds NaN or infinite samples: its checkpoint is broken, "
                "try another"
            )
        if self.progress is not None:
            self.progress((start + wanted.stop) / self.model_rate)
        return np.concatenate([out, piece]) if self.resampled else out

    def _mix(self, wet: Array) -> Array:
        """The output before the limiter, and the input ``[2 channels, time]``."""
        noisy = self._input.take(self._input.start + wet.shape[1])
        if self.resampled:
            self._steady.drop(self._input.start)
        return np.concatenate([(1 - self.dry) * wet + self.dry * noisy, noisy])

    def _limit_piece(self, both: Array, *_: object) -> Array:
        wet, noisy = np.split(both, 2)
        return limit(wet, noisy, self.sample_rate)


def check_stream(
    sample_rate: int, channels: int, dry: float, chunk_seconds: float | None = None
) -> None:
    """Check the options of a stream.

    Raises:
        UserError: for a value that is no number or out of range.
    """
    if not 1_000 <= sample_rate <= 768_000 or sample_rate != int(sample_rate):
        raise UserError(
            f"a sample rate of {sample_rate} Hz is out of range: give an integer from 1000 to "
            "768000"
        )
    for name, value in (("dry", dry), ("channels", channels), ("chunk_seconds", chunk_seconds)):
        if not isinstance(value, Real) and not (name == "chunk_seconds" and value is None):
            raise UserError(f"{name}={shorten(repr(value))} is not a number")
    if channels < 1 or channels != int(channels):
        raise UserError(
            f"{shorten(channels)} channels are out of range: audio has at least 1 channel, and no "
            "parts of one"
        )
    if not 0 <= dry <= 1:
        raise UserError(f"dry={dry} is out of range: it is a share from 0 to 1")
    if chunk_seconds is not None and not chunk_seconds > 0:
        raise UserError(f"chunk_seconds={chunk_seconds} is out of range: give more than 0 seconds")


class Stream(Protocol):
    """What enhances blocks in order, see ``EnhancerStream`` and ``LiveStream``."""

    def push(self, block: Tensor | np.ndarray) -> Tensor | np.ndarray: ...

    def finish(self) -> Tensor | np.ndarray: ...


def enhance_signal(
    begin: Callable[[int], Stream], audio: Tensor | np.ndarray
) -> Tensor | np.ndarray:
    """``audio [time]`` or ``[channels, time]`` enhanced, of the same kind, shape and type.

    Args:
        begin: makes a stream of a number of channels.
        audio: floating-point, full scale [-1, 1].

    Raises:
        UserError: for another type or shape, integers, NaN or infinite samples, or a sample rate
            out of range.
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
    require_dense(audio, "the audio is")
    signals = audio[None] if audio.ndim == 1 else audio
    stream = begin(len(signals))
    size = max(1, BLOCK_SAMPLES // len(signals))
    starts = range(0, signals.shape[1], size) or [0]
    parts: list[Any] = [stream.push(signals[:, start : start + size]) for start in starts]
    parts.append(stream.finish())
    whole = torch.cat(parts, dim=1) if isinstance(audio, Tensor) else np.concatenate(parts, axis=1)
    return whole[0] if audio.ndim == 1 else whole


def to_array(block: Tensor | np.ndarray, start: int = 0) -> Array:
    """A float64 copy. Raises UserError for integers, and for samples that cannot be audio.

    start: position of the first sample in the signal, for messages.
    """
    if not isinstance(block, Tensor | np.ndarray):
        kind = type(block).__name__
        raise UserError(f"audio must be an array or a tensor, not a {kind}: give np.asarray(audio)")
    require_dense(block, "the audio is")
    samples = block.detach().cpu().numpy() if isinstance(block, Tensor) else np.asarray(block)
    if samples.dtype.kind != "f":
        raise UserError(
            f"audio of type {samples.dtype} has no known full scale: give floats in [-1, 1], for "
            "int16 audio / 32768"
        )
    if not (np.abs(samples) <= LARGEST).all():
        first = np.argwhere(~(np.abs(samples) <= LARGEST))[0]
        value = samples[tuple(first)]
        raise UserError(
            f"sample {start + int(first[-1])} of the audio is {value:g}: NaN, infinite and huge "
            "samples are not audio, whose full scale is 1; export it again"
        )
    return samples.astype(np.float64)


def like(example: Tensor | np.ndarray, samples: Array) -> Tensor | np.ndarray:
    """The samples as the kind, type and device of the example."""
    if isinstance(example, Tensor):
        return torch.from_numpy(np.ascontiguousarray(samples)).to(example)
    return samples.astype(example.dtype)
