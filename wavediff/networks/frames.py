"""Convolutional networks over time on a signal that arrives in parts, each frame computed once.

A convolution over 2 reach + 1 frames lags behind its input by ``reach`` frames. It keeps the last
2 reach frames for the next part, and what bypasses it is kept until it has caught up. The results
are those of the whole signal, up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TIME = 2  # the axis of time in ``[batch, channels, time]`` and ``[batch, channels, time, bins]``


class Frames:
    """How the layers of a network see time: the whole signal at once, with zeros around it."""

    def conv(self, layer: Any, x: Tensor, bias: bool = True) -> Tensor:
        """``layer(x)`` for a convolution, without its bias on request."""
        if bias:
            return layer(x)
        return F.conv1d(x, layer.weight, padding=layer.padding, dilation=layer.dilation)

    def conv_transpose(self, layer: nn.ConvTranspose2d, x: Tensor, bins: int) -> Tensor:
        """``layer(x)`` for a transposed convolution over frequency to a number of bins."""
        return layer(x, output_size=[x.shape[TIME], bins])

    def aligned(self, x: Tensor, y: Tensor) -> Tensor:
        """The frames of ``x`` at the positions of ``y``; ``x`` may have more."""
        return x if x.shape[TIME] == y.shape[TIME] else x[:, :, : y.shape[TIME]]


WHOLE = Frames()


class FrameStream(Frames):
    """The same for a signal in parts; a call of the network gives the frames that are complete.

    stream = FrameStream()
    for part in parts:
        stream.begin(last=part is parts[-1])
        y = network(part, c_noise, cond, stream)    # later by the network's receptive field
    """

    def __init__(self) -> None:
        self._kept: list[Tensor] = []  # for each layer, in the order of their calls
        self._layer = 0
        self._last = False

    def begin(self, last: bool) -> None:
        """Before each part; ``last`` for the end of the signal."""
        self._layer, self._last = 0, last

    def conv(self, layer: Any, x: Tensor, bias: bool = True) -> Tensor:
        x = self._extended(x, layer.dilation[0] * (layer.kernel_size[0] - 1) // 2)
        function: Any = F.conv1d if x.ndim == 3 else F.conv2d
        padding = (0, *layer.padding[1:])
        return function(
            x, layer.weight, layer.bias if bias else None, layer.stride, padding, layer.dilation
        )

    def conv_transpose(self, layer: nn.ConvTranspose2d, x: Tensor, bins: int) -> Tensor:
        around = layer.kernel_size[0] - 1
        x = self._extended(x, around // 2)
        padding = (around, int(layer.padding[1]))
        least = layer.stride[1] * (x.shape[3] - 1) + layer.kernel_size[1] - 2 * padding[1]
        return F.conv_transpose2d(
            x, layer.weight, layer.bias, layer.stride, padding, (0, bins - least)
        )

    def aligned(self, x: Tensor, y: Tensor) -> Tensor:
        x = self._with_kept(x)
        self._keep(x[:, :, y.shape[TIME] :])
        return x[:, :, : y.shape[TIME]]

    def _extended(self, x: Tensor, reach: int) -> Tensor:
        """``x`` after the last 2 ``reach`` frames, with zeros before and after the signal."""
        if not reach:
            return x
        zeros = x.new_zeros(*x.shape[:TIME], reach, *x.shape[TIME + 1 :])
        x = self._with_kept(x) if self._started else torch.cat([zeros, x], dim=TIME)
        if self._last:
            x = torch.cat([x, zeros], dim=TIME)
        self._keep(x[:, :, -2 * reach :])
        return x

    @property
    def _started(self) -> bool:
        return self._layer < len(self._kept)

    def _with_kept(self, x: Tensor) -> Tensor:
        return torch.cat([self._kept[self._layer], x], dim=TIME) if self._started else x

    def _keep(self, x: Tensor) -> None:
        self._kept[self._layer : self._layer + 1] = [x.clone()]
        self._layer += 1
