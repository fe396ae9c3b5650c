"""Blocks between the audio callback and the model: each is played when it is due, or not at all.

    callback k:   input block k  --> waiting --> model --> ready --> output of block k - delay

The delay never changes: a block that comes late is replaced by silence and dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]  # [channels, samples]

CAUGHT_UP = 8  # blocks that wait and are computed at once; of more, only the newest is
MOST_WAITING = 256
MOST_PLAYED = 1 << 14
FADE = 4  # a late block begins, and what follows it, with a fade of this part of a block


class Blocks:
    """The exchange of blocks ``[channels, block]``; the callback waits for nothing.

    Args:
        block: samples.
        channels: of the input and of the model.
        buffer: blocks of time that the model has for a block, 1 or more.

    Attributes:
        delay: blocks from an input to its output: one that the stream returns later by itself,
            and those of ``buffer``.
        count: calls of the callback.
        late, overflows, underflows: blocks that were not there when due, and calls before which
            the devices lost input or output.
    """

    def __init__(self, block: int, channels: int, buffer: int = 1) -> None:
        self.block, self.channels, self.delay = block, channels, 1 + buffer
        self.count = self.late = self.overflows = self.underflows = 0
        self._calls: deque[tuple[Block, Block]] = deque(maxlen=MOST_PLAYED)
        self._inputs: deque[Block] = deque()
        self._waiting: SimpleQueue[tuple[int, Block]] = SimpleQueue()
        self._silence = np.zeros((channels, block), np.float32)
        self._ready = [(-1, self._silence)] * (self.delay + 1)
        self._fade_in = np.ones(block, np.float32)
        length = max(1, block // FADE)
        self._fade_in[:length] = np.arange(length) / length
        self._last = self._silence
        self._missed = False

    def callback(self, indata: Block, outdata: Block, overflow: bool, underflow: bool) -> None:
        """Take the input ``[block, channels]`` and fill the output ``[block, any]``."""
        self.overflows += overflow
        self.underflows += underflow
        block = indata.T.copy()
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put((self.count, block))
        out = self._due(self.count - self.delay)
        outdata[:] = out.T
        self._calls.append((block, out))
        self._last = out
        self.count += 1

    def _due(self, index: int) -> Block:
        if index < 0:
            return self._silence
        found, out = self._ready[index % len(self._ready)]
        missed, self._missed = self._missed, found != index
        if self._missed:
            self.late += 1
            return (1 - self._fade_in) * self._last[:, -1:]
        return out * self._fade_in if missed else out

    def pairs(self) -> Iterator[tuple[Block, Block]]:
        """(input, what was played for it) since the last call; what nobody asks for is dropped."""
        for _ in range(len(self._calls)):
            block, out = self._calls.popleft()
            self._inputs.append(block)
            if len(self._inputs) > self.delay:
                yield self._inputs.popleft(), out

    def take(self, timeout: float) -> list[tuple[int, Block]]:
        """The blocks to compute next, with their indices: none after ``timeout`` seconds.

        Those that wait come at once, which costs less than one after the other. Of more than can
        be caught up with, only the newest comes: what it would be late by is dropped.
        """
        try:
            waiting = [self._waiting.get(timeout=timeout)]
        except Empty:
            return []
        waiting += [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        return waiting if len(waiting) <= CAUGHT_UP else waiting[-1:]

    def give(self, index: int, out: Block) -> None:
        """The output of the input block ``index``, in order; one that is late is never played."""
        self._ready[index % len(self._ready)] = index, out
