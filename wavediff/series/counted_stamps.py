"""Time columns of numbers: years, dates as 20240131, seconds since 1970, or steps."""

from __future__ import annotations

import numpy as np
import pandas

from wavediff.series.date_formats import parsed

SCALES = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}  # microseconds
FORMATS = {"day": "%Y%m%d", "month": "%Y%m"}
STEPS = {"t", "step", "timestep"}  # names of columns that count steps
LAST = 253402300800e6  # the end of the year 9999, in microseconds
LARGEST_STEP = 2.0**53


def kind_of(sample: pandas.Series, name: str) -> str:
    """What numbers in a time column count.

    More than half of them decide on dates; the others are refused later.

    Args:
        sample: its first values.
        name: of the column.

    Returns:
        ``year``, ``month`` (as 202401), ``day`` (as 20240131), a unit since 1970 (``s`` to ``ns``)
        or ``step``.
    """
    values = sample.to_numpy(np.float64, na_value=np.nan)
    values = values[np.isfinite(values)]
    if not len(values):
        return "step"
    name = name.strip().lower()
    low, high = values.min(), values.max()
    usual = np.median(values)
    if name in {"year", "years"}:
        return "year" if usual >= 100 else "step"
    if name not in STEPS and low >= 1500 and high <= 2200:
        return "year"
    months = _within(values, 12)
    if name not in STEPS and low >= 150001 and high < 220100 and months.mean() > 0.5:
        return "month"
    days = _within(values, 31) & _within(values // 100, 12)
    if name not in STEPS and low >= 15000101 and high < 22010000 and days.mean() > 0.5:
        return "day"
    for unit, scale in SCALES.items():
        if 1e14 < usual * scale < 1e16:
            return unit
    return "step"


def _within(values: np.ndarray, most: int) -> np.ndarray:
    """Whether the last two digits are 1 to ``most``."""
    return (values % 100 >= 1) & (values % 100 <= most)


def times(column: pandas.Series, kind: str) -> np.ndarray:
    """datetime64[us], NaT for numbers that are not of the kind; steps are int64 instead.

    Args:
        column: numbers.
        kind: of ``kind_of``, but for ``step``.
    """
    values = column.to_numpy(np.float64, na_value=np.nan)
    if kind == "year":
        good = (values >= 1) & (values <= 9999) & (values == np.rint(values))
        years = np.where(good, values, 1970).astype(int) - 1970
        found = years.astype("M8[Y]").astype("M8[us]")
    elif kind in FORMATS:
        good = (values >= 0) & (values < 1e8) & (values == np.rint(values))
        text = pandas.Series(np.where(good, values, 0).astype(np.int64)).astype(str)
        found = parsed(text, FORMATS[kind]).as_unit("us").to_numpy().copy()
    else:
        scale = SCALES[kind]
        good = (np.abs(values) * scale < LAST) & (np.abs(values) < 2.0**63)
        if column.dtype.kind in "iu":  # exact
            whole = np.where(good, column.to_numpy(), 0).astype(np.int64)
            found = whole // 1000 if kind == "ns" else whole * int(scale)
        else:
            found = np.rint(np.where(good, values, 0) * scale).astype(np.int64)
        found = found.astype("M8[us]")
    found[~good] = np.datetime64("NaT")
    return found


def steps(column: pandas.Series) -> tuple[np.ndarray, np.ndarray]:
    """(int64 numbers of steps, where they are not whole numbers of a size that can be counted)."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    good = (np.abs(values) < LARGEST_STEP) & (values == np.rint(values))
    return np.where(good, values, 0).astype(np.int64), ~good
