"""Embeddings of the noise level and of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SinusoidalEmbedding(nn.Module):
    """sin and cos of c_noise * 10^(-4k / (n - 1)), k = 0 .. n - 1 (Vaswani et al. 2017).

    Args:
        dim: 2 n, size of the embedding.
    """

    frequency: Tensor

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        n = dim // 2
        frequency = torch.exp(-math.log(1e4) / (n - 1) * torch.arange(n))
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, c_noise: Tensor) -> Tensor:
        """``[batch]`` to ``[batch, dim]``."""
        angle = c_noise[:, None] * self.frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class TableEmbedding(nn.Module):
    """lmnt's: a table of sin and cos of n * 10^(4k / 63), linear between integer steps n.

    The frequencies grow with k, so in between the steps only the table's interpolation means
    anything.

    Args:
        steps: rows of the table, T.
        dim: size of the embedding.
    """

    table: Tensor

    def __init__(self, steps: int, dim: int = 128) -> None:
        super().__init__()
        n = dim // 2
        # in float32 and in this order: at angles near 5e5 the rounding is part of the embedding
        angle = torch.arange(steps)[:, None] * 10.0 ** (torch.arange(n)[None] * 4.0 / (n - 1))
        table = torch.cat([angle.sin(), angle.cos()], dim=1)
        self.register_buffer("table", table, persistent=False)

    def forward(self, c_noise: Tensor) -> Tensor:
        """``[batch]``, 0 to T - 1, to ``[batch, dim]``."""
        last = len(self.table) - 1
        low = c_noise.floor().clamp(0, last).long()
        high = c_noise.ceil().clamp(0, last).long()
        return torch.lerp(self.table[low], self.table[high], (c_noise - low)[:, None])


class LabelEmbedding(nn.Embedding):
    """One learnt vector per class or speaker; the label -1 is no class, a vector of zeros."""

    def forward(self, label: Tensor) -> Tensor:
        """``[batch]``, -1 to classes - 1, to ``[batch, dim]``."""
        known = (label >= 0)[:, None]
        return torch.where(known, super().forward(label.clamp(min=0)), 0.0)
