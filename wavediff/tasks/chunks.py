"""Long signals in pieces, with the result of one piece.

Two reasons to cut, two places: ``ChunkedDenoiser`` bounds the activations of one network call;
``pieces`` bounds the state of the whole sampling, which matters where a representation has many
channels. A piece carries as much context as reaches its inner part, and noise is a function of
absolute position, so that both give what the whole would have given.
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
    """Frames ``start`` to ``stop`` are wanted, ``left`` to ``right`` are computed."""

    start: int
    stop: int
    left: int
    right: int


def pieces(length: int, size: int, halo: int, align: int = 1) -> Iterator[Piece]:
    """Cut ``length`` frames into pieces of at most ``size`` with ``halo`` frames of context.

    All cuts fall on multiples of ``align``. A remainder shorter than the halo joins the piece
    before it.
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
    """A denoiser that sees a signal of ``length`` frames in pieces.

    Args:
        denoiser: to call on each piece.
        size: frames of a piece.
        halo: frames on either side that a frame's estimate depends on.
        upsample: frames of the signal per frame of the local condition.
        align: cuts fall on multiples of so many frames, itself a multiple of ``upsample``.
        callback: told the share of one call that is done, above 0 to 1, after each piece.
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
        """How many numbers ``prepare`` would keep, from what it keeps for one local frame."""
        one = self.denoiser.prepare(crop(cond, 0, self.upsample, self.upsample))
        frames = sum(piece.right - piece.left for piece in self.pieces)
        return _numbers(one.prepared) * -(-frames // self.upsample)

    def prepare(self, cond: Condition) -> Condition:
        """What does not change from step to step, for every piece."""
        parts = [self.denoiser.prepare(self._part(cond, piece)) for piece in self.pieces]
        return replace(cond, prepared=parts)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """As the denoiser's own, to rounding; ``cond`` prepared or not."""
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
    """The condition of frames ``left`` to ``right``; ``left`` is a multiple of ``upsample``."""
    local, anchor = cond.local, cond.anchor
    return replace(
        cond,
        local=None if local is None else local[..., left // upsample : -(-right // upsample)],
        anchor=None if anchor is None else anchor[..., left:right],
        prepared=None,
    )


def _numbers(kept: Any) -> int:
    """Numbers in all tensors of nested lists."""
    if isinstance(kept, Tensor):
        return kept.numel()
    return sum(map(_numbers, kept)) if isinstance(kept, list | tuple) else 0
