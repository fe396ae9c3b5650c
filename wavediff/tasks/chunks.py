"""Long signals in pieces, with the result of one piece.

Two reasons to cut, two places: ``ChunkedDenoiser`` bounds the activations of one network call;
``pieces`` bounds the state of the whole sampling, which matters where a representation has many
channels. A piece carries as much context as reaches its inner part, and noise is a function of
absolute position, so that both give what the whole would have given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition


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
    """A denoiser that sees long signals in pieces.

    Args:
        denoiser: to call on each piece.
        size: frames of a piece.
        halo: frames on either side that a frame's estimate depends on.
        upsample: frames of the signal per frame of the local condition.
    """

    def __init__(self, denoiser: nn.Module, size: int, halo: int, upsample: int) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.size, self.halo, self.upsample = size, halo, upsample

    def prepare(self, cond: Condition) -> Condition:
        """What a network keeps from call to call grows with the length: only short ones do."""
        return cond

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """As the denoiser's own, to rounding."""
        out = torch.empty_like(x)
        for piece in pieces(x.shape[-1], self.size, self.halo, self.upsample):
            part = crop(cond, piece.left, piece.right, self.upsample)
            estimate = self.denoiser(x[..., piece.left : piece.right], t, part)
            out[..., piece.start : piece.stop] = estimate[
                ..., piece.start - piece.left : piece.stop - piece.left
            ]
        return out


def crop(cond: Condition, left: int, right: int, upsample: int) -> Condition:
    """The condition of frames ``left`` to ``right``; ``left`` is a multiple of ``upsample``."""
    local, anchor = cond.local, cond.anchor
    return replace(
        cond,
        local=None if local is None else local[..., left // upsample : -(-right // upsample)],
        anchor=None if anchor is None else anchor[..., left:right],
        prepared=None,
    )
