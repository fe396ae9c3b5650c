"""The one format of a column of dates: found over the whole column, or refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pandas

SEPARATORS = ("-", "/", ".", " ", "")
ORDERS = (
    "%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y",
    "%y{0}%m{0}%d", "%Y{0}%m", "%m{0}%Y",
)  # fmt: skip
NAMED = (
    "%d{0}%b{0}%Y", "%d{0}%B{0}%Y", "%d{0}%b{0}%y", "%Y{0}%b{0}%d", "%b{0}%Y", "%B{0}%Y",
    "%b{0}%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d. %B %Y", "%Y{0}%b",
)  # fmt: skip
CLOCKS = (
    "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%I %p",
    "%H:%M%z", "%H:%M:%S%z", "%H:%M:%S.%f%z", "%H:%M %z", "%H:%M:%S %z", "%H.%M", "%H%M", "%H",
)  # fmt: skip
EPOCH = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}  # numbers since 1970, in microseconds

MONTH_NAME = re.compile(r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", re.IGNORECASE)
QUARTER = re.compile(r"(?:(\d{4})[-/ ]?Q([1-4])|Q([1-4])[-/ ]?(\d{4}))", re.IGNORECASE)
MONTH = re.compile(r"(\d{4})[-/ ]?M(\d{1,2})", re.IGNORECASE)
WEEK = re.compile(r"(\d{4})-?W(\d{2})(?:-?([1-7]))?", re.IGNORECASE)


def _formats(value: str) -> Iterator[str]:
    """The strftime formats that may fit ``value``."""
    marks = [mark for mark in SEPARATORS if mark in value]
    orders = NAMED if MONTH_NAME.search(value) else ORDERS
    dates = dict.fromkeys(order.format(mark) for order in orders for mark in marks)
    yield from dates
    for date, clock, mark in itertools.product(dates, CLOCKS, " T"):
        if mark in value and (":" in value) == (":" in clock):
            yield f"{date}{mark}{clock}"


def fitting(sample: pandas.Series) -> list[str]:
    """The formats that fit every value of ``sample`` (text), the likeliest first.

    Two-digit years at the start are the last choice. With slashes a month comes before a day, with
    dots a day before a month (as ``pandas`` has it too).
    """
    value = sample.iloc[0]
    found = [form for form in _formats(value) if _fits(value, form)]
    found = [form for form in found if parsed(sample, form).notna().all()]
    day_first = "." in value
    return sorted(
        found,
        key=lambda form: (
            not form.startswith("%Y"),
            form.startswith("%y"),
            form.startswith("%d") != day_first,
            form.count("%"),
        ),
    )


def odd(sample: pandas.Series) -> np.ndarray:
    """Where ``sample``, of several formats, differs from the one of its first value that fits most;
    the first value itself where none fits that."""
    best = np.ones(len(sample), dtype=bool)
    for form in _formats(sample.iloc[0]):
        if _fits(sample.iloc[0], form):
            wrong = parsed(sample, form).isna()
            best = wrong if wrong.sum() < best.sum() else best
    return best


def parsed(column: pandas.Series, form: str) -> pandas.DatetimeIndex:
    """Timestamps, NaT for those of another format; those of several zones are in UTC."""
    try:
        return pandas.DatetimeIndex(pandas.to_datetime(column, format=form, errors="coerce"))
    except (ValueError, TypeError):
        found = pandas.to_datetime(column, format=form, errors="coerce", utc=True)
        return pandas.DatetimeIndex(found)


def periods(column: pandas.Series) -> pandas.DatetimeIndex | None:
    """The first days of quarters (2020Q1, Q1 2020), months (2015M01) or weeks (2020-W05).

    None where the column has something else.
    """
    for pattern, first_day in ((QUARTER, _quarter), (MONTH, _month), (WEEK, _week)):
        matches = [pattern.fullmatch(value) for value in column]
        if all(matches):
            try:
                return pandas.DatetimeIndex([first_day(match) for match in matches if match])
            except ValueError:  # week 54, month 13, year 0
                return None
    return None


def _fits(value: str, form: str) -> bool:
    try:
        datetime.strptime(value, form)
    except ValueError:
        return False
    return True


def _quarter(match: re.Match[str]) -> datetime:
    year, quarter = match[1] or match[4], match[2] or match[3]
    return datetime(int(year), 3 * int(quarter) - 2, 1)


def _month(match: re.Match[str]) -> datetime:
    return datetime(int(match[1]), int(match[2]), 1)


def _week(match: re.Match[str]) -> datetime:
    return datetime.fromisocalendar(int(match[1]), int(match[2]), int(match[3] or 1))


def template(value: str) -> str:
    """How a quarter, month or week is written, for ``written``: ``{y}Q{q}``, ``{y}-W{w:02}``."""
    for pattern, parts in ((QUARTER, "yqqy"), (MONTH, "ym"), (WEEK, "ywd")):
        match = pattern.fullmatch(value)
        if match:
            text, shift = value, 0
            for number, part in enumerate(parts, 1):
                if match[number] is not None:
                    start, end = match.span(number)
                    width = f":0{end - start}" if part in "mwy" and end - start > 1 else ""
                    new = "{" + part + width + "}"
                    text = text[: start + shift] + new + text[end + shift :]
                    shift += len(new) - (end - start)
            return text
    raise ValueError(f"{value!r} is not a quarter, month or week")


def written(times: pandas.DatetimeIndex, form: str) -> pandas.Index:
    """Timestamps in a format of ``strftime`` or ``template``, or as numbers of ``EPOCH``, with
    ``.f`` where they have a fraction."""
    unit = form.removesuffix(".f")
    if unit in EPOCH:
        count = times.as_unit("us").astype(np.int64)
        if form != unit:  # with a fraction
            return pandas.Index(count / EPOCH[unit])
        return pandas.Index(count * 1000 if unit == "ns" else count // EPOCH[unit])
    if "{" not in form:
        text = times.strftime(form)
        return text.str.replace(r"([+-]\d\d)(\d\d)$", r"\1:\2", regex=True)
    calendar = times.isocalendar()
    years = calendar["year"] if "{w" in form else times.year
    return pandas.Index(
        [
            form.format(y=year, q=time.quarter, m=time.month, w=week, d=time.isoweekday())
            for time, year, week in zip(times, years, calendar["week"], strict=True)
        ]
    )
