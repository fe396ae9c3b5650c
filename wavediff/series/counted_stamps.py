"""Time columns of numbers: years, dates as 20240131, seconds since 1970, or steps."""

from __future__ import annotations

import re

import numpy as np
import pandas

from wavediff.series.date_formats import parsed

SCALES = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}  # microseconds
FORMATS = {
    "month": "%Y%m", "day": "%Y%m%d", "hour": "%Y%m%d%H", "minute": "%Y%m%d%H%M",
    "second": "%Y%m%d%H%M%S", "day first": "%d%m%Y", "month first": "%m%d%Y",
    "short year": "%y%m%d", "day of year": "%Y%j",
}  # fmt: skip
TEMPLATES = {"quarter": "{y}{q}", "week": "{y}{w:02}"}  # as 20201 and 202052
FACTORS = {"quarter": (10, 4), "week": (100, 53)}
EXCEL, EXCEL_EPOCH = "excel", 25569  # days from 1899-12-30, where Excel begins, to 1970
EXCEL_DAYS = 36526, 55153  # of the years 2000 to 2050
DAY_NAME = re.compile(r"date|datum|fecha|day|tag\b|jour", re.IGNORECASE)
CLOCK = {"day": (), "hour": (23,), "minute": (59, 23), "second": (59, 59, 23)}  # from the end on
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
        ``year``, a kind of ``FORMATS``, a unit since 1970 (``s`` to ``ns``), ``excel`` (days of a
        spreadsheet) or ``step``.
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
    if name not in STEPS and (values == np.rint(values)).all():
        for kind in FORMATS:
            if _share(values, kind) > (0.99 if kind in ("short year", "day of year") else 0.5):
                return kind
        if DAY_NAME.search(name) and low >= EXCEL_DAYS[0] and high <= EXCEL_DAYS[1]:
            return EXCEL
        for kind in TEMPLATES:
            if _counts_parts_of_years(values, kind):
                return kind
    for unit, scale in SCALES.items():
        if 1e14 < usual * scale < 1e16:
            return unit
    return "step"


def _share(values: np.ndarray, kind: str) -> float:
    """How many of the numbers are dates of a kind, in the years 1500 to 2200."""
    if kind == "month":
        return float((_year(values // 100) & _in(values % 100, 1, 12)).mean())
    if kind == "short year":
        in_range = _in(values, 101, 991_231) & (np.median(values) >= 100_101)  # 000101 too
        return float((in_range & (_share(values + 2e7, "day") == 1)).mean())
    if kind == "day of year":
        return float((_year(values // 1000) & _in(values % 1000, 1, 366)).mean())
    if kind in CLOCK:
        good = np.ones(len(values), dtype=bool)
        for most in CLOCK[kind]:
            good &= values % 100 <= most
            values = values // 100
        day, month, year = values % 100, values // 100 % 100, values // 10_000
    else:
        good = values >= 1e6
        first, second, year = values // 1e6, values // 1e4 % 100, values % 1e4
        day, month = (first, second) if kind == "day first" else (second, first)
    return float((good & _year(year) & _in(month, 1, 12) & _in(day, 1, 31)).mean())


def both_first(column: pandas.Series) -> bool:
    """Whether numbers are dates with the day first and with the month first alike."""
    return not any(pandas.isna(times(column, kind)).any() for kind in ("day first", "month first"))


def _in(values: np.ndarray, least: int, most: int) -> np.ndarray:
    return (values >= least) & (values <= most)


def _year(values: np.ndarray) -> np.ndarray:
    return _in(values, 1500, 2200)


def _counts_parts_of_years(values: np.ndarray, kind: str) -> bool:
    """Whether numbers are quarters as 20201, or weeks as 202052, one by one over a new year."""
    factor, most = FACTORS[kind]
    values = np.unique(values)
    years, parts = values // factor, values % factor
    if not (_year(years) & _in(parts, 1, most)).all() or years[0] == years[-1]:
        return False
    new = np.diff(years) == 1
    last = parts[:-1][new]
    return bool(
        (np.diff(parts)[~new] == 1).all()
        and (np.diff(years)[~new] == 0).all()
        and (parts[1:][new] == 1).all()
        and (last >= most - (kind == "week")).all()
    )


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
        good = (values >= 0) & (values < LARGEST_STEP) & (values == np.rint(values))
        text = pandas.Series(np.where(good, values, 0).astype(np.int64)).astype(str)
        if kind.endswith("first"):
            text = text.str.zfill(8)
        if kind == "short year":
            text = text.str.zfill(6)
        found = parsed(text, FORMATS[kind]).as_unit("us").to_numpy().copy()
    elif kind in TEMPLATES:
        factor, most = FACTORS[kind]
        good = (values == np.rint(values)) & _year(values // factor)
        good &= _in(values % factor, 1, most)
        whole = np.where(good, values, 20201 if kind == "quarter" else 202001).astype(np.int64)
        if kind == "quarter":
            months = (whole // factor - 1970) * 12 + (whole % factor - 1) * 3
            found = months.astype("M8[M]").astype("M8[us]")
        else:
            text = pandas.Series(whole).astype(str) + "1"
            found = parsed(text, "%G%V%u").as_unit("us").to_numpy().copy()
    elif kind == EXCEL:
        good = np.abs(values - EXCEL_EPOCH) < LAST / 86400e6
        seconds = np.rint((np.where(good, values, 0) - EXCEL_EPOCH) * 86400)  # hours are rounded
        found = (seconds * 1e6).astype(np.int64).astype("M8[us]")
    else:
        scale = SCALES[kind]
        good = (np.abs(values) < LAST / scale) & (np.abs(values) < 2.0**63)
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
