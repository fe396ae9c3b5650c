"""Normalisation that leaves frames apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FrameNorm(nn.Module):
    """Each frame divided by the root mean square of its channels (Zhang & Sennrich 2019).

    A group norm would average over time, and a frame would know of those far away.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, 1))
        self.bias = nn.Parameter(torch.zeros(width, 1))

    def forward(
        self, h: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0
    ) -> Tensor:
        """``h [batch, width, frames]`` normalised, then scaled and shifted per item."""
        square = h.float().square() if h.dtype in (torch.bfloat16, torch.float16) else h.square()
        h = h * torch.rsqrt(square.mean(dim=1, keepdim=True) + 1e-6).to(h.dtype)
        return torch.addcmul(self.bias * (1 + scale) + shift, h, self.weight * (1 + scale))
