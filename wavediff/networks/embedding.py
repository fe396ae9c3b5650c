"""Embeddings of noise levels and classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SinusoidalEmbedding(nn.Module):
    """Sinusoidal embedding of the noise level (Vaswani et al. 2017).

    sin and cos of c_noise 10^(-4 k / (n - 1)) for k = 0 .. n - 1.

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
        """Embed ``c_noise [batch]`` as ``[batch, dim]``."""
        angle = c_noise[:, None] * self.frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1)


class TableEmbedding(nn.Module):
    """The embedding of lmnt-com/diffwave: a table of sin and cos of n 10^(4 k / 63).

    Rows are linearly interpolated between integer noise levels n. (The frequencies are too high to
    evaluate the sinusoids between them.)

    Args:
        steps: rows of the table, T.
        dim: size of the embedding.
    """

    table: Tensor

    def __init__(self, steps: int, dim: int = 128) -> None:
        super().__init__()
        n = dim // 2
        # float32, in this order: the rounding of angles up to 5e5 is part of trained embeddings
        angle = torch.arange(steps)[:, None] * 10.0 ** (torch.arange(n)[None] * 4.0 / (n - 1))
        table = torch.cat([angle.sin(), angle.cos()], dim=1)
        self.register_buffer("table", table, persistent=False)

    def forward(self, c_noise: Tensor) -> Tensor:
        """Embed ``c_noise [batch]``, 0 to T - 1, as ``[batch, dim]``."""
        last = len(self.table) - 1
        low = c_noise.floor().clamp(0, last).long()
        high = c_noise.ceil().clamp(0, last).long()
        return torch.lerp(self.table[low], self.table[high], (c_noise - low)[:, None])


class LabelEmbedding(nn.Embedding):
    """One learned vector per class or speaker; the label -1 (unconditional) gives zeros."""

    def forward(self, label: Tensor) -> Tensor:
        """Embed ``label [batch]``, -1 to classes - 1, as ``[batch, dim]``."""
        known = (label >= 0)[:, None]
        return torch.where(known, super().forward(label.clamp(min=0)), 0.0)
