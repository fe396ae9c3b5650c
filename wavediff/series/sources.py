"""What people hold series in: paths, frames, arrays, lists and dicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from wavediff.errors import UserError, shorten
from wavediff.series import frequency
from wavediff.series.series_set import Series, SeriesSet


def table_or_array(source: Any) -> tuple[Any, list[str] | None]:
    """(a path, frame or array, names of an array's variables) for what people hold.

    Raises:
        UserError: for anything else.
    """
    kind = type(source)
    if kind.__module__.partition(".")[0] == "torch":
        source = source.detach().cpu().numpy()
    if kind.__module__.partition(".")[0] == "polars":
        source = getattr(source, "collect", lambda: source)().to_pandas()  # of a LazyFrame too
    if isinstance(source, pandas.Series):
        name = "value" if source.name is None else str(source.name)
        if isinstance(source.index, pandas.DatetimeIndex | pandas.PeriodIndex):
            return source.to_frame(name), None
        source = {name: source.to_numpy()}
    if isinstance(source, Mapping):
        columns = {str(name): np.asarray(values) for name, values in source.items()}
        shapes = {values.shape for values in columns.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            found = ", ".join(f"{name} {list(x.shape)}" for name, x in columns.items()) or "none"
            raise UserError(
                f"a dict of arrays has one length for all of them, not {shorten(found)}"
            )
        if all(values.dtype.kind in "fiub" for values in columns.values()):
            return np.stack(list(columns.values()), axis=1), list(columns)
        return pandas.DataFrame(columns), None
    if isinstance(source, list | tuple):
        try:
            source = np.asarray(source, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UserError(
                "a list of series has numbers, in lists of one length: give an array or a frame"
            ) from error
    if not isinstance(source, str | Path | pandas.DataFrame | np.ndarray):
        raise UserError(
            f"a {kind.__name__} is no table: give a CSV or Parquet file, a frame or series of "
            "pandas or polars, or an array"
        )
    return source, None


def of_array(values: np.ndarray, freq: str | None) -> SeriesSet:
    """The series of an array ``[T]``, ``[T, V]`` or ``[N, T, V]``.

    Raises:
        UserError: for another shape, no value or one that is too large.
    """
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "fiub":
        raise UserError(
            f"an array of {values.dtype} of shape {list(values.shape)} is not a series: give "
            "numbers as [steps], [steps, variables] or [items, steps, variables]"
        )
    values = values.astype(np.float64)
    if (np.abs(values) > 1e37).any():
        raise UserError("the array has values above 1e37 or infinite ones: make them NaN (missing)")
    if np.isnan(values).all():
        raise UserError("the array has no value: all of them are NaN")
    start = 0 if freq is None else frequency.first(pandas.Timestamp("2000-01-01"), freq)
    items = [Series(str(i), start, np.ascontiguousarray(each.T)) for i, each in enumerate(values)]
    return SeriesSet(items, [f"v{i}" for i in range(values.shape[2])], freq)
