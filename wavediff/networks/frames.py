"""Convolutional networks over time on a signal that arrives in parts, each frame computed once.

A convolution over 2 reach + 1 frames lags behind its input by ``reach`` frames. It keeps the last
2 reach frames for the next part, and what bypasses it is kept until it has caught up. The results
are those of the whole signal, up to rounding. ``wavediff.networks.causal`` has causal layers, which
do not lag.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.networks.layout import conv1d, has_channels_innermost

FEW = 96  # frames
TIME = 2  # the axis of time in ``[batch, channels, time]`` and ``[batch, channels, time, bins]``


class Frames:
    """How the layers of a network see time: the whole signal at once, with zeros around it."""

    def conv(self, layer: Any, x: Tensor, bias: bool = True) -> Tensor:
        """``layer(x)`` for a convolution, without its bias on request."""
        if has_channels_innermost(x):
            (padding,), (dilation,) = layer.padding, layer.dilation
            return conv1d(x, layer.weight, layer.bias if bias else None, padding, dilation)
        if bias:
            return layer(x)
        return F.conv1d(x, layer.weight, padding=layer.padding, dilation=layer.dilation)

    def conv_transpose(self, layer: Any, x: Tensor, bins: int) -> Tensor:
        """``layer(x)`` for a transposed convolution over frequency to a number of bins."""
        return layer(x, output_size=[x.shape[TIME], bins])

    def coarser(self, layer: Any, x: Tensor) -> Tensor:
        """``layer(x)`` for a strided convolution over time, see ``networks.resampling``."""
        return layer(x)

    def finer(self, layer: Any, x: Tensor) -> Tensor:
        """``layer(x)`` for a transposed convolution over time, see ``networks.resampling``."""
        return layer(x)

    def around(self, x: Tensor, reach: int) -> Tensor:
        """``x`` with the ``reach`` frames before and after it, zeros outside of the signal."""
        return F.pad(x, (reach, reach))

    def missing(self, x: Tensor, multiple: int) -> int:
        """Frames after ``x`` up to a multiple of a number, at the end of the signal."""
        return -x.shape[TIME] % multiple

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
        # for each layer, in the order of their calls: parts that follow each other
        self._kept: list[list[Tensor]] = []
        self._layer = 0
        self._last = False
        self._length = 0  # frames of the input

    def begin(self, last: bool) -> None:
        """Before each part; ``last`` for the end of the signal."""
        self._layer, self._last = 0, last

    def conv(self, layer: Any, x: Tensor, bias: bool = True) -> Tensor:
        size, dilation = layer.kernel_size[0], layer.dilation[0]
        x = self._extended(x, dilation * (size - 1) // 2)
        bias_values = layer.bias if bias else None
        if x.ndim == 4:
            return F.conv2d(x, layer.weight, bias_values, layer.stride, (0, layer.padding[1]))
        count = x.shape[TIME] - dilation * (size - 1)
        if layer.groups > 1 or count > FEW:
            groups = layer.groups
            return F.conv1d(x, layer.weight, bias_values, dilation=dilation, groups=groups)
        # for few frames a product of matrices is faster, with what a frame depends on in a column
        taps = [x[:, :, k * dilation : k * dilation + count] for k in range(size)]
        columns = torch.stack(taps, dim=TIME).flatten(1, TIME) if size > 1 else x
        return F.linear(columns.mT, layer.weight.flatten(1), bias_values).mT

    def conv_transpose(self, layer: Any, x: Tensor, bins: int) -> Tensor:
        padding, output_padding = transposed_padding(layer, x, bins)
        x = self._extended(x, padding[0] // 2)
        return F.conv_transpose2d(
            x, layer.weight, layer.bias, layer.stride, padding, output_padding
        )

    def aligned(self, x: Tensor, y: Tensor) -> Tensor:
        parts = [*self._take(), x]
        taken: list[Tensor] = []
        missing = y.shape[TIME]
        while missing > 0:
            part = parts.pop(0)
            taken.append(part[:, :, :missing])
            if part.shape[TIME] > missing:
                parts.insert(0, part[:, :, missing:])
            missing -= taken[-1].shape[TIME]
        self._keep(parts)
        return taken[0] if len(taken) == 1 else torch.cat(taken or [x[:, :, :0]], dim=TIME)

    def coarser(self, layer: Any, x: Tensor) -> Tensor:
        (size,), (stride,), (padding,) = layer.kernel_size, layer.stride, layer.padding
        zeros = x.new_zeros(*x.shape[:TIME], padding)
        x = torch.cat([*(self._take() or [zeros]), x, *([zeros] if self._last else [])], dim=TIME)
        count = (x.shape[TIME] - size) // stride + 1
        self._keep([x[:, :, count * stride :]])
        return F.conv1d(x, layer.weight, layer.bias, stride)

    def finer(self, layer: Any, x: Tensor) -> Tensor:
        (size,), (stride,), (padding,) = layer.kernel_size, layer.stride, layer.padding
        before = self._take()
        x = torch.cat([*before, x], dim=TIME)
        self._keep([x[:, :, max(0, x.shape[TIME] - (size - 1) // stride) :]])
        # complete are the outputs of all of whose inputs the last one is known
        start = stride * before[0].shape[TIME] if before else padding
        stop = stride * x.shape[TIME] + (padding if self._last else 0)
        return F.conv_transpose1d(x, layer.weight, layer.bias, stride)[:, :, start:stop]

    def around(self, x: Tensor, reach: int) -> Tensor:
        return self._extended(x, reach)

    def missing(self, x: Tensor, multiple: int) -> int:
        self._length += x.shape[TIME]
        return -self._length % multiple if self._last else 0

    def _extended(self, x: Tensor, reach: int) -> Tensor:
        """``x`` after the last 2 ``reach`` frames, with zeros before and after the signal."""
        if not reach:
            return x
        zeros = x.new_zeros(*x.shape[:TIME], reach, *x.shape[TIME + 1 :])
        x = torch.cat([*(self._take() or [zeros]), x, *([zeros] if self._last else [])], dim=TIME)
        self._keep([x[:, :, -2 * reach :]])
        return x

    def _take(self) -> list[Tensor]:
        return self._kept[self._layer] if self._layer < len(self._kept) else []

    def _keep(self, parts: list[Tensor]) -> None:
        self._kept[self._layer : self._layer + 1] = [parts]
        self._layer += 1


def transposed_padding(layer: Any, x: Tensor, bins: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(padding, output padding) over (time, bins) to convolve extended frames to ``bins``."""
    padding = (layer.kernel_size[0] - 1, layer.padding[1])
    least = layer.stride[1] * (x.shape[3] - 1) + layer.kernel_size[1] - 2 * padding[1]
    return padding, (0, bins - least)
