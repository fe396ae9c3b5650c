"""DiffWave (Kong et al. 2021): a stack of gated, dilated convolutions without recurrence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.networks.conditioner import Upsampler
from wavediff.networks.embedding import SinusoidalEmbedding, TableEmbedding

EMBEDDING, HIDDEN = 128, 512


def _conv(*args: int, **kwargs: int) -> nn.Conv1d:
    conv = nn.Conv1d(*args, **kwargs)
    nn.init.kaiming_normal_(conv.weight)
    return conv


class ResidualBlock(nn.Module):
    """One gated dilated convolution with its 1x1 outputs."""

    def __init__(self, width: int, dilation: int, kernel_size: int) -> None:
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        self.dilated_conv = _conv(width, 2 * width, kernel_size, padding=padding, dilation=dilation)
        self.step_projection = nn.Linear(HIDDEN, width)
        self.output_projection = _conv(width, 2 * width, 1)

    def forward(
        self, x: Tensor, step: Tensor, local: Tensor | None, step_in_residual: bool
    ) -> tuple[Tensor, Tensor]:
        """(the next block's input, the skip connection); ``local`` is added before the gate."""
        y = x + step
        if step_in_residual:
            x = y
        y = self.dilated_conv(y)
        if local is not None:
            y = y + local
        gate, value = y.chunk(2, dim=1)
        y = self.output_projection(torch.sigmoid(gate) * torch.tanh(value))
        residual, skip = y.chunk(2, dim=1)
        return (x + residual) * math.sqrt(0.5), skip


class DiffWave(nn.Module):
    """DiffWave at any rate: of samples, of subbands, of STFT frames.

    BASE is 30 layers of 64 channels, LARGE of 128. As lmnt-com/diffwave by default;
    ``embedding="sinusoidal"``, ``shared_upsampler=False`` and ``step_in_residual=True`` make it
    the authors' own (philsyn/DiffWave-Vocoder).

    Args:
        channels: of the signal, in and out.
        local_channels: of the local condition; 0 for none.
        upsample: frames of the signal per frame of the local condition.
        labels: number of classes or speakers; 0 for none.
        width: residual channels.
        layers: number of blocks; block i has dilation 2^(i mod dilation_cycle).
        embedding: of the noise level, ``table`` (with ``steps`` rows) or ``sinusoidal``.
        shared_upsampler: one upsampler for all blocks, or one for each.
        step_in_residual: whether the residual connection carries the step's embedding.
        rectify_input: a ReLU after the input projection, DiffWave's; without it wide signals such
            as STFT frames enter unharmed.
    """

    def __init__(
        self,
        channels: int = 1,
        local_channels: int = 0,
        upsample: int = 1,
        labels: int = 0,
        width: int = 64,
        layers: int = 30,
        dilation_cycle: int = 10,
        kernel_size: int = 3,
        embedding: Literal["table", "sinusoidal"] = "sinusoidal",
        steps: int = 50,
        shared_upsampler: bool = True,
        step_in_residual: bool = False,
        rectify_input: bool = True,
    ) -> None:
        super().__init__()
        self.width, self.step_in_residual = width, step_in_residual
        self.rectify_input = rectify_input
        dilations = [2 ** (i % dilation_cycle) for i in range(layers)]
        self.receptive_field = sum(dilations) * (kernel_size - 1) // 2
        self.input_projection = _conv(channels, width, 1)
        self.embedding = TableEmbedding(steps) if embedding == "table" else SinusoidalEmbedding()
        self.embedding_projection = nn.Sequential(
            nn.Linear(EMBEDDING, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
        )
        self.label_embedding = nn.Embedding(labels, HIDDEN) if labels else None
        self.blocks = nn.ModuleList(ResidualBlock(width, d, kernel_size) for d in dilations)
        if local_channels:
            upsamplers = 1 if shared_upsampler else layers
            self.upsamplers = nn.ModuleList(Upsampler(upsample) for _ in range(upsamplers))
            self.local_projections = nn.ModuleList(
                _conv(local_channels, 2 * width, 1) for _ in range(layers)
            )
        else:
            self.upsamplers = self.local_projections = None
        self.skip_projection = _conv(width, width, 1)
        self.output_projection = nn.Conv1d(width, channels, 1)
        nn.init.zeros_(self.output_projection.weight)

    def prepare(self, cond: Condition) -> Sequence[Tensor | None]:
        """What each block adds for the local condition, ``[batch, 2 width, time]``, kept."""
        return list(self._local(cond))

    def _local(self, cond: Condition) -> Iterator[Tensor | None]:
        if self.local_projections is None:
            yield from [None] * len(self.blocks)
            return
        if cond.local is None:
            raise ValueError("this network needs a local condition (a mel spectrogram)")
        for i, projection in enumerate(self.local_projections):
            if i < len(self.upsamplers):
                local = self.upsamplers[i](cond.local)
            yield projection(local)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Raises:
            ValueError: where a condition that the network was built for is missing.
        """
        length = x.shape[-1]
        step = self.embedding_projection(self.embedding(c_noise))
        if self.label_embedding is not None:
            if cond.label is None:
                raise ValueError("this network needs a label (a class or speaker number)")
            step = step + self.label_embedding(cond.label)
        h = self.input_projection(x)
        if self.rectify_input:
            h = F.relu(h)
        total: Tensor | None = None
        locals_ = self._local(cond) if cond.prepared is None else cond.prepared
        for block, local in zip(self.blocks, locals_, strict=True):
            projected = block.step_projection(step)[..., None]
            local = None if local is None else local[..., :length]
            h, skip = block(h, projected, local, self.step_in_residual)
            total = skip if total is None else total + skip
        h = F.relu(self.skip_projection(total / math.sqrt(len(self.blocks))))
        return self.output_projection(h)
