"""``MelProjection`` of a signal that arrives in parts, each of its frames computed once.

An iteration changes a frame by those that it overlaps. It lags behind the one before it by as many
frames, and keeps the end of its overlap-add and of the samples before the next frame. The results
are those of the whole signal, up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.representations.mel_projection import MelProjection
from wavediff.representations.stft import STFT, overlap_add


class MelProjectionStream:
    """The projection of parts that follow each other.

    stream = MelProjectionStream(projection)
    for audio, mel in parts:
        y = stream(audio, mel, last)    # later by ``lag`` frames

    Args:
        projection: with one iteration or more.

    Attributes:
        lag: frames after a frame of audio that its result depends on.
    """

    def __init__(self, projection: MelProjection) -> None:
        self.projection = projection
        stft, iterations = projection.stft, projection.iterations
        window = stft.window.to(projection.filters)
        self.lag = projection.reach + (projection.shift > 0)
        self._analyses = [_Analysis(stft, window) for _ in range(iterations + 1)]
        self._syntheses = [_Synthesis(stft, window) for _ in range(iterations + 1)]
        # of each iteration: the position of its next frame, and frames that wait for their change
        self._positions = [0] * iterations
        self._waiting: list[list[Tensor]] = [[] for _ in range(iterations)]
        self._target = self._complete = torch.zeros(0)
        self._lead = projection.mel.n_fft // 2 + projection.shift  # zeros before the signal
        self._skip = self._lead  # of them, in the result
        self._length = projection.shift  # samples that the frames cover
        self._returned = 0

    def __call__(self, audio: Tensor, mel: Tensor, last: bool) -> Tensor:
        """What a part completes.

        Args:
            audio: ``[batch, 1, frames * hop_length]``, at least one frame.
            mel: ``[batch, n_mels, frames]``.
            last: whether the signal ends with the part.

        Returns:
            ``[batch, 1, complete * hop_length]``.
        """
        weight = 1 + self.projection.momentum
        samples = self._begun(audio[:, 0], mel, last)
        total = self._length if last else None
        begin = self._positions[-1]
        current = self._analyses[0](samples, total)
        moved = current.clone()
        for i, first in enumerate(self._positions):
            self._move(moved, first, begin, total)
            self._positions[i] += moved.shape[1]
            consistent = self._analyses[i + 1](self._syntheses[i](moved, total), total)
            count = consistent.shape[1]
            previous = torch.cat([*self._waiting[i], current], dim=1)
            self._waiting[i] = [previous[:, count:]]
            # consistent + momentum (consistent - previous)
            moved, current = previous[:, :count].lerp_(consistent, weight), consistent
        self._target = self._target[..., self._positions[-1] - begin :]
        return self._ended(self._syntheses[-1](current, total), last)

    def _begun(self, samples: Tensor, mel: Tensor, last: bool) -> Tensor:
        """Samples after the padding, and their bands added to the target, as for the whole."""
        projection = self.projection
        bands = projection.bands(mel)
        if self._length == projection.shift:
            bands = torch.cat([bands[..., :1]] * projection.lead + [bands], dim=-1)
            self._target, self._complete = bands[..., :0], samples[:, :0]
            padded = F.pad(samples, (self._lead, 0))
        else:
            padded = samples
        self._length += samples.shape[-1]
        self._target = torch.cat([self._target, bands], dim=-1)
        missing = projection.stft.frames(self._length) - self._positions[-1]
        missing -= self._target.shape[-1]
        if last and missing > 0:
            self._target = F.pad(self._target, (0, missing), mode="replicate")
        return padded

    def _move(self, spectrum: Tensor, first: int, begin: int, total: int | None) -> None:
        """Scale frames from ``first`` on towards the target, which is kept from ``begin`` on."""
        projection, hop = self.projection, self.projection.mel.hop_length
        # without the frames that hold reflections of the ends
        start = max(first, -(-self._lead // hop))
        stop = first + spectrum.shape[1]
        if total is not None:
            stop = min(stop, (total - projection.mel.n_fft // 2) // hop + 1)
        if start < stop:
            seen = spectrum[:, start - first : stop - first, : projection.bins].mT
            seen *= projection.gain(seen, self._target[..., start - begin : stop - begin])

    def _ended(self, samples: Tensor, last: bool) -> Tensor:
        """The samples that are complete, without the padding, in whole frames."""
        skipped = min(self._skip, samples.shape[-1])
        self._skip -= skipped
        samples = torch.cat([self._complete, samples[:, skipped:]], dim=-1)
        if last:
            count = self._length - self.projection.shift - self._returned
        else:
            count = samples.shape[-1] // self.projection.mel.hop_length
            count *= self.projection.mel.hop_length
        self._returned += count
        self._complete = samples[:, count:]
        return samples[:, None, :count]


class _Analysis:
    """``STFT.stft`` of samples after n_fft / 2 zeros, ``[batch, frames, bins]``."""

    def __init__(self, stft: STFT, window: Tensor) -> None:
        self.stft, self.window = stft, window
        self._count = 0  # frames
        self._kept: Tensor | None = None  # samples from the next frame on

    def __call__(self, samples: Tensor, total: int | None) -> Tensor:
        """The frames that are complete with ``samples [batch, time]``.

        total: length of the signal, at its end.
        """
        n_fft, hop = self.stft.n_fft, self.stft.hop_length
        if self._kept is not None:
            samples = torch.cat([self._kept, samples], dim=-1)
        if total is None:
            count = max(0, (samples.shape[-1] - n_fft) // hop + 1)
        else:
            count = self.stft.frames(total) - self._count
            samples = F.pad(samples, (0, max(0, (count - 1) * hop + n_fft - samples.shape[-1])))
        self._count += count
        self._kept = samples[:, count * hop :]
        if not count:
            empty = samples.new_zeros(len(samples), 0, n_fft // 2 + 1)
            return torch.complex(empty, empty)
        frames = samples.unfold(-1, n_fft, hop)[:, :count]
        return torch.fft.rfft(frames * self.window)


class _Synthesis:
    """``STFT.istft`` of ``[batch, frames, bins]``, after n_fft / 2 zeros."""

    def __init__(self, stft: STFT, window: Tensor) -> None:
        self.stft, self.window = stft, window
        self._count = 0  # frames
        self._tail: Tensor | None = None  # sums that lack frames
        hop = stft.hop_length
        self._energy = F.pad(window.square(), (0, -stft.n_fft % hop)).unflatten(0, (-1, hop))
        self._sum = self._energy.sum(0)

    def __call__(self, spectrum: Tensor, total: int | None) -> Tensor:
        """The samples ``[batch, time]`` that are complete with ``spectrum``; see ``_Analysis``."""
        hop, count = self.stft.hop_length, spectrum.shape[1]
        first, self._count = self._count, self._count + count
        if count:
            frames = torch.fft.irfft(spectrum, self.stft.n_fft)
            audio = overlap_add(frames.mul_(self.window), hop)
            if self._tail is not None:
                audio[:, : self._tail.shape[-1]] += self._tail
        elif self._tail is not None:
            audio = self._tail
        else:
            audio = spectrum.real.new_zeros(len(spectrum), 0)
        complete = count * hop if total is None else audio.shape[-1]
        self._tail = audio[:, complete:]
        blocks = audio[:, :complete].unflatten(-1, (-1, hop))
        if total is None and first >= len(self._energy) - 1:
            return (blocks / self._sum).flatten(1)
        return self._at_the_ends(blocks, first, total).flatten(1)

    def _at_the_ends(self, blocks: Tensor, first: int, total: int | None) -> Tensor:
        """Blocks of a hop over the energy of the frames there are; zeros outside of the signal."""
        hop, half = self.stft.hop_length, self.stft.n_fft // 2
        position = torch.arange(first, first + blocks.shape[1], device=blocks.device)[:, None]
        frame = position - torch.arange(len(self._energy), device=blocks.device)
        present = (frame >= 0) & ((frame < self._count) if total is not None else True)
        sample = position * hop + torch.arange(hop, device=blocks.device)
        inside = (sample >= half) & ((sample < half + total) if total is not None else True)
        return torch.where(inside, blocks / (present.to(blocks.dtype) @ self._energy), 0.0)
