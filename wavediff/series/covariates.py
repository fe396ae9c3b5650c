"""Known covariates: their values in the horizon, and their effect on a series."""

from __future__ import annotations

import numpy as np

from wavediff.errors import UserError, shorten
from wavediff.series.series_set import SeriesSet

RIDGE = 1.0  # prior precision of an effect, in units of standardised covariates and values


def effect(values: np.ndarray, covariates: np.ndarray, season: int) -> np.ndarray:
    """What the covariates add to a series, ``[T + horizon]``, up to a constant.

    Ridge regression of seasonal differences on those of the covariates, which neither a level nor a
    season disturbs: y_t - y_{t-m} = beta (x_t - x_{t-m}) + e. It is zero where fewer than three
    differences for each covariate are known.

    Args:
        values: ``[T]``, NaN where missing.
        covariates: ``[K, T + horizon]``, finite.
        season: m, in steps.
    """
    length = len(values)
    m = season if length >= 3 * season else 1
    dy = values[m:] - values[:-m]
    dx = (covariates[:, m:length] - covariates[:, : length - m]).T
    known = np.isfinite(dy) & np.isfinite(dx).all(1)
    scale = dx[known].std(0)
    varies = scale > 1e-12 * np.abs(covariates).max(1, initial=1)
    if known.sum() < 3 * max(1, varies.sum()) or not varies.any():
        return np.zeros(covariates.shape[1])
    x = dx[known][:, varies] / scale[varies]
    y = dy[known]
    spread = np.abs(y - np.median(y)).mean() or 1.0
    y = np.clip(y, *(np.median(y) + 6 * spread * np.array([-1, 1])))  # outliers do not rule
    beta = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y) / scale[varies]
    return beta @ covariates[varies]


def until(series: SeriesSet, number: int, end: int) -> np.ndarray:
    """The covariates of an item up to a step, that one not included, ``[K, end]``.

    Raises:
        UserError: where one has no value for a step, which is named.
    """
    item = series.items[number]
    known = np.zeros((0, 0)) if item.known is None else item.known
    cut = known[:, :end]
    for name, line in zip(series.known_names, cut, strict=True):
        given = np.isfinite(line)
        if given.sum() < end:
            first = len(line) if given.all() else int(np.argmin(given))
            stamp = series.labels(number, first, first + 1)[0]
            raise UserError(
                f"{shorten(item.name)}: the known column {shorten(name)} has no value for "
                f"{stamp}, which is inside the horizon: give rows with it for the whole horizon, "
                "with the other columns empty"
            )
    return cut


def continued(known: np.ndarray, end: int) -> np.ndarray:
    """``known [K, T]`` with the last value of each row repeated, ``[K, at least end]``."""
    known = np.pad(known, ((0, 0), (0, max(0, end - known.shape[1]))), constant_values=np.nan)
    last = np.where(np.isfinite(known), np.arange(known.shape[1]), 0)
    return np.take_along_axis(known, np.maximum.accumulate(last, axis=1), axis=1)
