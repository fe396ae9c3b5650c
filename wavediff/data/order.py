"""The order of the examples of an epoch."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Protocol

import numpy as np

from wavediff.errors import UserError


class Order(Protocol):
    """Which clips the samples of a run are taken from."""

    def __len__(self) -> int:
        """Return the number of samples of an epoch.

        Raises:
            TypeError: if it is not known yet.
        """

    def candidates(self, index: int) -> Iterator[int]:
        """Yield the number of the clip of sample ``index``, and of those to use if it is bad."""


class Shuffled:
    """All clips in a random order, another one in each epoch.

    Args:
        numbers: of the clips; one that is repeated is drawn as often.
        seed: of the order.
    """

    def __init__(self, numbers: np.ndarray, seed: int) -> None:
        self.numbers, self.seed = numbers, seed

    def __len__(self) -> int:
        return len(self.numbers)

    def candidates(self, index: int) -> Iterator[int]:
        """Yield the clips from that of the sample on, in the order of the epoch."""
        epoch, position = divmod(index, len(self))
        order = epoch_order(self.seed, epoch, len(self))
        return (int(self.numbers[order[(position + k) % len(self)]]) for k in range(len(self)))


class ShuffledShards:
    """Shards in a random order, and the clips of each ``window`` of them in a random order.

    Only the shards of one window are needed at a time, and only shards that were read before it
    need be counted. The order is a function of the seed, the epoch and the shards alone: any
    process can go to any place in it.

    Args:
        numbers: the clips of a shard, by its number.
        shards: the number of shards.
        window: the number of shards whose clips are shuffled together.
        seed: of the order.
    """

    def __init__(
        self,
        numbers: Callable[[int], np.ndarray],
        shards: int,
        window: int,
        seed: int,
    ) -> None:
        self.numbers, self.seed = numbers, seed
        self.shards, self.window = shards, min(window, shards)
        self.counts: list[int | None] = [None] * shards
        self.known = 0  # number of the counts that are
        self._found: list[tuple[int, int, int, int, np.ndarray]] = []  # the last two windows

    def __len__(self) -> int:
        if self.known < self.shards:
            raise TypeError("not all shards are counted")
        return sum(count or 0 for count in self.counts)

    def count_all(self) -> int:
        """Count the clips of every shard, and return the number of all."""
        return sum(map(self.count, range(self.shards)))

    def count(self, shard: int) -> int:
        """Return the number of clips of a shard."""
        count = self.counts[shard]
        if count is None:
            count = self.counts[shard] = len(self.numbers(shard))
            self.known += 1
        return count

    def entered(self, epoch: int, shards: Sequence[int], following: Sequence[int]) -> None:
        """Called before a window is used, with its shards and those of the next window."""

    def candidates(self, index: int) -> Iterator[int]:
        """Yield the clips from that of the sample on, those of its window first."""
        start, _, epoch, window, clips = self._window_of(index)
        for k in range(len(clips)):
            yield int(clips[(index - start + k) % len(clips)])
        windows = len(self._windows(epoch))
        for k in range(1, windows):
            yield from map(int, self._clips(epoch, (window + k) % windows))

    def _window_of(self, index: int) -> tuple[int, int, int, int, np.ndarray]:
        """Return (first sample, sample behind the last, epoch, number, clips) of a window."""
        for found in self._found:
            if found[0] <= index < found[1]:
                return found
        start, epoch = 0, 0
        while True:
            if self.known == self.shards:
                if not (total := len(self)):
                    raise UserError(
                        "there is nothing to train on: no shard has a clip that can be used."
                    )
                epoch = index // total
                start = epoch * total
            windows = self._windows(epoch)
            for number, shards in enumerate(windows):
                stop = start + sum(map(self.count, shards))
                if start <= index < stop:
                    following = windows[number + 1 :] or self._windows(epoch + 1)
                    self.entered(epoch, self._with_empty(windows, number), following[0])
                    found = start, stop, epoch, number, self._clips(epoch, number)
                    self._found = [found, *self._found[:1]]
                    return found
                start = stop

    def _with_empty(self, windows: Sequence[Sequence[int]], number: int) -> list[int]:
        """Return the shards of a window, and of those without clips before it or at the end."""
        first, last = number, number + 1
        while first and not any(map(self.count, windows[first - 1])):
            first -= 1
        if all(self.counts[shard] == 0 for shard in chain(*windows[last:])):
            last = len(windows)
        return list(chain(*windows[first:last]))

    def _windows(self, epoch: int) -> list[list[int]]:
        order = np.random.default_rng((self.seed, 5, epoch)).permutation(self.shards).tolist()
        return [order[k : k + self.window] for k in range(0, self.shards, self.window)]

    def _clips(self, epoch: int, window: int) -> np.ndarray:
        shards = self._windows(epoch)[window]
        clips = np.concatenate([self.numbers(shard) for shard in shards])
        clips = np.random.default_rng((self.seed, 6, epoch, window)).permutation(clips)
        return clips


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of ``count`` examples in an epoch, a function of the seed and the epoch."""
    order: np.ndarray = np.random.default_rng((seed, 0, epoch)).permutation(count)
    return order
