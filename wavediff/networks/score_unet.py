"""A U-Net over the complex STFT, after NCSN++ (Song et al. 2021, Richter et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.networks.conditioner import Upsampler
from wavediff.networks.embedding import LabelEmbedding, SinusoidalEmbedding
from wavediff.networks.precision import precision
from wavediff.representations.stft import from_channels, to_channels

EMBEDDING, HIDDEN = 128, 256
SCALE = math.sqrt(0.5)  # of a sum of two

# Within the network a tensor is [batch, frames, bins, width]. To a convolution that is an image in
# the channels-last layout, and one frame's numbers lie together for the norm and the attention.


class Conv(nn.Conv2d):
    """3x3 over (time, frequency) of ``[batch, frames, bins, width]``, dilated in time."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=(dilation, 1), dilation=(dilation, 1))

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SpectrumNorm(nn.Module):
    """Group norm with one group for each frame, so that no frame knows of those far away."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(
        self, h: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0
    ) -> Tensor:
        """``h [batch, frames, bins, width]`` normalised, then scaled and shifted per item."""
        weight, bias = self.weight * (1 + scale), self.bias * (1 + scale) + shift
        return torch.addcmul(bias, F.layer_norm(h, h.shape[-2:], eps=1e-6), weight)


class Block(nn.Module):
    """Norm, SiLU and convolution twice, beside a skip; the noise level scales and shifts.

    Adaptive group norm: Dhariwal and Nichol 2021, eq. 10.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = SpectrumNorm(inputs), SpectrumNorm(outputs)
        self.conv1, self.conv2 = Conv(inputs, outputs), Conv(outputs, outputs, dilation)
        self.step_projection = nn.Linear(HIDDEN, 2 * outputs)
        self.skip = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, h: Tensor, step: Tensor) -> Tensor:
        scale, shift = self.step_projection(step)[:, None, None].chunk(2, dim=-1)
        y = self.conv1(F.silu(self.norm1(h)))
        y = self.conv2(F.silu(self.norm2(y, scale, shift)))
        return SCALE * (self.skip(h) + y)


