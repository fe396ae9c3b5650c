"""The one format of a column of dates: found over the whole column, or refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

import numpy as np
import pandas

TAB = "\t"  # between the cells of timestamps in several columns
SEPARATORS = ("-", "/", ".", " ", "_", ". ", TAB, "")
ORDERS = (
    "%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y",
    "%y{0}%m{0}%d", "%Y{0}%m", "%m{0}%Y",
    "%Y{0}%j",
)  # fmt: skip
NAMED = (
    "%d{0}%b{0}%Y", "%d{0}%B{0}%Y", "%d{0}%b{0}%y", "%Y{0}%b{0}%d", "%b{0}%d{0}%Y", "%b{0}%Y",
    "%B{0}%Y", "%b{0}%y", "%b %d, %Y", "%B %d, %Y", "%B %d %Y", "%d. %B %Y", "%Y{0}%b",
    "%d %b. %Y", "%d. %b %Y", "%d. %b. %Y", "%b. %Y", "%b. %d, %Y", "%b '%y", "%B '%y", "%b'%y",
    "%d %b, %Y", "%d %B, %Y", "%Y{0}%B", "%Y{0}%B{0}%d",
)  # fmt: skip
WEEKDAYS = ("%a, ", "%a ", "%A, ", "%A ")
CLOCKS = (
    "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%H:%M:%S,%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p",
    "%I:%M:%S%p", "%I %p", "%I%p", "%I.%M %p", "%H:%M%z", "%H:%M:%S%z", "%H:%M:%S.%f%z",
    "%H:%M %z", "%H:%M:%S %z", "%H.%M", "%H%M", "%H%M%S", "%H%M%z", "%H%M%S%z", "%H", "%H%z",
    "%Hh", "%Hh%M", "%H:%M Uhr", "%H:%M %Z", "%H:%M:%S %Z", "%H:%M:%S.%f %Z",
    "%H\t%M", "%H.%M.%S",
)  # fmt: skip
BETWEEN = (TAB, ", ", " - ", "T", " ", "_", ":")  # a date and a clock
ASCTIME = "%a %b %d %H:%M:%S %Y"
ISO = "ISO8601"  # of the date, of the date and a clock with or without seconds, in one column

MONTH_NAME = re.compile(r"jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", re.IGNORECASE)
WEEKDAY = re.compile(r"(mon|tue|wed|thu|fri|sat|sun)", re.IGNORECASE)
DIGITS = {"%H%M%S": 6, "%H%M": 4, "%Y%m%d": 8, "%d%m%Y": 8, "%m%d%Y": 8, "%Y%m": 6, "%m%Y": 6}
DIGITS |= {"%d%m%y": 6, "%m%d%y": 6, "%y%m%d": 6, "%Y%j": 7, "%j": 3}
ISO_FORM = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?")
DOTTED = re.compile(r"([ap])\.\s?(m)\.?", re.IGNORECASE)  # a.m.
# quarters, months, weeks and days of the year by names of their parts: y (or s, of two digits), q,
# m, w, d, j
PERIODS = {
    "quarter": [
        re.compile(r"(?P<y>\d{4})[-/ :]?Q(?P<q>[1-4])", re.IGNORECASE),
        re.compile(r"(?P<y>\d{4})\tquarter Q?(?P<q>[1-4])", re.IGNORECASE),
        re.compile(r"(?P<y>\d{4})\tQ0(?P<q>[1-4])"),
        re.compile(r"Q(?P<q>[1-4])[-/ ]?(?P<y>\d{4})", re.IGNORECASE),
        re.compile(r"(?P<q>[1-4])[-/ ]?Q[-/ ']?(?P<y>\d{4})", re.IGNORECASE),
        re.compile(r"Q(?P<q>[1-4])[-/ ']{0,2}(?P<s>\d\d)", re.IGNORECASE),
        re.compile(r"(?P<q>[1-4])[-/ ]?Q[-/ ']{0,2}(?P<s>\d\d)", re.IGNORECASE),
    ],
    "month": [
        re.compile(r"(?P<y>\d{4})[-/ :\t]?M(?P<m>\d{1,2})", re.IGNORECASE),
        re.compile(r"M(?P<m>\d{1,2})[-/ ]?(?P<y>\d{4})", re.IGNORECASE),
    ],
    "week": [
        re.compile(r"(?P<y>\d{4})[-/ ]?K?W(?P<w>\d{1,2})(?:-?(?P<d>[1-7]))?", re.IGNORECASE),
        re.compile(r"K?W ?(?P<w>\d{1,2})[-/ ]?(?P<y>\d{4})", re.IGNORECASE),
        re.compile(r"(?P<y>\d{4})\tweek (K?W)?\s?(?P<w>\d{1,2})", re.IGNORECASE),
    ],
    "day": [re.compile(r"(?P<y>\d{4})\tday (?P<j>\d{1,3})")],
}
NUMBERED = re.compile(r"(?P<y>\d{4})[-/:](?P<q>[1-4])")  # a quarter where no month above 4 comes
MANY = 1000  # quarters, months or weeks
MANY_QUARTERS = 5  # rows without a month above 4


def _formats(value: str) -> Iterator[str]:
    """The strftime formats that fit ``value``."""
    yield from _dates(value)
    if WEEKDAY.match(value) and _fits(value, ASCTIME):
        yield ASCTIME
    for mark in BETWEEN:
        for place in (match.start() for match in re.finditer(re.escape(mark), value)):
            date, clock = value[:place], value[place + len(mark) :]
            if not clock[:1].isdigit():
                continue
            dates = list(_dates(date))
            clocks = [form for form in CLOCKS if _fits(clock, form)] if dates else []
            for one, other in itertools.product(dates, clocks):
                if "%d" in one or TAB not in other:
                    yield f"{one}{mark}{other}"


def _dates(value: str) -> Iterator[str]:
    """The formats of a date without a clock."""
    marks = [mark for mark in SEPARATORS if mark in value]
    orders = NAMED if MONTH_NAME.search(value) else ORDERS
    found = dict.fromkeys(order.format(mark) for order in orders for mark in marks)
    before = WEEKDAYS if WEEKDAY.match(value) else ("",)
    yield from (day + form for day in before for form in found if _fits(value, day + form))


def fitting(sample: pandas.Series) -> list[str]:
    """The formats that fit every value of ``sample`` (text), the likeliest first.

    Two-digit years at the start are the last choice. With slashes a month comes before a day, with
    dots a day before a month (as ``pandas`` has it too).
    """
    value = DOTTED.sub(r"\1\2", sample.iloc[0])
    found = list(dict.fromkeys(_formats(value)))
    found = [form for form in found if parsed(sample, form).notna().all()]
    if any(form.startswith(WEEKDAYS) for form in found):  # may tell days from months
        right = [form for form in found if _has_its_weekdays(sample, form)]
        found = right or found
    if not found and all(map(ISO_FORM.fullmatch, sample)):
        return [ISO]
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


def _has_its_weekdays(sample: pandas.Series, form: str) -> bool:
    days = parsed(sample, form).day_name().str[:3].str.lower()
    return bool((sample.str[:3].str.lower().to_numpy() == days.to_numpy()).all())


def odd(sample: pandas.Series) -> np.ndarray:
    """Where ``sample``, of several formats, differs from the one of its first value that fits most;
    the first value itself where none fits that."""
    single = sample.map(lambda cell: periods(pandas.Series([cell])) is not None).to_numpy(bool)
    if single.mean() >= 0.5:
        return ~single
    best = np.ones(len(sample), dtype=bool)
    for form in _formats(DOTTED.sub(r"\1\2", sample.iloc[0])):
        wrong = parsed(sample, form).isna()
        best = wrong if wrong.sum() < best.sum() else best
    return best


def parsed(column: pandas.Series, form: str) -> pandas.DatetimeIndex:
    """Timestamps, NaT for those of another format; those of several zones are in UTC."""
    if "%p" in form:
        column = column.str.replace(DOTTED, r"\1\2", regex=True)
    try:
        return pandas.DatetimeIndex(pandas.to_datetime(column, format=form, errors="coerce"))
    except (ValueError, TypeError):
        found = pandas.to_datetime(column, format=form, errors="coerce", utc=True)
        return pandas.DatetimeIndex(found)


def periods(column: pandas.Series) -> pandas.DatetimeIndex | None:
    """The first days of quarters (2020Q1, Q1 2020, 1Q20), months (2015M01) or weeks (2020-W05).

    None where the column has something else.
    """
    for kind, patterns in PERIODS.items():
        for pattern in patterns:
            if not pattern.fullmatch(column.iloc[0]):
                continue
            matches = [pattern.fullmatch(value) for value in column]
            if all(matches):
                try:
                    return pandas.DatetimeIndex([_first_day(kind, x) for x in matches if x])
                except ValueError:  # week 54, month 13, year 0
                    return None
    return None


def numbered_quarters(column: pandas.Series) -> pandas.DatetimeIndex | None:
    """The first days of quarters that are written 2020/1, without a month above 4; else None."""
    if not NUMBERED.fullmatch(column.iloc[0]):
        return None
    matches = [NUMBERED.fullmatch(value) for value in column]
    quarters = {match["q"] for match in matches if match}
    if len(column) < MANY_QUARTERS or not all(matches) or len(quarters) < 4:
        return None
    return pandas.DatetimeIndex([_first_day("quarter", match) for match in matches if match])


@lru_cache(4096)
def _fits(value: str, form: str) -> bool:
    for part, digits in DIGITS.items():
        if part in form:
            if not re.search(rf"(?<!\d)\d{{{digits}}}(?!\d)", value):
                return False
            break
    if "%f" in form:
        value = re.sub(r"([.,]\d{6})\d{1,3}", r"\1", value)
    try:
        datetime.strptime(value, form)
    except (ValueError, re.error):
        return False
    return True


def _first_day(kind: str, match: re.Match[str]) -> datetime:
    parts = match.groupdict()
    # as strptime has it, 69 is 1969
    short = int(parts.get("s") or 0)
    year = int(parts["y"]) if parts.get("y") else short + (1900 if short >= 69 else 2000)
    if kind == "day":
        return datetime.strptime(f"{parts['y']} {parts['j']}", "%Y %j")
    if kind == "week":
        return datetime.fromisocalendar(year, int(parts["w"]), int(parts.get("d") or 1))
    return datetime(year, 3 * int(parts["q"]) - 2 if kind == "quarter" else int(parts["m"]), 1)


def template(column: pandas.Series) -> str:
    """How quarters, months or weeks are written, for ``written``: ``{y}Q{q}``, ``{y}-W{w:02}``."""
    value = min(column.iloc[:MANY], key=len)  # shows whether 5 has a leading zero
    patterns = [pattern for several in PERIODS.values() for pattern in several]
    match = next((m for p in (*patterns, NUMBERED) if (m := p.fullmatch(value))), None)
    if match is None:
        raise ValueError(f"{value!r} is not a quarter, month or week")
    found, end = "", 0
    parts = [name for name, text in match.groupdict().items() if text is not None]
    for name in sorted(parts, key=match.start):
        width = match.end(name) - match.start(name)
        found += value[end : match.start(name)]
        found += f"{{{name}:0{width}}}" if width > 1 else f"{{{name}}}"
        end = match.end(name)
    return found + value[end:]
