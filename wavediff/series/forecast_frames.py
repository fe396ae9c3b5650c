"""Forecasts as frames: quantiles of sample paths beside their time stamps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas

from wavediff.series.metrics import quantiles as sample_quantiles
from wavediff.series.series_set import SeriesSet


def forecast_frame(
    series: SeriesSet,
    samples: np.ndarray,
    quantiles: Sequence[float],
    *,
    items: Sequence[int] | None = None,
    as_written: bool = False,
) -> pandas.DataFrame:
    """Quantiles of the steps that follow the items.

    Args:
        series: that was forecast.
        samples: ``[samples, items, horizon, variables]``.
        quantiles: ascending, in [0, 1].
        items: numbers of the items; all by default.
        as_written: timestamps as the file that was read writes them, not as time stamps.
    """
    values = sample_quantiles(samples, quantiles)
    return quantiles_frame(series, values, quantiles, items=items, as_written=as_written)


def quantiles_frame(
    series: SeriesSet,
    values: np.ndarray,
    quantiles: Sequence[float],
    *,
    items: Sequence[int] | None = None,
    as_written: bool = False,
) -> pandas.DataFrame:
    """``forecast_frame`` of quantiles ``[quantiles, items, horizon, variables]``."""
    ahead = series.labels if as_written or series.time_is_year else series.times
    frames = []
    for place, number in enumerate(range(len(series)) if items is None else items):
        length = series.items[number].length
        columns = _begin(series, number, ahead(number, length, length + values.shape[2]))
        for v in range(len(series.variables)):
            columns |= _named(series, v, values[:, place, :, v], quantiles)
        frames.append(pandas.DataFrame(columns))
    return pandas.concat(frames, ignore_index=True)


def windows_frame(
    series: SeriesSet,
    origins: Sequence[tuple[int, int]],
    paths: Iterable[np.ndarray],
    quantiles: Sequence[float],
) -> pandas.DataFrame:
    """Quantiles of windows of the items, and what came.

    Args:
        series: that was forecast.
        origins: item and first step of each window.
        paths: ``[samples, variables, horizon]`` of each window.
        quantiles: ascending, in [0, 1].
    """
    frames = []
    for (number, origin), drawn in zip(origins, paths, strict=True):
        end = origin + drawn.shape[2]
        columns = _begin(series, number, series.times(number, origin, end))
        columns["cutoff"] = series.times(number, origin - 1, origin)[0]
        for v, variable in enumerate(series.variables):
            columns[variable] = series.items[number].values[v, origin:end]
            columns |= _named(series, v, sample_quantiles(drawn[:, v], quantiles), quantiles)
        frames.append(pandas.DataFrame(columns))
    return pandas.concat(frames, ignore_index=True)


def _begin(series: SeriesSet, number: int, times: pandas.Index) -> dict[str, Any]:
    columns: dict[str, Any] = {series.time_name: times}
    if series.names_items:
        columns[series.item_name] = series.items[number].name
    return columns


def _named(
    series: SeriesSet, v: int, values: np.ndarray, quantiles: Sequence[float]
) -> dict[str, np.ndarray]:
    """The columns ``NAME_q0.1``, ... of the quantiles ``[quantiles, horizon]`` of a variable."""
    return {f"{series.variables[v]}_q{q:g}": row for q, row in zip(quantiles, values, strict=True)}
