"""DiffWave's gate as one Triton kernel: sigmoid(a) * tanh(b) of the sum with the local condition.

On a GPU the plain form in ``wavediff.networks.diffwave`` reads and writes the signal several times;
here it is read once and the result is written once. The plain form is the reference: results agree
to rounding, in both layouts of ``wavediff.networks.layout``.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wavediff.networks.diffwave import ResidualBlock
from wavediff.networks.layout import has_channels_innermost

BLOCK = 1024  # results of a program


def fuse_gates(network: nn.Module) -> int:
    """Let the gates of a network be computed by the kernel from now on; return how many there are.

    Networks without a gate stay as they are.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    for block in blocks:
        block.gate = gated
    return len(blocks)


def gated(y: Tensor, local: Tensor | None = None) -> Tensor:
    """sigmoid of the first half of the channels of ``y + local`` times tanh of the second.

    Args:
        y: ``[samples items, 2 width, time]`` in either layout.
        local: ``[items, 2 width, time]``; ``y`` may hold several samples of each item, with all
            items of a sample together. None for none.

    Returns:
        ``[samples items, width, time]`` in the layout of ``y``.
    """
    if torch.is_grad_enabled() and (y.requires_grad or (local is not None and local.requires_grad)):
        return _Gate.apply(y, local)
    return _forward(y, local, None)


class _Gate(torch.autograd.Function):
    """``gated`` for training; saves sigmoid and tanh, a single tensor like y."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, local: Tensor | None) -> Tensor:
        factors = torch.empty_like(_dense(y))
        out = _forward(y, local, factors)
        ctx.save_for_backward(factors)
        ctx.items = None if local is None else len(local)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        (factors,) = ctx.saved_tensors
        grad = _in_layout_of(factors, grad)
        grads = torch.empty_like(factors)
        if grad.numel():
            _backward_kernel[_programs(grad)](
                factors, grad, grads, grad.numel(), _inner(factors), WIDE=_wide(grad), BLOCK=BLOCK
            )
        if ctx.items is None:
            return grads, None
        if ctx.items == len(grads):
            return grads, grads
        return grads, grads.unflatten(0, (-1, ctx.items)).sum(0)


def _forward(y: Tensor, local: Tensor | None, factors: Tensor | None) -> Tensor:
    y = _dense(y)
    batch, channels, time = y.shape
    if has_channels_innermost(y):
        out = y.new_empty(batch, time, channels // 2).mT
    else:
        out = y.new_empty(batch, channels // 2, time)
    if not out.numel():
        return out
    if local is not None:
        local = _in_layout_of(y, local.to(y.dtype))
    _forward_kernel[_programs(out)](
        y,
        y if local is None else local,
        out,
        y if factors is None else factors,
        out.numel(),
        _inner(y),
        y.numel() if local is None else local.numel(),
        ADD=local is not None,
        SAVE=factors is not None,
        WIDE=_wide(y),
        BLOCK=BLOCK,
    )
    return out


def _dense(y: Tensor) -> Tensor:
    """``y`` without gaps in memory, in its layout."""
    return _in_layout_of(y, y)


def _in_layout_of(y: Tensor, x: Tensor) -> Tensor:
    """``x [batch, channels, time]`` without gaps in memory, in the layout of ``y``."""
    return x.mT.contiguous().mT if has_channels_innermost(y) else x.contiguous()


def _inner(y: Tensor) -> int:
    """Consecutive values of one half of the channels."""
    return y.shape[1] // 2 * (1 if has_channels_innermost(y) else y.shape[2])


def _wide(x: Tensor) -> tl.dtype:
    """The type to compute in."""
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _programs(out: Tensor) -> tuple[int]:
    return (triton.cdiv(out.numel(), BLOCK),)


# without annotations, which Triton would evaluate


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _positions(size, inner, BLOCK: tl.constexpr):
    """(number of the result, place of its first half in y, whether it exists)."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return i, i + (i // inner) * inner, i < size


@triton.jit
def _forward_kernel(
    y_ptr, local_ptr, out_ptr, factors_ptr,
    size, inner, local_size,
    ADD: tl.constexpr, SAVE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, first, there = _positions(size, inner, BLOCK)
    a = tl.load(y_ptr + first, mask=there, other=0).to(WIDE)
    b = tl.load(y_ptr + first + inner, mask=there, other=0).to(WIDE)
    if ADD:
        a += tl.load(local_ptr + first % local_size, mask=there, other=0).to(WIDE)
        b += tl.load(local_ptr + (first + inner) % local_size, mask=there, other=0).to(WIDE)
    gate = _sigmoid(a)
    value = 2 * _sigmoid(2 * b) - 1
    if SAVE:
        tl.store(factors_ptr + first, gate, mask=there)
        tl.store(factors_ptr + first + inner, value, mask=there)
    tl.store(out_ptr + i, gate * value, mask=there)


@triton.jit
def _backward_kernel(
    factors_ptr, grad_ptr, grads_ptr, size, inner,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i, first, there = _positions(size, inner, BLOCK)
    gate = tl.load(factors_ptr + first, mask=there, other=0).to(WIDE)
    value = tl.load(factors_ptr + first + inner, mask=there, other=0).to(WIDE)
    grad = tl.load(grad_ptr + i, mask=there, other=0).to(WIDE)
    tl.store(grads_ptr + first, grad * value * gate * (1 - gate), mask=there)
    tl.store(grads_ptr + first + inner, grad * gate * (1 - value * value), mask=there)
