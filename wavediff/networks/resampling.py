"""Strided convolutions that change the rate by a factor, and their receptive fields."""

from __future__ import annotations

from torch import nn

Span = tuple[int, int]  # first and last frame


def _kernel(stride: int) -> tuple[int, int]:
    """(kernel size, padding) such that the receptive fields of adjacent frames overlap."""
    odd = stride % 2
    return 2 * stride + odd, (stride + odd) // 2


def downsampler(inputs: int, outputs: int, stride: int) -> nn.Conv1d:
    """A convolution ``[batch, inputs, frames]`` to ``[batch, outputs, frames / stride]``."""
    kernel, padding = _kernel(stride)
    return nn.Conv1d(inputs, outputs, kernel, stride, padding)


def upsampler(inputs: int, outputs: int, stride: int) -> nn.ConvTranspose1d:
    """A convolution ``[batch, inputs, frames]`` to ``[batch, outputs, frames * stride]``."""
    kernel, padding = _kernel(stride)
    return nn.ConvTranspose1d(inputs, outputs, kernel, stride, padding)


def seen_by_downsampler(span: Span, stride: int) -> Span:
    """The input frames that the output frames of ``span`` depend on."""
    kernel, padding = _kernel(stride)
    return span[0] * stride - padding, span[1] * stride - padding + kernel - 1


def seen_by_upsampler(span: Span, stride: int) -> Span:
    """The input frames that the output frames of ``span`` depend on."""
    kernel, padding = _kernel(stride)
    return -((kernel - 1 - padding - span[0]) // stride), (span[1] + padding) // stride


def widened(span: Span, reach: int) -> Span:
    """``span`` with ``reach`` more frames on either side."""
    return span[0] - reach, span[1] + reach


def reach_of(span: Span, frames: Span) -> int:
    """The number of frames by which ``span`` exceeds ``frames``, on the side where it is larger."""
    return max(frames[0] - span[0], span[1] - frames[1])
