"""Endless signals piece by piece: a buffer, and functions of finite reach."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class SignalBuffer:
    """The part ``start`` to ``stop`` of a signal ``[channels, time]`` that is still needed."""

    def __init__(self, channels: int) -> None:
        self._blocks: list[Array] = [np.zeros((channels, 0))]
        self.start = self.stop = 0

    def push(self, block: Array) -> None:
        self._blocks.append(block)
        self.stop += block.shape[1]

    def peek(self, start: int, stop: int | None = None) -> Array:
        """Samples at absolute positions; ``stop`` is by default the end of the buffer."""
        if len(self._blocks) > 1:  # concatenated on demand only: blocks may be short
            self._blocks = [np.concatenate(self._blocks, axis=1)]
        stop = self.stop if stop is None else stop
        return self._blocks[0][:, start - self.start : stop - self.start]

    def drop(self, start: int) -> None:
        """Release the samples before ``start``."""
        self._blocks = [self.peek(start).copy()]
        self.start = start

    def take(self, stop: int) -> Array:
        """Samples up to ``stop``, which are released."""
        if stop == self.start:
            return self._blocks[0][:, :0]
        taken = self.peek(self.start, stop)
        self.drop(stop)
        return taken


class Piecewise:
    """A function of a signal ``[channels, time]`` with a finite reach, applied piece by piece.

    Args:
        function: ``(piece, start, wanted, last) -> [outputs, time]`` of a piece that begins at the
            absolute position ``start`` and of which only the slice ``wanted`` is used; ``last``
            tells that it ends with the signal.
        inputs, outputs: channels of the signal and of the result.
        past, ahead: samples before and after a sample that its result depends on.
        size: samples of a piece's wanted part, cut at multiples of it; None uses all samples that
            are available.
        align: pieces start at multiples of it.
    """

    def __init__(
        self,
        function: Callable[[Array, int, slice, bool], Array],
        inputs: int,
        outputs: int,
        past: int,
        ahead: int,
        size: int | None = None,
        align: int = 1,
    ) -> None:
        self.function, self.past, self.ahead = function, past, ahead
        self.size, self.align = size, align
        self.done = 0
        self._input, self._outputs = SignalBuffer(inputs), outputs

    def push(self, block: Array) -> Array:
        """Add ``[channels, n]``, return the results ``[outputs, m]`` that are complete."""
        self._input.push(block)
        ready = self._input.stop - self.ahead
        parts = []
        while ready >= self.done + (self.size or 1):
            parts.append(self._piece(self.done + self.size if self.size else ready, ended=False))
        return self._concatenated(parts)

    def finish(self) -> Array:
        """The remaining results, at the end of the signal."""
        parts = []
        while self.done < self._input.stop:
            stop = self.done + self.size if self.size else self._input.stop
            parts.append(self._piece(min(stop, self._input.stop), ended=True))
        return self._concatenated(parts)

    def _piece(self, stop: int, ended: bool) -> Array:
        """The results up to ``stop``."""
        start = self._input.start
        right = min(stop + self.ahead, self._input.stop)
        wanted = slice(self.done - start, stop - start)
        last = ended and right == self._input.stop
        out = self.function(self._input.peek(start, right), start, wanted, last)[:, wanted]
        self.done = stop
        self._input.drop(max(start, (stop - self.past) // self.align * self.align))
        return out

    def _concatenated(self, parts: list[Array]) -> Array:
        return np.concatenate(parts, axis=1) if parts else np.zeros((self._outputs, 0))


def seconds_to_samples(seconds: float, sample_rate: int) -> int:
    """Samples that cover ``seconds``."""
    return int(np.ceil(seconds * sample_rate))
