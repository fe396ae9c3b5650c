"""Chunked processing of long signals, with the result of processing them at once.

``ChunkedDenoiser`` bounds the memory of the activations in one network call; ``pieces`` bounds
that of the sampler's state, which matters where a representation has many channels. Each chunk
includes the context that its inner part depends on, and noise is a function of absolute position,
so both reproduce the result for the whole signal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser


@dataclass(frozen=True)
class Piece:
    """A chunk: frames ``left`` to ``right`` are computed, ``start`` to ``stop`` are kept."""

    start: int
    stop: int
    left: int
    right: int


def pieces(length: int, size: int, halo: int, align: int = 1) -> Iterator[Piece]:
    """Split ``length`` frames into chunks of ``size`` with ``halo`` frames of context on each side.

    All boundaries are multiples of ``align``. A remainder no longer than the halo is added to the
    chunk before it.
    """
    size = max(align, size // align * align)
    halo = -(-halo // align) * align
    start = 0
    while start < length:
        stop = start + size
        if stop + halo >= length:
            stop = length
        yield Piece(start, stop, max(0, start - halo), min(length, stop + halo))
        start = stop


class ChunkedDenoiser(nn.Module):
    """A denoiser that processes a signal of ``length`` frames in chunks.

    Args:
        denoiser: called on each chunk.
        size: frames per chunk.
        halo: frames on either side that a frame's estimate depends on.
        upsample: frames of the signal per frame of the local condition.
        align: boundaries are multiples of this number of frames, a multiple of ``upsample``.
        callback: called after each chunk with the completed fraction of the call, in (0, 1].
    """

    def __init__(
        self,
        denoiser: Denoiser,
        length: int,
        size: int,
        halo: int,
        upsample: int = 1,
        align: int = 1,
        callback: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.pieces = list(pieces(length, size, halo, align))
        self.upsample = upsample
        self.callback = callback

    def prepared_numbers(self, cond: Condition) -> int:
        """Number of elements that ``prepare`` would keep, extrapolated from one local frame."""
        one = self.denoiser.prepare(crop(cond, 0, self.upsample, self.upsample))
        frames = sum(piece.right - piece.left for piece in self.pieces)
        return _numbers(one.prepared) * -(-frames // self.upsample)

    def prepare(self, cond: Condition) -> Condition:
        """Precompute what is the same in all sampling steps, for every chunk."""
        parts = [self.denoiser.prepare(self._part(cond, piece)) for piece in self.pieces]
        return replace(cond, prepared=parts)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """Same as the denoiser's own up to rounding; ``cond`` may be prepared."""
        out = torch.empty_like(x)
        for i, piece in enumerate(self.pieces):
            part = self._part(cond, piece) if cond.prepared is None else cond.prepared[i]
            estimate = self.denoiser(x[..., piece.left : piece.right], t, part)
            out[..., piece.start : piece.stop] = estimate[
                ..., piece.start - piece.left : piece.stop - piece.left
            ]
            if self.callback is not None:
                self.callback(piece.stop / x.shape[-1])
        return out

    def _part(self, cond: Condition, piece: Piece) -> Condition:
        return crop(cond, piece.left, piece.right, self.upsample)


def crop(cond: Condition, left: int, right: int, upsample: int) -> Condition:
    """Crop the condition to frames ``left`` to ``right``; ``upsample`` divides ``left``."""
    local, anchor = cond.local, cond.anchor
    return replace(
        cond,
        local=None if local is None else local[..., left // upsample : -(-right // upsample)],
        anchor=None if anchor is None else anchor[..., left:right],
        prepared=None,
    )


def _numbers(kept: Any) -> int:
    """Number of elements in all tensors of nested lists."""
    if isinstance(kept, Tensor):
        return kept.numel()
    return sum(map(_numbers, kept)) if isinstance(kept, list | tuple) else 0
