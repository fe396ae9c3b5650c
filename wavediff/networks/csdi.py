"""CSDI: residual blocks over time for each channel, with attention across channels.

Tashiro et al. 2021, "CSDI: Conditional Score-based Diffusion Models for Probabilistic Time Series
Imputation", with DiffWave's dilated convolutions instead of the transformer over time.
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
from wavediff.networks.kernels import check_kernel
from wavediff.networks.precision import precision

MAX_CELLS = 1 << 16  # channels times steps of one pass without gradients: bounds memory


class ChannelAttention(nn.Module):
    """Self-attention across the channels of one time step (Vaswani et al. 2017).

    Queries and keys include an embedding of their channel.
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

    Channels are identified by a learned embedding only: permuting the embeddings with the channels
    permutes the output.

    The local condition consists of features of each channel, features shared by all channels, and
    again features of each channel. The first part is ordered by feature, then channel; the last
    consists of two halves, each ordered by channel, then feature.

    Args:
        channels: of the signal.
        local_channels: of the local condition, in all.
        upsample: frames of the signal per frame of the local condition; must be 1.
        shared_start, shared_channels: first shared feature of the local condition, and their
            number.
        width: residual channels of each channel of the signal.
        layers: number of blocks; block i has dilation 2^(i mod dilation_cycle).
        dilation_cycle: see ``layers``.
        kernel_size: of the dilated convolutions, odd.
        attention_every: blocks per attention layer; 0 for no attention.
        heads: of the attention; must divide ``width``.

    Raises:
        ValueError: if the sizes are inconsistent.
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
        check_kernel(kernel_size)
        own, after = shared_start, local_channels - shared_start - shared_channels
        if own < 0 or after < 0 or own % channels or after % (2 * channels):
            raise ValueError(
                f"{local_channels} local channels, {shared_channels} of them shared from "
                f"{shared_start} on, do not divide among {channels} channels"
            )
        if upsample != 1:
            raise ValueError("the local condition must have the signal's rate (upsample=1)")
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads")
        self.channels, self.width = channels, width
        self.shared = slice(shared_start, shared_start + shared_channels)
        self.own_features = own // channels + after // channels
        self.dilations = [2 ** (i % dilation_cycle) for i in range(layers)]
        self.channel_embedding = nn.Parameter(torch.randn(channels, width))
        # the features of a channel enter with the signal too, as they include its known values
        self.input_projection = kaiming_conv(1 + self.own_features, width, 1)
        self.embedding = SinusoidalEmbedding(EMBEDDING)
        self.embedding_projection = nn.Sequential(
            nn.Linear(EMBEDDING, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, d, kernel_size) for d in self.dilations)
        self.own_projections = nn.ModuleList(
            kaiming_conv(self.own_features, 2 * width, 1)
            for _ in range(layers if self.own_features else 0)
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
            ValueError: if the local condition is missing.
        """
        if self.own_features or self.shared.stop > self.shared.start:
            cond.needed("local")
        with precision(x):
            if torch.is_grad_enabled():
                return self._predict(x, c_noise, cond.local)
            rows = max(1, MAX_CELLS // (x.shape[1] * x.shape[2]))
            local = [None] * -(-len(x) // rows) if cond.local is None else cond.local.split(rows)
            parts = zip(x.split(rows), c_noise.split(rows), local, strict=True)
            return torch.cat([self._predict(*part) for part in parts])

    def _split(self, local: Tensor) -> tuple[Tensor, Tensor]:
        """(features of each channel ``[batch, channels, features, time]``, shared features)."""
        before, after = local[:, : self.shared.start], local[:, self.shared.stop :]
        before = before.unflatten(1, (-1, self.channels)).transpose(1, 2)
        parts = [before]
        if after.shape[1]:
            halves = after.unflatten(1, (2, self.channels, -1))
            parts.append(halves.transpose(1, 2).flatten(2, 3))
        return torch.cat(parts, dim=2), local[:, self.shared]

    def _predict(self, x: Tensor, c_noise: Tensor, local: Tensor | None) -> Tensor:
        batch, channels, length = x.shape
        if local is None:
            own, shared = x.new_zeros(batch, channels, 0, length), None
        else:
            own, shared = self._split(local[..., :length])
        step = self.embedding_projection(self.embedding(c_noise))
        rows = torch.cat([x[:, :, None], own], dim=2).flatten(0, 1)
        own = own.flatten(0, 1)
        h = self.input_projection(rows).unflatten(0, (batch, channels))
        h = (h + self.channel_embedding[:, :, None]).flatten(0, 1)
        total: Any = None  # sum of the skip connections
        for i, block in enumerate(self.blocks):
            bias = self.channel_projections[i](self.channel_embedding)[:, :, None]
            bias = bias + block.dilated_conv.bias[:, None]
            if shared is not None and shared.shape[1]:
                bias = bias + self.shared_projections[i](shared)[:, None]
            bias = bias.expand(batch, channels, -1, length).flatten(0, 1)
            if self.own_features:
                bias = bias + self.own_projections[i](own)
            shift = block.step_projection(step).repeat_interleave(channels, dim=0)[..., None]
            h, skip = block(h, shift, bias, False)
            if self.attentions[i] is not None:
                h = h.unflatten(0, (batch, channels))
                h = self.attentions[i](h, self.channel_embedding).flatten(0, 1)
            total = skip.clone() if total is None else total.add_(skip)
        h = F.relu(self.skip_projection(total / math.sqrt(len(self.blocks))))
        return self.output_projection(h).reshape(batch, channels, length)
