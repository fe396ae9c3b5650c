"""DiffWave (Kong et al. 2021): a stack of gated dilated convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.networks.causal import CAUSAL
from wavediff.networks.conditioner import Upsampler, add_to_each_
from wavediff.networks.embedding import LabelEmbedding, SinusoidalEmbedding, TableEmbedding
from wavediff.networks.frames import WHOLE, Frames
from wavediff.networks.kernels import check_kernel
from wavediff.networks.layout import (
    channels_innermost,
    conv1d,
    conv1d_halves,
    has_channels_innermost,
)
from wavediff.networks.precision import precision

EMBEDDING, HIDDEN = 128, 512
SCALE = math.sqrt(0.5)  # keeps the variance of a residual connection


def kaiming_conv(*args: Any, **kwargs: Any) -> nn.Conv1d:
    """A 1-D convolution with DiffWave's initialisation (He et al. 2015)."""
    conv = nn.Conv1d(*args, **kwargs)
    nn.init.kaiming_normal_(conv.weight)
    return conv


class ResidualBlock(nn.Module):
    """A gated dilated convolution with a residual and a skip connection.

    Attributes:
        gate: one kernel for the sum of the condition and the gate, ``(y, local) -> gated``, see
            ``wavediff.networks.gate_triton``; None for the operations of PyTorch.
    """

    gate: Callable[[Tensor, Tensor | None], Tensor] | None = None

    def __init__(self, width: int, dilation: int, kernel_size: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        self.dilated_conv = kaiming_conv(
            width, 2 * width, kernel_size, padding=padding, dilation=dilation
        )
        self.step_projection = nn.Linear(hidden, width)
        self.output_projection = kaiming_conv(width, 2 * width, 1)

    def forward(
        self,
        x: Tensor,
        step: Tensor,
        local: Tensor | None,
        step_in_residual: bool,
        frames: Frames = WHOLE,
    ) -> tuple[Tensor, Tensor]:
        """One block.

        Args:
            x: ``[batch, width, time]``.
            step: embedding of the noise level, ``[batch, width, 1]``.
            local: added before the gate, ``[batch, 2 width, time]``, including the bias of the
                dilated convolution; possibly of fewer items, see ``add_to_each_``. None for none.
            step_in_residual: whether the residual connection includes ``step``.
            frames: the whole signal, or a stream of parts.

        Returns:
            The input of the next block and the skip connection, like ``x``.
        """
        y = x + step
        if step_in_residual:
            x = y
        y = frames.conv(self.dilated_conv, y, bias=local is None)
        local = None if local is None else frames.aligned(local, y)
        if self.gate is not None:
            y = self.gate(y, local)
        else:
            y = gated(y if local is None else add_to_each_(y, local))
        if has_channels_innermost(y):  # halves of a result would not be dense
            residual, skip = conv1d_halves(y, self.output_projection)
        else:
            residual, skip = frames.conv(self.output_projection, y).chunk(2, dim=1)
        return residual.add(frames.aligned(x, residual)).mul_(SCALE), skip


def gated(y: Tensor) -> Tensor:
    """sigmoid of the first half of the channels times tanh of the second; may overwrite ``y``.

    With tanh v = 2 sigmoid(2 v) - 1, one sigmoid over all is twice as fast on a CPU.
    """
    if torch.is_grad_enabled() and y.requires_grad:
        return _Gate.apply(y)
    if torch.compiler.is_exporting():  # in a graph, operations in place are scattered copies
        gate, value = y.chunk(2, dim=1)
        return gate.sigmoid() * value.tanh()
    gate, value = _sigmoid_and_tanh_(y).chunk(2, dim=1)
    return gate * value if has_channels_innermost(y) else value.mul_(gate)


def _sigmoid_and_tanh_(y: Tensor) -> Tensor:
    """sigmoid of the first half of the channels and tanh of the second, in place."""
    value = y.chunk(2, dim=1)[1]
    value.mul_(2)
    y.sigmoid_()
    value.mul_(2).sub_(1)
    return y


class _Gate(torch.autograd.Function):
    """``gated`` for training; saves a single tensor like y."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        factors = _sigmoid_and_tanh_(y.clone())
        ctx.save_for_backward(factors)
        gate, value = factors.chunk(2, dim=1)
        return gate * value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (factors,) = ctx.saved_tensors
        gate, value = factors.chunk(2, dim=1)
        grads = torch.empty_like(factors)
        d_gate, d_value = grads.chunk(2, dim=1)
        torch.mul(grad, gate, out=d_value)
        torch.mul(d_value, value, out=d_gate)
        d_gate.addcmul_(d_gate, gate, value=-1)  # sigmoid' = s (1 - s)
        d_value.addcmul_(d_value, value.square(), value=-1)  # tanh' = 1 - t^2
        return grads


class DiffWave(nn.Module):
    """DiffWave for waveforms, subbands or STFT frames (Kong et al. 2021).

    BASE has 30 layers of 64 channels, LARGE of 128. ``embedding="table"`` gives the network of
    lmnt-com/diffwave; ``shared_upsampler=False`` and ``step_in_residual=True`` that of the authors
    (philsyn/DiffWave-Vocoder). Autocast to bfloat16 computes in float32 on a CPU without bfloat16
    arithmetic.

    Args:
        channels: of the input signal.
        local_channels: of the local condition; 0 for none.
        upsample: frames of the signal per frame of the local condition.
        labels: number of classes or speakers; 0 for none. The label -1 is unconditional.
        width: residual channels.
        layers: number of blocks; block i has dilation 2^(i mod dilation_cycle).
        dilation_cycle: see ``layers``.
        kernel_size: of the dilated convolutions, odd unless they are ``causal``.
        embedding: of the noise level, ``table`` (with ``steps`` rows) or ``sinusoidal``.
        steps: rows of the table, the number of noise levels.
        shared_upsampler: whether all blocks share one upsampler.
        step_in_residual: whether the residual connection includes the embedding of the noise level.
        rectify_input: whether a ReLU follows the input projection, as in DiffWave; it loses
            information of signals with many channels, such as STFT frames.
        anchor_channels: of the known signal y, concatenated to the input; 0 for none.
        out_channels: of the output; ``channels`` by default.
        hidden: size of the embedding of the noise level that the blocks see.
        causal: whether the convolutions see a frame and those before it only.

    Raises:
        ValueError: for a ``kernel_size`` out of range.

    Attributes:
        receptive_field: frames on either side that a frame depends on, or before it if ``causal``.
        streams: whether it computes signals in parts, see ``FrameStream``.
    """

    blocks: Any  # ModuleList of ResidualBlock
    local_projections: Any  # ModuleList of Conv1d

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
        anchor_channels: int = 0,
        out_channels: int | None = None,
        hidden: int = HIDDEN,
        causal: bool = False,
    ) -> None:
        super().__init__()
        check_kernel(kernel_size)
        self.causal, self.frames = causal, CAUSAL if causal else WHOLE
        self.anchor_channels = anchor_channels
        self.width, self.step_in_residual = width, step_in_residual
        self.rectify_input, self.kernel_size = rectify_input, kernel_size
        self.dilations = [2 ** (i % dilation_cycle) for i in range(layers)]
        self.receptive_field = sum(self.dilations) * (kernel_size - 1) // (1 if causal else 2)
        framewise = upsample == 1 or not local_channels
        self.streams = framewise and kernel_size % 2 == 1 and not causal
        self.input_projection = kaiming_conv(channels + anchor_channels, width, 1)
        self.embedding = TableEmbedding(steps) if embedding == "table" else SinusoidalEmbedding()
        self.embedding_projection = nn.Sequential(
            nn.Linear(EMBEDDING, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.label_embedding = LabelEmbedding(labels, hidden) if labels else None
        self.blocks = nn.ModuleList(
            ResidualBlock(width, d, kernel_size, hidden) for d in self.dilations
        )
        conditioned = layers if local_channels else 0
        upsamplers = min(conditioned, 1) if shared_upsampler else conditioned
        self.upsamplers = nn.ModuleList(Upsampler(upsample) for _ in range(upsamplers))
        self.local_projections = nn.ModuleList(
            kaiming_conv(local_channels, 2 * width, 1) for _ in range(conditioned)
        )
        self.skip_projection = kaiming_conv(width, width, 1)
        self.output_projection = nn.Conv1d(width, out_channels or channels, 1)
        nn.init.zeros_(self.output_projection.weight)

    def prepare(self, cond: Condition) -> Sequence[Tensor | None]:
        """What each block adds before its gate, ``[batch, 2 width, time]``; None for nothing."""
        if cond.local is None:
            return list(self._projected(cond))
        with precision(cond.local):
            return list(self._projected(cond))

    def _upsampled(self, cond: Condition) -> Iterator[Tensor | None]:
        """The upsampled local condition of each block."""
        local = None
        for i in range(len(self.blocks)):
            if i < len(self.upsamplers):
                local = self.upsamplers[i](cond.needed("local"))
                local = channels_innermost(local) if self.frames is WHOLE else local
            yield local

    def _projected(self, cond: Condition) -> Iterator[Tensor | None]:
        """The projected local condition of each block, with the bias of its dilated convolution."""
        for i, local in enumerate(self._upsampled(cond)):
            if local is None:
                yield None
                continue
            projection = self.local_projections[i]
            bias = projection.bias + self.blocks[i].dilated_conv.bias
            yield conv1d(local, projection.weight, bias)

    def forward(
        self, x: Tensor, c_noise: Tensor, cond: Condition, frames: Frames | None = None
    ) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Args:
            frames: a stream of parts; None for the whole signal.

        Raises:
            ValueError: if a condition that the network was built for is missing.
        """
        with precision(x):
            return self._predict(x, c_noise, cond, self.frames if frames is None else frames)

    def _predict(self, x: Tensor, c_noise: Tensor, cond: Condition, frames: Frames) -> Tensor:
        step = self.embedding_projection(self.embedding(c_noise))
        if self.label_embedding is not None:
            step = step + self.label_embedding(cond.needed("label"))
        if self.anchor_channels:
            x = torch.cat([x, cond.needed("anchor")], dim=1)
        h = frames.conv(self.input_projection, x)
        if frames is WHOLE:
            h = channels_innermost(h)
        if self.rectify_input:
            h = F.relu(h)
        total: Any = None  # sum of the skip connections
        projected = self._projected(cond) if cond.prepared is None else cond.prepared
        for block, local in zip(self.blocks, projected, strict=True):
            shift = block.step_projection(step)[..., None]
            h, skip = block(h, shift, local, self.step_in_residual, frames)
            total = skip.clone() if total is None else frames.aligned(total, skip).add_(skip)
        h = F.relu(frames.conv(self.skip_projection, total / math.sqrt(len(self.blocks))))
        return frames.conv(self.output_projection, h)
