"""Normalisation of single frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FrameNorm(nn.Module):
    """RMS norm of each frame over its channels (Zhang & Sennrich 2019).

    Unlike a group norm it does not average over time, so the receptive field stays finite.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, 1))
        self.bias = nn.Parameter(torch.zeros(width, 1))

    def forward(
        self, h: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0
    ) -> Tensor:
        """Normalise ``h [batch, width, frames]``, then scale and shift each item."""
        square = h.float().square() if h.dtype in (torch.bfloat16, torch.float16) else h.square()
        h = h * torch.rsqrt(square.mean(dim=1, keepdim=True) + 1e-6).to(h.dtype)
        return torch.addcmul(self.bias * (1 + scale) + shift, h, self.weight * (1 + scale))
