"""Upsampling of a local condition (a mel spectrogram) to the rate of the signal."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.networks.layout import has_channels_innermost


def upsampling_strides(factor: int) -> list[int]:
    """Factor ``factor`` into at most two strides that are as equal as possible.

    256 gives [16, 16] (DiffWave), 300 gives [15, 20], 12 gives [12] and 1 gives [].
    """
    if factor <= 1:
        return []
    if factor <= 16:
        return [factor]
    low = next(n for n in range(math.isqrt(factor), 0, -1) if factor % n == 0)
    return [factor] if low == 1 else [low, factor // low]


class Upsampler(nn.Module):
    """DiffWave's upsampler: transposed 2-D convolutions over (band, time) with leaky ReLUs.

    Args:
        factor: output frames per input frame.
    """

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(
                1,
                1,
                (3, 2 * stride),
                stride=(1, stride),
                padding=(1, (stride + stride % 2) // 2),
                output_padding=(0, stride % 2),
            )
            for stride in upsampling_strides(factor)
        )

    def forward(self, local: Tensor) -> Tensor:
        """``[batch, bands, frames]`` to ``[batch, bands, frames * factor]``."""
        x = local[:, None]
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.4)
        return x[:, 0]


def add_to_each_(y: Tensor, part: Tensor) -> Tensor:
    """Add ``part [items, ...]`` to ``y [samples items, ...]``, in place where that saves memory.

    ``y`` may hold several samples of each item, with all items of a sample together.
    """
    if len(y) == len(part):
        if has_channels_innermost(y) and y.requires_grad:  # a view, which gradients would copy
            return y + part
        return y.add_(part)
    y.unflatten(0, (-1, len(part))).add_(part)
    return y
