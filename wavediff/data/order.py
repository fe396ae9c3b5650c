"""The order of the examples of an epoch."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of ``count`` examples in an epoch, a function of the seed and the epoch."""
    order: np.ndarray = np.random.default_rng((seed, 0, epoch)).permutation(count)
    return order
