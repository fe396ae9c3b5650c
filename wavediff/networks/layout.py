"""The layout in memory of signals ``[batch, channels, time]``: channels innermost, or time.

On a CPU, oneDNN convolves signals whose channels are innermost up to five times as fast, as images
of height 1 in PyTorch's channels-last format. The rule is fixed: a choice by measurement would
differ from run to run, and with it the last digits of a result.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INNERMOST = {"cpu"}  # types of devices that convolve faster so; tools/bench_gpu.py measures GPUs


def channels_innermost(x: Tensor) -> Tensor:
    """``x [batch, channels, time]`` with channels innermost in memory where that is faster."""
    if x.device.type not in INNERMOST or x.shape[1] == 1 or torch.compiler.is_exporting():
        return x
    return x.mT.contiguous().mT


def has_channels_innermost(x: Tensor) -> bool:
    """Whether ``x [batch, channels, time]`` has this layout."""
    if torch.compiler.is_exporting():  # of a length that is not known
        return False
    return x.ndim == 3 and x.stride(1) == 1 and x.stride(2) >= x.shape[1] > 1


def conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: int = 0, dilation: int = 1
) -> Tensor:
    """``torch.nn.functional.conv1d`` for ``x [batch, channels, time]`` in either layout."""
    if not has_channels_innermost(x):
        return F.conv1d(x, weight, bias, padding=padding, dilation=dilation)
    if weight.shape[2] == 1 and x.device.type == "cpu":
        dilation = 2  # changes nothing, but PyTorch leaves only dilated ones of size 1 to oneDNN
    image, kernel = x.unsqueeze(2), weight.unsqueeze(2)
    return F.conv2d(image, kernel, bias, padding=(0, padding), dilation=(1, dilation)).squeeze(2)


def conv1d_halves(x: Tensor, layer: nn.Conv1d) -> tuple[Tensor, Tensor]:
    """The two halves of the channels of ``layer(x)``, for a kernel of size 1."""
    weights = layer.weight.chunk(2)
    biases = layer.bias.chunk(2) if layer.bias is not None else (None, None)
    first, second = (conv1d(x, w, b) for w, b in zip(weights, biases, strict=True))
    return first, second
