"""DiffWave's residual stack on a CPU: matrix products over tiles of time that stay in the cache.

The same mathematics as ``DiffWave.blocks`` one after another, arranged so that little is moved:

- A tile's taps of the dilated convolution (and the local condition) are gathered into one matrix
  of columns, so that a block is matrix products only, which run faster than convolutions.
- tanh v = 2 (r - 1/2) with r = sigmoid(2 v), which is several times as fast.
- What is constant in time (biases of the residual outputs, the step's embedding) is not added to
  the signal but carried beside it as a ``shift``, added where columns are gathered.

Signals are ``[channels, batch, time]``: every tile is a range of columns of a matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

COLUMNS = 1024  # of a tile
SCALE = math.sqrt(0.5)  # of each block's residual output


class Weights(NamedTuple):
    """Of one block, as matrices.

    Attributes:
        inner: ``[2 width, width * kernel_size + local]``: the dilated convolution, then the local
            condition's projection.
        bias: ``[2 width]``, of both.
        outer: ``[2 width, width]``: residual rows, then skip rows.
    """

    inner: Tensor
    bias: Tensor
    outer: Tensor


@dataclass(frozen=True)
class Tile:
    """Frames ``start`` to ``stop`` of ``items``; these are ``columns`` of the whole."""

    items: slice
    start: int
    stop: int
    columns: slice

    @property
    def size(self) -> int:
        return self.columns.stop - self.columns.start


def tiles(batch: int, length: int) -> Iterator[Tile]:
    """Parts of one item where it is long, else several whole items."""
    if length >= COLUMNS:
        for item in range(batch):
            for start in range(0, length, COLUMNS):
                stop = min(start + COLUMNS, length)
                columns = slice(item * length + start, item * length + stop)
                yield Tile(slice(item, item + 1), start, stop, columns)
    else:
        group = COLUMNS // length
        for first in range(0, batch, group):
            last = min(first + group, batch)
            columns = slice(first * length, last * length)
            yield Tile(slice(first, last), 0, length, columns)


class Columns:
    """What the taps of a dilated convolution see, as a matrix for each tile.

    Args:
        like: ``[width, batch, time]``, a signal of the kind.
        rows: of a column, ``width * kernel_size + local``.
    """

    def __init__(self, like: Tensor, rows: int, kernel_size: int) -> None:
        self.width, batch, self.length = like.shape
        self.kernel_size = kernel_size
        self.tiles = list(tiles(batch, self.length))
        self.memory = like.new_empty(rows, min(COLUMNS, batch * self.length))

    def room(self, tile: Tile) -> Tensor:
        """``[rows, columns of the tile]``, used again for the next one."""
        return self.memory[:, : tile.size]

    def _parts(self, columns: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        """Rows of the taps ``[width, kernel_size, items, time]``, and of the local condition."""
        items, taps = tile.items.stop - tile.items.start, self.kernel_size * self.width
        columns = columns.unflatten(1, (items, tile.stop - tile.start))
        return columns[:taps].unflatten(0, (self.width, self.kernel_size)), columns[taps:]

    def _taps(self, tile: Tile, dilation: int) -> Iterator[tuple[int, slice, slice]]:
        """(k, frames of the tile, the frames that they see through tap k), where these exist."""
        for k in range(self.kernel_size):
            offset = k * dilation - dilation * (self.kernel_size - 1) // 2
            low, high = max(tile.start + offset, 0), min(tile.stop + offset, self.length)
            here = low - offset - tile.start
            if high > low:
                yield k, slice(here, here + high - low), slice(low, high)

    def gather(
        self, x: Tensor, shift: Tensor, local: Tensor | None, tile: Tile, dilation: int
    ) -> Tensor:
        """``x + shift [width, batch]``, zero outside, through each tap; then ``local``."""
        columns = self.room(tile)
        rows, rest = self._parts(columns, tile)
        reach = dilation * (self.kernel_size - 1) // 2
        if tile.start < reach or tile.stop > self.length - reach:
            rows.zero_()
        shift = shift[:, tile.items, None]
        for k, here, there in self._taps(tile, dilation):
            torch.add(x[:, tile.items, there], shift, out=rows[:, k, :, here])
        if local is not None:
            rest.copy_(local[:, tile.items, tile.start : tile.stop])
        return columns

    def scatter_add(
        self, columns: Tensor, x: Tensor, local: Tensor | None, tile: Tile, dilation: int
    ) -> None:
        """The transpose of ``gather``: add what the columns hold to ``x`` and ``local``."""
        rows, rest = self._parts(columns, tile)
        for k, here, there in self._taps(tile, dilation):
            x[:, tile.items, there] += rows[:, k, :, here]
        if local is not None:
            local[:, tile.items, tile.start : tile.stop] += rest


def stack(
    x: Tensor,
    shifts: Sequence[Tensor],
    local: Tensor | None,
    weights: Sequence[Weights],
    dilations: Sequence[int],
    kernel_size: int,
    projected: Iterable[Tensor | None] | None = None,
    kept: list[Tensor] | None = None,
) -> Tensor:
    """Sum of the blocks' skip outputs, without their biases, like ``x``.

    Args:
        x: ``[width, batch, time]``, input of the first block.
        shifts: ``[width, batch]`` per block, what its convolution sees on top of its input.
        local: ``[local, batch, time]``, where ``weights.inner`` has rows for it.
        dilations: of each block.
        projected: ``[batch, 2 width, time]`` per block: the local condition's projection and the
            bias, both taken from there.
        kept: receives the input and the gates of each block.
    """
    width = len(x)
    total, spare = torch.zeros_like(x), torch.empty_like(x)
    columns = Columns(x, weights[0].inner.shape[1], kernel_size)
    gates = x.new_empty(2 * width, columns.memory.shape[1])
    additions = [None] * len(weights) if projected is None else projected
    for shift, w, dilation, added in zip(shifts, weights, dilations, additions, strict=True):
        residual, skip = w.outer.split(width)
        bias = w.bias[:, None]
        if kept is not None:
            gates, spare = x.new_empty(2 * width, x[0].numel()), torch.empty_like(x)
        old, new, sums = x.flatten(1), spare.flatten(1), total.flatten(1)
        for tile in columns.tiles:
            at = tile.columns
            seen = columns.gather(x, shift, local, tile, dilation)
            if added is not None:
                bias = added[tile.items, :, tile.start : tile.stop].transpose(0, 1).flatten(1)
            y = gates[:, : tile.size] if kept is None else gates[:, at]
            torch.addmm(bias, w.inner, seen, out=y)
            s, r = y.split(width)
            r.mul_(2)
            y.sigmoid_()
            z = (r - 0.5).mul_(s)  # half of sigmoid(gate) tanh(value)
            torch.addmm(old[:, at], residual, z, beta=SCALE, alpha=2 * SCALE, out=new[:, at])
            sums[:, at].addmm_(skip, z, alpha=2)
        if kept is not None:
            kept += [x, gates]
        x, spare = spare, x
    return total


class DifferentiableStack(torch.autograd.Function):
    """``stack`` with its gradients; keeps only each block's input and gates."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shifts: Tensor,
        local: Tensor | None,
        dilations: Sequence[int],
        kernel_size: int,
        *matrices: Tensor,
    ) -> Tensor:
        """``matrices``: the ``Weights`` of all blocks, one after another."""
        kept: list[Tensor] = []
        weights = _weights(matrices)
        total = stack(x, shifts, local, weights, dilations, kernel_size, kept=kept)
        ctx.dilations, ctx.kernel_size = dilations, kernel_size
        ctx.save_for_backward(shifts, local, *matrices, *kept)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        shifts, local, *saved = ctx.saved_tensors
        matrices, kept = saved[: 3 * len(shifts)], saved[3 * len(shifts) :]
        weights = _weights(matrices)
        d_total = d_total.contiguous()
        width = len(d_total)
        d_x = torch.zeros_like(d_total)
        d_shifts = torch.empty_like(shifts)
        d_local = torch.zeros_like(local) if ctx.needs_input_grad[2] else None
        d_matrices = [torch.zeros_like(m) for m in matrices]
        d_weights = _weights(d_matrices)
        columns = Columns(d_x, weights[0].inner.shape[1], ctx.kernel_size)
        for i in reversed(range(len(weights))):
            x, gates, dilation = kept[2 * i], kept[2 * i + 1], ctx.dilations[i]
            w, d_w = weights[i], d_weights[i]
            d_x.mul_(SCALE)
            d_seen = torch.zeros_like(d_x)  # gradient of x by way of the convolution
            for tile in columns.tiles:
                at = tile.columns
                y = gates[:, at]
                s, r = y.split(width)
                half = r - 0.5
                d_out = torch.cat([d_x.flatten(1)[:, at], d_total.flatten(1)[:, at]])
                d_w.outer.addmm_(d_out, (s * half).T, alpha=2)
                d_z = torch.mm(w.outer.T, d_out)
                d_y = torch.cat([(d_z * half).mul_(2), d_z.mul_(s).mul_(4)])
                d_y = torch.ops.aten.sigmoid_backward(d_y, y)
                d_w.bias.add_(d_y.sum(1))
                d_w.inner.addmm_(d_y, columns.gather(x, shifts[i], local, tile, dilation).T)
                d_columns = torch.mm(w.inner.T, d_y, out=columns.room(tile))
                columns.scatter_add(d_columns, d_seen, d_local, tile, dilation)
            torch.sum(d_seen, -1, out=d_shifts[i])
            d_x += d_seen
        return d_x, d_shifts, d_local, None, None, *d_matrices


def _weights(matrices: Sequence[Tensor]) -> list[Weights]:
    return [Weights(*matrices[i : i + 3]) for i in range(0, len(matrices), 3)]
