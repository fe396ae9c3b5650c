"""Calibration of intervals by the errors of earlier forecasts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEWEST = 20  # earlier forecasts without which nothing is calibrated
LEVEL = 0.8  # of the interval that is calibrated
LIMITS = 0.5, 4.0  # of the factors


def factors(forecasts: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> np.ndarray | None:
    """Factors on the distance of paths from their median, ``[horizon]``, not decreasing.

    Split conformal prediction (Vovk et al. 2005; as normalised scores, Lei et al. 2018) of the 80 %
    interval: the score of a step is the error of the median over the half width of the interval on
    the side of the error, and the factor is the (n + 1) 80 % / n quantile of its scores. Factors of
    later steps are raised to those of earlier ones by isotonic regression.

    Args:
        forecasts: samples ``[S, horizon]`` of each earlier forecast.
        targets: what came, ``[horizon]``, NaN where missing.

    Returns:
        None for fewer than ``FEWEST`` forecasts.
    """
    if len(forecasts) < FEWEST:
        return None
    paths, y = np.stack(forecasts, axis=1), np.stack(targets)
    low, median, high = np.quantile(paths, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=0)
    width = np.where(y > median, high - median, median - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(width > 0, np.abs(y - median) / width, np.where(y == median, 0, np.nan))
    found = np.ones(y.shape[1])
    counts = np.zeros(y.shape[1])
    for step in range(y.shape[1]):
        # neighbouring steps support each other
        near = scores[:, max(0, step - 1) : step + 2].ravel()
        near = near[~np.isnan(near)]
        n = counts[step] = len(near)
        if n:
            found[step] = np.quantile(near, min(1.0, math.ceil((n + 1) * LEVEL) / n))
    return np.clip(_isotonic(found, counts), *LIMITS)


def apply(paths: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """``paths [S, ..., horizon]`` moved from or towards their median by ``factors``."""
    median = np.median(paths, axis=0)
    return median + factors * (paths - median)


def _isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The closest sequence that does not decrease, by pooling adjacent violators."""
    blocks: list[list[float]] = []  # value, weight, steps
    for value, weight in zip(values, np.maximum(weights, 1e-9), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value, weight, steps = blocks.pop()
            earlier = blocks[-1]
            total = earlier[1] + weight
            earlier[0] = (earlier[0] * earlier[1] + value * weight) / total
            earlier[1], earlier[2] = total, earlier[2] + steps
    return np.concatenate([np.full(int(steps), value) for value, _, steps in blocks])
