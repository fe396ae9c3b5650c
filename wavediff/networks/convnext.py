"""ConvNeXt blocks over time (Liu et al. 2022), as in Vocos (Siuzdak 2024), for STFT frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.networks.conditioned import HIDDEN, Conditioned
from wavediff.networks.conditioner import add_to_each_
from wavediff.networks.frames import WHOLE, Frames
from wavediff.networks.kernels import check_kernel
from wavediff.networks.norm import FrameNorm


class ConvNeXtBlock(nn.Module):
    """A ConvNeXt block with adaptive norm and layer scale.

    A depthwise convolution, a norm with scale and shift by the noise level, and an inverted
    bottleneck, scaled per channel (Touvron et al. 2021) and added to the input.
    """

    def __init__(self, width: int, expansion: int, kernel_size: int, scale: float) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.depthwise = nn.Conv1d(width, width, kernel_size, padding=padding, groups=width)
        self.norm = FrameNorm(width)
        self.step_projection = nn.Linear(HIDDEN, 2 * width)
        self.widen = nn.Conv1d(width, expansion * width, 1)
        self.narrow = nn.Conv1d(expansion * width, width, 1)
        self.scale = nn.Parameter(torch.full((width, 1), scale))

    def forward(self, h: Tensor, step: Tensor) -> Tensor:
        scale, shift = self.step_projection(step)[..., None].chunk(2, dim=1)
        y = self.norm(self.depthwise(h), scale, shift)
        y = self.narrow(F.gelu(self.widen(y)))
        return torch.addcmul(h, self.scale, y)


class ConvNeXt(Conditioned):
    """A stack of ConvNeXt blocks at the rate of the signal, for STFT frames.

    Args:
        channels: of the input signal.
        local_channels: of the local condition, added after the input projection; 0 for none.
        upsample: frames of the signal per frame of the local condition.
        labels: number of classes or speakers; 0 for none. The label -1 is unconditional.
        width: residual channels.
        layers: number of blocks.
        expansion: channels within a block, relative to ``width``.
        kernel_size: of the blocks and of the projection of the local condition, odd.
        anchor_channels: of the known signal y, concatenated to the input; 0 for none.
        out_channels: of the output; ``channels`` by default.

    Attributes:
        receptive_field: frames on either side that a frame depends on.

    Raises:
        ValueError: if ``kernel_size`` is even, or a number is below 1.
    """

    def __init__(
        self,
        channels: int = 1,
        local_channels: int = 0,
        upsample: int = 1,
        labels: int = 0,
        width: int = 256,
        layers: int = 8,
        expansion: int = 3,
        kernel_size: int = 7,
        anchor_channels: int = 0,
        out_channels: int | None = None,
    ) -> None:
        check_kernel(kernel_size)
        if min(width, layers, expansion) < 1 or kernel_size % 2 == 0:
            raise ValueError(
                "width, layers and expansion must be 1 or more, kernel_size odd, got "
                f"{width}, {layers}, {expansion}, {kernel_size}"
            )
        super().__init__(width, local_channels, upsample, labels, anchor_channels, kernel_size)
        self.receptive_field = kernel_size // 2 * (layers + bool(local_channels))
        self.input_projection = nn.Conv1d(channels + anchor_channels, width, 1)
        self.input_norm = FrameNorm(width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(width, expansion, kernel_size, 1 / layers) for _ in range(layers)
        )
        self.output_norm = FrameNorm(width)
        self.output_projection = nn.Conv1d(width, out_channels or channels, 1)
        for parameter in self.output_projection.parameters():
            nn.init.zeros_(parameter)

    def _predict(
        self, x: Tensor, step: Tensor, local: Tensor | None, frames: Frames = WHOLE
    ) -> Tensor:
        h = self.input_projection(x)
        if local is not None:
            h = add_to_each_(h, local)
        h = self.input_norm(h)
        for block in self.blocks:
            h = block(h, step)
        return self.output_projection(self.output_norm(h))
