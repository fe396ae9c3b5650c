"""Gaussian noise as a pure function of a seed and of the item or the position.

It is drawn on the CPU for every device, so that results do not depend on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from wavediff.diffusion.transfer import like

_MASK = (1 << 64) - 1


def _generator(*keys: int) -> torch.Generator:
    """A generator seeded with a hash of ``keys`` (splitmix64; Steele et al. 2014)."""
    state = 0
    for key in keys:
        state = (state ^ (key & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return torch.Generator().manual_seed(state)


class ItemNoise:
    """Training noise: that of item b is a function of ``seed``, ``indices[b]`` and the stream.

    It does not depend on how samples are divided into batches: gradient accumulation, several
    processes and a resumed run give the same noise.

    Args:
        seed: of the run.
        indices: global sample index of each item of the batch.
    """

    def __init__(self, seed: int, indices: Sequence[int]) -> None:
        self.seed = int(seed)
        self.indices = [int(index) for index in indices]

    def generators(self, stream: int) -> list[torch.Generator]:
        """One generator per item."""
        return [_generator(self.seed, index, stream) for index in self.indices]

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Standard normal noise ``[batch, *shape]``, float32."""
        return torch.stack(
            [torch.randn(shape, generator=generator) for generator in self.generators(stream)]
        )

    def uniform(self, stream: int = 1) -> Tensor:
        """One number in [0, 1) per item, ``[batch]``, float64."""
        return torch.stack(
            [
                torch.rand((), generator=generator, dtype=torch.float64)
                for generator in self.generators(stream)
            ]
        )


@lru_cache(maxsize=8)  # a stream in short chunks takes a block many times
def _block(channels: int, length: int, *keys: int) -> Tensor:
    return torch.randn(channels, length, generator=_generator(*keys))


class PositionNoise:
    """Inference noise: that of a frame is a function of ``seed``, the draw and its position.

    A signal sampled in chunks gets the same noise as in one piece. All items of a batch share the
    noise, so that a result does not depend on the batch.

    Args:
        seed: of the result.
        offset: position of the first frame of the chunk in the signal.
    """

    def __init__(self, seed: int, offset: int = 0) -> None:
        self.seed = int(seed)
        self.offset = offset

    def __call__(self, x: Tensor, draw: int) -> Tensor:
        """Noise like ``x [batch, channels, time]``, number ``draw``; -1 is the initial noise."""
        channels, length = x.shape[-2:]
        block = max(1, 65_536 // channels)
        first, last = self.offset // block, (self.offset + length - 1) // block
        blocks = [
            _block(channels, block, self.seed, draw + 1, index) for index in range(first, last + 1)
        ]
        start = self.offset - first * block
        noise = torch.cat(blocks, dim=-1)[:, start : start + length]
        return like(noise, x).expand_as(x)
