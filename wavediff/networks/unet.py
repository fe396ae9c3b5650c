"""A 1-D U-Net over time with attention at the coarse resolutions.

DDPM's U-Net (Ho et al. 2020) with adaptive norms (Dhariwal & Nichol 2021). Norms and attention are
local, so that a long signal can be processed in chunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.networks.conditioned import HIDDEN, Conditioned
from wavediff.networks.conditioner import add_to_each_
from wavediff.networks.frames import WHOLE, Frames
from wavediff.networks.norm import FrameNorm
from wavediff.networks.resampling import (
    downsampler,
    reach_of,
    seen_by_downsampler,
    seen_by_upsampler,
    upsampler,
    widened,
)

SCALE = math.sqrt(0.5)  # keeps the variance of a residual connection


class Block(nn.Module):
    """A residual block of two norms, SiLUs and convolutions.

    The noise level scales and shifts the second norm (Dhariwal & Nichol 2021, eq. 10).
    """

    reach = 2  # frames on either side that a frame depends on

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = FrameNorm(inputs), FrameNorm(outputs)
        self.conv1 = nn.Conv1d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, padding=1)
        self.step_projection = nn.Linear(HIDDEN, 2 * outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, h: Tensor, step: Tensor, frames: Frames = WHOLE) -> Tensor:
        scale, shift = self.step_projection(step)[..., None].chunk(2, dim=1)
        y = frames.conv(self.conv1, F.silu(self.norm1(h)))
        y = frames.conv(self.conv2, F.silu(self.norm2(y, scale, shift)))
        return SCALE * (self.skip(frames.aligned(h, y)) + y)


class LocalAttention(nn.Module):
    """Self-attention of each frame to those within ``window`` frames (Vaswani et al. 2017).

    A learned bias for each distance is added to the logits (Shaw et al. 2018). Computed in blocks
    of ``window`` queries with three blocks of keys: memory is linear in the length, and the result
    does not depend on the position of the blocks.
    """

    distance: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = FrameNorm(width)
        self.query_key_value = nn.Conv1d(width, 3 * width, 1)
        self.output = nn.Conv1d(width, width, 1)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * window + 1))
        distance = torch.arange(3 * window)[None] - window - torch.arange(window)[:, None]
        self.register_buffer("distance", distance, persistent=False)

    def forward(self, h: Tensor, frames: Frames = WHOLE) -> Tensor:
        window = self.window
        query_key_value = frames.conv(self.query_key_value, self.norm(h))
        query, key_value = query_key_value.tensor_split([h.shape[1]], dim=1)
        inside = frames.around(h.new_ones(1, 1, h.shape[-1]), window)  # 0 outside of the signal
        key_value = frames.around(key_value, window)
        h = frames.aligned(h, key_value[..., 2 * window :])
        query = frames.aligned(query, h)
        batch, width, length = h.shape
        blocks = (length + window - 1) // window
        missing = blocks * window - length
        query = F.pad(query, (0, missing)).unflatten(-1, (blocks, window))
        key, value, inside = (
            F.pad(x, (0, missing)).unfold(-1, 3 * window, window)
            for x in (*key_value.chunk(2, dim=1), inside)
        )
        # [batch, blocks heads, frames of a block, width of a head]
        query, key, value = (
            x.unflatten(1, (self.heads, -1)).permute(0, 3, 1, 4, 2).flatten(1, 2)
            for x in (query, key, value)
        )
        mask = self._mask(inside[0, 0] > 0).to(query.dtype).flatten(0, 1)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        y = y.unflatten(1, (blocks, self.heads)).permute(0, 2, 4, 1, 3)
        y = y.reshape(batch, width, blocks * window)[..., :length]
        return SCALE * (h + frames.conv(self.output, y))

    def _mask(self, inside: Tensor) -> Tensor:
        """The bias of the logits, ``[blocks, heads, window, 3 window]``; -inf where masked.

        inside: which keys are of the signal, ``[blocks, 3 window]``.
        """
        window, distance = self.window, self.distance
        bias = self.bias[:, distance.clamp(-window, window) + window]
        bias = bias.masked_fill(distance.abs() > window, -math.inf)
        return bias.masked_fill(~inside[:, None, None], -math.inf)


class Stage(nn.Module):
    """The blocks of one resolution, and attention if ``heads`` is not 0."""

    def __init__(self, inputs: int, outputs: int, blocks: int, heads: int, window: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * blocks]
        self.blocks = nn.ModuleList(Block(a, b) for a, b in pairwise(widths))
        self.attention = LocalAttention(outputs, heads, window) if heads else None
        self.reach = Block.reach * blocks + (window if heads else 0)

    def forward(self, h: Tensor, step: Tensor, frames: Frames = WHOLE) -> Tensor:
        for block in self.blocks:
            h = block(h, step, frames)
        return h if self.attention is None else self.attention(h, frames)


class UNet(Conditioned):
    """A U-Net over time for waveforms, subbands or STFT frames of any length.

    The input is padded with zeros to a multiple of ``stride`` frames. The network commutes with
    shifts by multiples of ``stride``, and its receptive field is finite: a long signal can be
    processed in chunks.

    Args:
        channels: of the input signal.
        local_channels: of the local condition, added at the finest resolution; 0 for none.
        upsample: frames of the signal per frame of the local condition.
        labels: number of classes or speakers; 0 for none. The label -1 is unconditional.
        widths: channels of the resolutions, the finest first.
        strides: between the resolutions, one fewer than ``widths``.
        blocks: residual blocks of each resolution, in the encoder and in the decoder.
        attention: number of the coarsest resolutions that have attention.
        heads: of the attention; must divide their widths.
        window: frames on either side that attention covers.
        anchor_channels: of the known signal y, concatenated to the input; 0 for none.
        out_channels: of the output; ``channels`` by default.

    Attributes:
        stride: product of ``strides``.
        receptive_field: frames on either side that a frame depends on, at most.
        streams: whether it computes signals in parts, see ``FrameStream``.

    Raises:
        ValueError: if widths, strides and heads are inconsistent, or a number is too small.
    """

    down: Any  # ModuleList of Stage, as ``up``
    up: Any

    def __init__(
        self,
        channels: int = 1,
        local_channels: int = 0,
        upsample: int = 1,
        labels: int = 0,
        widths: Sequence[int] = (32, 64, 128, 192, 256),
        strides: Sequence[int] = (4, 4, 4, 4),
        blocks: int = 2,
        attention: int = 2,
        heads: int = 4,
        window: int = 16,
        anchor_channels: int = 0,
        out_channels: int | None = None,
    ) -> None:
        if not widths or len(strides) != len(widths) - 1:
            raise ValueError(f"{len(widths)} widths need one stride less, got {len(strides)}")
        if min([*strides, *widths, blocks, heads, window]) < 1 or attention < 0:
            raise ValueError("strides, widths, blocks, heads and window must be 1 or more")
        if any(width % heads for width in widths[len(widths) - attention :]):
            raise ValueError(f"{heads} heads do not divide the widths {list(widths)}")
        super().__init__(widths[0], local_channels, upsample, labels, anchor_channels)
        self.strides, self.stride = list(strides), math.prod(strides)
        self.streams = upsample == 1 or not local_channels
        self.input_projection = nn.Conv1d(channels + anchor_channels, widths[0], 3, padding=1)

        def stage(i: int, inputs: int) -> Stage:
            coarse = i >= len(widths) - attention
            return Stage(inputs, widths[i], blocks, heads if coarse else 0, window)

        steps = list(zip(widths[:-1], widths[1:], strides, strict=True))
        self.coarser = nn.ModuleList(downsampler(*step) for step in steps)
        self.down = nn.ModuleList(stage(i, width) for i, width in enumerate(widths))
        self.middle = Block(widths[-1], widths[-1])
        self.finer = nn.ModuleList(upsampler(b, a, stride) for a, b, stride in steps)
        self.up = nn.ModuleList(stage(i, 2 * width) for i, width in enumerate(widths[:-1]))
        self.output_projection = nn.Conv1d(widths[0], out_channels or channels, 3, padding=1)
        for parameter in self.output_projection.parameters():
            nn.init.zeros_(parameter)
        self.receptive_field = max(map(self._reach, range(self.stride)))

    def _reach(self, frame: int) -> int:
        """The largest distance of the inputs that one output frame depends on."""
        span, skips = widened((frame, frame), 1), []
        for stage, stride in zip(self.up, self.strides, strict=True):
            span = widened(span, stage.reach)
            skips.append(span)
            span = seen_by_upsampler(span, stride)
        span = widened(span, self.middle.reach + self.down[-1].reach)
        for stage, stride in zip(self.down[-2::-1], self.strides[::-1], strict=True):
            low, high = seen_by_downsampler(span, stride)
            skip = skips.pop()
            span = widened((min(low, skip[0]), max(high, skip[1])), stage.reach)
        return reach_of(widened(span, 1), (frame, frame))

    def _predict(self, x: Tensor, step: Tensor, local: Tensor | None, frames: Frames) -> Tensor:
        missing = frames.missing(x, self.stride)
        h = frames.conv(self.input_projection, F.pad(x, (0, missing)))
        if local is not None:
            h = add_to_each_(h, frames.aligned(F.pad(local, (0, missing)), h))
        skips: list[Tensor] = []
        for i, stage in enumerate(self.down):
            h = stage(frames.coarser(self.coarser[i - 1], h) if i else h, step, frames)
            skips.append(h)
        h = self.middle(skips.pop(), step, frames)
        for stage, finer in zip(reversed(self.up), reversed(self.finer), strict=True):
            h = frames.finer(finer, h)
            h = stage(torch.cat([h, frames.aligned(skips.pop(), h)], dim=1), step, frames)
        y = frames.conv(self.output_projection, F.silu(h))
        return y[..., : y.shape[-1] - missing]
