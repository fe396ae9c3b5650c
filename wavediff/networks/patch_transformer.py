"""A Transformer over patches of a series: the past is encoded once, the future is denoised."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from wavediff.diffusion.condition import Condition
from wavediff.networks.embedding import SinusoidalEmbedding
from wavediff.networks.precision import precision


class Memory(NamedTuple):
    """The encoded conditions of a batch of series.

    Attributes:
        keys, values: of each block of the decoder, ``[batch, heads, tokens, width / heads]``.
        mask: ``[batch, 1, 1, tokens]``: -inf for tokens that hold nothing, else 0.
        ahead: embedded features of the horizon, ``[batch, patches, width]``.
    """

    keys: list[Tensor]
    values: list[Tensor]
    mask: Tensor
    ahead: Tensor


class PatchTransformer(nn.Module):
    """Denoise the horizon of a series by attention to its encoded past.

    The past and the horizon are cut into patches (PatchTST, Nie et al. 2023). The encoder is a
    pre-norm Transformer; the blocks of the decoder have self-attention, attention to the encoder's
    output, and shared adaptive layer norms of the noise level (DiT, Peebles & Xie 2023; PixArt,
    Chen et al. 2024). The encoder's part is computed once for all steps and sample paths.

    Args:
        past_features: channels of the past.
        ahead_features: channels of the horizon.
        series_features: numbers that describe a series as a whole.
        width: of the tokens.
        heads: of the attentions; a divisor of ``width``.
        encoder_blocks, decoder_blocks: number of blocks.
        patch: steps of a token.
        max_patches: tokens of the past with a position of their own; those further back share one.
        channels: of the noisy signal; must be 1.
    """

    def __init__(
        self,
        past_features: int,
        ahead_features: int,
        series_features: int,
        width: int = 192,
        heads: int = 4,
        encoder_blocks: int = 4,
        decoder_blocks: int = 3,
        patch: int = 8,
        max_patches: int = 96,
        channels: int = 1,
    ) -> None:
        super().__init__()
        if channels != 1 or width % heads:
            raise ValueError("the network has one channel, and a width that is a multiple of heads")
        self.patch = patch
        self.encoder = PatchEncoder(
            past_features, ahead_features, series_features, width, heads, encoder_blocks,
            decoder_blocks, patch, max_patches,
        )  # fmt: skip
        self.noisy = nn.Linear(patch, width)
        self.level = nn.Sequential(
            SinusoidalEmbedding(128), nn.Linear(128, width), nn.SiLU(), nn.Linear(width, 6 * width)
        )
        self.blocks = nn.ModuleList([DecoderBlock(width, heads) for _ in range(decoder_blocks)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, patch)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """Compute F(x, c_noise, cond).

        Args:
            x: ``[batch * paths, 1, horizon]``, the paths of a series adjacent; the horizon is a
                multiple of ``patch``.
            c_noise: ``[batch * paths]``.
            cond: with ``prepared``, what ``encoder`` returns for the batch.

        Returns:
            Like ``x``.
        """
        with precision(x):
            memory: Memory = cond.prepared
            batch = len(memory.ahead)
            tokens = self.noisy(x.unflatten(-1, (-1, self.patch))[:, 0])
            tokens = (tokens.unflatten(0, (batch, -1)) + memory.ahead[:, None]).flatten(0, 1)
            level = self.level(c_noise)
            for number, block in enumerate(self.blocks):
                tokens = block(
                    tokens, level, memory.keys[number], memory.values[number], memory.mask
                )
            return self.out(self.norm(tokens)).flatten(1)[:, None]


class PatchEncoder(nn.Module):
    """The past, the horizon's features and the series' numbers as a ``Memory``.

    Args: see ``PatchTransformer``.
    """

    def __init__(
        self,
        past_features: int,
        ahead_features: int,
        series_features: int,
        width: int,
        heads: int,
        blocks: int,
        decoder_blocks: int,
        patch: int,
        max_patches: int,
    ) -> None:
        super().__init__()
        self.patch, self.heads = patch, heads
        self.past = nn.Linear(past_features * patch, width)
        self.ahead = nn.Linear(ahead_features * patch, width)
        self.series = nn.Sequential(
            nn.Linear(series_features, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.position = nn.Parameter(0.02 * torch.randn(max_patches, width))
        self.position_ahead = nn.Parameter(0.02 * torch.randn(max_patches, width))
        self.blocks = nn.ModuleList([EncoderBlock(width, heads) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 2 * width * decoder_blocks)

    def forward(self, past: Tensor, known: Tensor, ahead: Tensor, series: Tensor) -> Memory:
        """Encode a batch.

        Args:
            past: ``[batch, past_features, length]``, a multiple of ``patch``.
            known: bool ``[batch, length]``: steps that belong to the series.
            ahead: ``[batch, ahead_features, horizon]``, likewise.
            series: ``[batch, series_features]``.
        """
        with precision(past):
            tokens = self.past(_patches(past, self.patch))
            number = torch.arange(tokens.shape[1] - 1, -1, -1).clamp(max=len(self.position) - 1)
            tokens = tokens + self.position[number.to(tokens.device)]
            whole = self.series(series)[:, None]
            tokens = torch.cat([tokens + whole, whole], 1)
            there = known.unflatten(1, (-1, self.patch)).any(-1)
            there = nn.functional.pad(there, (0, 1), value=True)[:, None, None]
            mask = torch.zeros_like(there, dtype=tokens.dtype).masked_fill(~there, -math.inf)
            for block in self.blocks:
                tokens = block(tokens, mask)
            projected = self.project(self.norm(tokens))
            split = projected.unflatten(-1, (-1, 2, self.heads, tokens.shape[-1] // self.heads))
            keys, values = split.permute(3, 2, 0, 4, 1, 5)
            future = self.ahead(_patches(ahead, self.patch)) + whole
            number = torch.arange(future.shape[1]).clamp(max=len(self.position_ahead) - 1)
            future = future + self.position_ahead[number.to(future.device)]
            return Memory(list(keys), list(values), mask, future)


class EncoderBlock(nn.Module):
    """Pre-norm self-attention and an MLP, on ``[batch, tokens, width]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.mlp = _mlp(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = _split(self.qkv(self.norms[0](x)), 3, self.heads)
        y = _attention(q, k, v, mask)
        x = x + self.attended(_joined(y))
        return x + self.mlp(self.norms[1](x))


class DecoderBlock(nn.Module):
    """Self-attention over the horizon, attention to the past, and an MLP.

    Self-attention and MLP are modulated by the noise level; its six vectors per item are shared by
    all blocks and shifted by ``offsets``.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(
            [
                nn.LayerNorm(width, elementwise_affine=False),
                nn.LayerNorm(width),
                nn.LayerNorm(width, elementwise_affine=False),
            ]
        )
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.recalled = nn.Linear(width, width)
        self.mlp = _mlp(width)
        self.offsets = nn.Parameter(torch.zeros(6, width))

    def forward(
        self, x: Tensor, level: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> Tensor:
        """Args: ``x [batch * paths, patches, width]``, ``level [batch * paths, 6 * width]``."""
        rows = level.unflatten(-1, (6, 1, -1)) + self.offsets[:, None]
        scale, shift, gate, scale_mlp, shift_mlp, gate_mlp = rows.unbind(1)
        y = self.norms[0](x) * (1 + scale) + shift
        if x.shape[1] > 1:
            y = _joined(_attention(*_split(self.qkv(y), 3, self.heads)))
        else:  # attention to itself alone
            y = self.qkv(y).chunk(3, -1)[2]
        x = x + (1 + gate) * self.attended(y)
        # the paths of a series attend to the same past: they are queries of one attention
        q = self.query(self.norms[1](x)).unflatten(0, (len(keys), -1)).flatten(1, 2)
        (q,) = _split(q, 1, self.heads)
        y = _joined(_attention(q, keys, values, mask))
        x = x + self.recalled(y).view_as(x)
        y = self.norms[2](x) * (1 + scale_mlp) + shift_mlp
        return x + (1 + gate_mlp) * self.mlp(y)


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention over ``[batch, heads, tokens, size]``; ``mask`` is added to the scores."""
    if q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)
    # PyTorch's fused attention is several times slower on a CPU in training, most in bfloat16
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ v


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


def _split(x: Tensor, parts: int, heads: int) -> Tensor:
    """``[batch, tokens, parts * width]`` as ``[parts, batch, heads, tokens, width / heads]``."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _patches(x: Tensor, patch: int) -> Tensor:
    """``[batch, features, length]`` as ``[batch, length / patch, features * patch]``."""
    return x.unflatten(-1, (-1, patch)).transpose(1, 2).flatten(2)
