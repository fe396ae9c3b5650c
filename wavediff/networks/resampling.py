"""Strided convolutions that change the rate by a factor, and how far they see."""

from __future__ import annotations

from torch import nn

Span = tuple[int, int]  # first and last frame


def _kernel(stride: int) -> tuple[int, int]:
    """(taps, padding): each frame is seen by two of the other rate's, or by three for stride 1."""
    odd = stride % 2
    return 2 * stride + odd, (stride + odd) // 2


def downsampler(inputs: int, outputs: int, stride: int) -> nn.Conv1d:
    """``[batch, inputs, frames]`` to ``frames / stride``, where ``stride`` divides ``frames``."""
    taps, padding = _kernel(stride)
    return nn.Conv1d(inputs, outputs, taps, stride, padding)


def upsampler(inputs: int, outputs: int, stride: int) -> nn.ConvTranspose1d:
    """``[batch, inputs, frames]`` to ``frames * stride``."""
    taps, padding = _kernel(stride)
    return nn.ConvTranspose1d(inputs, outputs, taps, stride, padding)


def seen_by_downsampler(span: Span, stride: int) -> Span:
    """The input frames that the output frames of ``span`` depend on."""
    taps, padding = _kernel(stride)
    return span[0] * stride - padding, span[1] * stride - padding + taps - 1


def seen_by_upsampler(span: Span, stride: int) -> Span:
    """The input frames that the output frames of ``span`` depend on."""
    taps, padding = _kernel(stride)
    return -((taps - 1 - padding - span[0]) // stride), (span[1] + padding) // stride


def widened(span: Span, reach: int) -> Span:
    """``reach`` frames more on either side."""
    return span[0] - reach, span[1] + reach


def reach_of(span: Span, frames: Span) -> int:
    """How far ``span`` goes beyond ``frames`` on its farther side."""
    return max(frames[0] - span[0], span[1] - frames[1])
