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
SCALE = math.sqrt(0.5)  # keeps the variance of a residual connection

# Tensors are [batch, frames, bins, width]: channels-last images for the convolutions, with each
# frame contiguous for the norms and the attention.


class Conv(nn.Conv2d):
    """A 3x3 convolution of ``[batch, frames, bins, width]``, dilated in time."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=(dilation, 1), dilation=(dilation, 1))

    def forward(self, h: Tensor) -> Tensor:
        return super().forward(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SpectrumNorm(nn.Module):
    """Layer norm of each frame over bins and channels; the receptive field stays finite."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(
        self, h: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0
    ) -> Tensor:
        """Normalise ``h [batch, frames, bins, width]``, then scale and shift each item."""
        weight, bias = self.weight * (1 + scale), self.bias * (1 + scale) + shift
        return torch.addcmul(bias, F.layer_norm(h, h.shape[-2:], eps=1e-6), weight)


class Block(nn.Module):
    """A residual block of two norms, SiLUs and convolutions.

    The noise level scales and shifts the second norm (Dhariwal & Nichol 2021, eq. 10).
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
    """Self-attention across the bins of each frame (Vaswani et al. 2017)."""

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
    """A U-Net for STFT frames with strides in frequency only.

    Real and imaginary parts are channels of an image of bins by frames. Without strides or norms in
    time the network commutes with shifts by whole frames, and its receptive field is finite: a long
    recording can be processed in chunks. Autocast to bfloat16 computes in float32 on a CPU without
    bfloat16 arithmetic.

    Args:
        channels: of the signal, n_fft of the representation.
        local_channels: of the local condition, projected to one image channel; 0 for none.
        upsample: frames of the signal per frame of the local condition.
        labels: number of classes or speakers; 0 for none. The label -1 is unconditional.
        widths: channels of the resolutions, the finest first; each has half the bins of the one
            before.
        dilations: in time, of the blocks of each resolution.
        heads: of the attention across bins at the coarsest resolution; 0 for no attention.
        anchor_channels: of the known signals at the input, a multiple of ``channels``.

    Attributes:
        receptive_field: frames on either side that a frame depends on.

    Raises:
        ValueError: if the channels are not STFT frames, the anchor is not like the signal, or
            widths, dilations and heads are inconsistent.
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
        # 1 + dilation for each block; each resolution has one in the encoder and one in the decoder
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
        self.frequency = nn.Parameter(torch.zeros(bins, widths[0]))  # embedding of the bins
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
            ValueError: if a condition that the network was built for is missing.
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
        """The input of the network, ``[batch, frames, bins, planes]``."""
        signals = [x]
        if self.anchor_channels:
            signals += cond.needed("anchor").split(self.channels, dim=1)
        planes = [from_channels(signal).transpose(1, 2) for signal in signals]
        if self.local_projection is not None:
            local = self.upsampler(cond.needed("local"))[..., : x.shape[-1]]
            planes.append(self.local_projection(local.transpose(1, 2))[..., None])
        return torch.cat(planes, dim=-1)


def halved(h: Tensor) -> Tensor:
    """Downsample ``h [batch, frames, bins, width]`` to ceil(bins / 2), with the filter [1 2 1] / 4.

    It matches the interpolation of ``doubled``; 2^k + 1 bins nest exactly.
    """
    h = torch.cat([h[:, :, :1], h, h[:, :, -1:]], dim=2)
    return (h[:, :, :-2:2] + 2 * h[:, :, 1:-1:2] + h[:, :, 2::2]) / 4


def doubled(h: Tensor, bins: int) -> Tensor:
    """Upsample ``h [batch, frames, ceil(bins / 2), width]`` to ``bins`` by linear interpolation."""
    after = torch.cat([h[:, :, 1:], h[:, :, -1:]], dim=2)
    return torch.stack([h, (h + after) / 2], dim=3).flatten(2, 3)[:, :, :bins]
