"""Which column of a table has its timestamps, or which columns together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas

from wavediff.errors import UserError, listed, shorten
from wavediff.series.columns import ITEM_NAMES, TIME_NAMES, cells, is_date, is_text
from wavediff.series.counted_stamps import EXCEL, kind_of, times
from wavediff.series.date_formats import fitting
from wavediff.series.stamp_parts import find_parts, is_clock

LONGEST = 100  # characters of a timestamp
WHOLE = re.compile(r" *[-+]?\d+(\.0*)? *", re.ASCII)
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?", re.ASCII)
FULL = ("day", "hour", "minute", "second")  # numbers that are dates under any name
LEAST_FULL = 15000101
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATE = re.compile(
    r"\s*((mon|tue|wed|thu|fri|sat|sun)[a-z]*,? (?=\d))?"
    r"('?\d{4}[-/._]?\d{1,2}([-/._]?\d{1,2})?([ T].*)?"
    r"|\d{1,2}[-/. _]{1,2}\d{1,2}[-/. _]{1,2}\d{2,4}.*"
    r"|\d{1,2}[-/.]\d{4}|\d{4}[-/ :]?[QMWK]{1,2}\d{1,2}(-?\d)?|[QM]\d{1,2}[-/ ']{0,2}\d{2,4}"
    r"|K?W ?\d{1,2}[-/ ]?\d{4}|[1-4][-/ ]?Q[-/ ']{0,2}\d{2,4}|\d{4}[-/:][1-4]"
    rf"|.*(?<![a-z])({MONTHS})[a-z]*(?![a-z]).*\d.*)\s*",
    re.IGNORECASE,
)


# names of columns that may hold numbers of dates
DATED = re.compile(
    r"date|datum|fecha|dato?\b|day|tag|jour|month|monat|mois|period|time|zeit|stamp|year|jahr|week|woche|quart"
    r"|unix|epoch|\bts\b",
    re.IGNORECASE,
)


def time_columns(
    frame: pandas.DataFrame,
    name: str,
    time: str | None,
    texts: Collection[str] = (),
    taken: Collection[str] = (),
) -> list[str]:
    """The time column, or the columns that together hold the timestamps, the largest unit first.

    Args:
        frame: the first rows of the table.
        name: of the table, for messages.
        time: a column, several with + between, or None.
        texts: columns that are text.
        taken: columns that are no part of several that hold the timestamps.

    Raises:
        UserError: where there is no such column, or more than one.
    """
    if time in frame.columns:
        return [str(time)]
    if time is not None:
        columns = split_name(time)
        for column in columns:
            if column not in frame.columns:
                raise UserError(
                    f"{name} has no column {shorten(column)}: it has {listed(frame.columns)}"
                )
        return columns
    dates, counters, numbered = _candidates(frame, texts)
    years = [column for column in counters if _kind(_numbers(frame[column]), column) == "year"]
    if not dates:
        dates = [column for column in numbered if column.strip().lower() in TIME_NAMES]
    if not dates and len(years) == len(counters):
        dates = numbered
    try:
        parts = find_parts(frame, dates, texts, taken)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    return parts or [_only(frame, name, dates or counters or _named(frame, texts))]


def split_name(time: str) -> list[str]:
    """The columns of ``Date+Time``."""
    return [column.strip() for column in time.split("+")]


def _only(frame: pandas.DataFrame, name: str, found: Sequence[str]) -> str:
    """The one column of ``found``, by its name among several."""
    if len(found) > 1:
        found = [column for column in found if column.strip().lower() in TIME_NAMES] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"{name} has no time column (its columns: {listed(frame.columns)}): name it by --time "
            "(in Python time=), add one with timestamps like 2024-01-31 or 2024-01-31 13:00, or "
            "one named step that numbers the rows"
        )
    raise UserError(
        f"{name} has several time columns ({listed(found)}): name one by --time (in Python time=)"
    )


def _candidates(
    frame: pandas.DataFrame, taken: Collection[str]
) -> tuple[list[str], list[str], list[str]]:
    """Columns of dates; of numbers that count, by their names; of numbers like 20240131."""
    dates, counters, numbered = [], [], []
    doubtful = []  # text of numbers, as Parquet files may hold them
    for column, values in _known(frame, taken):
        text = is_text(values)
        if text and is_clock(values, column) and not fitting(_texts(values)):
            continue  # 18.00.00 is no date
        if is_date(values) or (text and mostly(values, DATE)):
            numbers = text and all(map(NUMBER.fullmatch, _texts(values)))
            if not numbers or DATED.search(column):
                dates.append(column)
            elif fitting(_texts(values)):
                doubtful.append(column)
        elif not text and values.iloc[0] >= LEAST_FULL and _kind(values) in FULL:
            numbered.append(column)
        elif column.strip().lower() in TIME_NAMES and (
            mostly(values, WHOLE) if text else _counts(values) or _kind(values, column) == EXCEL
        ):
            counters.append(column)
    if not (dates or counters or numbered):
        dates = doubtful
    return dates, counters, numbered


def _texts(values: pandas.Series) -> pandas.Series:
    return pandas.Series([str(cell)[:LONGEST].strip() for cell in cells(values)], dtype=str)


def _named(frame: pandas.DataFrame, taken: Collection[str]) -> list[str]:
    """Columns whose names speak of dates, and whose numbers may be some."""
    found = []
    for column, values in _known(frame, taken):
        if not DATED.search(column):
            continue
        values = _numbers(values)
        kind = None if is_date(values) or is_text(values) else _kind(values, column)
        if kind not in (None, "step"):
            found.append(column)
    return found


def _known(frame: pandas.DataFrame, taken: Collection[str]) -> Iterator[tuple[str, pandas.Series]]:
    """The columns that may be the time column, and their values."""
    for column in frame.columns:
        values = frame[column].dropna()
        if column not in taken and column.lower() not in ITEM_NAMES and len(values):
            yield column, values


def _numbers(values: pandas.Series) -> pandas.Series:
    """Text that is whole numbers as such; other values as they are."""
    if is_text(values) and all(WHOLE.fullmatch(str(cell)[:LONGEST]) for cell in cells(values)):
        return pandas.to_numeric(values)
    return values


def _kind(values: pandas.Series, name: str = "") -> str | None:
    """What numbers count, where all of them fit; None for other values."""
    if not pandas.api.types.is_numeric_dtype(values) or values.dtype == bool:
        return None
    kind = kind_of(values, name)
    return None if kind == "step" or pandas.isna(times(values, kind)).any() else kind


def mostly(values: pandas.Series, pattern: re.Pattern[str]) -> bool:
    """Whether more than half of the values of a text column fit a pattern."""
    texts = map(str, cells(values))
    fits = [bool(pattern.fullmatch(text)) for text in texts if len(text) <= LONGEST]
    return sum(fits) > 0.5 * len(values)


def _counts(values: pandas.Series) -> bool:
    """Whether numbers count steps, or seconds since 1970 with a fraction."""
    known = values[np.isfinite(values.astype(np.float64))]
    return bool((known == known.round()).all() or (known.min() > 1e8 and known.max() < 1e10))
