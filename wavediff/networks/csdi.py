"""DiffWave on every channel of a signal, with attention across the channels (CSDI).

Tashiro et al. 2021, "CSDI: Conditional Score-based Diffusion Models for Probabilistic Time Series
Imputation", with dilated convolutions over time in the place of their transformer.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.networks.diffwave import EMBEDDING, HIDDEN, ResidualBlock, kaiming_conv
from wavediff.networks.embedding import SinusoidalEmbedding
from wavediff.networks.precision import precision

CELLS = 1 << 16  # channels times steps that are computed at once where no gradient is asked for


class ChannelAttention(nn.Module):
    """Self-attention among the channels of one step (Vaswani et al. 2017), with its residual.

    Queries and keys see which channel they are of beside what is there.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key = nn.Linear(width, 2 * width, bias=False)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        nn.init.zeros_(self.output.weight)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Like ``h [batch, channels, width, time]``; ``embedding [channels, width]``."""
        x = self.norm(h.permute(0, 3, 1, 2).flatten(0, 1))  # [batch time, channels, width]
        query, key = self.query_key(x + embedding).chunk(2, dim=-1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (query, key, self.value(x))
        )
        y = F.scaled_dot_product_attention(query, key, value)
        y = self.output(y.transpose(1, 2).flatten(-2)).unflatten(0, (len(h), -1))
        return h + y.permute(0, 2, 3, 1)


class CSDI(nn.Module):
    """One network for all channels: gated dilated blocks over time, attention across channels.

    A channel is told what it is by a learnt vector alone: where the vectors are permuted with the
    channels, so is the output.

    Args:
        channels: of the signal, in and out.
        local_channels: of the local condition: some for each channel of the signal, those of a
            kind side by side as the signal's channels are or, with n of a kind, all of a channel's
            together; and in between some for all.
        upsample: frames of the signal per frame of the local condition: 1.
        shared_start, shared_channels: which of the local condition's channels are for all.
        width: residual channels of each channel of the signal.
        layers: number of blocks; block i has dilation 2^(i mod dilation_cycle).
        attention_every: blocks from one attention to the next; 0 for none.
        heads: of the attention.

    Raises:
        ValueError: for sizes that do not fit.
    """

    blocks: Any  # ModuleList of ResidualBlock

    def __init__(
        self,
        channels: int = 1,
        local_channels: int = 0,
        upsample: int = 1,
        shared_start: int = 0,
        shared_channels: int = 0,
        width: int = 32,
        layers: int = 8,
        dilation_cycle: int = 4,
        kernel_size: int = 3,
        attention_every: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        own, after = shared_start, local_channels - shared_start - shared_channels
        if own < 0 or after < 0 or own % channels or after % (2 * channels):
            raise ValueError(
                f"{local_channels} local channels with {shared_channels} from {shared_start} on "
                f"for all do not go with {channels} channels"
            )
        if upsample != 1:
            raise ValueError("the local condition must have the signal's rate (upsample=1)")
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.channels, self.width = channels, width
        self.shared = slice(shared_start, shared_start + shared_channels)
        self.told = own // channels + after // channels
        self.dilations = [2 ** (i % dilation_cycle) for i in range(layers)]
        self.channel_embedding = nn.Parameter(torch.randn(channels, width))
        # the signal with what its channel alone is told: where a value is known, it is seen at once
        self.input_projection = kaiming_conv(1 + self.told, width, 1)
        self.embedding = SinusoidalEmbedding(EMBEDDING)
        self.embedding_projection = nn.Sequential(
            nn.Linear(EMBEDDING, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, d, kernel_size) for d in self.dilations)
        self.own_projections = nn.ModuleList(
            kaiming_conv(self.told, 2 * width, 1) for _ in range(layers if self.told else 0)
        )
        self.shared_projections = nn.ModuleList(
            kaiming_conv(shared_channels, 2 * width, 1)
            for _ in range(layers if shared_channels else 0)
        )
        self.channel_projections = nn.ModuleList(
            nn.Linear(width, 2 * width, bias=False) for _ in range(layers)
        )
        self.attentions = nn.ModuleList(
            ChannelAttention(width, heads)  # type: ignore[misc]  # a ModuleList may hold None
            if attention_every and (i + 1) % attention_every == 0
            else None
            for i in range(layers)
        )
        self.skip_projection = kaiming_conv(width, width, 1)
        self.output_projection = nn.Conv1d(width, 1, 1)
        nn.init.zeros_(self.output_projection.weight)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Raises:
            ValueError: where the local condition is missing that the network was built for.
        """
        if self.told or self.shared.stop > self.shared.start:
            cond.needed("local")
        with precision(x):
            if torch.is_grad_enabled():
                return self._predict(x, c_noise, cond.local)
            rows = max(1, CELLS // (x.shape[1] * x.shape[2]))
            locals_ = [None] * -(-len(x) // rows) if cond.local is None else cond.local.split(rows)
            parts = zip(x.split(rows), c_noise.split(rows), locals_, strict=True)
            return torch.cat([self._predict(*part) for part in parts])

    def _told(self, local: Tensor) -> tuple[Tensor, Tensor]:
        """(``[batch, channels, told, time]`` of each channel, ``[batch, shared, time]`` of all)."""
        before, after = local[:, : self.shared.start], local[:, self.shared.stop :]
        # kinds of one channel each come first, then two kinds of n channels each
        before = before.unflatten(1, (-1, self.channels)).transpose(1, 2)
        parts = [before]
        if after.shape[1]:
            kinds = after.unflatten(1, (2, self.channels, -1))
            parts.append(kinds.transpose(1, 2).flatten(2, 3))
        return torch.cat(parts, dim=2), local[:, self.shared]

    def _predict(self, x: Tensor, c_noise: Tensor, local: Tensor | None) -> Tensor:
        batch, channels, length = x.shape
        if local is None:
            own, shared = x.new_zeros(batch, channels, 0, length), None
        else:
            own, shared = self._told(local[..., :length])
        step = self.embedding_projection(self.embedding(c_noise))
        rows = torch.cat([x[:, :, None], own], dim=2).flatten(0, 1)
        own = own.flatten(0, 1)
        h = self.input_projection(rows).unflatten(0, (batch, channels))
        h = (h + self.channel_embedding[:, :, None]).flatten(0, 1)
        total: Any = None  # sum of the skip connections
        for i, block in enumerate(self.blocks):
            told = self.channel_projections[i](self.channel_embedding)[:, :, None]
            told = told + block.dilated_conv.bias[:, None]
            if shared is not None and shared.shape[1]:
                told = told + self.shared_projections[i](shared)[:, None]
            told = told.expand(batch, channels, -1, length).flatten(0, 1)
            if self.told:
                told = told + self.own_projections[i](own)
            shift = block.step_projection(step).repeat_interleave(channels, dim=0)[..., None]
            h, skip = block(h, shift, told, False)
            if self.attentions[i] is not None:
                h = h.unflatten(0, (batch, channels))
                h = self.attentions[i](h, self.channel_embedding).flatten(0, 1)
            total = skip.clone() if total is None else total.add_(skip)
        h = F.relu(self.skip_projection(total / math.sqrt(len(self.blocks))))
        return self.output_projection(h).reshape(batch, channels, length)
