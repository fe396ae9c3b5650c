"""Causal convolutional networks over time: a frame depends on itself and on those before it.

The step form of a network, ``(frame, state) -> (frame, state)``, is a call with a ``CausalStream``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.networks.frames import TIME, Frames, transposed_padding


class CausalFrames(Frames):
    """How causal layers see time: the whole signal at once, with zeros before it."""

    def conv(self, layer: Any, x: Tensor, bias: bool = True) -> Tensor:
        size, dilation = layer.kernel_size[0], layer.dilation[0]
        x = self._after(x, dilation * (size - 1))
        bias_values = layer.bias if bias else None
        if x.ndim == 4:
            return F.conv2d(x, layer.weight, bias_values, layer.stride, (0, layer.padding[1]))
        return self._conv1d(x, layer.weight, bias_values, dilation)

    def _conv1d(self, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        return F.conv1d(x, weight, bias, dilation=dilation)

    def conv_transpose(self, layer: Any, x: Tensor, bins: int) -> Tensor:
        before = layer.kernel_size[0] - 1
        padding, output_padding = transposed_padding(layer, x, bins)
        x = self._after(x, before)
        return F.conv_transpose2d(
            x, layer.weight, layer.bias, layer.stride, padding, output_padding
        )

    def aligned(self, x: Tensor, y: Tensor) -> Tensor:
        return x

    def _after(self, x: Tensor, count: int) -> Tensor:
        """``x`` after the ``count`` frames before it."""
        if not count:
            return x
        return torch.cat([x.new_zeros(*x.shape[:TIME], count, *x.shape[TIME + 1 :]), x], dim=TIME)


CAUSAL = CausalFrames()


class CausalStream(CausalFrames):
    """The same for a signal in parts: each layer's last frames are the state.

    stream = CausalStream()
    for part in parts:
        stream.begin()
        y = network(part, c_noise, cond, stream)    # as long as the part

    Attributes:
        state: what precedes the next part, for each layer in the order of their calls; empty
            before the first part, which begins the signal.
    """

    def __init__(self, state: Sequence[Tensor] = ()) -> None:
        self.state = list(state)
        self._layer = 0

    def begin(self) -> None:
        """Before each part."""
        self._layer = 0

    def _conv1d(self, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        # of one frame, a product of matrices: convolutions rearrange their weights in every call
        size = weight.shape[2]
        count = x.shape[TIME] - dilation * (size - 1)
        if size > 1:
            taps = [x[:, :, k * dilation : k * dilation + count] for k in range(size)]
            x = torch.stack(taps, dim=2).flatten(1, 2)
        y = weight.flatten(1) @ x
        return y if bias is None else y.add_(bias[:, None])

    def _after(self, x: Tensor, count: int) -> Tensor:
        if not count:
            return x
        if self._layer < len(self.state):
            x = torch.cat([self.state[self._layer], x], dim=TIME)
        else:
            x = super()._after(x, count)
        self.state[self._layer : self._layer + 1] = [x[:, :, -count:]]
        self._layer += 1
        return x
