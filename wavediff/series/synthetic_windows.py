"""Windows of synthetic series, drawn as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor, from_numpy, tensor

from wavediff.errors import UserError
from wavediff.series.synthetic import FAMILIES, SECOND, series

CHUNK = 1024  # windows that are drawn together, with the same horizon and longest context
CONTEXTS = {24: 0.09, 48: 0.15, 96: 0.19, 192: 0.25, 384: 0.15, 640: 0.13, 1536: 0.04}
HORIZONS = {8: 0.2, 16: 0.2, 24: 0.3, 48: 0.2, 64: 0.1}
LONG, LONG_HORIZONS = 384, {8: 0.1, 16: 0.1, 24: 0.25, 48: 0.4, 64: 0.15}  # of long contexts


class SyntheticWindows:
    """An endless dataset: window i is a function of the seed and i.

    An item has ``values [longest context + horizon]``, NaN where missing and before the series
    begins, the ``periods [2]`` that the model is told, and the ``horizon``.

    Args:
        seed: of the series.
        families: weights by name of ``wavediff.series.synthetic.FAMILIES``; 0 leaves one out.
        stream: 0 for training; others are held out.

    Raises:
        UserError: for an unknown family, or none.
    """

    label_names = None  # windows belong to no class
    workers = 0

    def __init__(self, seed: int, families: Mapping[str, float], stream: int = 0) -> None:
        unknown = sorted(set(families) - set(FAMILIES))
        if unknown or not sum(families.values()) > 0 or min(families.values()) < 0:
            raise UserError(
                f"data.families is {dict(families)}: give weights of 0 or more to "
                f"{', '.join(FAMILIES)}"
            )
        self.families = {name: weight for name, weight in families.items() if weight > 0}
        self.seed, self.stream = seed, stream
        self._chunk = lru_cache(maxsize=2)(self._draw)

    def __len__(self) -> int:
        return CHUNK

    def __getitem__(self, index: int) -> dict[str, Any]:
        values, periods, horizon = self._chunk(index // CHUNK)
        row = index % CHUNK
        return {
            "values": values[row],
            "periods": periods[row],
            "horizon": tensor(horizon),
            "index": index,
        }

    def _draw(self, chunk: int) -> tuple[Tensor, Tensor, int]:
        rng = np.random.default_rng([self.seed, self.stream, chunk])
        length = int(rng.choice([*CONTEXTS], p=[*CONTEXTS.values()]))
        shares = LONG_HORIZONS if length >= LONG else HORIZONS
        horizons = {h: p for h, p in shares.items() if h <= length}
        weights = np.array([*horizons.values()])
        horizon = int(rng.choice([*horizons], p=weights / weights.sum()))
        values, period = series(rng, CHUNK, length + horizon, self.families)
        shortest = max(6, length // 3)
        begins = length - rng.integers(shortest, length + 1, CHUNK)
        values[np.arange(length + horizon) < begins[:, None]] = np.nan
        return from_numpy(values), from_numpy(told(rng, period)), horizon


def told(rng: np.random.Generator, period: np.ndarray) -> np.ndarray:
    """The periods that the model is told of series with a ``period``, int64 ``[n, 2]``.

    A calendar knows the longer season whether there is one or not; sometimes it knows none, or a
    wrong one.
    """
    n = len(period)
    factor = np.array([SECOND.get(int(p), 1) for p in period])
    longer = np.where((factor > 1) & (rng.random(n) < 0.8), period * factor, 1)
    lost, wrong = rng.random(n) < 0.07, rng.random(n) < 0.05
    shorter = np.where(wrong, rng.permutation(period), period)
    shorter, longer = np.where(lost, 1, shorter), np.where(lost | wrong, 1, longer)
    return np.stack([shorter, longer], 1).astype(np.int64)