class FrequencyAttention(nn.Module):
    """Self-attention among the bins of one frame (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = SpectrumNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        batch, frames, bins, width = h.shape
        qkv = self.query_key_value(self.norm(h))
        qkv = qkv.reshape(batch * frames, bins, 3, self.heads, width // self.heads)
        y = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        y = y.transpose(1, 2).reshape(batch, frames, bins, width)
        return SCALE * (h + self.output(y))


class ScoreUNet(nn.Module):
    """A U-Net for STFT frames that halves the frequencies only, never the time.

    Real and imaginary parts are planes of an image of bins by frames. Without strides or norms in
    time it commutes with any shift by whole frames, and its reach is finite, so that a long
    recording may be cut anywhere; dilation in the deeper levels widens it.

    Args:
        channels: of the signal, a frame of ``n_fft`` numbers as in ``representations.stft``.
        anchor_channels: of the known signals joined at the input, a multiple of ``channels``.
        local_channels: of the local condition, which becomes one more plane; 0 for none.
        upsample: frames of the signal per frame of the local condition.
        labels: number of classes or speakers; 0 for none. The label -1 is none of them.
        widths: of the levels, the finest first; each has half the bins of the one before.
        dilations: in time, of each level's blocks.
        heads: of the attention among a frame's bins in the coarsest level; 0 for none.

    Attributes:
        receptive_field: frames on either side that a frame depends on.

    Raises:
        ValueError: for channels that are no STFT frame, an anchor that is not like them, or widths
            that the dilations or heads do not fit.

    Autocast to bfloat16 computes in float32 on a CPU without bfloat16 arithmetic.
    """

    def __init__(
        self,
        channels: int = 512,
        local_channels: int = 0,
        upsample: int = 1,
        labels: int = 0,
        widths: Sequence[int] = (24, 48, 64, 128, 192),
        dilations: Sequence[int] = (1, 1, 2, 4, 8),
        heads: int = 4,
        anchor_channels: int = 0,
    ) -> None:
        super().__init__()
        if channels % 2 or anchor_channels % channels:
            raise ValueError(
                "this U-Net is for STFT frames: channels must be even and an anchor a multiple of "
                f"them, got {channels} channels, anchor {anchor_channels}"
            )
        if len(widths) != len(dilations) or not widths:
            raise ValueError(f"{len(widths)} widths need as many dilations, got {len(dilations)}")
        if heads and widths[-1] % heads:
            raise ValueError(f"{heads} heads do not divide the coarsest width, {widths[-1]}")
        self.channels, self.anchor_channels = channels, anchor_channels
        # a block reaches 1 + dilation; each level has one on the way down and one on the way up
        self.receptive_field = 2 + sum(2 * (1 + dilation) for dilation in dilations)
        bins, planes = channels // 2 + 1, 2 + 2 * anchor_channels // channels
        self.embedding = SinusoidalEmbedding(EMBEDDING)
        self.embedding_projection = nn.Sequential(
            nn.Linear(EMBEDDING, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
        )
        self.label_embedding = LabelEmbedding(labels, HIDDEN) if labels else None
        self.local_projection: nn.Linear | None = None
        if local_channels:
            self.upsampler = Upsampler(upsample)
            self.local_projection = nn.Linear(local_channels, bins)
        self.input = Conv(planes + bool(local_channels), widths[0])
        self.frequency = nn.Parameter(torch.zeros(bins, widths[0]))  # tells the bins apart
        before = [widths[0], *widths[:-1]]
        self.down = nn.ModuleList(map(Block, before, widths, dilations))
        self.attention = FrequencyAttention(widths[-1], heads) if heads else nn.Identity()
        self.middle = Block(widths[-1], widths[-1], dilations[-1])
        joined = [below + width for width, below in pairwise(widths)]
        self.up = nn.ModuleList(map(Block, joined, widths[:-1], dilations[:-1]))
        self.output_norm = SpectrumNorm(widths[0])
        self.output_projection = Conv(widths[0], 2)
        for parameter in self.output_projection.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The prediction for ``x [batch, channels, frames]`` at ``c_noise [batch]``.

        Raises:
            ValueError: where a condition that the network was built for is missing.
        """
        with precision(x):
            return self._predict(x, c_noise, cond)

    def _predict(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        step = self.embedding_projection(self.embedding(c_noise))
        if self.label_embedding is not None:
            step = step + self.label_embedding(cond.needed("label"))
        h = self.input(self._planes(x, cond)) + self.frequency
        skips: list[Tensor] = []
        for block in self.down:
            h = block(halved(h) if skips else h, step)
            skips.append(h)
        h = self.middle(self.attention(skips.pop()), step)
        for block in reversed(self.up):
            skip = skips.pop()
            h = block(torch.cat([doubled(h, skip.shape[2]), skip], dim=-1), step)
        h = self.output_projection(F.silu(self.output_norm(h)))
        return to_channels(h.transpose(1, 2))

    def _planes(self, x: Tensor, cond: Condition) -> Tensor:
        """All that the network sees, ``[batch, frames, bins, planes]``."""
        signals = [x]
        if self.anchor_channels:
            signals += cond.needed("anchor").split(self.channels, dim=1)
        planes = [from_channels(signal).transpose(1, 2) for signal in signals]
        if self.local_projection is not None:
            local = self.upsampler(cond.needed("local"))[..., : x.shape[-1]]
            planes.append(self.local_projection(local.transpose(1, 2))[..., None])
        return torch.cat(planes, dim=-1)


def halved(h: Tensor) -> Tensor:
    """Every second bin of ``[batch, frames, bins, width]``, of n ceil(n / 2), after a [1 2 1] / 4.

    The same filter as ``doubled``'s, so that no bin is favoured; 2^k + 1 bins nest exactly.
    """
    h = torch.cat([h[:, :, :1], h, h[:, :, -1:]], dim=2)
    return (h[:, :, :-2:2] + 2 * h[:, :, 1:-1:2] + h[:, :, 2::2]) / 4


def doubled(h: Tensor, bins: int) -> Tensor:
    """Linear interpolation back to ``bins`` of them."""
    after = torch.cat([h[:, :, 1:], h[:, :, -1:]], dim=2)
    return torch.stack([h, (h + after) / 2], dim=3).flatten(2, 3)[:, :, :bins]
